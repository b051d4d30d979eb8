//! What a second writer thread brings, each with a handle of its own on four buckets, up to the
//! acknowledgement of sealed batches by a server that is a function call (see
//! [`fluss_benches::local`]). No socket is involved.
//!
//! ```console
//! $ cargo run --release -p fluss-benches --bin writer-threads -- [ROWS [ROUNDS [WRITER]]]
//! ```
//!
//! What counts is the clock: run it where two processors have nothing else to do, or it says
//! nothing. Beside it stands, from the same rounds, what two threads bring that have a client each,
//! and so share neither lock nor memory, though they have a driver more to run: where these bring
//! no more than the threads of one client do, locks and shared memory are not what costs the rest.
//! The processor time of the writing threads is a hint: it shows cache lines that move between
//! them, and does not show a thread that waits for a lock.

use std::fs;
use std::thread;
use std::time::Instant;

use fluss_benches::{fake, local, times, tuple};
use fluss_core::time::Duration;
use fluss_core::{AppendWriter, Fluss, UpsertWriter};

/// What two threads must bring.
const BOUND: f64 = 1.7;

/// A handle with the way it writes.
#[derive(Clone)]
enum Writer {
    Append(AppendWriter),
    AppendAll(AppendWriter),
    AppendTimes(AppendWriter),
    Upsert(UpsertWriter),
    UpsertAll(UpsertWriter),
}

impl Writer {
    fn write(&self, rows: std::ops::Range<u64>) {
        match self {
            Self::Append(writer) => {
                for row in rows {
                    drop(writer.append(&tuple(row)).wait().expect("memory for the row"));
                }
                writer.flush().wait().expect("all rows acknowledged");
            }
            Self::AppendAll(writer) => {
                drop(writer.append_all(rows.map(tuple)).wait().expect("memory for the rows"));
                writer.flush().wait().expect("all rows acknowledged");
            }
            Self::AppendTimes(writer) => {
                drop(writer.append_all(rows.map(times)).wait().expect("memory for the rows"));
                writer.flush().wait().expect("all rows acknowledged");
            }
            Self::Upsert(writer) => {
                for row in rows {
                    drop(writer.upsert(&tuple(row)).wait().expect("memory for the row"));
                }
                writer.flush().wait().expect("all rows acknowledged");
            }
            Self::UpsertAll(writer) => {
                drop(writer.upsert_all(rows.map(tuple)).wait().expect("memory for the rows"));
                writer.flush().wait().expect("all rows acknowledged");
            }
        }
    }
}

/// Nanoseconds: by the clock for all rows, and of processor time of the threads that wrote them.
#[derive(Clone, Copy)]
struct Spent {
    wall: f64,
    cpu: f64,
}

/// Nanoseconds that this thread ran so far. Where the system does not tell, the clock has to do.
fn ran(since: Instant) -> f64 {
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let ran = told.and_then(|text| text.split_whitespace().next()?.parse().ok());
    ran.unwrap_or_else(|| since.elapsed().as_nanos() as f64)
}

/// Writes the rows, a thread for each writer.
fn measure(writers: &[&Writer], rows: u64) -> Spent {
    let start = Instant::now();
    let share = rows / writers.len() as u64;
    let threads = (0..).zip(writers).map(|(thread, &writer)| {
        let writer = writer.clone();
        thread::spawn(move || {
            let before = ran(start);
            writer.write(thread * share..(thread + 1) * share);
            ran(start) - before
        })
    });
    let threads: Vec<_> = threads.collect();
    let cpu = threads.into_iter().map(|thread| thread.join().expect("it writes")).sum::<f64>();
    Spent { wall: start.elapsed().as_nanos() as f64 / rows as f64, cpu: cpu / rows as f64 }
}

fn lowest(rounds: &[Spent], of: impl Fn(&Spent) -> f64) -> f64 {
    rounds.iter().map(of).fold(f64::INFINITY, f64::min)
}

fn writers(fluss: &Fluss) -> Vec<(&'static str, Writer)> {
    let appender = |path| {
        let table = fluss.table(path).wait().expect("a log table");
        table.appender().build().expect("a writer")
    };
    let keyed = fluss.table(fake::KEYED).wait().expect("the primary-key table");
    vec![
        ("append", Writer::Append(appender(fake::LOG))),
        ("append_all", Writer::AppendAll(appender(fake::LOG))),
        ("append, ZSTD", Writer::Append(appender(fake::ZSTD))),
        ("append_all, ZSTD", Writer::AppendAll(appender(fake::ZSTD))),
        ("append, key", Writer::Append(appender(fake::PLACED))),
        ("append_all, key", Writer::AppendAll(appender(fake::PLACED))),
        ("append_all, times", Writer::AppendTimes(appender(fake::TIMES))),
        ("upsert", Writer::Upsert(keyed.upserter().build().expect("a writer"))),
        ("upsert_all", Writer::UpsertAll(keyed.upserter().build().expect("a writer"))),
    ]
}

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let rows = numbers.first().copied().unwrap_or(2_000_000);
    let rounds = numbers.get(1).copied().unwrap_or(7).max(1);
    let only = std::env::args().nth(3);
    let (fluss, apart) = (local::start(4, |config| config), local::start(4, |config| config));
    println!("nanoseconds per row, lowest of {rounds} rounds of {rows} rows");
    println!(
        "{:<17} | {:>7} {:>7} faster | two clients faster | {:>7} {:>7} |",
        "", "clock 1", "2", "CPU 1", "2"
    );
    for ((name, writer), (_, other)) in writers(&fluss).into_iter().zip(writers(&apart)) {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        writer.write(0..1000);
        other.write(0..1000);
        let (mut one, mut two, mut own) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            one.push(measure(&[&writer], rows));
            two.push(measure(&[&writer, &writer], rows));
            own.push(measure(&[&writer, &other], rows));
        }
        let wall = [&one, &two, &own].map(|spent| lowest(spent, |spent| spent.wall));
        let cpu = [&one, &two].map(|spent| lowest(spent, |spent| spent.cpu));
        let (faster, at_best) = (wall[0] / wall[1], wall[0] / wall[2]);
        let verdict = if faster >= BOUND { "met" } else { "MISSED" };
        println!(
            "{name:<17} | {:7.1} {:7.1} {faster:6.2} | {:11.1} {at_best:6.2} | {:7.1} {:7.1} | \
             at least {BOUND}: {verdict}",
            wall[0], wall[1], wall[2], cpu[0], cpu[1],
        );
    }
    for client in [fluss, apart] {
        client.close(Duration::from_secs(10)).wait().expect("a client that closes");
    }
}
