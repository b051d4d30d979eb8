use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Float64Array, Int32Array, Int64Array, StringArray};
use arrow_array::{Date32Array, RecordBatch};

use super::super::{ArrowBatchBuilder, ArrowBatchOptions, ArrowCompression};
use crate::batch::{ArrowRows, Push};
use crate::rng::Rng;
use crate::row::{DataType, Schema};

fn schema() -> Schema {
    Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("name", DataType::STRING)
        .column("n", DataType::INT)
        .column("day", DataType::DATE)
        .column("raw", DataType::BYTES)
        .column("x", DataType::DOUBLE)
        .build()
        .expect("a sound schema")
}

/// Columns of the table's own types; in one of three batches some values are null.
fn batch(rng: &mut Rng, rows: usize) -> RecordBatch {
    let sparse = rng.below(3) == 0;
    let maybe = |rng: &mut Rng| !sparse || rng.below(500) > 0;
    let text = |rng: &mut Rng| "abcdefghij"[..rng.below(11) as usize].to_owned();
    let id = Int64Array::from_iter_values((0..rows).map(|_| rng.below(1 << 40) as i64));
    let name: StringArray = (0..rows).map(|_| maybe(rng).then(|| text(rng))).collect();
    let raw: BinaryArray = (0..rows).map(|_| maybe(rng).then(|| text(rng))).collect();
    let n: Int32Array = (0..rows).map(|_| maybe(rng).then(|| rng.below(1 << 30) as i32)).collect();
    let day: Date32Array = (0..rows).map(|_| Some(rng.below(20_000) as i32)).collect();
    let x = Float64Array::from_iter_values((0..rows).map(|_| rng.below(1 << 50) as f64));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(id)),
        ("name", Arc::new(name)),
        ("n", Arc::new(n)),
        ("day", Arc::new(day)),
        ("raw", Arc::new(raw)),
        ("x", Arc::new(x)),
    ];
    let nullable = columns.into_iter().map(|(name, array)| (name, array, true));
    RecordBatch::try_from_iter_with_nullable(nullable).expect("equal lengths")
}

fn builder(max_bytes: usize) -> ArrowBatchBuilder {
    let compression = ArrowCompression::None;
    let options = ArrowBatchOptions { max_bytes, compression, ..ArrowBatchOptions::default() };
    ArrowBatchBuilder::new(schema(), options).expect("sound options")
}

/// The payloads of the batches that all rows make, `single` of a thousand times row by row; and how
/// many rows were held when their batch was sealed.
fn payloads(
    batches: &[ArrowRows],
    max_bytes: usize,
    single: u64,
    rng: &mut Rng,
) -> (Vec<Vec<u8>>, usize) {
    let mut builder = builder(max_bytes);
    let (mut payloads, mut held) = (Vec::new(), 0);
    let mut seal = |builder: &mut ArrowBatchBuilder| {
        held += builder.held_rows();
        let size = builder.size_in_bytes();
        let sealed = builder.seal(1, Vec::new()).expect("rows");
        assert!(sealed.payload().len() <= size && builder.held_rows() == 0);
        payloads.push(sealed.payload().to_vec());
    };
    for rows in batches {
        let mut next = 0;
        while let Some(row) = rows.row(next) {
            let by_column = rng.below(1000) >= single;
            let taken = if by_column { builder.extend(rows, next) } else { 0 };
            next += taken;
            if taken == 0 && by_column && builder.is_full_for(rows, next) {
                seal(&mut builder);
            } else if taken == 0 {
                let full = builder.is_full_for(rows, next);
                match builder.try_push(&row).expect("a row that fits") {
                    Push::Pushed(_) => next += 1,
                    Push::Full => seal(&mut builder),
                }
                assert_eq!(full, builder.is_empty());
            }
        }
    }
    seal(&mut builder);
    (payloads, held)
}

#[test]
fn rows_held_until_the_end_make_the_same_batches_as_rows_taken_one_by_one() {
    let mut most = 0;
    for seed in 0..120 {
        let mut rng = Rng::new(seed);
        let batches: Vec<ArrowRows> = (0..1 + rng.below(6))
            .map(|_| {
                let rows = 1 + rng.below(3_000) as usize;
                let whole = batch(&mut rng, rows);
                let from = rng.below(1 + rows as u64 / 2) as usize;
                let part = whole.slice(from, rows - from);
                ArrowRows::new(&schema(), &part).expect("columns that fit")
            })
            .collect();
        let max_bytes = 20_000 + rng.below(300_000) as usize;
        let (one, none) = payloads(&batches, max_bytes, 1000, &mut rng);
        assert_eq!(none, 0, "rows that come alone are copied");
        for single in [0, 3, 200] {
            let (many, held) = payloads(&batches, max_bytes, single, &mut rng);
            assert!(one == many, "seed {seed}: {} and {} batches", one.len(), many.len());
            most = most.max(held);
        }
    }
    assert!(most > 5_000, "at most {most} rows were held");
}

#[test]
fn few_rows_and_slices_of_much_more_are_copied_at_once() {
    let whole = batch(&mut Rng::new(2), 20_000);
    let mut builder = builder(1 << 20);
    let mut take = |part: &RecordBatch, from: usize| {
        let rows = ArrowRows::new(&schema(), part).expect("columns that fit");
        let taken = builder.extend(&rows, from);
        (taken, builder.held_rows())
    };
    let few = batch(&mut Rng::new(1), 50);
    assert_eq!(take(&few, 0), (50, 0), "few rows");
    assert_eq!(take(&whole.slice(0, 1_000), 0).1, 0, "a twentieth of what it keeps alive");
    let (taken, held) = take(&whole, 0);
    assert!(taken > 100 && held == taken, "{held} of {taken} rows of the whole are held");
}

#[test]
fn what_rows_keep_alive_is_told_and_bounded_and_let_go_of_on_demand() {
    let max_bytes = 256 << 10;
    let whole = batch(&mut Rng::new(2), 8_000);
    let mut builder = builder(max_bytes);
    let (mut most, mut copied) = (0, false);
    loop {
        // The same bytes, but nobody need know that.
        let rows = ArrowRows::new(&schema(), &whole).expect("columns that fit");
        if builder.extend(&rows, 0) == 0 {
            break;
        }
        let surplus = builder.memory_in_bytes() - builder.size_in_bytes();
        assert!(surplus <= 8 * max_bytes, "{surplus} bytes more than the batch has");
        assert!(builder.held_rows() == 0 || surplus > whole.get_array_memory_size() / 2);
        copied |= builder.held_rows() < builder.len();
        most = most.max(surplus);
    }
    assert!(most > 2 * whole.get_array_memory_size(), "{most}: several are held");
    assert!(copied, "all of them would be too much");
    builder.let_go();
    assert_eq!((builder.memory_in_bytes(), builder.held_rows()), (builder.size_in_bytes(), 0));
}

/// `id BIGINT, code CHAR(3)`, and rows of them as a record batch.
fn codes(rows: usize, of: impl Fn(usize) -> &'static str) -> (Schema, RecordBatch) {
    let schema = Schema::builder().column("id", DataType::BIGINT).column("code", DataType::char(3));
    let id: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
    let code: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(of)));
    let batch = RecordBatch::try_from_iter([("id", id), ("code", code)]).expect("equal lengths");
    (schema.build().expect("a sound schema"), batch)
}

#[test]
fn texts_of_a_char_column_are_looked_at_however_many_come_at_once() {
    let compression = ArrowCompression::None;
    let options = ArrowBatchOptions { compression, ..ArrowBatchOptions::default() };
    let (schema, sound) = codes(3_000, |_| "äöü");
    let mut by_row = ArrowBatchBuilder::new(schema.clone(), options).expect("sound options");
    let mut by_column = ArrowBatchBuilder::new(schema.clone(), options).expect("sound options");
    let rows = ArrowRows::new(&schema, &sound).expect("columns that fit");
    rows.iter().for_each(|row| assert!(by_row.try_push(&row).is_ok()));
    let mut next = 0;
    while next < rows.len() {
        let taken = by_column.extend(&rows, next);
        assert!(taken > 0, "row {next}");
        next += taken;
    }
    let mut sealed = [by_row, by_column].map(|mut b| b.seal(1, Vec::new()).expect("rows"));
    let [one, many] = &mut sealed;
    assert!(one.payload() == many.payload());

    let (schema, long) = codes(3_000, |row| if row == 2_000 { "four" } else { "abc" });
    let rows = ArrowRows::new(&schema, &long).expect("columns that fit");
    let mut builder = ArrowBatchBuilder::new(schema, options).expect("sound options");
    let mut next = 0;
    loop {
        match builder.extend(&rows, next) {
            0 => break,
            taken => next += taken,
        }
    }
    assert_eq!(next, 2_000, "up to the row to blame");
    let error = builder.try_push(&rows.row(next).expect("it is there")).expect_err("too long");
    assert!(error.to_string().contains("`code`"), "{error}");
}

#[test]
fn cleared_rows_are_let_go() {
    let rows = ArrowRows::new(&schema(), &batch(&mut Rng::new(1), 4_000)).expect("columns");
    let mut builder = builder(1 << 20);
    assert!(builder.extend(&rows, 0) > 0 && builder.held_rows() > 0);
    builder.clear();
    assert_eq!((builder.len(), builder.held_rows()), (0, 0));
}
