//! `fluss perf produce`.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use fluss_core::batch::record_batch;
use fluss_core::row::{OwnedRow, Schema};
use fluss_core::{AppendWriter, Error, Flush, RunTicket, Table, Ticket, UpsertWriter};

use super::super::failure::{Failure, Result};
use super::super::session::Session;
use super::super::wait::wait;
use super::Options;
use super::meter::{Measured, Meter};
use super::rows::{RowMaker, row_bytes};
use super::spawn;

/// Rows made at once, outside the clock up to this number a thread, and up to so many bytes of
/// them: large ones would not fit into memory.
const POOL: u64 = 1 << 20;
const POOL_BYTES: u64 = 64 << 20;
/// One row or run in so many has its latency measured, so that measuring costs little.
const SAMPLE: u64 = 61;
/// How often a row that waits for memory lets the flag of a signal be looked at.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone)]
enum Writer {
    Append(AppendWriter),
    Upsert(UpsertWriter),
}

/// Something handed in whose end is waited for.
enum Claim {
    Row(Ticket),
    Run(RunTicket),
}

type Sample = (Instant, Claim);

/// What became of a run of rows.
enum Run {
    Whole(RunTicket),
    /// A signal came when so many rows were handed in; their outcomes are told by the flush.
    Part(u64),
}

/// Hands a run of rows in, unless a signal comes before its end.
macro_rules! run_of {
    ($run:expr, $stop:expr) => {{
        if $stop.load(Ordering::Relaxed) {
            return Ok(Run::Part(0));
        }
        let mut run = $run;
        match wait(&mut run, $stop) {
            Ok(ticket) => Ok(Run::Whole(ticket?)),
            Err(_) => Ok(Run::Part(run.handed_in())),
        }
    }};
}

impl Writer {
    fn open(session: &Session, table: &Table, columns: &[usize]) -> fluss_core::Result<Self> {
        let config = session.settings.writer.clone();
        if table.info().has_primary_key() {
            let builder = table.upserter().config(config);
            let all = columns.len() == table.info().schema().columns().len();
            let builder = if all { builder } else { builder.columns_at(columns.to_vec()) };
            return Ok(Self::Upsert(builder.build()?));
        }
        Ok(Self::Append(table.appender().config(config).build()?))
    }

    /// None if a signal came while the row waited for memory.
    fn put(&self, row: &OwnedRow, stop: &AtomicBool) -> fluss_core::Result<Option<Ticket>> {
        while !stop.load(Ordering::Relaxed) {
            let put = match self {
                Self::Append(writer) => writer.append(row).wait_timeout(PAUSE),
                Self::Upsert(writer) => writer.upsert(row).wait_timeout(PAUSE),
            };
            match put {
                Err(Error::Unavailable { after, .. }) if after == PAUSE => {}
                put => return put.map(Some),
            }
        }
        Ok(None)
    }

    fn put_all(&self, rows: &[OwnedRow], stop: &AtomicBool) -> fluss_core::Result<Run> {
        match self {
            Self::Append(writer) => run_of!(writer.append_all(rows), stop),
            Self::Upsert(writer) => run_of!(writer.upsert_all(rows), stop),
        }
    }

    fn put_batch(&self, batch: &RecordBatch, stop: &AtomicBool) -> fluss_core::Result<Run> {
        match self {
            Self::Append(writer) => run_of!(writer.append_batch(batch), stop),
            Self::Upsert(writer) => {
                let schema = batch.schema();
                let names: Vec<&String> = schema.fields().iter().map(|f| f.name()).collect();
                let rows = writer.table().rows_of_columns(&names, batch)?;
                run_of!(writer.upsert_all(&rows), stop)
            }
        }
    }

    fn flush(&self) -> Flush {
        match self {
            Self::Append(writer) => writer.flush(),
            Self::Upsert(writer) => writer.flush(),
        }
    }

    /// Hands rows in, until a signal comes; answers how many.
    fn write(
        &self,
        pool: &Pool,
        bulk: Option<u64>,
        stop: &AtomicBool,
        sample: &mut dyn FnMut(Sample),
    ) -> fluss_core::Result<u64> {
        let mut handed_in = 0;
        for batch in &pool.batches {
            let now = Instant::now();
            match self.put_batch(batch, stop)? {
                Run::Whole(ticket) => sample((now, Claim::Run(ticket))),
                Run::Part(rows) => return Ok(handed_in + rows),
            }
            handed_in += batch.num_rows() as u64;
        }
        let Some(bulk) = bulk else {
            for (index, row) in (0..).zip(&pool.rows) {
                let now = (index % SAMPLE == 0).then(Instant::now);
                let Some(ticket) = self.put(row, stop)? else { return Ok(index) };
                match now {
                    Some(now) => sample((now, Claim::Row(ticket))),
                    // Its outcome is told by the flush.
                    None => drop(ticket),
                }
            }
            return Ok(handed_in + pool.rows.len() as u64);
        };
        for rows in pool.rows.chunks(usize::try_from(bulk).unwrap_or(usize::MAX)) {
            let now = Instant::now();
            match self.put_all(rows, stop)? {
                Run::Whole(ticket) => sample((now, Claim::Run(ticket))),
                Run::Part(rows) => return Ok(handed_in + rows),
            }
            handed_in += rows.len() as u64;
        }
        Ok(handed_in)
    }

    fn settle(&self) -> u64 {
        match self.flush().wait() {
            Ok(()) => 0,
            Err(failed) => failed.not_written + failed.unknown,
        }
    }
}

/// Waits for sampled claims, one thread for each writer, as they end in the order of their making.
fn collect(samples: &Receiver<Sample>) -> (Vec<Duration>, u64) {
    let (mut latencies, mut errors) = (Vec::new(), 0);
    for (start, claim) in samples {
        match claim {
            // The flush counts failed rows of batches.
            Claim::Row(ticket) => drop(ticket.wait()),
            Claim::Run(ticket) => {
                let parts = ticket.wait();
                // Rows that never became part of a batch are known to the run alone.
                errors += parts.iter().filter(|part| is_refused(part)).count() as u64;
            }
        }
        latencies.push(start.elapsed());
    }
    (latencies, errors)
}

fn is_refused(part: &fluss_core::RunPart) -> bool {
    use fluss_core::{Error, WriteError};
    let Err(error @ WriteError::NotWritten(_)) = &part.outcome else { return false };
    matches!(error.cause(), Error::Row(_))
}

/// What a thread hands in next: rows, or the same as record batches.
struct Pool {
    numbers: Range<u64>,
    rows: Vec<OwnedRow>,
    batches: Vec<RecordBatch>,
    bytes: u64,
}

/// Makes rows.
#[derive(Clone)]
struct Source {
    maker: RowMaker,
    schema: Schema,
    /// Rows of a record batch; None: rows stay rows.
    arrow: Option<usize>,
}

impl Source {
    fn bytes_of(&self, numbers: Range<u64>) -> u64 {
        numbers.map(|number| row_bytes(&self.maker.row(number))).sum()
    }

    /// The next rows of these, and what is left of them where there are more than a pool holds.
    fn pool(&self, numbers: Range<u64>) -> Result<(Pool, Range<u64>)> {
        let end = numbers.end.min(numbers.start.saturating_add(POOL));
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for number in numbers.start..end {
            let row = self.maker.row(number);
            bytes += row_bytes(&row);
            rows.push(row);
            if bytes >= POOL_BYTES {
                break;
            }
        }
        let end = numbers.start + rows.len() as u64;
        let (rest, numbers) = (end..numbers.end, numbers.start..end);
        let Some(arrow) = self.arrow else {
            return Ok((Pool { numbers, rows, batches: Vec::new(), bytes }, rest));
        };
        let batches = rows.chunks(arrow).map(|rows| record_batch(&self.schema, rows));
        let batches = batches.collect::<fluss_core::Result<_>>()?;
        Ok((Pool { numbers, rows: Vec::new(), batches, bytes }, rest))
    }
}

/// Writes the rows, or those that are handed in before a signal comes.
pub(super) fn run(session: &Session, table: &Table, options: &Options) -> Result<Measured> {
    let schema = table.info().schema();
    // The server makes the values of one column itself.
    let given = |at: &usize| schema.auto_increment() != Some(*at);
    let columns: Vec<usize> = (0..schema.columns().len()).filter(given).collect();
    let written = columns.iter().map(|&at| schema.columns()[at].clone()).collect();
    let source = Source {
        maker: RowMaker::new(schema, &columns, schema.primary_key(), options)?,
        schema: Schema::new(written, vec![]),
        arrow: options.arrow.map(|rows| usize::try_from(rows).unwrap_or(usize::MAX)),
    };
    let writer = Writer::open(session, table, &columns)?;
    let stop = &session.interrupted;
    let stopped = || stop.load(Ordering::Relaxed);
    let mut ignored = |_: Sample| {};
    let mut first = 0;
    while first < options.warmup && !stopped() {
        let (pool, rest) = source.pool(first..options.warmup)?;
        writer.write(&pool, options.bulk, stop, &mut ignored)?;
        first = rest.start;
    }
    if writer.settle() > 0 && !stopped() {
        return Err(Failure::failed("rows of the warm-up were not written"));
    }
    let shares = (0..options.threads).map(|t| options.share(t, options.warmup, options.rows));
    let pools = shares.take_while(|_| !stopped()).map(|share| source.pool(share));
    let pools: Vec<_> = pools.collect::<Result<_>>()?;
    let meter = Meter::start();
    let threads = pools.into_iter().map(|(pool, rest)| {
        // A clone is a lane of its own.
        let (writer, source, bulk) = (writer.clone(), source.clone(), options.bulk);
        let stop = Arc::clone(stop);
        spawn(move || one_thread(&writer, &source, (pool, rest), bulk, &stop))
    });
    let threads: Vec<_> = threads.collect::<Result<_>>()?;
    let (mut all, mut parts) = (Ended::default(), Vec::new());
    for thread in threads {
        let ended = thread.join().map_err(|_| Failure::failed("a writing thread panicked"))??;
        all.rows += ended.rows;
        all.bytes += ended.bytes;
        all.latencies.extend(ended.latencies);
        all.refused += ended.refused;
        parts.push(ended.part);
    }
    let errors = writer.settle() + all.refused;
    let mut measured = meter.stop(all.rows, all.bytes);
    let part_bytes = |part| source.bytes_of(part);
    measured.bytes += parts.into_iter().map(part_bytes).sum::<u64>();
    Ok(Measured { latencies: all.latencies, errors, ..measured })
}

#[derive(Default)]
struct Ended {
    /// All rows handed in.
    rows: u64,
    /// Those of whole pools.
    bytes: u64,
    /// The rows of the pool that a signal ended early.
    part: Range<u64>,
    latencies: Vec<Duration>,
    refused: u64,
}

fn one_thread(
    writer: &Writer,
    source: &Source,
    (mut pool, mut rest): (Pool, Range<u64>),
    bulk: Option<u64>,
    stop: &AtomicBool,
) -> Result<Ended> {
    let (sender, samples) = channel();
    let collector = spawn(move || collect(&samples))?;
    let mut ended = Ended::default();
    loop {
        let mut sample = |sample: Sample| {
            // The collector lives until the sender is dropped.
            let _ = sender.send(sample);
        };
        let handed_in = writer.write(&pool, bulk, stop, &mut sample)?;
        ended.rows += handed_in;
        let Range { start, end } = pool.numbers;
        if handed_in < end - start {
            ended.part = start..start + handed_in;
            break;
        }
        ended.bytes += pool.bytes;
        if rest.is_empty() || stop.load(Ordering::Relaxed) {
            break;
        }
        (pool, rest) = source.pool(rest)?;
    }
    drop(sender);
    // Seals what this lane has open; the collector may wait for it.
    drop(writer.flush());
    (ended.latencies, ended.refused) =
        collector.join().map_err(|_| Failure::failed("a measuring thread panicked"))?;
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluss_core::row::DataType;

    #[test]
    fn large_rows_come_in_small_pools_and_each_row_comes_once() {
        let schema = Schema::builder().column("text", DataType::STRING).build().expect("a schema");
        let options = Options {
            rows: 10,
            threads: 1,
            bulk: None,
            arrow: None,
            keys: None,
            in_flight: 1,
            string_bytes: 16 << 20,
            seed: 0,
            warmup: 0,
        };
        let maker = RowMaker::new(&schema, &[0], &[], &options).expect("rows");
        let source = Source { maker, schema, arrow: None };
        let (mut rest, mut pools) = (0..10, Vec::new());
        while !rest.is_empty() {
            let (pool, left) = source.pool(rest).expect("rows");
            assert_eq!((pool.rows.len() as u64) << 24, pool.bytes);
            pools.push(pool.numbers);
            rest = left;
        }
        assert_eq!(pools, [0..4, 4..8, 8..10]);
    }
}
