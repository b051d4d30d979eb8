use super::*;
use crate::ErrorCode;
use crate::handle::format::Format;
use crate::handle::testkit::Stage;
use crate::handle::{AppendWriter, HandInAll, Interrupted, Table, Ticket, UpsertWriter};
use crate::rng::Rng;
use crate::row::{DataType, Datum, OwnedRow, Schema, TableDescriptor};
use crate::testing::cluster::{ClusterOptions, Fault, On};
use crate::time::Duration;

const AUTHORIZATION: i32 = 48;

fn order(pieces: &[(u32, u32)]) -> Vec<u32> {
    let mut order = Order::default();
    pieces.iter().for_each(|(source, count)| order.push(*source, *count));
    order.into_words()
}

#[test]
fn rows_that_alternate_take_a_word_each_and_rows_that_do_not_two_for_all() {
    assert!(order(&[]).is_empty());
    assert_eq!(order(&[(0, 1), (1, 1), (0, 1), (7, 1)]), [0, 1, 0, 7]);
    assert_eq!(order(&[(3, 1), (3, 1), (3, 40), (1, 1)]), [3, MORE + 41, 1]);
    let most = [(2, MORE - 1), (2, 1), (2, 1), (2, 5)];
    assert_eq!(order(&most), [2, u32::MAX, 2, MORE + 5]);
}

/// `id BIGINT, text STRING, day TINYINT`, whose rows the id places in three buckets.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    primary_key: bool,
    partitions: bool,
    /// The bucket key is but a part of the primary key.
    part: bool,
}

impl Shape {
    const ALL: [Self; 6] = [
        Self { primary_key: false, partitions: false, part: false },
        Self { primary_key: false, partitions: true, part: false },
        Self { primary_key: true, partitions: false, part: false },
        Self { primary_key: true, partitions: true, part: false },
        Self { primary_key: true, partitions: false, part: true },
        Self { primary_key: true, partitions: true, part: true },
    ];

    fn table(self, stage: &mut Stage) -> Table {
        let mut schema = Schema::builder()
            .column("id", DataType::BIGINT.not_null())
            .column("text", DataType::STRING)
            .column("day", DataType::TINYINT.not_null());
        if self.primary_key {
            let both = self.part || self.partitions;
            schema = schema.primary_key(["id", "day"].into_iter().take(1 + usize::from(both)));
        }
        let mut table = TableDescriptor::new(schema.build().expect("a sound schema"));
        table.bucket_count = Some(3);
        if !self.primary_key || self.part {
            table.bucket_key = vec![0];
        }
        if self.partitions {
            table.partition_key = vec![2];
        }
        let admin = stage.fluss.admin();
        stage.run(admin.create_database("shop", true)).expect("a database");
        stage.run(admin.create_table("shop.keyed", &table, false)).expect("a table");
        let opening = stage.fluss.table("shop.keyed");
        stage.run(opening).expect("it is there")
    }
}

/// What a future answers, mostly at once.
fn soon<F: Future + Unpin>(stage: &mut Stage, mut future: F) -> F::Output {
    match stage.poll(&mut future) {
        Poll::Ready(output) => output,
        Poll::Pending => stage.run(future),
    }
}

/// A writer of either kind.
enum Writer {
    Append(AppendWriter),
    Upsert(UpsertWriter),
}

impl Writer {
    fn new(table: &Table, shape: Shape, batch_bytes: usize) -> Self {
        if shape.primary_key {
            let upsert = table.upserter().batch_bytes(batch_bytes).build();
            Self::Upsert(upsert.expect("a writer"))
        } else {
            let append = table.appender().batch_bytes(batch_bytes).build();
            Self::Append(append.expect("a writer"))
        }
    }

    fn all(&self, stage: &mut Stage, rows: &[OwnedRow]) -> Result<RunTicket, Interrupted> {
        match self {
            Self::Append(writer) => stage.run(writer.append_all(rows)),
            Self::Upsert(writer) => stage.run(writer.upsert_all(rows)),
        }
    }

    fn one(&self, stage: &mut Stage, row: &OwnedRow) -> crate::Result<Ticket> {
        match self {
            Self::Append(writer) => soon(stage, writer.append(row)),
            Self::Upsert(writer) => soon(stage, writer.upsert(row)),
        }
    }

    /// Waits until all rows have their outcome.
    fn flush(&self, stage: &mut Stage) {
        let flush = match self {
            Self::Append(writer) => writer.flush(),
            Self::Upsert(writer) => writer.flush(),
        };
        // What failed is in the tickets.
        let _ = stage.run(flush);
    }
}

fn row<'a>(id: impl Into<Datum<'a>>, text: impl Into<Datum<'a>>, day: i8) -> OwnedRow {
    [id.into(), text.into(), day.into()].into_iter().map(Into::into).collect()
}

/// Rows that fit.
fn good(count: i64) -> Vec<OwnedRow> {
    (0..count).map(|id| row(id, "text", (id % 2) as i8)).collect()
}

/// The outcome of each row.
fn outcomes(parts: Vec<RunPart>) -> Vec<Result<Ack, WriteError>> {
    let mut outcomes = Vec::new();
    for part in parts {
        assert_eq!(part.rows.start, outcomes.len() as u64, "{part:?}");
        for behind in 0..(part.rows.end - part.rows.start) as u32 {
            outcomes.push(part.outcome.clone().map(|first| first.behind(behind)));
        }
    }
    outcomes
}

/// What does not depend on how the rows were handed in.
fn place(outcome: &Result<Ack, WriteError>) -> Result<(i32, Option<i64>), bool> {
    match outcome {
        Ok(ack) => Ok((ack.bucket, ack.offset)),
        Err(error) => Err(matches!(error, WriteError::NotWritten(_))),
    }
}

#[test]
fn a_run_ends_as_its_rows_would_end_one_by_one_whatever_places_them() {
    for seed in 0..48 {
        let mut rng = Rng::new(seed);
        let shape = Shape::ALL[seed as usize % Shape::ALL.len()];
        let batch_bytes = 256 << rng.below(8);
        // Down to less than the rows of a run.
        let limit = if rng.one_in(2) { 64 << 20 } else { 4096 << rng.below(3) };
        let mut twins = [(); 2].map(|()| {
            let options = ClusterOptions { seed, ..ClusterOptions::default() };
            let mut stage = Stage::configured(options, |c| c.memory_limit(limit));
            let table = shape.table(&mut stage);
            (Writer::new(&table, shape, batch_bytes), stage)
        });
        for _ in 0..3 {
            let rows: Vec<_> = (0..rng.below(400))
                .map(|_| {
                    let (id, day) = (rng.below(1000) as i64, rng.below(3) as i8);
                    let text = "x".repeat(rng.below(60) as usize);
                    match rng.below(50) {
                        0 => row("none", &text, day),
                        1 => row(id, 5, day),
                        2 => row(id, &"x".repeat(limit.min(40 << 10) as usize), day),
                        _ => row(id, &text, day),
                    }
                })
                .collect();
            let [(run, stage), (lone, other)] = &mut twins;
            let run_of = run.all(stage, &rows).expect("an open client");
            run.flush(stage);
            let run_of = outcomes(stage.run(run_of));
            let lone_of: Vec<_> = rows.iter().map(|row| lone.one(other, row)).collect();
            lone.flush(other);
            assert_eq!(run_of.len(), rows.len(), "seed {seed}: {shape:?}");
            for (at, (of_run, of_lone)) in run_of.iter().zip(lone_of).enumerate() {
                let of_lone = match of_lone {
                    Ok(ticket) => soon(other, ticket),
                    Err(error) => Err(WriteError::NotWritten(error.into())),
                };
                assert_eq!(place(of_run), place(&of_lone), "seed {seed}: row {at} of {shape:?}");
            }
        }
        assert!(twins.iter().all(|(_, stage)| stage.fluss.memory_used() == 0), "seed {seed}");
    }
}

#[test]
fn the_rows_of_a_batch_that_is_refused_fail_and_no_others() {
    for shape in Shape::ALL {
        let run = || {
            let mut stage = Stage::new();
            let writer = Writer::new(&shape.table(&mut stage), shape, 2 << 20);
            stage.cluster(|c| c.inject(On::Write, 1, Fault::ErrorBefore(AUTHORIZATION)));
            let mut rows = good(600);
            rows[100] = row("none", "text", 0);
            let run = writer.all(&mut stage, &rows).expect("an open client");
            writer.flush(&mut stage);
            (stage, run)
        };
        let (mut stage, all) = run();
        let batches = all.batches.len();
        assert!(batches <= 6, "{batches} batches");
        let parts = stage.run(all);
        assert!(parts.len() > 100, "{} parts: neighbours are in one batch", parts.len());
        let mut failed: Vec<_> =
            parts.iter().filter(|part| part.outcome.is_err()).cloned().collect();
        assert_eq!(outcomes(parts).len(), 600);
        // The same once more, of which only what failed is told.
        let (mut stage, twin) = run();
        assert_eq!(stage.run(twin.failures()), failed, "{shape:?}");
        let (_stage, blocked) = run();
        assert_eq!(blocked.failures().wait(), failed, "{shape:?}");
        // The row that does not fit has another reason.
        failed.retain(|part| part.rows != (100..101));
        let count = failed.iter().map(|part| part.rows.end - part.rows.start).sum::<u64>();
        assert!((1..599).contains(&count), "{count} rows were refused of {shape:?}");
        for part in failed {
            let error = part.outcome.expect_err("only those are left");
            assert_eq!(error.code(), Some(ErrorCode(AUTHORIZATION)), "{shape:?}");
        }
    }
}

#[test]
fn a_run_that_is_written_has_no_failures() {
    for shape in Shape::ALL {
        let mut stage = Stage::new();
        let writer = Writer::new(&shape.table(&mut stage), shape, 2 << 20);
        let run = writer.all(&mut stage, &good(50)).expect("an open client");
        let mut failures = run.failures();
        assert!(stage.poll(&mut failures).is_pending(), "nothing was sent so far");
        stage.pass(Duration::from_secs(1));
        assert_eq!(stage.poll(&mut failures), Poll::Ready(Vec::new()), "{shape:?}");
    }
}

#[test]
fn a_run_far_larger_than_the_budget_keeps_little_of_each_row() {
    for shape in Shape::ALL {
        let mut stage = Stage::configured(ClusterOptions::default(), |c| c.memory_limit(32 << 10));
        let writer = Writer::new(&shape.table(&mut stage), shape, 4 << 10);
        let rows = good(20_000);
        let mut run = writer.all(&mut stage, &rows).expect("an open client");
        // What is kept of a row, apart from the batches.
        assert!(run.order.words.capacity() <= 2 * rows.len(), "{shape:?}");
        assert!(run.batches.len() < 1000, "{} batches of {shape:?}", run.batches.len());
        writer.flush(&mut stage);
        let outcomes = outcomes(stage.run(&mut run));
        assert_eq!(outcomes.len(), rows.len());
        assert!(outcomes.iter().all(Result::is_ok), "{shape:?}");
        assert_eq!(stage.run(run), [], "it was told");
    }
}

#[test]
fn a_run_is_told_when_its_last_batch_ends_and_may_be_dropped_before() {
    for shape in Shape::ALL {
        let mut stage = Stage::new();
        let writer = Writer::new(&shape.table(&mut stage), shape, 2 << 20);
        let mut kept = writer.all(&mut stage, &good(100)).expect("an open client");
        let mut dropped = writer.all(&mut stage, &good(100)).expect("an open client");
        assert!(stage.poll(&mut kept).is_pending() && stage.poll(&mut dropped).is_pending());
        drop(dropped);
        stage.pass(Duration::from_secs(1));
        let Poll::Ready(parts) = stage.poll(&mut kept) else { panic!("{shape:?}: all is written") };
        assert!(outcomes(parts).iter().all(Result::is_ok), "{shape:?}");
    }
}

#[test]
fn rows_in_front_of_one_that_panics_are_told_where_a_key_places_them_too() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    for shape in Shape::ALL {
        let mut stage = Stage::new();
        let table = shape.table(&mut stage);
        let rows = || {
            (0..100_i64).map(|id| {
                assert!(id != 40, "the iterator's own panic");
                row(id, "text", 1)
            })
        };
        let poll = |stage: &mut Stage, all: &mut dyn Handing| {
            let caught = catch_unwind(AssertUnwindSafe(|| all.poll(stage)));
            assert!(caught.is_err() && all.handed_in() == 40, "{shape:?}");
            all.poll(stage).expect("it goes on behind it")
        };
        let run = match Writer::new(&table, shape, 2 << 20) {
            Writer::Append(writer) => poll(&mut stage, &mut writer.append_all(rows())),
            Writer::Upsert(writer) => poll(&mut stage, &mut writer.upsert_all(rows())),
        };
        stage.pass(Duration::from_secs(1));
        let outcomes = outcomes(stage.run(run));
        assert_eq!(outcomes.len(), 99, "{shape:?}: all but the one that was never made");
        assert!(outcomes.iter().all(Result::is_ok), "{shape:?}");
    }
}

/// Rows being handed in by either kind of writer.
trait Handing {
    fn poll(&mut self, stage: &mut Stage) -> Option<RunTicket>;
    fn handed_in(&self) -> u64;
}

impl<F: Format, I: Iterator<Item = OwnedRow>> Handing for HandInAll<'_, F, I> {
    fn poll(&mut self, stage: &mut Stage) -> Option<RunTicket> {
        match stage.poll(self) {
            Poll::Ready(run) => Some(run.expect("an open client")),
            Poll::Pending => None,
        }
    }

    fn handed_in(&self) -> u64 {
        self.handed_in()
    }
}
