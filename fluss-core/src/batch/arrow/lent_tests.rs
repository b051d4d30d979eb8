//! Batches with values that stay where they lie, against the same ones copied.

use std::sync::Arc;

use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use arrow_array::{Array, Int32Array, Int64Array, StringArray};
use arrow_array::{ArrayRef, ArrowPrimitiveType, BinaryArray, PrimitiveArray, RecordBatch};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use fluss_proto::record::{SealedBatch, Stamp};

use super::super::{ArrowBatchBuilder, ArrowBatchOptions, ArrowCompression};
use crate::batch::{ArrowRows, BodyPool};
use crate::rng::Rng;
use crate::row::{DataType, Schema};

/// What is held of all types that are.
const TYPES: [DataType; 9] = [
    DataType::TINYINT,
    DataType::SMALLINT,
    DataType::INT,
    DataType::BIGINT,
    DataType::FLOAT,
    DataType::DOUBLE,
    DataType::DATE,
    DataType::STRING,
    DataType::BYTES,
];

/// Values in a buffer that has some room left, more or less.
fn memory<T: Copy + Default>(rng: &mut Rng, values: Vec<T>) -> Vec<T> {
    let spare = match rng.below(3) {
        0 => 0,
        1 => values.len() / 20,
        _ => values.len(),
    };
    let mut memory = Vec::with_capacity(values.len() + spare);
    memory.extend(values);
    memory
}

fn fixed<T: ArrowPrimitiveType>(
    rng: &mut Rng,
    rows: usize,
    of: impl Fn(u64) -> T::Native,
) -> ArrayRef {
    let values = (0..rows).map(|_| of(rng.next_u64())).collect();
    let values = ScalarBuffer::from(memory(rng, values));
    Arc::new(PrimitiveArray::<T>::new(values, None))
}

fn array(rng: &mut Rng, data_type: &DataType, rows: usize) -> ArrayRef {
    let whole = |bits: u64| f64::from(bits as u32);
    match data_type {
        t if *t == DataType::TINYINT => fixed::<Int8Type>(rng, rows, |bits| bits as i8),
        t if *t == DataType::SMALLINT => fixed::<Int16Type>(rng, rows, |bits| bits as i16),
        t if *t == DataType::INT => fixed::<Int32Type>(rng, rows, |bits| bits as i32),
        t if *t == DataType::BIGINT => fixed::<Int64Type>(rng, rows, |bits| bits as i64),
        t if *t == DataType::FLOAT => fixed::<Float32Type>(rng, rows, |bits| whole(bits) as f32),
        t if *t == DataType::DOUBLE => fixed::<Float64Type>(rng, rows, whole),
        t if *t == DataType::DATE => fixed::<Date32Type>(rng, rows, |bits| bits as i32 >> 12),
        text_or_bytes => {
            let longest = [0, 3, 40][rng.below(3) as usize];
            let lengths: Vec<usize> = (0..rows).map(|_| rng.below(1 + longest) as usize).collect();
            let bytes = (0..lengths.iter().sum()).map(|at| b'a' + at as u8 % 26).collect();
            let ends = OffsetBuffer::from_lengths(lengths);
            let bytes = Buffer::from_vec(memory(rng, bytes));
            match *text_or_bytes == DataType::STRING {
                true => Arc::new(StringArray::new(ends, bytes, None)),
                false => Arc::new(BinaryArray::new(ends, bytes, None)),
            }
        }
    }
}

fn builder(schema: &Schema, max_bytes: usize) -> ArrowBatchBuilder {
    let compression = ArrowCompression::None;
    let options = ArrowBatchOptions { max_bytes, compression, ..ArrowBatchOptions::default() };
    ArrowBatchBuilder::new(schema.clone(), options).expect("sound options")
}

fn extend(builder: &mut ArrowBatchBuilder, rows: &ArrowRows) {
    let mut next = 0;
    loop {
        match builder.extend(rows, next) {
            0 => return,
            taken => next += taken,
        }
    }
}

/// Whether a part of the batch lies in one of the arrays.
fn is_in(sealed: &SealedBatch, arrays: &[ArrayRef]) -> bool {
    let buffers = arrays.iter().flat_map(|array| array.to_data().buffers().to_vec());
    let ranges: Vec<_> = buffers.map(|buffer| buffer.as_slice().as_ptr_range()).collect();
    let within = |piece: &bytes::Bytes| ranges.iter().any(|r| r.contains(&piece.as_ptr()));
    sealed.pieces().iter().any(within)
}

#[test]
fn pieces_joined_are_the_batch_that_is_copied_for_random_schemas_and_runs() {
    let (mut lent, mut copied) = (0, 0);
    for seed in 0..250 {
        let mut rng = Rng::new(seed);
        let mut types = vec![DataType::BIGINT];
        types.extend((0..rng.below(6)).map(|_| TYPES[rng.below(9) as usize].clone()));
        let columns = types.iter().enumerate();
        let schema = columns.fold(Schema::builder(), |schema, (at, data_type)| {
            schema.column(format!("c{at}"), data_type.clone())
        });
        let schema = schema.build().expect("a sound schema");
        let (mut of_pieces, mut of_copies) = (builder(&schema, 1 << 20), builder(&schema, 1 << 20));
        let mut arrays = Vec::new();
        for _ in 0..1 + rng.below(5) {
            let rows = 1 + rng.below(6_000) as usize;
            let named = types.iter().enumerate();
            let batch = named.map(|(at, data_type)| {
                let array = array(&mut rng, data_type, rows);
                arrays.push(Arc::clone(&array));
                (format!("c{at}"), array, true)
            });
            let batch: Vec<_> = batch.collect();
            let batch = RecordBatch::try_from_iter_with_nullable(batch).expect("equal lengths");
            // Now and then a slice, of nearly all of it or of less.
            let from = match rng.below(3) {
                0 => rng.below(1 + rows as u64 / 20) as usize,
                1 => rng.below(rows as u64) as usize,
                _ => 0,
            };
            let rows = ArrowRows::new(&schema, &batch.slice(from, rows - from)).expect("they fit");
            extend(&mut of_pieces, &rows);
            extend(&mut of_copies, &rows);
        }
        let open = of_pieces.memory_in_bytes();
        of_copies.let_go();
        let capacity = of_pieces.body_capacity();
        let body = Vec::with_capacity(capacity);
        let address = body.as_ptr();
        let pieces = of_pieces.seal(1, body).expect("rows");
        let copies = of_copies.seal(1, Vec::new()).expect("rows");
        assert_eq!((pieces.size(), copies.pieces().len()), (copies.size(), 1), "seed {seed}");
        assert!(pieces.payload() == copies.payload(), "seed {seed}");
        assert_eq!(pieces.stamp(Stamp::NONE), copies.stamp(Stamp::NONE), "seed {seed}");
        assert_eq!(pieces.pieces()[0].as_ptr(), address, "seed {seed}: the body was large enough");
        let (size, memory) = (pieces.size(), pieces.memory());
        assert!(memory <= open, "seed {seed}: {memory} bytes, {open} were reserved");
        assert!(memory - size <= size / 4, "seed {seed}: {memory} bytes kept for {size}");
        match is_in(&pieces, &arrays) {
            true => lent += 1,
            false => copied += 1,
        }
    }
    assert!(lent > 50 && copied > 20, "{lent} batches have parts in their arrays, {copied} none");
}

#[test]
fn the_memory_of_a_body_comes_back_once_none_of_its_pieces_is_in_use() {
    let schema = Schema::builder().column("id", DataType::BIGINT).column("n", DataType::INT);
    let schema = schema.build().expect("a sound schema");
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..5_000));
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..5_000));
    let arrays = [Arc::clone(&ids), Arc::clone(&numbers)];
    let batch = RecordBatch::try_from_iter([("id", ids), ("n", numbers)]).expect("equal lengths");
    let mut builder = builder(&schema, 1 << 20);
    extend(&mut builder, &ArrowRows::new(&schema, &batch).expect("they fit"));
    let mut pool = BodyPool::new(1, 1 << 20);
    let body = pool.take(builder.body_capacity());
    let (address, capacity) = (body.as_ptr(), body.capacity());
    let sealed = builder.seal(1, body).expect("rows");
    assert!(is_in(&sealed, &arrays) && capacity < sealed.size() / 10, "{capacity}");
    let (other, first) = (sealed.clone(), sealed.pieces()[0].clone());
    drop(sealed);
    assert!(!pool.give(first), "the other one has it");
    let first = other.pieces()[0].clone();
    drop(other);
    assert!(pool.give(first));
    let again = pool.take(capacity);
    assert_eq!((again.as_ptr(), again.capacity()), (address, capacity));
}
