//! fluss-rs at its best: no await per row, futures dropped, one flush at the end.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arrow_array_59::RecordBatch;
use fluss::client::{FlussConnection, WriteResultFuture};
use fluss::config::Config;
use fluss::metadata::TablePath;
use fluss::row::GenericRow;

use crate::Failure;
use crate::client::Stopwatch;
use crate::plan::{self, Cost, Plan, Settings, Side, Variant};
use crate::rows::{Rows, Values, record_batch};

enum Writer {
    Append(fluss::client::AppendWriter),
    Batches(fluss::client::AppendWriter, RecordBatch),
    Upsert(fluss::client::UpsertWriter),
}

impl Writer {
    #[inline]
    fn write(&self, row: &GenericRow<'_>) -> Result<WriteResultFuture, fluss::error::Error> {
        match self {
            Self::Append(writer) | Self::Batches(writer, _) => writer.append(row),
            Self::Upsert(writer) => writer.upsert(row),
        }
    }

    async fn flush(&self) -> Result<(), fluss::error::Error> {
        match self {
            Self::Append(writer) | Self::Batches(writer, _) => writer.flush().await,
            Self::Upsert(writer) => writer.flush().await,
        }
    }
}

fn config(plan: &Plan) -> Config {
    let mut config = Config::default();
    config.bootstrap_servers = plan.bootstrap.clone();
    if plan.settings == Settings::Own {
        return config;
    }
    config.writer_acks = "all".to_owned();
    config.writer_batch_size = plan::BATCH_BYTES as i32;
    config.writer_dynamic_batch_size_enabled = false;
    config.writer_batch_timeout_ms = plan::LINGER.as_millis() as i64;
    config.writer_enable_idempotence = true;
    config.writer_max_inflight_requests_per_bucket = plan::IN_FLIGHT;
    config.writer_buffer_memory_size = plan::MEMORY;
    config
}

pub fn path(table: &str) -> Result<TablePath, Failure> {
    let (database, name) = table.split_once('.').ok_or("a table is database.table")?;
    Ok(TablePath::new(database, name))
}

/// Writes rows `from..to`.
fn write(
    writer: &Writer,
    rows: &Rows,
    from: u64,
    to: u64,
) -> Result<Vec<WriteResultFuture>, Failure> {
    let mut kept = Vec::new();
    if let Writer::Batches(writer, batch) = writer {
        for first in (from..to).step_by(batch.num_rows()) {
            let count = batch.num_rows().min((to - first) as usize);
            kept.push(writer.append_arrow_batch(batch.slice(0, count))?);
        }
        return Ok(kept);
    }
    // One row is reused, which spares fluss-rs an allocation per row.
    let mut row = GenericRow::new(4);
    for index in from..to {
        let Values { id, name, a, b } = rows.row(index);
        row.set_field(0, id);
        row.set_field(1, name);
        row.set_field(2, a);
        row.set_field(3, b);
        let future = writer.write(&row)?;
        if index % plan::SAMPLE == 0 {
            kept.push(future);
        }
    }
    Ok(kept)
}

async fn acknowledged(writer: &Writer, kept: Vec<WriteResultFuture>) -> Result<(), Failure> {
    writer.flush().await?;
    for future in kept {
        future.await?;
    }
    Ok(())
}

/// Runs the plan.
pub fn run(plan: &Plan) -> Result<Cost, Failure> {
    // Its sender never runs in the threads that write, which are none of the runtime's.
    let workers = if plan.side == Side::TheirsAlone { 1 } else { 2 };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    let connection = runtime.block_on(FlussConnection::new(config(plan)))?;
    let table = runtime.block_on(connection.get_table(&path(&plan.table)?))?;
    let _context = runtime.enter();
    let mut writers = Vec::new();
    for _ in 0..plan.threads {
        writers.push(match plan.variant {
            Variant::Upsert | Variant::UpsertAll => {
                Writer::Upsert(table.new_upsert()?.create_writer()?)
            }
            Variant::Batches => {
                let batch = record_batch!(Rows::new(), arrow_array_59, arrow_schema_59)?;
                Writer::Batches(table.new_append()?.create_writer()?, batch)
            }
            _ => Writer::Append(table.new_append()?.create_writer()?),
        });
    }
    let rows = Arc::new(Rows::of(plan));
    let kept = write(&writers[0], &rows, plan.rows, plan.rows + plan::WARM_UP)?;
    runtime.block_on(acknowledged(&writers[0], kept))?;

    let watch = Stopwatch::start();
    let share = plan.rows / plan.threads;
    let threads = (0..).zip(writers).map(|(index, writer)| {
        let (rows, handle) = (Arc::clone(&rows), runtime.handle().clone());
        thread::spawn(move || {
            let _context = handle.enter();
            let kept = write(&writer, &rows, index * share, (index + 1) * share)?;
            handle.block_on(acknowledged(&writer, kept))
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().map_err(|_| "a writer thread panicked")??;
    }
    let cost = watch.stop();
    runtime.block_on(connection.close(Duration::from_secs(10)))?;
    Ok(cost)
}
