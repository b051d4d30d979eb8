//! An application that writes to Fluss, and its tests, shared by the `self_test` examples of the
//! adapters: handles are the same types everywhere.
//!
//! The application keeps a shop's orders in a log table. What it has to get right is what becomes
//! of an order that did not get an `Ok`: one that is not written is handed in again, one whose
//! outcome is unknown is put on a list for people, as handing it in again could double it.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use fluss_core::config::{Config, WriterConfig};
use fluss_core::row::{DataType, OwnedDatum, Schema, TableDescriptor};
use fluss_core::testing::cluster::{ClusterOptions, FakeCluster, Fault, FaultKind, On, Release};
use fluss_core::testing::loopback::{Loopback, LoopbackOptions};
use fluss_core::{AppendWriter, Fluss, WriteError, row};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const ORDERS: &str = "shop.orders";
const STOCK: &str = "shop.stock";
/// An error code that no retry can help: the client may not write to the table.
const AUTHORIZATION_EXCEPTION: i32 = 48;

// ----- the application -----

/// What became of some orders.
#[derive(Debug, Default, PartialEq)]
struct Placed {
    written: Vec<i64>,
    /// Handed in a second time, as the first was surely not written.
    repeated: Vec<i64>,
    /// Somebody has to look whether they are there.
    to_be_checked: Vec<i64>,
}

/// Places orders, each at most once.
async fn place(orders: &AppendWriter, ids: impl Iterator<Item = i64>) -> Result<Placed> {
    let mut placed = Placed::default();
    let mut tickets = Vec::new();
    for id in ids {
        tickets.push((id, orders.append(&row![id, "a book"]).await?));
    }
    for (id, ticket) in tickets {
        match ticket.await {
            Ok(_) => placed.written.push(id),
            Err(WriteError::NotWritten(_)) => {
                orders.append(&row![id, "a book"]).await?.await?;
                placed.repeated.push(id);
            }
            Err(error) => {
                eprintln!("order {id} has to be checked: {error}");
                placed.to_be_checked.push(id);
            }
        }
    }
    Ok(placed)
}

// ----- its tests -----

/// A fake cluster with the tables of the application, of a release that tells of pressure.
pub(crate) fn fake() -> Result<Loopback> {
    let options = ClusterOptions { release: Release::V1_0, ..ClusterOptions::default() };
    let fake = Loopback::start(FakeCluster::new(options), LoopbackOptions::default())?;
    let orders = Schema::builder().column("id", DataType::BIGINT).column("what", DataType::STRING);
    fake.create_table(ORDERS, &TableDescriptor::new(orders.build()?))?;
    let stock = Schema::builder()
        .column("what", DataType::STRING.not_null())
        .column("pieces", DataType::INT)
        .primary_key(["what"]);
    fake.create_table(STOCK, &TableDescriptor::new(stock.build()?))?;
    Ok(fake)
}

/// Settings with which an order that is never answered is given up soon.
pub(crate) fn settings(fake: &Loopback) -> Result<Config> {
    let config = Config::new(&fake.bootstrap())?;
    Ok(config.ack_timeout(Duration::from_secs(1)).request_deadline(Duration::from_secs(2)))
}

/// How often this kind of fault hit a request.
fn fired(fake: &Loopback, fault: FaultKind) -> u64 {
    fake.with(|cluster| cluster.faults().count(fault))
}

/// Lets go wrong what may go wrong, and compares what the application believes with the log.
pub(crate) async fn check(fluss: &Fluss, fake: &Loopback) -> Result<()> {
    let table = fluss.table(ORDERS).await?;
    let settings = table.appender().linger(Duration::ZERO);
    let orders = settings.delivery_timeout(Duration::from_secs(3)).build()?;

    // All is well.
    assert_eq!(place(&orders, 0..10).await?.written, (0..10).collect::<Vec<_>>());
    // Answers are lost: the client sends again, and the server knows the copies for what they are.
    fake.inject(On::Write, 0, Fault::LoseAnswer);
    assert_eq!(place(&orders, 10..20).await?.written, (10..20).collect::<Vec<_>>());
    assert_eq!(fired(fake, FaultKind::LoseAnswer), 1);
    // The leader moves.
    fake.move_leader(ORDERS, 0)?;
    assert_eq!(place(&orders, 20..30).await?.written, (20..30).collect::<Vec<_>>());
    // An order is refused for good: it is not written, and the application repeats it.
    fake.inject(On::Write, 0, Fault::ErrorBefore(AUTHORIZATION_EXCEPTION));
    assert_eq!(place(&orders, 30..31).await?.repeated, [30]);
    // An order is written and never answered, and neither are its copies.
    (0..100).for_each(|skip| fake.inject(On::Write, skip, Fault::LoseAnswer));
    assert_eq!(place(&orders, 31..32).await?.to_be_checked, [31]);
    // Each order is there once, also the one nobody could be sure of.
    let mut times = BTreeMap::new();
    for order in fake.rows(ORDERS)? {
        let OwnedDatum::Int64(id) = order.values.values()[0] else { return Err("no id".into()) };
        *times.entry(id).or_insert(0) += 1;
    }
    assert!(times.into_iter().eq((0..32).map(|id| (id, 1))), "an order is missing or doubled");

    fake.with(|cluster| cluster.set_faults(fluss_core::testing::cluster::Faults::new(0)));
    // Storage is under pressure, and an upsert waits until it is not.
    let mut settings = WriterConfig::default();
    (settings.linger, settings.max_throttle) = (Duration::ZERO, Duration::from_millis(100));
    let stock = fluss.table(STOCK).await?.upserter().config(settings).build()?;
    let before = fluss.counters().resends_transient;
    fake.inject(On::Write, 0, Fault::Throttle);
    stock.upsert(&row!["a book", 7]).await?.await?;
    assert_eq!(fake.live_rows(STOCK)?.len(), 1);
    assert_eq!(fired(fake, FaultKind::Throttle), 1);
    assert_eq!(fluss.counters().resends_transient, before + 1);

    let seen = fluss.metrics();
    assert_eq!((seen.memory_used, seen.counters.unknown), (0, 1));
    assert!(seen.counters.retries > 0 && seen.counters.connections_lost > 0);
    Ok(())
}
