use fluss_proto::record::{Check, LogBatch};

use super::super::LogDecoder;
use super::*;
use crate::batch::LogFormat;
use crate::rng::Rng;
use crate::row::OwnedRow;
use crate::testing::hostile;
use crate::testing::random::{self, Shape};

fn zstd_frame(content: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(content, 3).expect("it compresses")
}

#[test]
fn a_decompressor_is_kept_from_buffer_to_buffer_but_not_one_that_failed() {
    let mut unpacker = Unpacker::default();
    let content = vec![7; 10_000];
    let frame = zstd_frame(&content);
    for _ in 0..3 {
        assert_eq!(unpack_zstd(&mut unpacker, &frame, 10_000).as_ref(), Ok(&content));
        assert!(unpacker.0.is_some());
    }
    // What is refused before it is unpacked does it no harm.
    assert!(unpack_zstd(&mut unpacker, &frame, 9_999).is_err());
    assert!(unpacker.0.is_some());
    for cut in 1..frame.len() {
        unpack_zstd(&mut unpacker, &frame[..cut], 10_000).expect_err("it is cut");
        assert!(unpacker.0.is_none(), "cut at {cut}");
        assert_eq!(unpack_zstd(&mut unpacker, &frame, 10_000).as_ref(), Ok(&content));
    }
}

fn batch(bytes: Vec<u8>) -> Option<LogBatch> {
    LogBatch::new_checked(bytes.into(), Check::Structure).ok()
}

#[test]
fn batches_read_alike_whatever_was_read_before_them() {
    let mut read = [0; 2];
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let schema = Shape { columns: 4, ..Shape::default() }.schema(&mut rng);
        let rows: Vec<OwnedRow> = (0..50).map(|_| random::row(&mut rng, &schema)).collect();
        let columns: Vec<usize> = (0..schema.columns().len()).collect();
        let decoder = LogDecoder::new(LogFormat::Arrow, &schema, &columns).expect("all columns");
        let mut unpacker = Unpacker::default();
        for _ in 0..20 {
            let mut bytes = hostile::log_batch(&mut rng, LogFormat::Arrow, &schema, &rows);
            if rng.one_in(2) {
                bytes = hostile::damaged_log(&mut rng, &bytes);
            }
            let Some(batch) = batch(bytes) else { continue };
            let alone = decoder.decode(&batch).map_err(|error| error.to_string());
            let behind = decoder.decode_with(&batch, &mut unpacker);
            let behind = behind.map_err(|error| error.to_string());
            read[usize::from(alone.is_ok())] += 1;
            match (alone, behind) {
                (Ok(alone), Ok(behind)) => assert_eq!(alone.0, behind.0, "seed {seed}"),
                (alone, behind) => assert_eq!(alone.err(), behind.err(), "seed {seed}"),
            }
        }
    }
    assert!(read.into_iter().all(|some| some > 20), "{read:?}");
}
