//! A foreign `poll` loop turns the driver, in a process of its own: the only thread of the process
//! is the caller's, and an idle client costs next to nothing. Against the fake cluster and a real
//! one. With a host name there is the resolver's thread besides, as long as the client is. Nothing
//! here reads segments in remote storage, which up to three threads more would do.

mod common;

use std::process::{Command, ExitCode};

use common::{TABLE, bootstrap, cluster, rows};
#[cfg(any(target_os = "linux", target_os = "android"))]
use fluss_tools::cluster::{ClusterOptions, RealCluster, TableLosses, real_cluster_or_skip};

/// Set for the child: the bootstrap address.
const ADDRESS: &str = "FLUSS_FOREIGN_LOOP";
/// Set for the child: the table.
const NAME: &str = "FLUSS_FOREIGN_LOOP_TABLE";
const ROWS: i32 = 500;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod child {
    use std::fs;
    use std::net::SocketAddr;
    use std::time::{Duration, Instant};

    use fluss_embedded::{Config, EmbeddedDriver, Turn, row};
    use fluss_tools::main_job::nothing_held;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::{NAME, ROWS};

    const NOBODY: [&str; 0] = [];

    /// The names of all threads but this one.
    fn others() -> Vec<String> {
        let own = std::process::id().to_string();
        let tasks = fs::read_dir("/proc/self/task").expect("the process's threads");
        let tasks = tasks.map(|task| task.expect("a thread"));
        // A thread may end between the list and the look at it.
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
        let names = tasks.filter(|task| *task.file_name() != *own).filter_map(name);
        names.map(|name| name.trim_end().to_owned()).collect()
    }

    /// One round of a loop that knows nothing but a descriptor and a deadline. False after a
    /// limit without anything to do.
    fn round(driver: &mut EmbeddedDriver, limit: Duration) -> bool {
        let left = driver.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let wait = left.unwrap_or(limit).min(limit);
        let mut fds = [PollFd::new(driver, PollFlags::IN)];
        let wait = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).expect("seconds"),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let ready = poll(&mut fds, Some(&wait)).expect("poll");
        let due = driver.next_deadline().is_some_and(|at| at <= Instant::now());
        if ready > 0 || due {
            assert_ne!(driver.turn(Some(Duration::ZERO)).expect("a turn"), Turn::Closed);
        }
        ready > 0 || due
    }

    pub(super) fn run(address: &str) {
        let name = std::env::var(NAME).expect("the name of a table");
        // Literal addresses need no thread.
        let literal = address.split(',').all(|one| one.parse::<SocketAddr>().is_ok());
        let resolver = if literal { Vec::new() } else { vec!["fluss-resolver".to_owned()] };
        assert_eq!(others(), NOBODY, "before anything was done");
        let config = Config::new(address).expect("an address");
        let (fluss, mut driver) = fluss_embedded::connect_with(config).expect("a client");
        driver.block_on(fluss.ready()).expect("turns").expect("a server");
        let table = driver.block_on(fluss.table(&name)).expect("turns").expect("the table");
        let writer = table.appender().build().expect("a writer");
        let mut tickets = Vec::new();
        for i in 0..ROWS {
            tickets.push(writer.try_append(&row![i, "row"]).expect("there is memory"));
        }
        let start = Instant::now();
        while tickets.iter().any(|ticket| ticket.outcome().is_none()) {
            round(&mut driver, Duration::from_secs(1));
            assert!(start.elapsed() < Duration::from_secs(30), "rows without an outcome");
        }
        for ticket in &tickets {
            ticket.outcome().expect("an outcome").expect("written");
        }
        nothing_held(&fluss);
        assert_eq!(others(), resolver, "with {address}");
        if resolver.is_empty() {
            idle(&mut driver);
        }
        let left = driver.block_on(fluss.close(Duration::from_secs(10))).expect("turns");
        assert_eq!(left, Ok(0));
        // The resolver's thread is told to end then, and does so by itself.
        drop(driver);
        let start = Instant::now();
        while others() != NOBODY {
            assert!(start.elapsed() < Duration::from_secs(30), "after the close: {:?}", others());
            std::thread::yield_now();
        }
    }

    /// The driver counts the times it was entered.
    fn idle(driver: &mut EmbeddedDriver) {
        let (turns, start) = (driver.turns(), Instant::now());
        let mut rounds = 0;
        while start.elapsed() < Duration::from_secs(5) {
            rounds += u32::from(round(driver, Duration::from_millis(500)));
        }
        let turns = driver.turns() - turns;
        assert!(turns <= 25, "{turns} turns in 5 s without work");
        assert!(rounds <= 25, "{rounds} wake-ups in 5 s without work");
        println!("idle for 5 s: {turns} turns, {rounds} wake-ups");
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn main() -> ExitCode {
    if let Ok(address) = std::env::var(ADDRESS) {
        child::run(&address);
        return ExitCode::SUCCESS;
    }
    let (fake, table) = cluster();
    let address = bootstrap(&fake);
    let (_, port) = address.rsplit_once(':').expect("a port");
    for (runs, address) in [(1, &*address), (2, &format!("localhost:{port}"))] {
        drive(address, TABLE);
        assert_eq!(rows(&fake, table), runs * u64::from(ROWS.unsigned_abs()));
    }
    if real_cluster_or_skip("a foreign poll loop drives a client of a real cluster") {
        real();
    }
    println!(
        "a foreign poll loop drove the client with one thread, and one more for a host name; \
         reading remote storage, which this does not, takes up to three more"
    );
    ExitCode::SUCCESS
}

/// Runs the loop against this cluster, in a process of its own.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn drive(bootstrap: &str, table: &str) {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program);
    let status = child.env(ADDRESS, bootstrap).env(NAME, table).status().expect("a child");
    assert!(status.success(), "{status}");
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn real() {
    let cluster = RealCluster::start(ClusterOptions::default()).expect("a cluster");
    let bootstrap = cluster.bootstrap().join(",");
    let fluss = fluss_embedded::connect(&bootstrap).expect("a connection");
    let losses = TableLosses::new();
    let table = losses.open(&cluster, &fluss, "fluss.events", &common::table(), None);
    let table = table.expect("a table with leaders");
    drive(&bootstrap, &table.info().path.to_string());
    let mut scanner = table.scanner().bounded().build().wait().expect("a scanner");
    let batches = scanner.blocking_iter().map(|batch| batch.expect("readable").num_rows());
    assert_eq!(batches.sum::<usize>(), usize::try_from(ROWS).expect("not negative"));
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn main() -> ExitCode {
    let _ = (ADDRESS, NAME, ROWS, TABLE, bootstrap, cluster, rows, common::table, Command::new);
    println!("not run: this system has no descriptor for a foreign loop");
    ExitCode::SUCCESS
}
