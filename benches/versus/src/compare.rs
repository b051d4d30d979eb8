//! Runs both sides in turns and prints what a row costs.

use crate::Failure;
use crate::client::spawn;
use crate::plan::{Codec, Cost, Level, Plan, Settings, Side, Variant, WARM_UP};
use crate::server::Server;
use crate::tables::Tables;

const USAGE: &str = "\
usage: fluss-versus [--rows N] [--rounds N] [--bootstrap HOST:PORT] [--only VARIANT] [--threads N]
                    [--check[=LEVEL]]
       fluss-versus --main-job [--rows N] [--rounds N]

Without --bootstrap both sides write to an acknowledging server of this program, or read from one
that keeps its rows in memory, and CPU time per row counts (for lookups, wall time); with it, to
and from that cluster, and wall time counts. Lookups go round among 4,096 keys at most.
VARIANT: append, append-all, batches, upsert, upsert-all, scan-arrow, scan-rows, lookups,
         lookup-all.
LEVEL, how many times more fluss-rs has to cost, without compression:
  goal   what is aimed at (default): append 7, append-all 14, batches 2, upsert 8, scan-arrow 2,
         scan-rows 2.5, lookups and lookup-all 3
  floor  what no change may go below: append and upsert 4, append-all 8; only these are run
With --main-job: on a real cluster that is started for it, with default settings, on all runtimes.
Behind each ratio stands its bound, and whether it is met. Ends with 1 if a count is wrong and, with
--check, if a bound is missed or nothing has one.";

struct Options {
    rows: u64,
    rounds: usize,
    bootstrap: Option<String>,
    only: Option<Variant>,
    threads: Option<u64>,
    /// Whose bounds make a run fail that misses them.
    check: Option<Level>,
}

impl Options {
    /// The bound of a case. On a cluster, and with compression, others than the clients count.
    fn bound(&self, variant: Variant, codec: Codec) -> Option<f64> {
        let counts = codec == Codec::None && self.bootstrap.is_none();
        variant.bound(self.check.unwrap_or(Level::Goal)).filter(|_| counts)
    }

    /// Whether a case is run.
    fn wants(&self, case: &Case) -> bool {
        self.only.is_none_or(|v| v == case.variant)
            && self.threads.is_none_or(|t| t == case.threads)
            && (self.check != Some(Level::Floor) || case.bound.is_some())
    }
}

fn options() -> Result<Options, Failure> {
    use lexopt::prelude::*;
    let mut options = Options {
        rows: 2_000_000,
        rounds: 5,
        bootstrap: None,
        only: None,
        threads: None,
        check: None,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("rows") => options.rows = parser.value()?.parse()?,
            Long("rounds") => options.rounds = parser.value()?.parse()?,
            Long("bootstrap") => options.bootstrap = Some(parser.value()?.string()?),
            Long("only") => options.only = Some(parser.value()?.string()?.parse()?),
            Long("threads") => options.threads = Some(parser.value()?.parse()?),
            Long("check") => {
                let level = parser.optional_value().map(|level| level.string()).transpose()?;
                options.check = Some(level.map_or(Ok(Level::Goal), |level| level.parse())?);
            }
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
#[derive(Clone, Copy)]
struct Case {
    variant: Variant,
    threads: u64,
    codec: Codec,
    /// Times that fluss-rs must cost more.
    bound: Option<f64>,
}

impl Case {
    /// Lookups are waited for; what counts is how many are done in a second.
    fn counts_wall(&self) -> bool {
        self.variant.looks_up()
    }
}

fn writing(options: &Options) -> Vec<Case> {
    let mut cases = Vec::new();
    let on_cluster = options.bootstrap.is_some();
    for codec in [Codec::None, Codec::Zstd] {
        for variant in [
            Variant::Append,
            Variant::AppendAll,
            Variant::Batches,
            Variant::Upsert,
            Variant::UpsertAll,
        ] {
            // A batch of upserts is not compressed, and the cluster's tables are as by default.
            if codec == Codec::Zstd && (variant.has_key() || on_cluster) {
                continue;
            }
            let bound = options.bound(variant, codec);
            for threads in [1, 2] {
                cases.push(Case { variant, threads, codec, bound });
            }
        }
    }
    cases
}

fn reading(options: &Options) -> Vec<Case> {
    [Variant::ScanArrow, Variant::ScanRows, Variant::Lookups, Variant::LookupAll]
        .into_iter()
        .map(|variant| {
            let bound = options.bound(variant, Codec::None);
            Case { variant, threads: 1, codec: Codec::None, bound }
        })
        .collect()
}

/// Where the runs go.
struct Place {
    server: Option<Server>,
    bootstrap: String,
    tables: Tables,
}

impl Place {
    /// A server of this program, which keeps what is written or does not, unless there is another.
    fn new(options: &Options, keep: bool) -> Result<Self, Failure> {
        let (server, bootstrap) = match &options.bootstrap {
            Some(given) => (None, given.clone()),
            None => {
                let server = Server::start(keep)?;
                let bootstrap = server.bootstrap.clone();
                (Some(server), bootstrap)
            }
        };
        let tables = Tables::connect(&bootstrap)?;
        Ok(Self { server, bootstrap, tables })
    }

    fn plan(&self, case: &Case, side: Side, rows: u64, table: &str) -> Plan {
        Plan {
            side,
            variant: case.variant,
            threads: case.threads,
            rows,
            settings: Settings::Equal,
            bootstrap: self.bootstrap.clone(),
            table: table.to_owned(),
        }
    }

    /// A run that writes to a table of its own, with its rows counted by the server.
    fn write(&mut self, case: &Case, side: Side, rows: u64) -> Result<Cost, Failure> {
        let table = self.tables.make(case.variant, case.codec)?;
        let before = self.server.as_mut().map(Server::rows).transpose()?.unwrap_or(0);
        let cost = spawn(&self.plan(case, side, rows, &table))?;
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

    /// A table with this many rows for runs that read. Each side looks up in a table that it wrote,
    /// as fluss-rs puts keys into other buckets than Java and this client.
    fn fill(
        &mut self,
        case: &Case,
        (with, by): (Variant, Side),
        rows: u64,
    ) -> Result<String, Failure> {
        let table = self.tables.make(case.variant, case.codec)?;
        let case = Case { variant: with, ..*case };
        spawn(&self.plan(&case, by, rows - WARM_UP, &table))?;
        Ok(table)
    }

    /// Runs of both sides that read, of fluss-rs with the runtime that makes it cheaper.
    fn read(
        &mut self,
        case: &Case,
        with: Variant,
        options: &Options,
    ) -> Result<(Vec<Cost>, Vec<Cost>), Failure> {
        let rows = options.rows;
        let stored = case.variant.stored(rows);
        let ours = self.fill(case, (with, Side::Blocking), stored)?;
        let theirs = match case.variant {
            _ if case.variant.looks_up() => self.fill(case, (with, Side::Theirs), stored)?,
            _ => ours.clone(),
        };
        let sides = [Side::Theirs, Side::TheirsAlone, Side::Ours];
        let [both, alone, ours_cost] = in_turns(options.rounds, sides, |side| {
            let table = if side == Side::Ours { &ours } else { &theirs };
            let before = self.server.as_mut().map(Server::cpu).transpose()?.unwrap_or(0);
            let mut cost = spawn(&self.plan(case, side, rows, table))?;
            let after = self.server.as_mut().map(Server::cpu).transpose()?.unwrap_or(0);
            cost.server = after - before;
            Ok(cost)
        })?;
        self.tables.drop(&ours)?;
        if theirs != ours {
            self.tables.drop(&theirs)?;
        }
        Ok((self.better(case, rows, both, alone), ours_cost))
    }

    /// Runs of both sides that write, of fluss-rs with the runtime that makes it cheaper.
    fn write_in_turns(
        &mut self,
        case: &Case,
        rounds: usize,
        rows: u64,
    ) -> Result<(Vec<Cost>, Vec<Cost>), Failure> {
        let sides = [Side::Theirs, Side::TheirsAlone, Side::Ours];
        let [both, alone, ours] = in_turns(rounds, sides, |side| self.write(case, side, rows))?;
        Ok((self.better(case, rows, both, alone), ours))
    }

    /// What fluss-rs costs with the better of its runtimes; says what it costs with each.
    fn better(&self, case: &Case, rows: u64, both: Vec<Cost>, alone: Vec<Cost>) -> Vec<Cost> {
        let wall = case.counts_wall() || self.server.is_none();
        let counted = |cost: &Cost| if wall { cost.wall } else { cost.cpu };
        let is_better = spread(&alone, rows, counted).1 < spread(&both, rows, counted).1;
        let [on_two, on_one] = [&both, &alone].map(|costs| {
            let [cpu, wall] = [spread(costs, rows, |c| c.cpu), spread(costs, rows, |c| c.wall)];
            format!("{:.1} CPU, {:.1} wall", cpu.1, wall.1)
        });
        println!(
            "{:>24} | fluss-rs on two threads {on_two}; on one {on_one}; less {} counts",
            "",
            if wall { "wall" } else { "CPU" },
        );
        if is_better { alone } else { both }
    }
}

/// Lowest and median of a number, per row.
fn spread(costs: &[Cost], rows: u64, of: impl Fn(&Cost) -> u64) -> (f64, f64) {
    let mut values: Vec<f64> = costs.iter().map(|cost| of(cost) as f64 / rows as f64).collect();
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2])
}

/// All sides in turns. Who goes first changes, so that none always finds the warmer machine.
fn in_turns<const N: usize>(
    rounds: usize,
    sides: [Side; N],
    mut run: impl FnMut(Side) -> Result<Cost, Failure>,
) -> Result<[Vec<Cost>; N], Failure> {
    let mut costs = [const { Vec::new() }; N];
    for round in 0..rounds {
        for turn in 0..N {
            let at = (round + turn) % N;
            costs[at].push(run(sides[at])?);
        }
    }
    Ok(costs)
}

/// The whole comparison.
pub fn run() -> Result<(), Failure> {
    let options = options()?;
    println!(
        "nanoseconds per row, lowest / median of {} rounds of {} rows",
        options.rounds, options.rows
    );
    println!("{:<24} | {:<39} | wall", "", "CPU");
    println!(
        "{:<11} {:>5} {:<6} | {:<15} {:<15} ratio   | {:<15} {:<15} ratio",
        "variant", "thr.", "codec", "fluss-rs", "ours", "fluss-rs", "ours"
    );
    let (mut missed, mut judged) = (0, 0);
    for (cases, keep) in [(writing(&options), false), (reading(&options), true)] {
        let cases: Vec<Case> = cases.into_iter().filter(|case| options.wants(case)).collect();
        if cases.is_empty() {
            continue;
        }
        let mut place = Place::new(&options, keep)?;
        for case in cases {
            let rows = options.rows / case.threads * case.threads;
            let (theirs, ours) = match case.variant.filled_by() {
                None => place.write_in_turns(&case, options.rounds, rows)?,
                Some(with) => place.read(&case, with, &options)?,
            };
            judged += usize::from(case.bound.is_some());
            missed += usize::from(!report(&case, rows, &theirs, &ours));
        }
    }
    match missed {
        0 if options.check.is_some() && judged == 0 => {
            Err("nothing that was run has a bound".into())
        }
        0 => Ok(()),
        _ if options.check.is_some() => Err(format!("{missed} of {judged} bounds missed").into()),
        _ => {
            println!("{missed} bounds missed");
            Ok(())
        }
    }
}

/// Prints a line; false if the bound is missed.
fn report(case: &Case, rows: u64, theirs: &[Cost], ours: &[Cost]) -> bool {
    let (their_cpu, our_cpu) = (spread(theirs, rows, |c| c.cpu), spread(ours, rows, |c| c.cpu));
    let (their_wall, our_wall) = (spread(theirs, rows, |c| c.wall), spread(ours, rows, |c| c.wall));
    let ratio = their_cpu.1 / our_cpu.1;
    let wall_ratio = their_wall.1 / our_wall.1;
    let (what, counted) = if case.counts_wall() { ("wall", wall_ratio) } else { ("CPU", ratio) };
    let met = case.bound.is_none_or(|bound| counted >= bound);
    let verdict = match case.bound {
        None => String::new(),
        Some(bound) if met => format!("{what} at least {bound}: met"),
        Some(bound) => format!("{what} at least {bound}: MISSED"),
    };
    let pair = |(lowest, median): (f64, f64)| format!("{lowest:6.1} /{median:7.1}");
    println!(
        "{:<11} {:>5} {:<6} | {} {} {ratio:5.1}   | {} {} {wall_ratio:5.1}  {verdict}",
        case.variant,
        case.threads,
        case.codec,
        pair(their_cpu),
        pair(our_cpu),
        pair(their_wall),
        pair(our_wall),
    );
    if case.variant.looks_up() {
        // Who answers takes its time as well: nobody is faster than that.
        let server = |costs| spread(costs, rows, |c: &Cost| c.server);
        println!("{:>24} | {} {} CPU of the server", "", pair(server(theirs)), pair(server(ours)));
    }
    met
}
