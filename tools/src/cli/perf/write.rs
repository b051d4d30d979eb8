//! `fluss perf produce`.

use std::ops::Range;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use fluss_core::batch::record_batch;
use fluss_core::row::{OwnedRow, Schema};
use fluss_core::{AppendWriter, Flush, RunTicket, Table, Ticket, UpsertWriter};

use super::super::failure::{Failure, Result};
use super::super::session::Session;
use super::Options;
use super::meter::{Measured, Meter};
use super::rows::{RowMaker, row_bytes};

/// Rows made at once, outside the clock up to this number a thread.
const POOL: u64 = 1 << 20;
/// One row or run in so many has its latency measured, so that measuring costs little.
const SAMPLE: u64 = 61;

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

impl Writer {
    fn open(session: &Session, table: &Table) -> fluss_core::Result<Self> {
        let config = session.settings.writer.clone();
        if table.info().has_primary_key() {
            return Ok(Self::Upsert(table.upserter().config(config).build()?));
        }
        Ok(Self::Append(table.appender().config(config).build()?))
    }

    fn put(&self, row: &OwnedRow) -> fluss_core::Result<Ticket> {
        match self {
            Self::Append(writer) => writer.append(row).wait(),
            Self::Upsert(writer) => writer.upsert(row).wait(),
        }
    }

    fn put_all(&self, rows: &[OwnedRow]) -> fluss_core::Result<RunTicket> {
        match self {
            Self::Append(writer) => Ok(writer.append_all(rows).wait()?),
            Self::Upsert(writer) => Ok(writer.upsert_all(rows).wait()?),
        }
    }

    fn put_batch(&self, batch: &RecordBatch) -> fluss_core::Result<RunTicket> {
        match self {
            Self::Append(writer) => Ok(writer.append_batch(batch).wait()?),
            Self::Upsert(writer) => {
                Ok(writer.upsert_all(&writer.table().rows_of(batch)?).wait()?)
            }
        }
    }

    fn flush(&self) -> Flush {
        match self {
            Self::Append(writer) => writer.flush(),
            Self::Upsert(writer) => writer.flush(),
        }
    }

    /// Hands rows in.
    fn write(
        &self,
        pool: &Pool,
        bulk: Option<u64>,
        sample: &mut dyn FnMut(Sample),
    ) -> fluss_core::Result<()> {
        for batch in &pool.batches {
            let now = Instant::now();
            sample((now, Claim::Run(self.put_batch(batch)?)));
        }
        match bulk.map(|bulk| usize::try_from(bulk).unwrap_or(usize::MAX)) {
            None => {
                for (index, row) in (0..).zip(&pool.rows) {
                    if index % SAMPLE == 0 {
                        let now = Instant::now();
                        sample((now, Claim::Row(self.put(row)?)));
                    } else {
                        // Its outcome is told by the flush.
                        drop(self.put(row)?);
                    }
                }
            }
            Some(bulk) => {
                for run in pool.rows.chunks(bulk) {
                    let now = Instant::now();
                    sample((now, Claim::Run(self.put_all(run)?)));
                }
            }
        }
        Ok(())
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
    /// The next rows of these, and what is left of them where there are more than a pool holds.
    fn pool(&self, numbers: Range<u64>) -> Result<(Pool, Range<u64>)> {
        let end = numbers.end.min(numbers.start.saturating_add(POOL));
        let rows: Vec<_> = (numbers.start..end).map(|number| self.maker.row(number)).collect();
        let bytes = rows.iter().map(row_bytes).sum();
        let rest = end..numbers.end;
        let Some(arrow) = self.arrow else {
            return Ok((Pool { rows, batches: Vec::new(), bytes }, rest));
        };
        let batches = rows.chunks(arrow).map(|rows| record_batch(&self.schema, rows));
        let batches = batches.collect::<fluss_core::Result<_>>()?;
        Ok((Pool { rows: Vec::new(), batches, bytes }, rest))
    }
}

pub(super) fn run(session: &Session, table: &Table, options: &Options) -> Result<Measured> {
    let schema = table.info().schema();
    let all: Vec<usize> = (0..schema.columns().len()).collect();
    let source = Source {
        maker: RowMaker::new(schema, &all, schema.primary_key(), options),
        schema: schema.clone(),
        arrow: options.arrow.map(|rows| usize::try_from(rows).unwrap_or(usize::MAX)),
    };
    let writer = Writer::open(session, table)?;
    let mut ignored = |_: Sample| {};
    let mut first = 0;
    while first < options.warmup {
        let (pool, rest) = source.pool(first..options.warmup)?;
        writer.write(&pool, options.bulk, &mut ignored)?;
        first = rest.start;
    }
    if writer.settle() > 0 {
        return Err(Failure::failed("rows of the warm-up were not written"));
    }
    let shares = (0..options.threads).map(|t| options.share(t, options.warmup, options.rows));
    let pools: Vec<_> = shares.map(|share| source.pool(share)).collect::<Result<_>>()?;
    let meter = Meter::start();
    let threads = pools.into_iter().map(|(pool, rest)| {
        // A clone is a lane of its own.
        let (writer, source, bulk) = (writer.clone(), source.clone(), options.bulk);
        thread::spawn(move || one_thread(&writer, &source, pool, rest, bulk))
    });
    let threads: Vec<_> = threads.collect();
    let (mut bytes, mut latencies, mut refused) = (0, Vec::new(), 0);
    for thread in threads {
        let ended = thread.join().map_err(|_| Failure::failed("a writing thread panicked"))??;
        bytes += ended.bytes;
        latencies.extend(ended.latencies);
        refused += ended.refused;
    }
    let errors = writer.settle() + refused;
    Ok(Measured { latencies, errors, ..meter.stop(options.rows, bytes) })
}

struct Ended {
    bytes: u64,
    latencies: Vec<Duration>,
    refused: u64,
}

fn one_thread(
    writer: &Writer,
    source: &Source,
    mut pool: Pool,
    mut rest: Range<u64>,
    bulk: Option<u64>,
) -> Result<Ended> {
    let (sender, samples) = channel();
    let collector = thread::spawn(move || collect(&samples));
    let mut bytes = 0;
    loop {
        let mut sample = |sample: Sample| {
            // The collector lives until the sender is dropped.
            let _ = sender.send(sample);
        };
        writer.write(&pool, bulk, &mut sample)?;
        bytes += pool.bytes;
        if rest.is_empty() {
            break;
        }
        (pool, rest) = source.pool(rest)?;
    }
    drop(sender);
    // Seals what this lane has open; the collector may wait for it.
    drop(writer.flush());
    let (latencies, refused) =
        collector.join().map_err(|_| Failure::failed("a measuring thread panicked"))?;
    Ok(Ended { bytes, latencies, refused })
}
