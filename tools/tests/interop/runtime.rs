//! The three ways to wait.

use arrow_array::RecordBatch;
use fluss_core::config::Config;
use fluss_core::row::OwnedRow;
use fluss_core::{
    AppendWriter, Error, Fluss, Interrupted, LogScanner, Pending, RunPart, RunTicket, ScanBatch,
    UpsertWriter,
};

/// A runtime, by how its threads wait.
pub(crate) enum Runtime {
    Tokio(tokio::runtime::Runtime),
    Smol,
    Blocking,
}

/// Waits for a future of this client.
macro_rules! wait {
    ($runtime:expr, $future:expr) => {
        match $runtime {
            Runtime::Tokio(runtime) => runtime.block_on($future),
            Runtime::Smol => smol::block_on($future),
            Runtime::Blocking => $future.wait(),
        }
    };
}

impl Runtime {
    /// All of them.
    pub(crate) fn all() -> [Self; 3] {
        let tokio = tokio::runtime::Runtime::new().expect("a runtime");
        [Self::Tokio(tokio), Self::Smol, Self::Blocking]
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Tokio(_) => "tokio",
            Self::Smol => "smol",
            Self::Blocking => "blocking",
        }
    }

    pub(crate) fn connect(&self, bootstrap: &[String]) -> Fluss {
        let config = Config::new(&bootstrap.join(",")).expect("addresses");
        let fluss = match self {
            Self::Tokio(runtime) => runtime.block_on(fluss_tokio::start(config)),
            Self::Smol => smol::block_on(fluss_smol::start(config)),
            Self::Blocking => fluss_embedded::start(config),
        };
        fluss.expect("a client")
    }

    pub(crate) fn pending<T>(&self, call: Pending<T>) -> Result<T, Error> {
        wait!(self, call)
    }

    /// All rows have to be written.
    pub(crate) fn append(&self, writer: &AppendWriter, rows: &[OwnedRow]) {
        self.written(wait!(self, writer.append_all(rows)), rows.len());
        wait!(self, writer.flush()).expect("all rows are written");
    }

    /// The same rows as a record batch.
    pub(crate) fn append_batch(&self, writer: &AppendWriter, batch: &RecordBatch) {
        self.written(wait!(self, writer.append_batch(batch)), batch.num_rows());
        wait!(self, writer.flush()).expect("all rows are written");
    }

    pub(crate) fn upsert(&self, writer: &UpsertWriter, rows: &[OwnedRow]) {
        self.written(wait!(self, writer.upsert_all(rows)), rows.len());
        wait!(self, writer.flush()).expect("all rows are written");
    }

    pub(crate) fn delete(&self, writer: &UpsertWriter, keys: &[OwnedRow]) {
        self.written(wait!(self, writer.delete_all(keys)), keys.len());
        wait!(self, writer.flush()).expect("all rows are deleted");
    }

    pub(crate) fn next(&self, scanner: &mut LogScanner) -> Option<ScanBatch> {
        wait!(self, scanner.next_batch()).expect("a batch that decodes")
    }

    fn written(&self, ticket: Result<RunTicket, Interrupted>, rows: usize) {
        let ticket = ticket.expect("memory for the rows");
        let parts: Vec<RunPart> = wait!(self, ticket);
        let mut told = 0;
        for part in parts {
            part.outcome.unwrap_or_else(|error| panic!("rows {:?}: {error}", part.rows));
            told += part.rows.end - part.rows.start;
        }
        assert_eq!(told, rows as u64, "each row has an outcome");
    }
}
