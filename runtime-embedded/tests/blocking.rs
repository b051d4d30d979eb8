//! Blocking callers: alone, in numbers, within async runtimes, and at the end.

mod common;

use std::thread;
use std::time::Duration;

use common::{TABLE, bootstrap, cluster, rows};
use fluss_embedded::{Config, Error, row};
use fluss_tools::main_job::nothing_held;

const SECONDS: Duration = Duration::from_secs(20);

#[test]
fn a_lone_caller_writes_and_closes() {
    let (fake, table) = cluster();
    let fluss = fluss_embedded::connect(&bootstrap(&fake)).unwrap();
    let writer = fluss.table(TABLE).wait().unwrap().appender().build().unwrap();
    let tickets: Vec<_> =
        (0..1000).map(|i| writer.append(&row![i, "row"]).wait().unwrap()).collect();
    writer.flush().wait().unwrap();
    for ticket in tickets {
        assert!(ticket.wait().unwrap().offset.is_some());
    }
    assert_eq!(fluss.close(SECONDS).wait().unwrap(), 0);
    assert_eq!(rows(&fake, table), 1000);
    nothing_held(&fluss);
}

#[test]
fn many_threads_share_a_client() {
    let (fake, table) = cluster();
    let fluss = fluss_embedded::connect(&bootstrap(&fake)).unwrap();
    let opened = fluss.table(TABLE).wait().unwrap();
    thread::scope(|scope| {
        for number in 0..8 {
            let (fluss, opened) = (&fluss, &opened);
            scope.spawn(move || {
                let writer = opened.appender().linger(Duration::ZERO).build().unwrap();
                for i in 0..50 {
                    // Alternates between calls and rows, so that the driver changes hands a lot.
                    let ticket = writer.append(&row![number * 1000 + i, "row"]).wait().unwrap();
                    fluss.table(TABLE).wait().unwrap();
                    ticket.wait().unwrap();
                }
            });
        }
    });
    assert_eq!(fluss.close(SECONDS).wait().unwrap(), 0);
    assert_eq!(rows(&fake, table), 400);
    nothing_held(&fluss);
}

#[test]
fn lone_calls_of_changing_threads_all_end() {
    let (fake, _) = cluster();
    let fluss = fluss_embedded::connect(&bootstrap(&fake)).unwrap();
    for _ in 0..100 {
        let fluss = fluss.clone();
        thread::spawn(move || fluss.table(TABLE).wait().unwrap()).join().unwrap();
    }
}

#[test]
fn a_wait_within_a_wait_ends() {
    let (fake, table) = cluster();
    let fluss = fluss_embedded::connect(&bootstrap(&fake)).unwrap();
    let writer = fluss.table(TABLE).wait().unwrap().appender().build().unwrap();
    let values = (0..20).map(|i| {
        fluss.table(TABLE).wait().unwrap();
        row![i, "row"]
    });
    let run = writer.append_all(values).wait().unwrap();
    writer.flush().wait().unwrap();
    assert_eq!(run.wait().iter().map(|part| part.rows.end - part.rows.start).sum::<u64>(), 20);
    assert_eq!(rows(&fake, table), 20);
    nothing_held(&fluss);
}

#[test]
fn a_blocking_call_works_in_a_worker_of_an_async_runtime() {
    let (fake, _) = cluster();
    let fluss = fluss_embedded::connect(&bootstrap(&fake)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let path = runtime.block_on(async {
        // In the only thread of the runtime, without I/O and time of its own; then as a future.
        fluss.table(TABLE).wait().unwrap();
        fluss.table(TABLE).await.unwrap().info().path.clone()
    });
    assert_eq!(path.to_string(), TABLE);
}

#[test]
fn a_host_name_is_resolved_and_all_its_addresses_tried() {
    let (fake, _) = cluster();
    let port = bootstrap(&fake).rsplit(':').next().unwrap().to_owned();
    // Where the name stands for ::1 first, that address refuses.
    let fluss = fluss_embedded::connect(&format!("localhost:{port}")).unwrap();
    fluss.table(TABLE).wait().unwrap();
}

#[test]
fn an_unreachable_server_is_an_error_within_the_limit() {
    let (fake, _) = cluster();
    let address = bootstrap(&fake);
    drop(fake);
    let config = Config::new(&address).unwrap().connect_timeout(Duration::from_millis(100));
    let error = fluss_embedded::start(config).unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. } | Error::Disconnected { .. }), "{error}");
}

#[test]
fn a_blocked_caller_is_told_when_another_thread_closes() {
    let (fake, _) = cluster();
    let fluss = fluss_embedded::connect(&bootstrap(&fake)).unwrap();
    let opened = fluss.table(TABLE).wait().unwrap();
    let writer = opened.appender().linger(SECONDS).build().unwrap();
    let ticket = writer.append(&row![1, "row"]).wait().unwrap();
    let caller = thread::spawn(move || ticket.wait());
    assert_eq!(fluss.close(SECONDS).wait().unwrap(), 0);
    // Closing delivers what is there, so the row got its outcome.
    caller.join().unwrap().unwrap();
    nothing_held(&fluss);
}

#[test]
fn the_drivers_thread_ends_with_the_client() {
    let (fake, _) = cluster();
    let fluss = fluss_embedded::connect(&bootstrap(&fake)).unwrap();
    let writer = fluss.table(TABLE).wait().unwrap().appender().build().unwrap();
    writer.append(&row![1, "row"]).wait().unwrap().wait().unwrap();
    nothing_held(&fluss);
    assert!(fake.connections() > 0);
    drop(writer);
    drop(fluss);
    // The thread closes the sockets when it ends, which the servers notice.
    while fake.connections() > 0 {
        thread::yield_now();
    }
}
