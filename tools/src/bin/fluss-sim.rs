//! Runs the simulator over many seeds, or replays one.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use fluss_core::testing::sim::{Options, Profile, Totals, Violation, replay_command, run};
use fluss_tools::cli::cpu_time;

const USAGE: &str = "\
fluss-sim [--seeds N] [--first N] [--long] [--batches N] [--jobs N] [--at-least N]
fluss-sim --seed N [--long] [--batches N] [--trace]

Runs the client against the fake cluster in virtual time, with everything going wrong, and checks
the rules of exactly-once writing. Each seed is one run and can be replayed.

  --seeds N   how many seeds to run (default 100000)
  --first N   the first of them (default 0)
  --long      runs of 10,000 batches on three servers instead of short ones
  --batches N so many batches a run instead
  --jobs N    threads (default: one for each processor)
  --at-least N
              fail below so many seeds in a second of processor time, all threads together; what
              else the machine does hardly counts, but two threads of one core slow each other
  --seed N    run this seed only, and sum up its exchange in a number
  --trace     with --seed: print what happens
  -h, --help  this text

Exit codes: 0 no rule was broken, 1 one was, or rules and faults came up too rarely, or the seeds
took too long, 2 wrong usage.
";

/// Lines of the trace that are printed of a seed that breaks a rule; `--trace` prints all.
const TRACE_LINES: usize = 50;
/// Seeds a thread takes at a time.
const CHUNK: u64 = 64;

struct Arguments {
    options: Options,
    first: u64,
    seeds: u64,
    jobs: u64,
    seed: Option<u64>,
    trace: bool,
    /// Seeds that have to be done in a second of processor time.
    at_least: Option<f64>,
}

fn main() -> ExitCode {
    match parse(lexopt::Parser::from_env()) {
        Ok(None) => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Ok(Some(arguments)) => match arguments.seed {
            Some(seed) => replay(seed, &arguments),
            None => run_all(&arguments),
        },
        Err(error) => {
            eprintln!("fluss-sim: {error}\nSee fluss-sim --help.");
            ExitCode::from(2)
        }
    }
}

fn parse(mut parser: lexopt::Parser) -> Result<Option<Arguments>, lexopt::Error> {
    use lexopt::prelude::*;
    let jobs = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let mut arguments = Arguments {
        options: Options::default(),
        first: 0,
        seeds: 100_000,
        jobs,
        seed: None,
        trace: false,
        at_least: None,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seeds") => arguments.seeds = parser.value()?.parse()?,
            Long("first") => arguments.first = parser.value()?.parse()?,
            Long("jobs") => arguments.jobs = parser.value()?.parse()?,
            Long("seed") => arguments.seed = Some(parser.value()?.parse()?),
            Long("long") => arguments.options.profile = Profile::Long,
            Long("batches") => arguments.options.batches = Some(parser.value()?.parse()?),
            Long("trace") => arguments.trace = true,
            Long("at-least") => arguments.at_least = Some(parser.value()?.parse()?),
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    if arguments.jobs == 0 || arguments.seeds == 0 {
        return Err("--jobs and --seeds must be above 0".into());
    }
    if arguments.options.batches == Some(0) {
        return Err("--batches must be above 0".into());
    }
    if arguments.trace && arguments.seed.is_none() {
        return Err("--trace goes with --seed".into());
    }
    if let Some(least) = arguments.at_least {
        if !(least.is_finite() && least > 0.0) {
            return Err("--at-least must be above 0".into());
        }
        if arguments.seed.is_some() {
            return Err("--at-least does not go with --seed: one seed tells no speed".into());
        }
        if cpu_time().is_none() {
            return Err("--at-least: this system does not tell the processor time".into());
        }
    }
    Ok(Some(arguments))
}

fn replay(seed: u64, arguments: &Arguments) -> ExitCode {
    let options = Options { digest: true, trace: arguments.trace, ..arguments.options.clone() };
    let run = run(seed, &options);
    for line in &run.trace {
        println!("{line}");
    }
    println!("seed {seed}: exchange {:016x}, {:?}", run.digest, run.seed);
    match run.violation {
        None => ExitCode::SUCCESS,
        Some(Violation { invariant, text, .. }) => {
            println!("{invariant} is broken: {text}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all seeds, on several threads, up to the first broken rule.
fn run_all(arguments: &Arguments) -> ExitCode {
    let Arguments { ref options, first, seeds, jobs, .. } = *arguments;
    let end = first.saturating_add(seeds);
    let next = AtomicU64::new(first);
    let totals = Mutex::new(Totals::new(options));
    let broken: Mutex<Option<(u64, Violation)>> = Mutex::new(None);
    let (start, cpu_before) = (Instant::now(), cpu_time());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| work(options, end, &next, &totals, &broken));
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    let cpu = cpu_time().zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
    let totals = totals.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let rate = totals.seeds as f64 / seconds;
    let cpu_rate = cpu.map(|cpu| totals.seeds as f64 / cpu.as_secs_f64());
    print!("{totals}");
    println!("{seconds:.1} s on {jobs} threads: {:.0} seeds a second on each", rate / jobs as f64);
    if let Some(rate) = cpu_rate {
        println!("{rate:.0} seeds in a second of processor time");
    }
    let broken = broken.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((seed, violation)) = broken {
        println!("seed {seed}: {} is broken: {}", violation.invariant, violation.text);
        println!("replay: {}", replay_command(seed, options));
        let again = run(seed, &Options { trace: true, ..options.clone() });
        println!("the last of what happened:");
        for line in &again.trace[again.trace.len().saturating_sub(TRACE_LINES)..] {
            println!("{line}");
        }
        return ExitCode::FAILURE;
    }
    let shortcomings = totals.shortcomings();
    for text in &shortcomings {
        println!("too little happened: {text}");
    }
    if !shortcomings.is_empty() {
        return ExitCode::FAILURE;
    }
    println!("no rule was broken");
    match (cpu_rate, arguments.at_least) {
        (Some(rate), Some(least)) if rate < least => {
            println!(
                "too slow: {rate:.0} seeds in a second of processor time, of {least} at least"
            );
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn work(
    options: &Options,
    end: u64,
    next: &AtomicU64,
    totals: &Mutex<Totals>,
    broken: &Mutex<Option<(u64, Violation)>>,
) {
    let mut own = Totals::new(options);
    loop {
        let from = next.fetch_add(CHUNK, Ordering::Relaxed);
        if from >= end {
            break;
        }
        for seed in from..end.min(from + CHUNK) {
            let run = run(seed, options);
            own.add(&run.seed);
            if let Some(violation) = run.violation {
                // The others stop after what they have begun; the lowest seed is reported.
                next.store(end, Ordering::Relaxed);
                let mut broken = broken.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if broken.as_ref().is_none_or(|(other, _)| seed < *other) {
                    *broken = Some((seed, violation));
                }
                break;
            }
        }
    }
    totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner).join(&own);
}
