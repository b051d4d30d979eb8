//! fluss-rs reading, at its best: whole batches where there are such, as many records a poll as
//! there are, as many callers looking up as make it fastest.

use std::time::Duration;

use arrow_array_59::cast::AsArray;
use arrow_array_59::types::Int64Type;
use fluss::client::{FlussConnection, FlussTable};
use fluss::config::Config;
use fluss::row::{DataGetters, GenericRow};
use tokio::runtime::Builder;

use crate::Failure;
use crate::client::Stopwatch;
use crate::plan::{self, Cost, Plan, Side, Variant};
use crate::rows::Found;
use crate::theirs::path;

/// How long a poll may wait; there always is something.
const POLL: Duration = Duration::from_secs(10);
/// The fastest of 64, 128, 256 and 512 on two threads, and one of the fastest of these and 1,024 on
/// one. With 64 each request waits for others until its time is up.
const CALLERS: u64 = 256;

fn config(plan: &Plan) -> Config {
    let mut config = Config::default();
    config.bootstrap_servers = plan.bootstrap.clone();
    config.scanner_log_fetch_max_bytes = plan::FETCH_BYTES as i32;
    config.scanner_log_fetch_max_bytes_for_bucket = plan::FETCH_BYTES_PER_BUCKET as i32;
    config.scanner_log_max_poll_records = usize::MAX;
    // A lookup that does not fill a request waits no longer than it has to.
    config.lookup_batch_timeout_ms = 1;
    config
}

async fn scan_arrow(table: &FlussTable<'_>, rows: u64) -> Result<Found, Failure> {
    let scanner = table.new_scan().create_record_batch_log_scanner()?;
    for bucket in 0..plan::BUCKETS {
        scanner.subscribe(bucket, 0).await?;
    }
    let mut found = Found::default();
    while found.rows < rows {
        for batch in scanner.poll(POLL).await? {
            let ids = batch.batch().column(0).as_primitive::<Int64Type>();
            found.add_all(ids.values());
        }
    }
    Ok(found)
}

async fn scan_rows(table: &FlussTable<'_>, rows: u64) -> Result<Found, Failure> {
    let scanner = table.new_scan().create_log_scanner()?;
    for bucket in 0..plan::BUCKETS {
        scanner.subscribe(bucket, 0).await?;
    }
    let mut found = Found::default();
    while found.rows < rows {
        let records = scanner.poll(POLL).await?;
        for record in records.records_by_buckets().values().flatten() {
            let row = record.row();
            found.add(row.get_long(0)?, row.get_string(1)?, row.get_int(2)?, row.get_double(3)?);
        }
    }
    Ok(found)
}

/// Looks each caller's share of the keys up, one after the other.
async fn look_up(table: &FlussTable<'_>, rows: u64) -> Result<Found, Failure> {
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        let mut lookuper = table.new_lookup()?.create_lookuper()?;
        callers.push(tokio::spawn(async move {
            let mut found = Found::default();
            let mut key = GenericRow::new(1);
            for id in (caller..rows).step_by(CALLERS as usize) {
                key.set_field(0, plan::key(id));
                let result = lookuper.lookup(&key).await?;
                let row = result.get_single_row()?.ok_or(format!("{id} is not there"))?;
                found.add(
                    row.get_long(0)?,
                    row.get_string(1)?,
                    row.get_int(2)?,
                    row.get_double(3)?,
                );
            }
            Ok::<_, Failure>(found)
        }));
    }
    let mut found = Found::default();
    for caller in callers {
        found.join(&caller.await??);
    }
    Ok(found)
}

/// Runs the plan.
pub fn run(plan: &Plan) -> Result<Cost, Failure> {
    let runtime = match plan.side {
        Side::TheirsAlone => Builder::new_current_thread().enable_all().build()?,
        _ => Builder::new_multi_thread().worker_threads(2).enable_all().build()?,
    };
    let connection = runtime.block_on(FlussConnection::new(config(plan)))?;
    let table = runtime.block_on(connection.get_table(&path(&plan.table)?))?;
    let read = |rows| {
        runtime.block_on(async {
            match plan.variant {
                Variant::ScanArrow => scan_arrow(&table, rows).await,
                Variant::ScanRows => scan_rows(&table, rows).await,
                _ => look_up(&table, rows).await,
            }
        })
    };
    read(plan.warm_up())?;
    let watch = Stopwatch::start();
    let found = read(plan.rows)?;
    let cost = watch.stop();
    found.check(plan.variant, plan.rows)?;
    runtime.block_on(connection.close(Duration::from_secs(10)))?;
    Ok(cost)
}
