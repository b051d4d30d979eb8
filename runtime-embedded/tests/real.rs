//! The main job on a real cluster, on a blocking thread.

use fluss_embedded::row::OwnedRow;
use fluss_embedded::{
    Ack, AppendWriter, Error, LogScanner, Lookuper, Pending, ScanBatch, Ticket, UpsertWriter,
    WriteError,
};
use fluss_tools::cluster::{ClusterOptions, RealCluster, real_cluster_or_skip};
use fluss_tools::main_job::{Job, RowOf, Waits, partitions, rows, run};

struct Blocking;

impl Waits for Blocking {
    fn pending<T>(&self, call: Pending<T>) -> Result<T, Error> {
        call.wait()
    }

    fn append(&self, writer: &AppendWriter, row: &RowOf) -> Result<Ticket, Error> {
        writer.append(row).wait()
    }

    fn upsert(&self, writer: &UpsertWriter, row: &RowOf) -> Result<Ticket, Error> {
        writer.upsert(row).wait()
    }

    fn ticket(&self, ticket: Ticket) -> Result<Ack, WriteError> {
        ticket.wait()
    }

    fn next(&self, scanner: &mut LogScanner) -> Result<Option<ScanBatch>, Error> {
        scanner.next_batch().wait()
    }

    fn lookup(&self, lookuper: &Lookuper, id: i64) -> Result<Option<OwnedRow>, Error> {
        lookuper.lookup(&(id,)).wait()
    }
}

#[test]
fn rows_travel_to_a_real_cluster_and_back_exactly_once_each() {
    if !real_cluster_or_skip("blocking: rows travel to a real cluster and back exactly once each") {
        return;
    }
    let cluster = RealCluster::start(ClusterOptions::default()).expect("a cluster");
    let bootstrap = cluster.bootstrap().join(",");
    let waits = Blocking;
    let fluss = fluss_embedded::connect(&bootstrap).expect("a connection");
    run(&cluster, &fluss, &waits, "blocking", Job::sized(50_000));
    let left = waits.pending(fluss.close(std::time::Duration::from_secs(10)));
    assert_eq!(left, Ok(0), "rows left at close");
}

#[test]
fn rows_create_the_partitions_of_a_real_cluster_and_are_there_exactly_once_each() {
    if !real_cluster_or_skip("blocking: rows create partitions and are there exactly once each") {
        return;
    }
    let cluster = RealCluster::start(ClusterOptions::default()).expect("a cluster");
    let bootstrap = cluster.bootstrap().join(",");
    let waits = Blocking;
    let fluss = fluss_embedded::connect(&bootstrap).expect("a connection");
    partitions::run(&cluster, &fluss, &waits, "blocking", 20_000);
    let left = waits.pending(fluss.close(std::time::Duration::from_secs(10)));
    assert_eq!(left, Ok(0), "rows left at close");
}

#[test]
fn rows_by_name_of_some_columns_and_beyond_their_types_meet_a_real_cluster() {
    if !real_cluster_or_skip("blocking: rows by name, of some columns and beyond their types") {
        return;
    }
    let cluster = RealCluster::start(ClusterOptions::default()).expect("a cluster");
    let bootstrap = cluster.bootstrap().join(",");
    let waits = Blocking;
    let fluss = fluss_embedded::connect(&bootstrap).expect("a connection");
    rows::run(&cluster, &fluss, &waits, "blocking");
    let left = waits.pending(fluss.close(std::time::Duration::from_secs(10)));
    assert_eq!(left, Ok(0), "rows left at close");
}
