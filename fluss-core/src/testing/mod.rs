//! A test kit: a fake Fluss cluster that speaks real bytes, keeps real state and fails on demand.
//!
//! An application that writes to Fluss has to do something sensible when an answer is lost, a
//! leader moves or a row is refused. With this kit its own tests make those things happen, in a
//! fraction of a second and without Java: the client under test is the real one, over real sockets.
//!
//! ```toml
//! [dev-dependencies]
//! fluss-tokio = { version = "0.1", features = ["testing"] } # or fluss-smol, fluss-embedded
//! ```
//!
//! Start a cluster, make a table, connect as always, let something fail, and look at what the log
//! really holds:
//!
//! ```
//! use fluss_core::row::{DataType, Schema, TableDescriptor};
//! use fluss_core::testing::cluster::{Fault, On};
//! use fluss_core::testing::loopback::Loopback;
//!
//! let fake = Loopback::new()?;
//! let schema = Schema::builder().column("id", DataType::BIGINT).build()?;
//! fake.create_table("shop.orders", &TableDescriptor::new(schema))?;
//!
//! // The fourth write from now is applied, and its answer is lost with the connection.
//! fake.inject(On::Write, 3, Fault::LoseAnswer);
//! // The bucket gets another leader, of which the client knows nothing yet.
//! fake.move_leader("shop.orders", 0)?;
//! // An upsert is refused for the moment, as the storage is under pressure. Servers say so from
//! // 1.0 on; one of 0.9, which this is, calls it an error of its storage.
//! fake.inject(On::Write, 0, Fault::Throttle);
//!
//! // let fluss = fluss_tokio::connect(&fake.bootstrap()).await?;
//! // … what the application does with it …
//!
//! assert_eq!(fake.rows("shop.orders")?.len(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A whole application that tests itself in this way is `examples/self_test.rs` of each adapter;
//! `cargo test -p fluss-tokio --example self_test` runs it.
//!
//! * [`loopback::Loopback`]: start, make tables, inject faults, read back, one call each.
//! * [`cluster::Fault`]: every fault by its name; [`cluster::Faults`]: by chance from a seed.
//! * [`cluster::FakeCluster`], by [`Loopback::with`](loopback::Loopback::with): servers that stop,
//!   restart or fall silent, tables that are made anew, writers that expire, the log byte by byte.
//! * [`cluster::ClusterOptions`]: passwords, lagging metadata, slow replication, and the
//!   [`Release`](cluster::Release): servers tell of pressure, and so throttle writers, from
//!   [`V1_0`](cluster::Release::V1_0) on.
//! * [`store::store_of`]: its remote storage, for [`Config::store`](crate::config::Config::store).
//! * [`loopback::Port`] and [`loopback::Relay`]: a port that misbehaves, a relay that can be aimed
//!   elsewhere.
//! * [`random`]: random schemas and rows of all types; [`hostile`]: batches of them, damaged.
//! * [`conformance`]: what every adapter has to pass; [`shop`]: what the examples of the README are
//!   run against; [`sim`]: the client in virtual time, with everything going wrong.
//!
//! # What it is not
//!
//! The fake imitates the answers of a 0.9.1 server as the tests of this project compare them with a
//! real one. It has one copy of each log, so nothing acknowledged is ever lost by a failover; it
//! moves segments to remote storage only when it is told to, and knows no lake and no quotas. Its
//! faults are deterministic, threads and sockets are not: with [`cluster::FakeCluster`] alone,
//! driven by hand, a run can be repeated byte for byte.

pub mod cluster;
#[cfg(feature = "testing")]
pub mod conformance;
mod framing;
pub mod hostile;
mod kit;
pub mod loopback;
pub mod random;
pub mod shop;
pub mod sim;
pub mod store;
