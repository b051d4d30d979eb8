//! This client, on tokio, on smol, or blocking.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arrow_array::RecordBatch;
use fluss_tokio::config::{Config, WriterConfig};
use fluss_tokio::{AppendWriter, Fluss, RunTicket, Table, Ticket, UpsertWriter};

use tokio::runtime::{Builder, Runtime};

use crate::Failure;
use crate::client::Stopwatch;
use crate::plan::{self, Cost, Plan, Settings, Side, Variant};
use crate::rows::{Rows, Values, record_batch};

enum Writer {
    Append(AppendWriter),
    AppendAll(AppendWriter),
    Batches(AppendWriter, RecordBatch),
    Upsert(UpsertWriter),
    UpsertAll(UpsertWriter),
}

impl Writer {
    fn open(table: &Table, plan: &Plan) -> Result<Self, Failure> {
        let mut config = WriterConfig::default();
        if plan.settings == Settings::Equal {
            config.batch_bytes = plan::BATCH_BYTES;
            config.linger = plan::LINGER;
            config.max_in_flight = plan::IN_FLIGHT;
        }
        Ok(match plan.variant {
            Variant::Append => Self::Append(table.appender().config(config).build()?),
            Variant::AppendAll => Self::AppendAll(table.appender().config(config).build()?),
            Variant::Batches => {
                let batch = record_batch!(Rows::new(), arrow_array, arrow_schema)?;
                Self::Batches(table.appender().config(config).build()?, batch)
            }
            Variant::Upsert => Self::Upsert(table.upserter().config(config).build()?),
            Variant::UpsertAll => Self::UpsertAll(table.upserter().config(config).build()?),
            reading => return Err(format!("{reading} writes nothing").into()),
        })
    }

    fn another(&self) -> Self {
        match self {
            Self::Append(writer) => Self::Append(writer.clone()),
            Self::AppendAll(writer) => Self::AppendAll(writer.clone()),
            Self::Batches(writer, batch) => Self::Batches(writer.clone(), batch.clone()),
            Self::Upsert(writer) => Self::Upsert(writer.clone()),
            Self::UpsertAll(writer) => Self::UpsertAll(writer.clone()),
        }
    }

    /// Writes rows `from..to` and waits for their acknowledgements.
    fn write(&self, rows: &Rows, from: u64, to: u64) -> Result<(), Failure> {
        let values = |index| {
            let Values { id, name, a, b } = rows.row(index);
            // A tuple writes each value with the method of its type.
            (id, name, a, b)
        };
        match self {
            Self::Append(writer) => {
                let kept = one_by_one(from..to, |index| writer.append(&values(index)).wait())?;
                writer.flush().wait()?;
                acknowledged(kept)?;
            }
            Self::Upsert(writer) => {
                let kept = one_by_one(from..to, |index| writer.upsert(&values(index)).wait())?;
                writer.flush().wait()?;
                acknowledged(kept)?;
            }
            Self::AppendAll(writer) => {
                let ticket = writer.append_all((from..to).map(values)).wait()?;
                writer.flush().wait()?;
                all_acknowledged(ticket)?;
            }
            Self::UpsertAll(writer) => {
                let ticket = writer.upsert_all((from..to).map(values)).wait()?;
                writer.flush().wait()?;
                all_acknowledged(ticket)?;
            }
            Self::Batches(writer, batch) => {
                let mut tickets = Vec::new();
                for first in (from..to).step_by(batch.num_rows()) {
                    let count = batch.num_rows().min((to - first) as usize);
                    tickets.push(writer.append_batch(&batch.slice(0, count)).wait()?);
                }
                writer.flush().wait()?;
                tickets.into_iter().try_for_each(all_acknowledged)?;
            }
        }
        Ok(())
    }
}

fn one_by_one(
    range: std::ops::Range<u64>,
    write: impl Fn(u64) -> fluss_tokio::Result<Ticket>,
) -> Result<Vec<Ticket>, Failure> {
    let mut kept = Vec::new();
    for index in range {
        let ticket = write(index)?;
        if index % plan::SAMPLE == 0 {
            kept.push(ticket);
        }
    }
    Ok(kept)
}

fn acknowledged(kept: Vec<Ticket>) -> Result<(), Failure> {
    for ticket in kept {
        ticket.wait()?;
    }
    Ok(())
}

fn all_acknowledged(run: RunTicket) -> Result<(), Failure> {
    for part in run.failures().wait() {
        part.outcome?;
    }
    Ok(())
}

/// A client on this side's runtime, and the runtime if somebody has to keep it.
fn start(side: Side, config: Config) -> Result<(Fluss, Option<Runtime>), Failure> {
    Ok(match side {
        Side::Smol => (smol::block_on(fluss_smol::start(config))?, None),
        Side::Blocking => (fluss_embedded::start(config)?, None),
        Side::Ours | Side::Theirs | Side::TheirsAlone => {
            let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            (runtime.block_on(fluss_tokio::start(config))?, Some(runtime))
        }
    })
}

/// Runs the plan.
pub fn run(plan: &Plan) -> Result<Cost, Failure> {
    let mut config = Config::new(&plan.bootstrap)?.seed(fluss_tokio::random_seed());
    if plan.settings == Settings::Equal {
        config = config.memory_limit(plan::MEMORY as u64);
    }
    let (fluss, _runtime) = start(plan.side, config)?;
    let table = fluss.table(&plan.table).wait()?;
    let first = Writer::open(&table, plan)?;
    let mut writers: Vec<Writer> = (1..plan.threads).map(|_| first.another()).collect();
    writers.push(first);
    let rows = Arc::new(Rows::of(plan));
    writers[0].write(&rows, plan.rows, plan.rows + plan::WARM_UP)?;

    let watch = Stopwatch::start();
    let share = plan.rows / plan.threads;
    let threads = (0..).zip(writers).map(|(index, writer)| {
        let rows = Arc::clone(&rows);
        thread::spawn(move || writer.write(&rows, index * share, (index + 1) * share))
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().map_err(|_| "a writer thread panicked")??;
    }
    let cost = watch.stop();
    fluss.close(Duration::from_secs(10)).wait()?;
    Ok(cost)
}
