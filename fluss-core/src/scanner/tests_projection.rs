//! Servers that leave columns out: what is asked for, and what batches without one of them do.

use fluss_proto::ErrorCode;
use fluss_proto::message::{PbFetchLogReqForTable, PbFetchLogRespForBucket};
use fluss_proto::record::{SealedBatch, Stamp, write_append_position};

use super::ScannerOptions;
use super::testkit::{Bench, S1, Sent, batch, failed, part, places};
use crate::error::Error;
use crate::time::Duration;

/// Two columns of schema 2.
fn options() -> ScannerOptions {
    let mut options = Bench::options();
    (options.projection, options.projection_schema) = (Some([1, 3].into()), 2);
    options
}

fn refused(number: i32) -> PbFetchLogRespForBucket {
    failed(number, ErrorCode::INVALID_COLUMN_PROJECTION.0)
}

/// The buckets asked for with all columns, and with the wanted ones only.
fn asked(sent: &Sent) -> [Vec<i32>; 2] {
    let tables = &sent.request.tables_req;
    let of = |projected: bool| {
        let those = tables.iter().filter(move |t| t.projection_pushdown_enabled == projected);
        those.flat_map(|table| table.buckets_req.iter().map(|b| b.bucket_id)).collect()
    };
    let fields = |table: &PbFetchLogReqForTable| match table.projection_pushdown_enabled {
        true => table.projected_fields == [1, 3],
        false => table.projected_fields.is_empty(),
    };
    assert!(tables.iter().all(fields), "{tables:?}");
    assert!(tables.iter().all(|table| !table.buckets_req.is_empty()), "{tables:?}");
    [of(false), of(true)]
}

/// A batch of one record of this schema.
fn of_schema(base: i64, schema: i16) -> Vec<u8> {
    let sealed = SealedBatch::log_v0(schema, 1, 1, 0, vec![7; 10].into()).expect("fits");
    let mut bytes = [&sealed.stamp(Stamp::NONE)[..], &sealed.payload()].concat();
    write_append_position(&mut bytes, base, 1000, 0).expect("a header");
    bytes
}

#[test]
fn a_bucket_with_batches_that_lack_a_column_is_fetched_whole_until_they_are_passed() {
    let mut b = Bench::new(&[(0, S1), (1, S1)]);
    let key = b.open(options(), &[(0, 0), (1, 0)]);
    let first = b.fetch(S1);
    assert_eq!(asked(&first), [vec![], vec![0, 1]]);
    b.reply(&first, vec![refused(0), part(1, 5, &of_schema(0, 2))]);
    let taken = b.take(key);
    assert_eq!((places(&taken), taken.batches[0].projected), (vec![(1, 0)], true));
    assert!(taken.errors.is_empty(), "it is nobody's mistake");

    let second = b.fetch(S1);
    assert_eq!(asked(&second), [vec![0], vec![1]]);
    b.reply(&second, vec![part(0, 5, &of_schema(0, 1)), part(1, 5, &of_schema(1, 2))]);
    let taken = b.take(key);
    let projected: Vec<_> = taken.batches.iter().map(|b| (b.bucket.bucket, b.projected)).collect();
    assert_eq!(projected, [(0, false), (1, true)]);

    // Newer ones begin, so what follows has all columns.
    let third = b.fetch(S1);
    assert_eq!(asked(&third), [vec![0], vec![1]]);
    let both = [of_schema(1, 1), of_schema(2, 2)].concat();
    b.reply(&third, vec![part(0, 5, &both), part(1, 5, &of_schema(2, 2))]);
    b.take(key);
    let [whole, mut projected] = asked(&b.fetch(S1));
    projected.sort_unstable();
    assert_eq!((whole, projected), (vec![], vec![0, 1]));
}

#[test]
fn a_server_that_refuses_all_columns_too_ends_the_bucket() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(options(), &[(0, 4)]);
    for _ in 0..2 {
        let sent = b.fetch(S1);
        b.reply(&sent, vec![refused(0)]);
    }
    let taken = b.take(key);
    let [error] = &taken.errors[..] else { panic!("{taken:?}") };
    assert_eq!((error.bucket.bucket, error.position), (0, 4));
    assert!(matches!(*error.cause, Error::Rejected { .. }), "{error}");
    assert!(b.poll(S1).is_none(), "it is asked no more");
}

#[test]
fn a_bucket_that_gets_nothing_beside_others_is_asked_for_alone_with_all_the_room_there_is() {
    let mut b = Bench::new(&[(0, S1), (1, S1)]);
    let mut options = options();
    (options.max_bytes, options.max_bytes_per_bucket) = (1 << 20, 1 << 10);
    let key = b.open(options, &[(0, 0), (1, 0)]);
    let sent = b.fetch(S1);
    assert_eq!(sent.limits(), [(0, 1 << 10), (1, 1 << 10)]);
    // The batch of the second bucket is larger than its share, and nothing is left of it.
    b.reply(&sent, vec![part(0, 9, &batch(0, 1, 0, 10)), part(1, 9, &[])]);
    b.take(key);
    let sent = b.fetch(S1);
    assert_eq!((sent.asked(), sent.limits()), (vec![(1, 0)], vec![(1, 1 << 20)]));
    b.reply(&sent, vec![part(1, 9, &batch(0, 1, 0, 4 << 10))]);
    assert_eq!(places(&b.take(key)), [(1, 0)]);
    b.pass(Duration::from_secs(1));
    assert_eq!(b.fetch(S1).limits(), [(0, 1 << 10), (1, 1 << 10)], "and then as before");
}
