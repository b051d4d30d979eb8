//! Runs both sides in turns and prints what a row costs.

use crate::Failure;
use crate::client::spawn;
use crate::plan::{Codec, Cost, Plan, Settings, Side, Variant, WARM_UP};
use crate::server::Server;
use crate::tables::Tables;

const USAGE: &str = "\
usage: fluss-versus [--rows N] [--rounds N] [--bootstrap HOST:PORT] [--only VARIANT] [--threads N]
       fluss-versus --main-job [--rows N] [--rounds N]

Without --bootstrap both sides write to an acknowledging server of this program, and CPU time per
row counts; with it, to that cluster, and wall time counts.
VARIANT: append, append-all, batches, upsert.
With --main-job: on a real cluster that is started for it, with default settings, on all runtimes.
Ends with 1 if a bound is missed or a count is wrong.";

struct Options {
    rows: u64,
    rounds: usize,
    bootstrap: Option<String>,
    only: Option<Variant>,
    threads: Option<u64>,
}

fn options() -> Result<Options, Failure> {
    use lexopt::prelude::*;
    let mut options =
        Options { rows: 2_000_000, rounds: 5, bootstrap: None, only: None, threads: None };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("rows") => options.rows = parser.value()?.parse()?,
            Long("rounds") => options.rounds = parser.value()?.parse()?,
            Long("bootstrap") => options.bootstrap = Some(parser.value()?.string()?),
            Long("only") => options.only = Some(parser.value()?.string()?.parse()?),
            Long("threads") => options.threads = Some(parser.value()?.parse()?),
            Long("help") => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
        }
    }
    if options.rounds == 0 || options.rows < 1000 {
        return Err("at least 1 round and 1000 rows".into());
    }
    Ok(options)
}

/// One line of the result.
struct Case {
    variant: Variant,
    threads: u64,
    codec: Codec,
    /// Times that fluss-rs must cost more.
    bound: Option<f64>,
}

fn cases(options: &Options) -> Vec<Case> {
    let mut cases = Vec::new();
    let on_cluster = options.bootstrap.is_some();
    for codec in [Codec::None, Codec::Zstd] {
        for (variant, bound) in [
            (Variant::Append, 4.0),
            (Variant::AppendAll, 8.0),
            (Variant::Batches, 2.0),
            (Variant::Upsert, 4.0),
        ] {
            // A batch of upserts is not compressed, and the cluster's tables are as by default.
            if codec == Codec::Zstd && (variant == Variant::Upsert || on_cluster) {
                continue;
            }
            let bound = (codec == Codec::None && !on_cluster).then_some(bound);
            for threads in [1, 2] {
                cases.push(Case { variant, threads, codec, bound });
            }
        }
    }
    cases.retain(|case| {
        options.only.is_none_or(|v| v == case.variant)
            && options.threads.is_none_or(|t| t == case.threads)
    });
    cases
}

/// Where the runs go.
struct Place {
    server: Option<Server>,
    bootstrap: String,
    tables: Tables,
}

impl Place {
    /// One run, with its rows counted by the server.
    fn run(&mut self, case: &Case, side: Side, rows: u64) -> Result<Cost, Failure> {
        let table = self.tables.make(case.variant, case.codec)?;
        let before = self.server.as_mut().map(Server::rows).transpose()?.unwrap_or(0);
        let plan = Plan {
            side,
            variant: case.variant,
            threads: case.threads,
            rows,
            settings: Settings::Equal,
            bootstrap: self.bootstrap.clone(),
            table: table.clone(),
        };
        let cost = spawn(&plan)?;
        let counted = match &mut self.server {
            Some(server) => server.rows()? - before,
            None => self.tables.rows(&table)?,
        };
        if counted != rows + WARM_UP {
            return Err(format!("{side}: {counted} rows counted, {rows} and {WARM_UP} sent").into());
        }
        self.tables.drop(&table)?;
        Ok(cost)
    }
}

/// Lowest and median of a number, per row.
fn spread(costs: &[Cost], rows: u64, of: impl Fn(&Cost) -> u64) -> (f64, f64) {
    let mut values: Vec<f64> = costs.iter().map(|cost| of(cost) as f64 / rows as f64).collect();
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2])
}

/// The whole comparison.
pub fn run() -> Result<(), Failure> {
    let options = options()?;
    let server = match options.bootstrap {
        None => Some(Server::start()?),
        Some(_) => None,
    };
    let bootstrap = match (&options.bootstrap, &server) {
        (Some(given), _) => given.clone(),
        (None, Some(server)) => server.bootstrap.clone(),
        (None, None) => return Err("no server".into()),
    };
    let tables = Tables::connect(&bootstrap)?;
    let mut place = Place { server, bootstrap, tables };
    println!(
        "nanoseconds per row, lowest / median of {} rounds of {} rows",
        options.rounds, options.rows
    );
    println!("{:<24} | {:<39} | wall", "", "CPU");
    println!(
        "{:<11} {:>5} {:<6} | {:<15} {:<15} ratio   | {:<15} {:<15} ratio",
        "variant", "thr.", "codec", "fluss-rs", "ours", "fluss-rs", "ours"
    );
    let mut missed = 0;
    for case in cases(&options) {
        let rows = options.rows / case.threads * case.threads;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..options.rounds {
            // Who goes first changes, so that neither always finds the warmer machine.
            for turn in 0..2 {
                match (round + turn) % 2 {
                    0 => theirs.push(place.run(&case, Side::Theirs, rows)?),
                    _ => ours.push(place.run(&case, Side::Ours, rows)?),
                }
            }
        }
        missed += usize::from(!report(&case, rows, &theirs, &ours));
    }
    if missed > 0 {
        return Err(format!("{missed} bounds missed").into());
    }
    Ok(())
}

/// Prints a line; false if the bound is missed.
fn report(case: &Case, rows: u64, theirs: &[Cost], ours: &[Cost]) -> bool {
    let (their_cpu, our_cpu) = (spread(theirs, rows, |c| c.cpu), spread(ours, rows, |c| c.cpu));
    let (their_wall, our_wall) = (spread(theirs, rows, |c| c.wall), spread(ours, rows, |c| c.wall));
    let ratio = their_cpu.1 / our_cpu.1;
    let met = case.bound.is_none_or(|bound| ratio >= bound);
    let verdict = match case.bound {
        None => String::new(),
        Some(bound) if met => format!("CPU at least {bound}: met"),
        Some(bound) => format!("CPU at least {bound}: MISSED"),
    };
    let pair = |(lowest, median): (f64, f64)| format!("{lowest:6.1} /{median:7.1}");
    println!(
        "{:<11} {:>5} {:<6} | {} {} {ratio:5.1}   | {} {} {:5.1}  {verdict}",
        case.variant,
        case.threads,
        case.codec,
        pair(their_cpu),
        pair(our_cpu),
        pair(their_wall),
        pair(our_wall),
        their_wall.1 / our_wall.1,
    );
    met
}
