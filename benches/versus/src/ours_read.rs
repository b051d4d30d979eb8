//! This client reading, on tokio, on smol, or blocking.

use std::collections::VecDeque;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use fluss_core::row::{OwnedDatum, OwnedRow};
use fluss_tokio::config::Config;
use fluss_tokio::{Fluss, LogScanner, Lookup, Pending, ScanBatch, Table, row};

use crate::Failure;
use crate::client::Stopwatch;
use crate::plan::{self, Cost, Plan, Side, Variant};
use crate::rows::Found;

fn scanner(table: &Table) -> Pending<LogScanner> {
    let scanner = table
        .scanner()
        .from_earliest()
        .bounded()
        .max_bytes(plan::FETCH_BYTES)
        .max_bytes_per_bucket(plan::FETCH_BYTES_PER_BUCKET);
    scanner.build()
}

fn take(found: &mut Found, variant: Variant, batch: &ScanBatch) -> Result<(), Failure> {
    if variant == Variant::ScanArrow {
        let batch = batch.record_batch();
        found.add_all(batch.column(0).as_primitive::<Int64Type>().values());
        return Ok(());
    }
    for row in batch.rows()?.iter() {
        found.add(row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
    }
    Ok(())
}

async fn scan(table: &Table, variant: Variant) -> Result<Found, Failure> {
    let (mut found, mut scanner) = (Found::default(), scanner(table).await?);
    while let Some(batch) = scanner.next_batch().await? {
        take(&mut found, variant, &batch)?;
    }
    Ok(found)
}

fn scan_blocking(table: &Table, variant: Variant) -> Result<Found, Failure> {
    let mut found = Found::default();
    for batch in scanner(table).wait()?.blocking_iter() {
        take(&mut found, variant, &batch?)?;
    }
    Ok(found)
}

fn add(found: &mut Found, row: Option<OwnedRow>) -> Result<(), Failure> {
    let row = row.ok_or("a key is not there")?;
    let [
        OwnedDatum::Int64(id),
        OwnedDatum::Str(name),
        OwnedDatum::Int32(a),
        OwnedDatum::Float64(b),
    ] = row.values()
    else {
        return Err(format!("a row of other types: {row:?}").into());
    };
    found.add(*id, name, *a, *b);
    Ok(())
}

async fn look_up(table: &Table, rows: u64) -> Result<Found, Failure> {
    let lookuper = table.lookuper()?;
    let mut found = Found::default();
    let mut waiting: VecDeque<Lookup<_>> = VecDeque::with_capacity(plan::LOOKUPS_IN_FLIGHT);
    for id in 0..rows {
        if waiting.len() == plan::LOOKUPS_IN_FLIGHT
            && let Some(oldest) = waiting.pop_front()
        {
            add(&mut found, oldest.await?)?;
        }
        waiting.push_back(lookuper.lookup(&row![plan::key(id)]));
    }
    for lookup in waiting {
        add(&mut found, lookup.await?)?;
    }
    Ok(found)
}

/// The same with many keys in one call, and as many keys on their way.
async fn look_up_all(table: &Table, rows: u64) -> Result<Found, Failure> {
    let lookuper = table.lookuper()?;
    let (mut found, mut waiting) = (Found::default(), VecDeque::new());
    let keys: Vec<_> = (0..rows).map(|id| row![plan::key(id)]).collect();
    for keys in keys.chunks(plan::KEYS_OF_A_CALL) {
        if waiting.len() == plan::LOOKUPS_IN_FLIGHT / plan::KEYS_OF_A_CALL
            && let Some(oldest) = waiting.pop_front()
        {
            let oldest: Pending<Vec<Option<OwnedRow>>> = oldest;
            oldest.await?.into_iter().try_for_each(|row| add(&mut found, row))?;
        }
        waiting.push_back(lookuper.lookup_all(keys));
    }
    for rows in waiting {
        rows.await?.into_iter().try_for_each(|row| add(&mut found, row))?;
    }
    Ok(found)
}

async fn time(fluss: Fluss, plan: &Plan) -> Result<Cost, Failure> {
    let table = fluss.table(&plan.table).await?;
    let read = async |rows| match plan.variant {
        Variant::LookupAll => look_up_all(&table, rows).await,
        Variant::Lookups => look_up(&table, rows).await,
        scanned => scan(&table, scanned).await,
    };
    read(plan.warm_up()).await?;
    let watch = Stopwatch::start();
    let found = read(plan.rows).await?;
    let cost = watch.stop();
    found.check(plan.variant, plan.rows)?;
    fluss.close(Duration::from_secs(10)).await?;
    Ok(cost)
}

/// A scan of a thread that blocks, which drives the client itself meanwhile.
fn time_blocking(config: Config, plan: &Plan) -> Result<Cost, Failure> {
    let fluss = fluss_embedded::start(config)?;
    let table = fluss.table(&plan.table).wait()?;
    scan_blocking(&table, plan.variant)?;
    let watch = Stopwatch::start();
    let found = scan_blocking(&table, plan.variant)?;
    let cost = watch.stop();
    found.check(plan.variant, plan.rows)?;
    fluss.close(Duration::from_secs(10)).wait()?;
    Ok(cost)
}

/// Runs the plan, in one task that shares its thread with the driver.
pub fn run(plan: &Plan) -> Result<Cost, Failure> {
    let config = Config::new(&plan.bootstrap)?.seed(fluss_tokio::random_seed());
    match plan.side {
        Side::Smol => {
            let (fluss, driver) = fluss_smol::connect_with(config)?;
            let executor = smol::LocalExecutor::new();
            executor.spawn(driver).detach();
            smol::block_on(executor.run(async {
                fluss.ready().await?;
                time(fluss, plan).await
            }))
        }
        Side::Blocking if !plan.variant.looks_up() => time_blocking(config, plan),
        Side::Blocking => {
            let (fluss, mut driver) = fluss_embedded::connect_with(config)?;
            driver.block_on(time(fluss, plan))?
        }
        Side::Ours | Side::Theirs | Side::TheirsAlone => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { time(fluss_tokio::start(config).await?, plan).await })
        }
    }
}
