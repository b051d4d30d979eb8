use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Int16Array, Int64Array, LargeStringArray, RecordBatch, StringArray,
};

use super::super::{ArrowBatchBuilder, ArrowBatchOptions, ArrowCompression};
use crate::batch::{ArrowRows, Push};
use crate::rng::Rng;
use crate::row::{DataType, Schema};

fn schema() -> Schema {
    Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("name", DataType::STRING)
        .column("n", DataType::INT)
        .column("on", DataType::BOOLEAN)
        .column("note", DataType::STRING)
        .build()
        .expect("a sound schema")
}

/// Columns of the table's own types, of narrower ones, and with and without nulls.
fn batch(rng: &mut Rng, rows: usize) -> RecordBatch {
    let sparse = rng.below(3) == 0;
    let maybe = |rng: &mut Rng| !sparse || rng.below(4) > 0;
    let text = |rng: &mut Rng| "abcdefghij"[..rng.below(11) as usize].to_owned();
    let ids = Int64Array::from_iter_values((0..rows).map(|_| rng.below(1 << 40) as i64));
    let mut names =
        || -> Vec<Option<String>> { (0..rows).map(|_| maybe(rng).then(|| text(rng))).collect() };
    let (name, note) = (StringArray::from(names()), LargeStringArray::from(names()));
    let n: Int16Array = (0..rows).map(|_| Some(rng.below(1 << 15) as i16)).collect();
    let on: BooleanArray = (0..rows).map(|_| Some(rng.below(2) == 1)).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(n)),
        ("id", Arc::new(ids)),
        ("note", Arc::new(note)),
        ("name", Arc::new(name)),
        ("on", Arc::new(on)),
    ];
    RecordBatch::try_from_iter(columns).expect("equal lengths")
}

fn builder(max_bytes: usize) -> ArrowBatchBuilder {
    let compression = ArrowCompression::None;
    let options = ArrowBatchOptions { max_bytes, compression, ..ArrowBatchOptions::default() };
    ArrowBatchBuilder::new(schema(), options).expect("sound options")
}

/// The payloads of the batches that the rows of all record batches make.
fn payloads(batches: &[RecordBatch], max_bytes: usize, by_column: bool) -> Vec<Vec<u8>> {
    let mut builder = builder(max_bytes);
    let mut payloads = Vec::new();
    let mut seal = |builder: &mut ArrowBatchBuilder| {
        let size = builder.size_in_bytes();
        let sealed = builder.seal(1, Vec::new()).expect("rows");
        assert!(sealed.payload().len() <= size);
        payloads.push(sealed.payload().to_vec());
    };
    for batch in batches {
        let rows = ArrowRows::new(&schema(), batch).expect("columns that fit");
        let mut next = 0;
        while let Some(row) = rows.row(next) {
            let taken = if by_column { builder.extend(&rows, next) } else { 0 };
            next += taken;
            if taken == 0 {
                match builder.try_push(&row).expect("a row that fits") {
                    Push::Pushed(_) => next += 1,
                    Push::Full => seal(&mut builder),
                }
            }
        }
    }
    seal(&mut builder);
    payloads
}

#[test]
fn rows_taken_by_column_make_the_same_batches_as_rows_taken_one_by_one() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let batches: Vec<_> = (0..1 + rng.below(4))
            .map(|_| {
                let rows = 1 + rng.below(2_000) as usize;
                let whole = batch(&mut rng, rows);
                let from = rng.below(rows as u64) as usize;
                whole.slice(from, rows - from)
            })
            .collect();
        let max_bytes = 2_000 + rng.below(60_000) as usize;
        let (one, many) =
            (payloads(&batches, max_bytes, false), payloads(&batches, max_bytes, true));
        assert!(one == many, "seed {seed}: {} and {} batches", one.len(), many.len());
    }
}

#[test]
fn a_run_at_most_doubles_a_batch_so_that_its_memory_can_be_accounted_for() {
    let rows =
        ArrowRows::new(&schema(), &batch(&mut Rng::new(1), 4_000)).expect("columns that fit");
    let (mut builder, mut next) = (builder(1 << 20), 0);
    while next < rows.len() {
        let before = builder.size_in_bytes();
        let taken = builder.extend(&rows, next);
        assert!(taken > 0, "{next}");
        let limit = (2 * before).max(16 << 10);
        let after = builder.size_in_bytes();
        assert!(after <= limit, "{before} bytes became {after}");
        next += taken;
    }
}

#[test]
fn a_bad_row_far_ahead_keeps_few_rows_out_of_a_run() {
    let ids: Int64Array = (0..1_000).map(|id| (id != 900).then_some(id)).collect();
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"; 1_000]));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(ids)),
        ("name", Arc::clone(&text)),
        ("n", Arc::new(Int16Array::from(vec![1; 1_000]))),
        ("on", Arc::new(BooleanArray::from(vec![true; 1_000]))),
        ("note", text),
    ];
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("equal lengths");
    let rows = ArrowRows::new(&schema(), &batch).expect("columns that fit");
    let (mut builder, mut runs) = (builder(1 << 20), 0);
    while builder.len() < 900 {
        let before = builder.len();
        assert!(builder.extend(&rows, before) > 0, "row {before} is a good one");
        runs += 1;
    }
    assert!(runs < 20, "{runs} runs for 900 rows");
    assert_eq!(builder.extend(&rows, 900), 0);
}

#[test]
fn a_bad_row_is_left_to_be_found() {
    let ids = Int64Array::from(vec![Some(1), None, Some(3)]);
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"; 3]));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(ids)),
        ("name", Arc::clone(&text)),
        ("n", Arc::new(Int16Array::from(vec![1, 2, 3]))),
        ("on", Arc::new(BooleanArray::from(vec![true; 3]))),
        ("note", text),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    );
    let rows = ArrowRows::new(&schema(), &batch.expect("equal lengths")).expect("columns that fit");
    let mut builder = builder(1 << 20);
    assert_eq!(builder.extend(&rows, 0), 1);
    let row = |index| rows.row(index).expect("a row");
    assert_eq!(builder.extend(&rows, 1), 0);
    assert_eq!(builder.len(), 1);
    let error = builder.try_push(&row(1)).expect_err("null in a NOT NULL column").to_string();
    assert!(error.contains("`id`"), "{error}");
    assert_eq!(builder.extend(&rows, 2), 1);
    assert_eq!(builder.extend(&rows, 3), 0);
    assert_eq!(builder.len(), 2);
}
