//! The main job: rows into a real cluster, with default settings, from two threads, on all
//! runtimes and with fluss-rs, alternately; wall time counts. A tenth of the keys that are upserted
//! comes twice.

use fluss_tools::cluster::{ClusterOptions, RealCluster};

use crate::Failure;
use crate::client::spawn;
use crate::plan::{Codec, Cost, Plan, Settings, Side, Variant, WARM_UP};
use crate::rows::rows_again;
use crate::tables::Tables;

const SIDES: [Side; 4] = [Side::Theirs, Side::Ours, Side::Smol, Side::Blocking];
const THREADS: u64 = 2;

/// The number of rows of each run, and of runs of each side.
fn options() -> Result<(u64, usize), Failure> {
    use lexopt::prelude::*;
    let (mut rows, mut rounds) = (1_000_000, 5);
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
    bootstrap: &str,
    (side, variant): (Side, Variant),
    rows: u64,
) -> Result<Cost, Failure> {
    let table = tables.make(variant, Codec::Default)?;
    let plan = Plan {
        side,
        variant,
        threads: THREADS,
        rows,
        settings: Settings::Own,
        bootstrap: bootstrap.to_owned(),
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

fn median(costs: &[Cost], of: impl Fn(&Cost) -> u64) -> f64 {
    let mut values: Vec<u64> = costs.iter().map(of).collect();
    values.sort_unstable();
    values[values.len() / 2] as f64 / 1e9
}

/// The whole comparison. An error if this client is slower than fluss-rs on any runtime.
pub fn run() -> Result<(), Failure> {
    let (rows, rounds) = options()?;
    let cluster = RealCluster::start(ClusterOptions::default())?;
    let bootstrap = cluster.bootstrap().join(",");
    let mut tables = Tables::connect(&bootstrap)?;
    println!("{rows} rows from {THREADS} threads, default settings, {rounds} rounds each; seconds");
    let mut slower = Vec::new();
    for variant in [Variant::Append, Variant::Upsert] {
        // The server's code is compiled while it runs; nobody is to pay for that.
        for side in SIDES {
            one(&mut tables, &bootstrap, (side, variant), rows)?;
        }
        let mut costs: [Vec<Cost>; SIDES.len()] = Default::default();
        for round in 0..rounds {
            for turn in 0..SIDES.len() {
                // Who goes first changes, so that nobody always finds the warmer machine.
                let at = (round + turn) % SIDES.len();
                let cost = one(&mut tables, &bootstrap, (SIDES[at], variant), rows)?;
                costs[at].push(cost);
            }
        }
        let theirs = median(&costs[0], |cost| cost.wall);
        for (side, costs) in SIDES.into_iter().zip(&costs) {
            let (wall, cpu) = (median(costs, |c| c.wall), median(costs, |c| c.cpu));
            let all: Vec<String> =
                costs.iter().map(|c| format!("{:.3}", c.wall as f64 / 1e9)).collect();
            println!(
                "{variant:<7} {side:<14} wall {wall:7.3}  of fluss-rs {:5.2}  CPU {cpu:7.3}  ({})",
                wall / theirs,
                all.join(" ")
            );
            if wall > theirs {
                slower.push(format!("{variant} by {side}"));
            }
        }
    }
    if slower.is_empty() {
        return Ok(());
    }
    Err(format!("slower than fluss-rs: {}", slower.join(", ")).into())
}
