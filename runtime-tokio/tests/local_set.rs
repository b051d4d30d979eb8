//! A client on one thread alone: its driver, its writers and its readers are tasks of a `LocalSet`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use fluss_core::row::{DataType, Datum, OwnedDatum, Schema, TableDescriptor};
use fluss_core::testing::cluster::{Fault, On};
use fluss_core::testing::loopback::{Loopback, within};
use fluss_tokio::{Config, Fluss};
use tokio::runtime::Builder;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

const WRITERS: i64 = 3;
const ROWS: i64 = 2000;
/// A twentieth of what is written: rows have to wait for their memory again and again, which only
/// the driver gives back, on the same thread.
const BUDGET: u64 = 32 << 10;
/// More than any of these runs takes.
const PATIENCE: Duration = Duration::from_secs(120);

fn name(id: i64) -> String {
    format!("row {id:0>90}")
}

fn cluster(primary_key: bool) -> Loopback {
    let fake = Loopback::new().expect("loopback ports");
    let schema = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("name", DataType::STRING);
    let schema = if primary_key { schema.primary_key(["id"]) } else { schema };
    let mut table = TableDescriptor::new(schema.build().expect("a schema"));
    table.bucket_count = Some(3);
    fake.create_table("shop.rows", &table).expect("a table");
    fake
}

/// Runs a body with a client on one thread, and the client to its end.
fn alone<F: Future<Output = ()> + 'static>(fake: Loopback, body: fn(Fluss, Rc<Loopback>) -> F) {
    within(PATIENCE, move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        LocalSet::new().block_on(&runtime, async move {
            let fake = Rc::new(fake);
            let config = Config::new(&fake.bootstrap()).expect("addresses").memory_limit(BUDGET);
            let (fluss, driver) = fluss_tokio::connect_with(config).expect("sound settings");
            assert_eq!((fluss.turns(), fake.connections()), (0, 0), "nobody has polled it");
            let driver = spawn_local(driver);
            fluss.ready().await.expect("a connection");
            body(fluss.clone(), fake).await;
            assert_eq!(fluss.memory_used(), 0);
            assert_eq!(fluss.close(PATIENCE).await.expect("it was open"), 0);
            driver.await.expect("the driver ends with its client");
        });
    });
}

/// Runs so many local tasks, which are no more `Send` than what they share.
async fn share<F: Future<Output = ()> + 'static>(
    work: impl Fn(i64, Rc<RefCell<Vec<i64>>>) -> F,
) -> Vec<i64> {
    let done = Rc::new(RefCell::new(Vec::new()));
    let tasks = (0..WRITERS).map(|writer| spawn_local(work(writer, Rc::clone(&done))));
    let tasks: Vec<JoinHandle<()>> = tasks.collect();
    for task in tasks {
        task.await.expect("no task panics");
    }
    done.take()
}

async fn append_and_scan(fluss: Fluss, fake: Rc<Loopback>) {
    let table = fluss.table("shop.rows").await.expect("the table");
    let appender = table.appender().batch_bytes(4 << 10).linger(Duration::from_millis(1));
    let writer = appender.build().expect("a writer");
    fake.inject(On::Write, 5, Fault::LoseAnswer);
    fake.inject(On::Write, 9, Fault::LoseAnswer);
    let written = share(|number, written| {
        let writer = writer.clone();
        async move {
            for id in number * ROWS..(number + 1) * ROWS {
                let ticket = writer.append(&(id, name(id))).await.expect("taken");
                if id % 100 == 0 {
                    ticket.await.expect("written");
                }
                written.borrow_mut().push(id);
            }
            writer.flush().await.expect("all written");
        }
    });
    let written = written.await;
    assert_eq!(written.len() as i64, WRITERS * ROWS);
    let one_by_one = written.windows(2).all(|two| two[1] == two[0] + 1);
    assert!(!one_by_one, "while one task waits for memory the others go on");

    let mut scanner = table.scanner().bounded().build().await.expect("a scanner");
    let mut seen = BTreeMap::new();
    while let Some(batch) = scanner.next_batch().await.expect("readable") {
        for row in batch.rows().expect("rows").iter() {
            let Datum::Int64(id) = row.value(0).expect("an id") else { panic!("no BIGINT") };
            assert_eq!(row.value(1).expect("a name"), Datum::Str(&name(id)));
            assert_eq!(seen.insert(id, row.offset()), None, "row {id} came twice");
        }
    }
    assert!(seen.keys().copied().eq(0..WRITERS * ROWS), "{} rows came back", seen.len());
}

async fn upsert_and_look_up(fluss: Fluss, fake: Rc<Loopback>) {
    let table = fluss.table("shop.rows").await.expect("the table");
    let upserter = table.upserter().batch_bytes(4 << 10).linger(Duration::from_millis(1));
    let writer = upserter.build().expect("a writer");
    fake.inject(On::Write, 4, Fault::LoseAnswer);
    let written = share(|number, written| {
        let writer = writer.clone();
        async move {
            for id in number * ROWS..(number + 1) * ROWS {
                drop(writer.upsert(&(id, name(id))).await.expect("taken"));
                written.borrow_mut().push(id);
            }
            writer.flush().await.expect("all written");
        }
    });
    assert_eq!(written.await.len() as i64, WRITERS * ROWS);
    let lookuper = table.lookuper().expect("a primary key");
    let found = share(|number, found| {
        let lookuper = lookuper.clone();
        async move {
            for id in (number * ROWS..(number + 1) * ROWS).step_by(7) {
                let row = lookuper.lookup(&(id,)).await.expect("an answer").expect("a row");
                let expected = [OwnedDatum::Int64(id), OwnedDatum::Str(name(id))];
                assert_eq!(row.values(), expected);
                found.borrow_mut().push(id);
            }
            assert!(lookuper.lookup(&(-1 - number,)).await.expect("an answer").is_none());
        }
    });
    let asked = (0..WRITERS).flat_map(|n| (n * ROWS..(n + 1) * ROWS).step_by(7));
    assert_eq!(found.await.len(), asked.count());
}

#[test]
fn a_driver_that_is_a_local_task_serves_local_writers_and_a_scanner_on_its_own_thread() {
    alone(cluster(false), append_and_scan);
}

#[test]
fn a_driver_that_is_a_local_task_serves_local_upserts_and_lookups_on_its_own_thread() {
    alone(cluster(true), upsert_and_look_up);
}
