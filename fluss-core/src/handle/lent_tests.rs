//! Record batches whose values are sent from where they lie, until their rows are acknowledged.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_buffer::Buffer;
use fluss_proto::record::{Check, LogBatch};

use super::testkit::Stage;
use crate::batch::{LogDecoder, LogFormat};
use crate::error::WriteError;
use crate::row::{DataType, OwnedDatum, Schema, TableDescriptor};
use crate::testing::cluster::{Fault, On};
use crate::time::Duration;
use crate::{DeadLetter, Table};

const ROWS: i64 = 8192;
const PRODUCE_LOG: i16 = 1014;

/// A table `id BIGINT, text STRING` in one bucket whose batches are not compressed.
fn table(stage: &mut Stage) -> Table {
    let schema = Schema::builder().column("id", DataType::BIGINT).column("text", DataType::STRING);
    let mut table = TableDescriptor::new(schema.build().expect("a sound schema"));
    table.bucket_count = Some(1);
    let property = "table.log.arrow.compression.type".to_owned();
    table.properties.insert(property, "NONE".to_owned());
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    stage.run(admin.create_table("shop.numbers", &table, false)).expect("a table");
    let opening = stage.fluss.table("shop.numbers");
    stage.run(opening).expect("it is there")
}

fn text(id: i64) -> String {
    format!("the number {id:5}")
}

/// Rows, and the buffers of ids and texts, of which the first has some room left.
fn numbers() -> (RecordBatch, [Buffer; 2]) {
    let mut room = Vec::with_capacity(ROWS as usize * 9 / 8);
    room.extend(0..ROWS);
    let ids = Int64Array::new(room.into(), None);
    let texts = StringArray::from_iter_values((0..ROWS).map(text));
    let exact = Buffer::from_vec(texts.value_data().to_vec());
    let texts = StringArray::new(texts.offsets().clone(), exact, None);
    let buffers = [ids.values().inner().clone(), texts.values().clone()];
    let columns: [(&str, ArrayRef); 2] = [("id", Arc::new(ids)), ("text", Arc::new(texts))];
    (RecordBatch::try_from_iter(columns).expect("a batch"), buffers)
}

/// Whoever has these buffers beside this test.
fn holders(buffers: &[Buffer; 2]) -> [usize; 2] {
    [0, 1].map(|at| buffers[at].strong_count() - 1)
}

#[test]
fn buffers_are_kept_until_their_rows_are_acknowledged_also_those_sent_again() {
    let delay = Fault::DelayAnswer(Duration::from_millis(50));
    for (fault, requests) in [(delay, 1), (Fault::LoseAnswer, 2), (Fault::CutRequest, 2)] {
        let mut stage = Stage::new();
        let table = table(&mut stage);
        let writer = table.appender().build().expect("a writer");
        let (batch, buffers) = numbers();
        let warm_up = writer.try_append(&(-1_i64, "first")).expect("room");
        stage.run(warm_up).expect("written");
        assert_eq!(holders(&buffers), [1, 1], "the batch alone");
        let before = stage.cluster(|c| c.requests().get(&PRODUCE_LOG).copied());
        stage.cluster(|c| c.inject(On::Write, 0, fault));
        let ticket = stage.run(writer.append_batch(&batch)).expect("handed in");
        let size = batch.get_array_memory_size() as u64;
        drop(batch);
        let mut flush = writer.flush();
        assert!(stage.poll(&mut flush).is_pending());
        let used = stage.fluss.memory_used();
        // Where each text ends is copied.
        let kept = buffers.iter().map(Buffer::capacity).sum::<usize>() + 4 * ROWS as usize;
        assert!(kept as u64 <= used && used <= size + size / 16, "{fault:?}: {used} of {size}");
        assert_eq!(holders(&buffers), [1, 1], "{fault:?}: on their way");
        while stage.cluster(|c| c.faults().count(fault.kind())) == 0 {
            stage.pass(Duration::from_millis(1));
        }
        assert_eq!(holders(&buffers), [1, 1], "{fault:?}: no answer so far");
        assert_eq!(stage.run(flush), Ok(()), "{fault:?}");
        assert!(stage.run(ticket).iter().all(|part| part.outcome.is_ok()), "{fault:?}");
        assert_eq!(holders(&buffers), [0, 0], "{fault:?}: done");
        assert_eq!(stage.fluss.memory_used(), 0, "{fault:?}");
        let sent = stage.cluster(|c| c.requests().get(&PRODUCE_LOG).copied());
        assert_eq!(sent, before.map(|before| before + requests), "{fault:?}");
        check(&stage, &table);
    }
}

/// The log has the rows, each once.
fn check(stage: &Stage, table: &Table) {
    let stored: Vec<_> = stage.cluster(|c| c.log(table.info().bucket(0)).collect());
    let decoder = LogDecoder::new(LogFormat::Arrow, table.info().schema(), &[0, 1]).expect("both");
    let mut next = -1;
    for batch in stored {
        let batch = LogBatch::new_checked(batch.bytes, Check::Crc).expect("a sound batch");
        let rows = decoder.decode_rows(&batch).expect("sound rows");
        for row in rows.iter() {
            let value = |at| OwnedDatum::from(row.value(at).expect("a value"));
            let expected = if next < 0 { "first".to_owned() } else { text(next) };
            assert_eq!((value(0), value(1)), (OwnedDatum::Int64(next), OwnedDatum::Str(expected)));
            next += 1;
        }
    }
    assert_eq!(next, ROWS);
}

#[test]
fn rows_that_were_never_copied_come_back_when_they_fail() {
    let mut stage = Stage::new();
    let table = table(&mut stage);
    let (give, told) = std::sync::mpsc::channel::<DeadLetter>();
    let writer = table.appender().dead_letter(move |letter| give.send(letter).expect("heard"));
    let writer = writer.build().expect("a writer");
    let (batch, buffers) = numbers();
    stage.cluster(|c| c.inject(On::Write, 0, Fault::ErrorBefore(57)));
    let ticket = stage.run(writer.append_batch(&batch)).expect("handed in");
    drop(batch);
    let flush = writer.flush();
    stage.run(flush).expect_err("refused");
    let refused = |part: &crate::RunPart| matches!(part.outcome, Err(WriteError::NotWritten(_)));
    assert!(stage.run(ticket).iter().all(refused));
    let expected = |id| vec![OwnedDatum::Int64(id), OwnedDatum::Str(text(id))];
    let ids = told.try_iter().zip(0..).map(|(letter, id)| {
        assert_eq!(letter.row.into_values(), expected(id));
    });
    assert_eq!(ids.count() as i64, ROWS);
    assert_eq!(holders(&buffers), [0, 0]);
}
