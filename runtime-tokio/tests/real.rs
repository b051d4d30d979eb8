//! The main job on a real cluster, on tokio.

use fluss_tokio::row::OwnedRow;
use fluss_tokio::{
    Ack, AppendWriter, Error, LogScanner, Lookuper, Pending, ScanBatch, Ticket, UpsertWriter,
    WriteError,
};
use fluss_tools::cluster::{ClusterOptions, RealCluster, real_cluster_or_skip};
use fluss_tools::main_job::{Job, RowOf, Waits, partitions, rows, run};
use tokio::runtime::Runtime;

struct Tokio(Runtime);

impl Waits for Tokio {
    fn pending<T>(&self, call: Pending<T>) -> Result<T, Error> {
        self.0.block_on(call)
    }

    fn append(&self, writer: &AppendWriter, row: &RowOf) -> Result<Ticket, Error> {
        self.0.block_on(writer.append(row))
    }

    fn upsert(&self, writer: &UpsertWriter, row: &RowOf) -> Result<Ticket, Error> {
        self.0.block_on(writer.upsert(row))
    }

    fn ticket(&self, ticket: Ticket) -> Result<Ack, WriteError> {
        self.0.block_on(ticket)
    }

    fn next(&self, scanner: &mut LogScanner) -> Result<Option<ScanBatch>, Error> {
        self.0.block_on(scanner.next_batch())
    }

    fn lookup(&self, lookuper: &Lookuper, id: i64) -> Result<Option<OwnedRow>, Error> {
        self.0.block_on(lookuper.lookup(&(id,)))
    }
}

#[test]
fn rows_travel_to_a_real_cluster_and_back_exactly_once_each() {
    if !real_cluster_or_skip("tokio: rows travel to a real cluster and back exactly once each") {
        return;
    }
    let cluster = RealCluster::start(ClusterOptions::default()).expect("a cluster");
    let bootstrap = cluster.bootstrap().join(",");
    let waits = Tokio(Runtime::new().expect("a runtime"));
    let fluss = waits.0.block_on(fluss_tokio::connect(&bootstrap)).expect("a connection");
    run(&cluster, &fluss, &waits, "tokio", Job::sized(50_000));
    let left = waits.pending(fluss.close(std::time::Duration::from_secs(10)));
    assert_eq!(left, Ok(0), "rows left at close");
}

#[test]
fn rows_create_the_partitions_of_a_real_cluster_and_are_there_exactly_once_each() {
    if !real_cluster_or_skip("tokio: rows create partitions and are there exactly once each") {
        return;
    }
    let cluster = RealCluster::start(ClusterOptions::default()).expect("a cluster");
    let bootstrap = cluster.bootstrap().join(",");
    let waits = Tokio(Runtime::new().expect("a runtime"));
    let fluss = waits.0.block_on(fluss_tokio::connect(&bootstrap)).expect("a connection");
    partitions::run(&cluster, &fluss, &waits, "tokio", 20_000);
    let left = waits.pending(fluss.close(std::time::Duration::from_secs(10)));
    assert_eq!(left, Ok(0), "rows left at close");
}

#[test]
fn rows_by_name_of_some_columns_and_beyond_their_types_meet_a_real_cluster() {
    if !real_cluster_or_skip("tokio: rows by name, of some columns and beyond their types") {
        return;
    }
    let cluster = RealCluster::start(ClusterOptions::default()).expect("a cluster");
    let bootstrap = cluster.bootstrap().join(",");
    let waits = Tokio(Runtime::new().expect("a runtime"));
    let fluss = waits.0.block_on(fluss_tokio::connect(&bootstrap)).expect("a connection");
    rows::run(&cluster, &fluss, &waits, "tokio");
    let left = waits.pending(fluss.close(std::time::Duration::from_secs(10)));
    assert_eq!(left, Ok(0), "rows left at close");
}
