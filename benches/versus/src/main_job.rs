//! The main job: rows into a real cluster, with default settings, from two threads, on all
//! runtimes and with fluss-rs, alternately; wall time counts. A tenth of the keys that are upserted
//! comes twice.
//!
//! A server that flushes or compacts slows down whoever writes just then, by half and more. So each
//! run is compared with the one of fluss-rs in the same round, and the median of these ratios
//! counts.

use fluss_tools::cluster::{ClusterOptions, RealCluster};

use crate::Failure;
use crate::client::spawn;
use crate::plan::{Cost, Plan, Settings, Side, Variant, WARM_UP};
use crate::rows::rows_again;
use crate::tables::Tables;

const SIDES: [Side; 4] = [Side::Theirs, Side::Ours, Side::Smol, Side::Blocking];
const THREADS: u64 = 2;

/// The number of rows of each run, and of runs of each side.
fn options() -> Result<(u64, usize), Failure> {
    use lexopt::prelude::*;
    let (mut rows, mut rounds) = (1_000_000, 9);
    let mut parser = lexopt::Parser::from_args(std::env::args_os().skip(2));
    while let Some(arg) = parser.next()? {
        match arg {
            Long("rows") => rows = parser.value()?.parse()?,
            Long("rounds") => rounds = parser.value()?.parse()?,
            other => return Err(other.unexpected().into()),
        }
    }
    if rounds == 0 || rows < 1000 {
        return Err("at least 1 round and 1000 rows".into());
    }
    Ok((rows / THREADS * THREADS, rounds))
}

/// One run into a new table, counted afterwards.
fn one(
    tables: &mut Tables,
    cluster: &RealCluster,
    (side, variant): (Side, Variant),
    rows: u64,
) -> Result<Cost, Failure> {
    let table = tables.make_on(cluster, variant)?;
    let plan = Plan {
        side,
        variant,
        threads: THREADS,
        rows,
        settings: Settings::Own,
        bootstrap: cluster.bootstrap().join(","),
        table: table.clone(),
    };
    let cost = spawn(&plan)?;
    let counted = tables.rows(&table)?;
    // An insert is one record of the changelog, an update two: what was, and what is.
    let sent = rows + WARM_UP;
    let again = if variant.has_key() { rows_again(sent) } else { 0 };
    if counted != sent + again {
        let text = format!("{side}: {counted} records counted, not {sent} and {again} of updates");
        return Err(text.into());
    }
    tables.drop(&table)?;
    Ok(cost)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Nanoseconds in seconds.
fn seconds(time: u64) -> f64 {
    time as f64 / 1e9
}

/// The whole comparison. An error if this client is slower than fluss-rs on any runtime.
pub fn run() -> Result<(), Failure> {
    let (rows, rounds) = options()?;
    let cluster = RealCluster::start(ClusterOptions::default())?;
    let mut tables = Tables::connect(&cluster.bootstrap().join(","))?;
    println!("{rows} rows from {THREADS} threads, default settings, {rounds} rounds each; seconds");
    let mut slower = Vec::new();
    for variant in [Variant::Append, Variant::Upsert] {
        // The server's code is compiled while it runs; nobody is to pay for that.
        for side in SIDES {
            one(&mut tables, &cluster, (side, variant), rows)?;
        }
        let mut costs: [Vec<Cost>; SIDES.len()] = Default::default();
        for round in 0..rounds {
            for turn in 0..SIDES.len() {
                // Who goes first changes, so that nobody always finds the warmer machine.
                let at = (round + turn) % SIDES.len();
                let cost = one(&mut tables, &cluster, (SIDES[at], variant), rows)?;
                costs[at].push(cost);
            }
        }
        for (side, own) in SIDES.into_iter().zip(&costs) {
            let wall = median(own.iter().map(|cost| seconds(cost.wall)));
            let cpu = median(own.iter().map(|cost| seconds(cost.cpu)));
            let rounds = own.iter().zip(&costs[0]);
            let ratio = median(rounds.map(|(own, theirs)| own.wall as f64 / theirs.wall as f64));
            let all = own.iter().map(|cost| format!("{:.3}", seconds(cost.wall)));
            println!(
                "{variant:<7} {side:<14} wall {wall:7.3}  of fluss-rs {ratio:5.2}  CPU {cpu:7.3}  \
                 ({})",
                all.collect::<Vec<_>>().join(" ")
            );
            if ratio > 1.0 {
                slower.push(format!("{variant} by {side}"));
            }
        }
    }
    if slower.is_empty() {
        return Ok(());
    }
    Err(format!("slower than fluss-rs: {}", slower.join(", ")).into())
}
