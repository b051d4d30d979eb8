//! A slow reader at a fast server costs the client its budget for fetched data and little more:
//! 64 MiB, the default, at most 16 MiB beside them, while 320 MiB wait at the server.
//!
//! The server is a process of its own (this one, started again), so that only the client's memory
//! counts.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use fluss_core::ids::TablePath;
use fluss_core::row::{DataType, Schema, TableDescriptor};
use fluss_core::testing::cluster::{ClusterOptions, FakeCluster};
use fluss_core::testing::loopback::{Loopback, LoopbackOptions};
use fluss_core::{LogScanner, row};
use fluss_tokio::config::Config;
use tokio::runtime::Runtime;

const LOG: &str = "fluss.log";
const MIB: u64 = 1 << 20;
/// The client's budget for fetched data, by default.
const BUDGET: u64 = 64 * MIB;
/// What the client may need beside it.
const BESIDE: u64 = 16 * MIB;
/// What waits at the server.
const STORED: u64 = 320 * MIB;
const TEXT: usize = 1000;
/// Batches taken slowly, and how long each is worked on.
const SLOW: usize = 40;
const WORK: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("server") {
        serve();
        return ExitCode::SUCCESS;
    }
    // Arguments of the test harness, such as filters, do not apply to a single test; a listing must
    // not run it.
    if std::env::args().any(|arg| arg == "--list") {
        println!("a_slow_reader_costs_the_budget_and_little_more: test");
        return ExitCode::SUCCESS;
    }
    let seen = read();
    let above = seen.peak.saturating_sub(seen.idle);
    println!(
        "resident: {:.1} MiB idle, {:.1} MiB at most, {:.1} MiB above idle with up to {:.1} MiB \
         buffered; {} rows",
        mib(seen.idle),
        mib(seen.peak),
        mib(above),
        mib(seen.buffered),
        seen.rows
    );
    if seen.rows * (TEXT as u64) < STORED {
        println!("not all rows were read");
        return ExitCode::FAILURE;
    }
    if seen.buffered < BUDGET / 3 {
        println!("the budget was not used, so this proves nothing");
        return ExitCode::FAILURE;
    }
    if above > BUDGET + BESIDE {
        println!("at most {:.1} MiB are allowed", mib(BUDGET + BESIDE));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("a runtime")
}

/// Fills the log, prints the address, and ends with its input.
fn serve() {
    let schema = Schema::builder().column("id", DataType::BIGINT).column("text", DataType::STRING);
    let mut table = TableDescriptor::new(schema.build().expect("a schema"));
    table.bucket_count = Some(4);
    let codec = ("table.log.arrow.compression.type".to_owned(), "NONE".to_owned());
    table.properties.extend([codec]);
    let mut cluster = FakeCluster::new(ClusterOptions::default());
    cluster.add_table(&TablePath::new("fluss", "log"), &table.to_json()).expect("a table");
    let fake = Loopback::start(cluster, LoopbackOptions::default()).expect("loopback ports");
    let runtime = runtime();
    let config = Config::new(&fake.bootstrap()).expect("an address");
    let fluss = runtime.block_on(fluss_tokio::start(config)).expect("a client");
    let table = fluss.table(LOG).wait().expect("the log table");
    let writer = table.appender().batch_bytes(256 << 10).build().expect("a writer");
    let text = "x".repeat(TEXT);
    for index in 0..STORED / TEXT as u64 + 1 {
        drop(writer.append(&row![index as i64, &text]).wait().expect("memory for the row"));
    }
    writer.flush().wait().expect("all rows acknowledged");
    assert_eq!(fluss.memory_used(), 0, "all outcomes are there, but memory is still held");
    println!("{}", fake.bootstrap());
    std::io::stdin().lines().for_each(drop);
}

/// A number of `/proc/self/status`, in bytes.
fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    let number = line.trim_start_matches(':').trim().trim_end_matches(" kB");
    number.parse::<u64>().expect("a number") * 1024
}

struct Seen {
    idle: u64,
    peak: u64,
    /// The most that waited at once.
    buffered: u64,
    rows: u64,
}

fn buffered(scanner: &LogScanner) -> u64 {
    let buckets = scanner.positions().keys();
    buckets.filter_map(|key| scanner.progress(*key)).map(|at| at.buffered_bytes).sum()
}

/// Reads everything, slowly at first.
fn read() -> Seen {
    let mut server: Child = Command::new(std::env::current_exe().expect("this program"))
        .arg("server")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a server");
    let mut lines = BufReader::new(server.stdout.take().expect("its output")).lines();
    let bootstrap = lines.next().expect("a line").expect("its address");
    let runtime = runtime();
    let config = Config::new(&bootstrap).expect("an address");
    let fluss = runtime.block_on(fluss_tokio::start(config)).expect("a client");
    let table = fluss.table(LOG).wait().expect("the log table");
    let mut seen = Seen { idle: status("VmRSS"), peak: 0, buffered: 0, rows: 0 };
    let builder = table.scanner().max_bytes_per_bucket(16 << 20).bounded();
    let mut scanner = builder.build().wait().expect("a scanner");
    let mut batches = 0;
    while let Some(batch) = scanner.next_batch().wait().expect("readable") {
        seen.rows += batch.num_rows() as u64;
        batches += 1;
        if batches < SLOW {
            thread::sleep(WORK);
            seen.buffered = seen.buffered.max(buffered(&scanner));
        }
    }
    seen.peak = status("VmHWM");
    drop((scanner, table, fluss, runtime, server.stdin.take()));
    server.wait().expect("it ends with its input");
    seen
}
