//! Rounds of writing to a real cluster while its servers and connections fail.

use std::io;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use fluss_tools::chaos::{self, Kind, Options, Report};
use fluss_tools::cluster::interrupt_flag;

const USAGE: &str = "\
fluss-chaos [--rounds N] [--seed N] [--kind KIND[,KIND…]] [--rows N] [--dir DIR]

Writes to a real cluster of three tablet servers through a proxy, from four threads on each runtime,
while leaders are killed, paused and stopped and connections cut; then reads everything back and
compares it with the outcomes the writers were told. Prints a line for each round. Needs Java, and
Maven the first time.

  --rounds N   how many rounds (default 5)
  --seed N     of the first round; each round has the next one (default 0)
  --kind KIND  what the rounds are about, in turn: kill, pause, restart, coordinator, storm, and
               expiry, whose rounds take minutes (default all but expiry)
  --rows N     rows of a round, about (default 24000)
  --dir DIR    a new or empty directory for data and logs of the servers, which is kept
  -h, --help   this text

Exit codes: 0 no round failed, 1 one did, 2 wrong usage, 130 interrupted.
";

fn main() -> ExitCode {
    let options = match parse(lexopt::Parser::from_env()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("fluss-chaos: {error}\nSee fluss-chaos --help.");
            return ExitCode::from(2);
        }
    };
    let interrupted = match interrupt_flag() {
        Ok(flag) => flag,
        Err(error) => {
            eprintln!("fluss-chaos: {error}");
            return ExitCode::FAILURE;
        }
    };
    match chaos::run(&options, &interrupted, &mut io::stdout()) {
        _ if interrupted.load(Ordering::SeqCst) => ExitCode::from(130),
        Ok(reports) if reports.iter().all(Report::passed) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fluss-chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut parser: lexopt::Parser) -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options::default();
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
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(Some(options))
}
