//! The three ways to wait, behind one face.

use std::io;
use std::time::Duration;

use fluss_core::config::Config;
use fluss_core::{
    Ack, AppendWriter, Error, Fluss, Interrupted, LogScanner, RunPart, RunTicket, ScanBatch,
    Ticket, UpsertWriter, WriteError,
};

use crate::main_job::RowOf;

/// A handle of a writer of one of the two tables.
#[derive(Clone, Debug)]
pub(super) enum Handle {
    /// Appends to the log table.
    Log(AppendWriter),
    /// Upserts to the primary-key table and deletes from it.
    Keyed(UpsertWriter),
}

/// One write: a row, or the deletion of the row with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Op {
    pub(super) row: RowOf,
    pub(super) delete: bool,
}

/// A runtime: how to start a client on it, and how its threads wait.
pub(super) trait Runtime: Send + Sync {
    /// Its name in reports.
    fn name(&self) -> &'static str;
    /// Starts a client.
    fn start(&self, config: Config) -> Result<Fluss, Error>;
    /// Hands one row in.
    fn put(&self, handle: &Handle, op: Op) -> Result<Ticket, Error>;
    /// Hands rows in, all upserts or appends.
    fn put_all(&self, handle: &Handle, rows: &[RowOf]) -> Result<RunTicket, Interrupted>;
    /// Waits for an outcome.
    fn ticket(&self, ticket: Ticket) -> Result<Ack, WriteError>;
    /// Waits for the outcomes of a run.
    fn run(&self, ticket: RunTicket) -> Vec<RunPart>;
    /// Waits for the next batch, and drops the wait after this time: then there is none.
    fn next(&self, scanner: &mut LogScanner, limit: Duration) -> Result<Option<ScanBatch>, Error>;
}

async fn put(handle: &Handle, op: Op) -> Result<Ticket, Error> {
    match handle {
        Handle::Log(writer) => writer.append(&op.row).await,
        Handle::Keyed(writer) if op.delete => writer.delete(&(op.row.id,)).await,
        Handle::Keyed(writer) => writer.upsert(&op.row).await,
    }
}

async fn put_all(handle: &Handle, rows: &[RowOf]) -> Result<RunTicket, Interrupted> {
    match handle {
        Handle::Log(writer) => writer.append_all(rows).await,
        Handle::Keyed(writer) => writer.upsert_all(rows).await,
    }
}

struct Tokio(tokio::runtime::Runtime);

impl Runtime for Tokio {
    fn name(&self) -> &'static str {
        "tokio"
    }

    fn start(&self, config: Config) -> Result<Fluss, Error> {
        self.0.block_on(fluss_tokio::start(config))
    }

    fn put(&self, handle: &Handle, op: Op) -> Result<Ticket, Error> {
        self.0.block_on(put(handle, op))
    }

    fn put_all(&self, handle: &Handle, rows: &[RowOf]) -> Result<RunTicket, Interrupted> {
        self.0.block_on(put_all(handle, rows))
    }

    fn ticket(&self, ticket: Ticket) -> Result<Ack, WriteError> {
        self.0.block_on(ticket)
    }

    fn run(&self, ticket: RunTicket) -> Vec<RunPart> {
        self.0.block_on(ticket)
    }

    fn next(&self, scanner: &mut LogScanner, limit: Duration) -> Result<Option<ScanBatch>, Error> {
        let next = async { tokio::time::timeout(limit, scanner.next_batch()).await };
        self.0.block_on(next).unwrap_or(Ok(None))
    }
}

struct Smol;

impl Runtime for Smol {
    fn name(&self) -> &'static str {
        "smol"
    }

    fn start(&self, config: Config) -> Result<Fluss, Error> {
        smol::block_on(fluss_smol::start(config))
    }

    fn put(&self, handle: &Handle, op: Op) -> Result<Ticket, Error> {
        smol::block_on(put(handle, op))
    }

    fn put_all(&self, handle: &Handle, rows: &[RowOf]) -> Result<RunTicket, Interrupted> {
        smol::block_on(put_all(handle, rows))
    }

    fn ticket(&self, ticket: Ticket) -> Result<Ack, WriteError> {
        smol::block_on(ticket)
    }

    fn run(&self, ticket: RunTicket) -> Vec<RunPart> {
        smol::block_on(ticket)
    }

    fn next(&self, scanner: &mut LogScanner, limit: Duration) -> Result<Option<ScanBatch>, Error> {
        let timer = async {
            smol::Timer::after(limit).await;
            Ok(None)
        };
        smol::block_on(smol::future::or(scanner.next_batch(), timer))
    }
}

struct Blocking;

impl Runtime for Blocking {
    fn name(&self) -> &'static str {
        "blocking"
    }

    fn start(&self, config: Config) -> Result<Fluss, Error> {
        fluss_embedded::start(config)
    }

    fn put(&self, handle: &Handle, op: Op) -> Result<Ticket, Error> {
        match handle {
            Handle::Log(writer) => writer.append(&op.row).wait(),
            Handle::Keyed(writer) if op.delete => writer.delete(&(op.row.id,)).wait(),
            Handle::Keyed(writer) => writer.upsert(&op.row).wait(),
        }
    }

    fn put_all(&self, handle: &Handle, rows: &[RowOf]) -> Result<RunTicket, Interrupted> {
        match handle {
            Handle::Log(writer) => writer.append_all(rows).wait(),
            Handle::Keyed(writer) => writer.upsert_all(rows).wait(),
        }
    }

    fn ticket(&self, ticket: Ticket) -> Result<Ack, WriteError> {
        ticket.wait()
    }

    fn run(&self, ticket: RunTicket) -> Vec<RunPart> {
        ticket.wait()
    }

    fn next(&self, scanner: &mut LogScanner, limit: Duration) -> Result<Option<ScanBatch>, Error> {
        scanner.next_batch().wait_timeout(limit)
    }
}

/// All runtimes.
pub(super) fn all() -> io::Result<Vec<Box<dyn Runtime>>> {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_io()
        .enable_time()
        .build()?;
    Ok(vec![Box::new(Tokio(tokio)), Box::new(Smol), Box::new(Blocking)])
}
