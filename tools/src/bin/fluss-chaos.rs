//! Rounds of writing to a real cluster while its servers and connections fail.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fluss_tools::chaos::{self, Kind, Options, Report, Throughput};
use fluss_tools::cluster::interrupt_flag;

const USAGE: &str = "\
fluss-chaos [--rounds N] [--seed N] [--kind KIND[,KIND…]] [--rows N] [--dir DIR]
fluss-chaos --throughput [--seconds N] [--seed N]

Writes to a real cluster of three tablet servers through a proxy, from four threads on each runtime,
while leaders are killed, paused and stopped and connections cut; then reads everything back and
compares it with the outcomes the writers were told. Prints a line for each round. Needs Java, and
Maven the first time.

In a round of the kind reader all rows go into the log table, 12,500 a second, and a reader on each
runtime follows them through the proxy, whose waits for rows are dropped after 1 to 5 ms each; a
leader is killed every 12 s. Each row has to be handed out once and in the order of its bucket. In
a round of the kind tiered servers move segments to remote storage as soon as 64 KiB are written,
and the readers begin when they are sent there, so that the first of the rows come from there; two
leaders are killed, as servers do not survive more of it.

A round is played again, with its seed and on a new cluster, if before its first row the cluster
could not be started or a server ended that nobody had killed: each round once at most, and 3 of any
hundred rounds (of fewer in proportion, but one). Beyond that it fails. Repetitions are printed and
counted at the end with what the log of the server said last; no round is repeated after a row of it
was handed in.

  --rounds N   how many rounds (default 5)
  --seed N     of the first round; each round has the next one (default 0)
  --kind KIND  what the rounds are about, in turn: kill, pause, restart, coordinator, storm,
               deadline; expiry, whose rounds take minutes; reader and tiered (default all but the
               last three)
  --rows N     rows of a round, about (default 24000)
  --dir DIR    a new or empty directory for data and logs of the servers, which is kept
  --throughput instead of rounds: for each runtime, how many rows a second get through when each
               connection is cut every 2 s on average at a random byte, against none; on the fake
               cluster behind loopback ports, which needs no Java. Fails below 80 %
  --seconds N  of writing with cuts, and as many without (default 60)
  -h, --help   this text

Exit codes: 0 no round failed, 1 one did, 2 wrong usage, 130 interrupted.
";

/// What to do.
enum Task {
    Rounds(Options),
    Throughput { seconds: u64, seed: u64 },
    Help,
}

fn main() -> ExitCode {
    let failed = |error: &dyn Display| {
        eprintln!("fluss-chaos: {error}");
        ExitCode::FAILURE
    };
    let task = match parse(lexopt::Parser::from_env()) {
        Ok(task) => task,
        Err(error) => {
            failed(&error);
            eprintln!("See fluss-chaos --help.");
            return ExitCode::from(2);
        }
    };
    let interrupted = match interrupt_flag() {
        Ok(flag) => flag,
        Err(error) => return failed(&error),
    };
    let done = match task {
        Task::Help => {
            print!("{USAGE}");
            Ok(true)
        }
        Task::Rounds(options) => chaos::run(&options, &interrupted, &mut io::stdout())
            .map(|reports| reports.iter().all(Report::passed)),
        Task::Throughput { seconds, seed } => {
            chaos::throughput(Duration::from_secs(seconds), seed, &interrupted).map(|measured| {
                measured.iter().for_each(|each| println!("{each}"));
                measured.iter().all(Throughput::passed)
            })
        }
    };
    match done {
        _ if interrupted.load(Ordering::SeqCst) => ExitCode::from(130),
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed(&error),
    }
}

fn parse(mut parser: lexopt::Parser) -> Result<Task, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options::default();
    let mut throughput = false;
    let mut seconds = 60;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("rounds") => options.rounds = parser.value()?.parse()?,
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("rows") => options.rows = parser.value()?.parse()?,
            Long("dir") => options.dir = Some(parser.value()?.into()),
            Long("kind") => {
                let kinds = parser.value()?.string()?;
                let kinds = kinds.split(',').map(str::parse).collect::<Result<Vec<Kind>, _>>();
                options.kinds = kinds?;
            }
            Long("throughput") => throughput = true,
            Long("seconds") => seconds = parser.value()?.parse()?,
            Long("help") | Short('h') => return Ok(Task::Help),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(match throughput {
        true => Task::Throughput { seconds, seed: options.seed },
        false => Task::Rounds(options),
    })
}
