//! Handles after a real `fork(2)`, among threads that write and a driver that works.
//!
//! Forking is `unsafe` in Rust, which is forbidden here. A process started by these tests has a
//! library preloaded in which `getppid`, which is safe to call, is `fork`.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::os::unix::process::parent_id as fork;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use fluss_core::config::Config;
use fluss_core::row::{DataType, OwnedDatum, Schema, TableDescriptor};
use fluss_core::testing::loopback::{Loopback, within};
use fluss_core::{AppendWriter, Error, Fluss, LogScanner, Lookuper, Ticket, WriteError};
use fluss_tools::main_job::nothing_held;

/// Which runtime a process is to fork with; set by the test that starts it.
const RUNTIME: &str = "FLUSS_FORK_RUNTIME";
const FORKS: usize = 30;
const LIBRARY: &str = "#include <unistd.h>\npid_t getppid(void) { return fork(); }\n";

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fork-{}-{name}", std::process::id()))
}

/// Needs the C compiler that building this workspace needs, too.
fn library() -> PathBuf {
    let (source, library) = (scratch("fork.c"), scratch("fork.so"));
    fs::write(&source, LIBRARY).expect("a file in the target directory");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut compile = Command::new(compiler);
    compile.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    assert!(compile.status().expect("a C compiler").success());
    fs::remove_file(source).expect("it was written");
    library
}

#[test]
fn forked_children_are_told_so_at_once_and_their_parent_loses_nothing() {
    let library = library();
    for runtime in ["tokio", "smol", "blocking"] {
        let mut process = Command::new(std::env::current_exe().expect("this test"));
        process.args(["--exact", "a_process_that_forks", "--nocapture"]);
        process.env("LD_PRELOAD", &library).env(RUNTIME, runtime);
        let output = process.output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{runtime}: {said}");
        assert!(said.contains(&format!("{runtime}: {FORKS} forks")), "{runtime}: {said}");
    }
    fs::remove_file(library).expect("it was made");
}

/// Does something only where the test above starts it.
#[test]
fn a_process_that_forks() {
    if let Ok(runtime) = std::env::var(RUNTIME) {
        within(Duration::from_secs(240), move || parent(&runtime));
    }
}

fn start(runtime: &str, config: Config) -> Fluss {
    let started = match runtime {
        "smol" => smol::block_on(fluss_smol::start(config)),
        "blocking" => fluss_embedded::start(config),
        _ => {
            let mut tokio = tokio::runtime::Builder::new_multi_thread();
            let tokio = tokio.worker_threads(2).enable_all().build().expect("a runtime");
            let started = tokio.block_on(fluss_tokio::start(config));
            // It lives as long as the process.
            std::mem::forget(tokio);
            started
        }
    };
    started.expect("a client")
}

fn tables(fake: &Loopback) {
    let events = Schema::builder().column("id", DataType::BIGINT).build().expect("a schema");
    fake.create_table("shop.events", &TableDescriptor::new(events)).expect("a table");
    let users = Schema::builder().column("id", DataType::BIGINT.not_null());
    let users = users.column("n", DataType::INT).primary_key(["id"]).build().expect("a schema");
    fake.create_table("shop.users", &TableDescriptor::new(users)).expect("a table");
}

fn parent(runtime: &str) {
    let fake = Loopback::new().expect("loopback ports");
    tables(&fake);
    let fluss = start(runtime, Config::new(&fake.bootstrap()).expect("an address"));
    let events = fluss.table("shop.events").wait().expect("the table");
    let users = fluss.table("shop.users").wait().expect("the table");
    let writer = events.appender().linger(Duration::from_millis(1)).build().expect("a writer");
    let lookuper = users.lookuper().expect("a lookuper");
    let (next, stop) = (AtomicI64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let writers = Stop(&stop);
        for _ in 0..2 {
            scope.spawn(|| write(&writer.clone(), &lookuper, &next, &stop));
        }
        for number in 0..FORKS {
            let scanner = events.scanner().from_earliest().build().wait().expect("a scanner");
            let id = next.fetch_add(1, Ordering::Relaxed);
            let waiting = writer.append(&(id,)).wait().expect("room");
            let verdict = scratch(&number.to_string());
            let owner = std::process::id();
            match fork() {
                0 => {
                    let held = Held { owner, fluss: fluss.clone(), writer: writer.clone() };
                    let wrong = held.child(&lookuper, scanner, waiting);
                    let part = verdict.with_extension("part");
                    let told = fs::write(&part, wrong.join("\n"));
                    let told = told.and_then(|()| fs::rename(&part, &verdict));
                    // Nothing of the test harness may run twice.
                    std::process::exit(i32::from(told.is_err()));
                }
                child => assert_eq!(hear(child, &verdict), "", "child {number}"),
            }
            waiting.wait().expect("the parent goes on");
        }
        drop(writers);
    });
    writer.flush().wait().expect("all rows are written");
    assert_eq!(fluss.close(Duration::from_secs(30)).wait(), Ok(0));
    nothing_held(&fluss);
    let mut times = BTreeMap::new();
    for row in fake.rows("shop.events").expect("rows") {
        let OwnedDatum::Int64(id) = row.values.values()[0] else { panic!("no id: {row:?}") };
        *times.entry(id).or_insert(0) += 1;
    }
    let handed_in = next.load(Ordering::Relaxed);
    assert!(times.into_iter().eq((0..handed_in).map(|id| (id, 1))), "of {handed_in} rows");
    println!("{runtime}: {FORKS} forks among {handed_in} rows");
}

/// Ends the threads that write, also where a verdict on a child does: the scope waits for them.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Keeps the driver busy, as a fork may come in the midst of anything.
fn write(writer: &AppendWriter, lookuper: &Lookuper, next: &AtomicI64, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let ids = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        let tickets: Vec<Ticket> =
            ids.take(20).map(|id| writer.append(&(id,)).wait().expect("room")).collect();
        assert_eq!(lookuper.lookup(&(7_i64,)).wait(), Ok(None));
        for ticket in tickets {
            ticket.wait().expect("written");
        }
    }
}

/// What a child says, once it has.
fn hear(child: u32, verdict: &Path) -> String {
    let child = i32::try_from(child).ok().filter(|child| *child > 0).expect("a process");
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if let Ok(text) = fs::read_to_string(verdict) {
            fs::remove_file(verdict).expect("it is there");
            return text;
        }
        if Instant::now() > until {
            let _ = Command::new("kill").args(["-9", &child.to_string()]).status();
            return "it says nothing: something waits for ever".to_owned();
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// What a child has of its parent.
struct Held {
    owner: u32,
    fluss: Fluss,
    writer: AppendWriter,
}

/// What is wrong with an answer that should be an error of a fork.
fn wrong<T: Debug, E: Debug>(
    what: &str,
    answer: Option<Result<T, E>>,
    is_forked: impl Fn(&E) -> bool,
) -> Option<String> {
    match &answer {
        Some(Err(error)) if is_forked(error) => None,
        _ => Some(format!("{what}: {answer:?}")),
    }
}

/// The answer, if it is there at once: there is no executor in a child.
fn now<F: Future>(future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    match Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

impl Held {
    /// Uses everything, and tells what did not answer that it belongs to the parent.
    fn child(self, lookuper: &Lookuper, mut scanner: LogScanner, waiting: Ticket) -> Vec<String> {
        let Self { owner, fluss, writer } = self;
        let forked = |error: &Error| *error == Error::Forked { owner };
        let unknown = |error: &WriteError| {
            matches!(error, WriteError::OutcomeUnknown(_)) && forked(error.cause())
        };
        let stopped = |error: &fluss_core::FlushError| error.stopped.as_ref().is_some_and(forked);
        let row = (-1_i64,);
        let mut found = vec![
            wrong("try_append", Some(writer.try_append(&row)), forked),
            wrong("append", Some(writer.append(&row).wait()), forked),
            wrong("append, async", now(writer.append(&row)), forked),
            wrong("flush", Some(writer.flush().wait()), stopped),
            wrong("flush, async", now(writer.flush()), stopped),
            wrong("table", Some(fluss.table("shop.events").wait()), forked),
            wrong("table, async", now(fluss.table("shop.events")), forked),
            wrong("appender", Some(writer.table().appender().build()), forked),
            wrong("lookup", Some(lookuper.lookup(&(1_i64,)).wait()), forked),
            wrong("lookup, async", now(lookuper.lookup(&(1_i64,))), forked),
            wrong("next_batch, async", now(scanner.next_batch()), forked),
            wrong("next_batch", Some(scanner.next_batch().wait()), forked),
            wrong("close", Some(fluss.close(Duration::from_secs(1)).wait()), forked),
            wrong("close, async", now(fluss.close(Duration::from_secs(1))), forked),
        ];
        let known = waiting.outcome();
        let early = matches!(known, Some(Ok(_)));
        if !early {
            found.push(wrong("ticket", now(waiting), unknown));
        }
        let seen = fluss.metrics();
        if seen.memory_used != 0 {
            found.push(Some(format!("metrics: {seen:?}")));
        }
        drop((fluss, writer, scanner));
        found.into_iter().flatten().collect()
    }
}
