//! A server that stalls costs the client its memory budget and little more: 64 MiB of rows of 100
//! bytes from eight threads, at most 16 MiB beside them, whether they are appended, compressed or
//! upserted.
//!
//! The server is a process of its own (this one, started again), so that only the client's memory
//! counts, and so is each client, as memory that was used once may stay.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use fluss_benches::fake;
use fluss_core::Error;
use fluss_core::ids::ServerId;
use fluss_tokio::config::Config;
use fluss_tokio::{AppendWriter, Ticket, UpsertWriter};

const MIB: u64 = 1 << 20;
/// The client's budget for rows.
const BUDGET: u64 = 64 * MIB;
/// What the client may need beside them.
const BESIDE: u64 = 16 * MIB;
const THREADS: usize = 8;
/// The text of a row; beside it stand 20 bytes of numbers.
const TEXT: &str =
    "eighty bytes of text: eighty bytes of text: eighty bytes of text: eighty bytes!!";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("server") {
        serve();
        return ExitCode::SUCCESS;
    }
    // Arguments of the test harness, such as filters, do not apply to a single test; a listing must
    // not run it.
    if std::env::args().any(|arg| arg == "--list") {
        println!("a_stalled_server_costs_the_budget_and_little_more: test");
        return ExitCode::SUCCESS;
    }
    if let Some(at) = std::env::args().position(|arg| arg == "client") {
        let table = std::env::args().nth(at + 1).unwrap_or_default();
        return if keeps_to_its_budget(&table) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let mut kept = true;
    for table in [fake::LOG, fake::ZSTD, fake::KEYED] {
        let program = std::env::current_exe().expect("this program");
        let status = Command::new(program).args(["client", table]).status();
        kept &= status.expect("a client").success();
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn keeps_to_its_budget(table: &str) -> bool {
    let (idle, peak, used) = stall(table);
    let above = peak.saturating_sub(idle);
    println!(
        "{table}: {:.1} MiB idle, {:.1} MiB at most, {:.1} MiB above idle with {:.1} MiB of rows",
        mib(idle),
        mib(peak),
        mib(above),
        mib(used)
    );
    if used < BUDGET * 9 / 10 {
        println!("the budget was not used, so this proves nothing");
        return false;
    }
    if above > BUDGET + BESIDE {
        println!("at most {:.1} MiB are allowed", mib(BUDGET + BESIDE));
        return false;
    }
    true
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}

/// Prints the address; each line of input silences the tablet server; ends with its input.
fn serve() {
    let fake = fake::loopback(4);
    println!("{}", fake.bootstrap());
    for line in std::io::stdin().lines() {
        line.expect("a line");
        fake.with(|cluster| cluster.silence(ServerId::Tablet(0)));
        println!("silent");
    }
}

/// A number of `/proc/self/status`, in bytes.
fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    let number = line.trim_start_matches(':').trim().trim_end_matches(" kB");
    number.parse::<u64>().expect("a number") * 1024
}

/// Writes until nothing more fits. Answers what was resident before, what at most, and the bytes of
/// the budget in use.
fn stall(path: &str) -> (u64, u64, u64) {
    let mut server = Command::new(std::env::current_exe().expect("this program"))
        .arg("server")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a server");
    let mut input = server.stdin.take().expect("its input");
    let mut lines = BufReader::new(server.stdout.take().expect("its output")).lines();
    let bootstrap = lines.next().expect("a line").expect("its address");

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let config = Config::new(&bootstrap).expect("an address").memory_limit(BUDGET);
    let fluss = runtime.block_on(fluss_tokio::start(config)).expect("a client");
    let table = fluss.table(path).wait().expect("the table");
    let writer = if path == fake::KEYED {
        Writer::Upsert(table.upserter().build().expect("a writer"))
    } else {
        Writer::Append(table.appender().build().expect("a writer"))
    };
    write(&writer, 0, 1000);
    writer.flush().wait().expect("all rows acknowledged");

    input.write_all(b"silence\n").expect("the server listens");
    lines.next().expect("a line").expect("it is silent");
    let idle = status("VmRSS");
    let threads: Vec<_> = (1..=THREADS as u64)
        .map(|number| {
            let writer = writer.clone();
            thread::spawn(move || write(&writer, number << 40, u64::MAX))
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    let result = (idle, status("VmHWM"), fluss.memory_used());
    drop((writer, table, fluss, runtime, input));
    server.wait().expect("it ends with its input");
    result
}

/// A row whose columns take 100 bytes.
fn row(index: u64) -> (i64, &'static str, i32, f64) {
    (index as i64, TEXT, index as i32, index as f64 * 0.5)
}

/// A writer of one of the tables.
#[derive(Clone)]
enum Writer {
    Append(AppendWriter),
    Upsert(UpsertWriter),
}

impl Writer {
    fn put(&self, index: u64) -> fluss_tokio::Result<Ticket> {
        const LONG: Duration = Duration::from_secs(1);
        match self {
            Self::Append(writer) => writer.append(&row(index)).wait_timeout(LONG),
            // One key, hence one bucket: rows that find no memory are no smaller than others.
            Self::Upsert(writer) => writer.upsert(&row(0)).wait_timeout(LONG),
        }
    }

    fn flush(&self) -> fluss_tokio::Flush {
        match self {
            Self::Append(writer) => writer.flush(),
            Self::Upsert(writer) => writer.flush(),
        }
    }
}

/// Writes rows from this number on until there is no memory for a while.
fn write(writer: &Writer, first: u64, rows: u64) {
    for index in (first..).take(usize::try_from(rows).unwrap_or(usize::MAX)) {
        match writer.put(index) {
            Ok(_ticket) => {}
            Err(Error::Unavailable { .. }) => return,
            Err(error) => panic!("{error}"),
        }
    }
}
