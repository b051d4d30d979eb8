//! Batches that were sound once: every version and format, then damaged at random, as a hostile
//! server would send them. Length and checksum are mostly made to fit again, so that whatever is
//! behind them has to find the damage by itself.
//!
//! ```
//! use fluss_core::batch::LogFormat;
//! use fluss_core::rng::Rng;
//! use fluss_core::testing::hostile;
//! use fluss_core::testing::random::{self, Shape};
//!
//! let mut rng = Rng::new(7);
//! let schema = Shape::default().schema(&mut rng);
//! let rows = [random::row(&mut rng, &schema), random::row(&mut rng, &schema)];
//! let sound = hostile::log_batch(&mut rng, LogFormat::Arrow, &schema, &rows);
//! assert_ne!(hostile::damaged_log(&mut rng, &sound), sound);
//! ```

use fluss_proto::record::{
    ChangeType, Check, LOG_V0, LOG_V1, LOG_V2, LogBatch, LogBatchParts, LogLayout, LogVersion,
    Stamp, VALUE_BATCH, crc32c, encode_value_batch,
};

use crate::batch::{ArrowBatchOptions, ArrowCompression, LogBatchBuilder, LogFormat};
use crate::rng::Rng;
use crate::row::{OwnedRow, RowLayout, Schema, compacted, indexed};

/// A stored batch of these rows at offset 0: of any version, with statistics or without, appended
/// or a changelog, of any compression.
///
/// # Panics
/// If the rows do not fit the schema.
pub fn log_batch(rng: &mut Rng, format: LogFormat, schema: &Schema, rows: &[OwnedRow]) -> Vec<u8> {
    let compression = match rng.below(3) {
        0 => ArrowCompression::None,
        1 => ArrowCompression::Lz4Frame,
        _ => ArrowCompression::Zstd { level: 1 },
    };
    let options = ArrowBatchOptions { compression, ..ArrowBatchOptions::default() };
    let mut builder = LogBatchBuilder::new(format, schema.clone(), options).expect("sound options");
    if rng.one_in(2) {
        let all: Vec<usize> = (0..schema.columns().len()).collect();
        builder = builder.with_statistics(&all).expect("room for statistics");
    }
    for row in rows {
        assert!(builder.try_push(row).is_ok(), "a row that does not fit");
    }
    let sealed = builder.seal(1, Vec::new()).expect("rows to seal");
    let bytes = [&sealed.stamp(Stamp::NONE)[..], &sealed.payload()[..]].concat();
    let batch = LogBatch::new_checked(bytes.into(), Check::Crc).expect("a sound batch");
    let changes: Vec<ChangeType> = match format == LogFormat::Arrow && rng.one_in(2) {
        true => rows.iter().map(|_| change(rng)).collect(),
        false => Vec::new(),
    };
    let version = match rng.below(3) {
        0 => LogVersion::V0,
        1 => LogVersion::V1,
        _ => LogVersion::V2,
    };
    let statistics = batch.statistics();
    let parts = LogBatchParts {
        version,
        commit_timestamp: 1_761_955_200_000,
        append_only: batch.is_append_only() && changes.is_empty(),
        record_count: batch.record_count(),
        change_types: &changes,
        statistics: if version == LogVersion::V0 { &[] } else { &statistics },
        body: &batch.body().expect("a sound body"),
        ..LogBatchParts::default()
    };
    parts.encode().expect("parts that fit each other")
}

fn change(rng: &mut Rng) -> ChangeType {
    use ChangeType::{Delete, Insert, UpdateAfter, UpdateBefore};
    [Insert, UpdateBefore, UpdateAfter, Delete][rng.below(4) as usize]
}

/// A batch of values of these rows, of schema 1, as scans of primary-key tables bring them.
///
/// # Panics
/// If the rows do not fit the schema.
#[must_use]
pub fn value_batch(is_indexed: bool, schema: &Schema, rows: &[OwnedRow]) -> Vec<u8> {
    let layout = RowLayout::new(schema);
    let encode = |row: &OwnedRow| {
        let mut out = Vec::new();
        let encoded = match is_indexed {
            true => indexed::encode(&layout, row, &mut out),
            false => compacted::encode(&layout, row, &mut out),
        };
        encoded.expect("a row that fits");
        out
    };
    let rows: Vec<Vec<u8>> = rows.iter().map(encode).collect();
    encode_value_batch(rows.iter().map(|row| (1, &row[..]))).expect("small")
}

/// The log batch with one to four damages.
pub fn damaged_log(rng: &mut Rng, sound: &[u8]) -> Vec<u8> {
    let layout = match sound.get(LOG_V0.magic.start) {
        Some(0) => LOG_V0,
        Some(1) => LOG_V1,
        _ => LOG_V2,
    };
    let mut bytes = sound.to_vec();
    for _ in 0..=rng.below(4) {
        match rng.one_in(4) {
            true => damage_header(rng, &mut bytes, &layout),
            false => damage(rng, &mut bytes, layout.header_size),
        }
    }
    if !rng.one_in(6) {
        let length = (bytes.len() as i32).wrapping_sub(layout.length.end as i32);
        set(&mut bytes, layout.length.start, &length.to_le_bytes());
    }
    if !rng.one_in(6) && bytes.len() > layout.crc.end {
        let crc = crc32c(&bytes[layout.crc.end..]);
        set(&mut bytes, layout.crc.start, &crc.to_le_bytes());
    }
    if bytes == sound {
        bytes.pop();
    }
    bytes
}

/// The value batch, which has no checksum, with one to four damages.
pub fn damaged_values(rng: &mut Rng, sound: &[u8]) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    for _ in 0..=rng.below(4) {
        damage(rng, &mut bytes, VALUE_BATCH.length.start);
    }
    if !rng.one_in(6) {
        let length = (bytes.len() as i32).wrapping_sub(VALUE_BATCH.length.end as i32);
        set(&mut bytes, VALUE_BATCH.length.start, &length.to_le_bytes());
    }
    if bytes == sound {
        bytes.pop();
    }
    bytes
}

fn set(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(field) = bytes.get_mut(at..at + value.len()) {
        field.copy_from_slice(value);
    }
}

fn damage_header(rng: &mut Rng, bytes: &mut [u8], layout: &LogLayout) {
    let statistics = layout.statistics_length.clone().unwrap_or(layout.record_count.clone());
    let fields = [
        &layout.base_offset,
        &layout.length,
        &layout.magic,
        &layout.schema_id,
        &layout.attributes,
        &layout.last_offset_delta,
        &layout.record_count,
        &statistics,
    ];
    let field = fields[rng.below(fields.len() as u64) as usize];
    let value = number(rng, bytes.len()).to_le_bytes();
    set(bytes, field.start, &value[..field.len().min(8)]);
}

/// Damages something, mostly behind the header and near its end, where lengths stand.
fn damage(rng: &mut Rng, bytes: &mut Vec<u8>, header: usize) {
    let room = bytes.len().saturating_sub(header);
    let room = if rng.one_in(2) { room.min(300) } else { room };
    let at = header + rng.below(room as u64) as usize;
    let wrong = number(rng, bytes.len());
    match rng.below(8) {
        0 | 1 => {
            let bit = 1 << rng.below(8);
            bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= bit);
        }
        2 => set(bytes, at, &[rng.next_u64() as u8]),
        3 => bytes.truncate(at),
        4 => {
            let more = (0..=rng.below(40)).map(|_| rng.next_u64() as u8);
            bytes.extend(more.collect::<Vec<_>>());
        }
        5 => set(bytes, at / 4 * 4, &(wrong as i32).to_le_bytes()),
        6 => set(bytes, at, &wrong.to_le_bytes()),
        _ => {
            let end = (at + rng.below(64) as usize).min(bytes.len());
            if let Some(piece) = bytes.get(at..end).map(<[u8]>::to_vec) {
                let to = header + rng.below(bytes.len().max(header) as u64) as usize;
                set(bytes, to, &piece);
            }
        }
    }
}

/// A number that is wrong in many places, or nearly right.
fn number(rng: &mut Rng, near: usize) -> i64 {
    let near = near as i64;
    let numbers = [
        0,
        1,
        -1,
        i64::from(i32::MAX),
        i64::from(i32::MIN),
        i64::MAX,
        i64::MIN,
        1 << 40,
        200 << 20,
        near - 1,
        near,
        near + 1,
        near / 2,
    ];
    match rng.below(4) {
        0 => rng.next_u64() as i64,
        1 => rng.below(2 * near as u64) as i64,
        _ => numbers[rng.below(numbers.len() as u64) as usize],
    }
}
