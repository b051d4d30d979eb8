//! Rows that did not make it, given back to whoever wants them.
//!
//! Nothing is copied for it while all goes well: a sealed batch is kept by reference until its
//! outcome is there, and rows are read out of it only when it failed.

use std::fmt::{self, Debug, Formatter};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use fluss_proto::record::SealedBatch;

use super::lane::{Format, Op};
use crate::error::{Error, WriteError};
use crate::row::{Columns, Datum, OwnedDatum, OwnedRow, Row, RowError, RowSink};

/// A row that was handed in and is not known to be written.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its values: those of the columns that the writer writes, or of the primary key for a delete.
    /// Of a row that did not fit the table, those before the one to blame, and that one; where it
    /// came in a record batch, all, with null for those that no row can hold: the error tells the
    /// first one. Of a row that fails while it is read, those before. Of a delete from a table of
    /// the data lake formats whose keys are no rows of Fluss' own (Paimon, Iceberg, Hudi), only
    /// those of partition columns; the others are null.
    pub row: OwnedRow,
    /// Whether it was a delete.
    pub delete: bool,
    /// Why: it is not written, or nobody can tell.
    pub error: WriteError,
}

type Callback = dyn Fn(DeadLetter) + Send + Sync;

/// Who wants the rows that did not make it, if anybody does.
#[derive(Clone, Default)]
pub(crate) struct Letters(Option<Arc<Callback>>);

impl Debug for Letters {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Letters").field(&self.0.is_some()).finish()
    }
}

/// Something to tell the application when no lock is held.
pub(super) struct Delivery(Box<dyn FnOnce() + Send>);

impl Debug for Delivery {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Delivery")
    }
}

impl Delivery {
    pub(super) fn make(self) {
        if catch_unwind(AssertUnwindSafe(self.0)).is_err() {
            log::error!(target: "fluss", "the callback for dead letters panicked");
        }
    }
}

/// The rows of a sealed batch, until its outcome is known.
pub(super) struct Kept(Box<dyn FnOnce(WriteError) + Send>);

impl Debug for Kept {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

impl Kept {
    pub(super) fn fail(self, error: &WriteError) -> Delivery {
        let error = error.clone();
        Delivery(Box::new(move || (self.0)(error)))
    }

    pub(super) fn forget(self) -> Delivery {
        Delivery(Box::new(move || drop(self)))
    }
}

impl Letters {
    pub(crate) fn to(callback: impl Fn(DeadLetter) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(callback)))
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Keeps a batch that was sealed; None if nobody wants its rows.
    pub(super) fn keep<F: Format>(
        &self,
        format: &Arc<F>,
        sealed: &SealedBatch,
        partition: Option<Arc<str>>,
    ) -> Option<Kept> {
        let callback = Arc::clone(self.0.as_ref()?);
        let (format, sealed) = (Arc::clone(format), sealed.clone());
        Some(Kept(Box::new(move |error| {
            let rows = format
                .rows_of(&sealed, partition.as_deref())
                .unwrap_or_else(|cause| unread(sealed.record_count(), &cause));
            for (delete, row) in rows {
                callback(DeadLetter { row, delete, error: error.clone() });
            }
        })))
    }

    /// Keeps the rows of a batch that will not be sent, as they are in its builder; None if nobody
    /// wants them.
    #[cold]
    pub(super) fn keep_open<F: Format>(
        &self,
        format: &Arc<F>,
        builder: &mut F::Builder,
        partition: Option<Arc<str>>,
    ) -> Option<Kept> {
        let callback = Arc::clone(self.0.as_ref()?);
        let count = F::rows(builder);
        let cause = match F::seal_to_read(builder) {
            Ok(sealed) => return self.keep(format, &sealed, partition),
            Err(cause) => cause,
        };
        Some(Kept(Box::new(move |error| {
            for (delete, row) in unread(count, &cause) {
                callback(DeadLetter { row, delete, error: error.clone() });
            }
        })))
    }

    /// A row that does not fit the table; None if nobody wants it.
    #[cold]
    pub(super) fn refuse<F: Format, R: Row + ?Sized>(
        &self,
        format: &F,
        op: Op,
        row: &R,
        error: &Error,
    ) -> Option<Delivery> {
        let callback = Arc::clone(self.0.as_ref()?);
        let mut values = Values { columns: format.columns(op), values: Vec::new() };
        // What it says is told already.
        let _ = row.write(&mut values);
        let row = OwnedRow::new(values.values);
        let error = WriteError::NotWritten(error.clone().into());
        let letter = DeadLetter { row, delete: op == Op::Delete, error };
        Some(Delivery(Box::new(move || callback(letter))))
    }
}

/// So many rows without their values, which is told.
fn unread(count: u32, cause: &Error) -> Vec<(bool, OwnedRow)> {
    log::error!(target: "fluss", "rows that failed cannot be read back: {cause}");
    (0..count).map(|_| (false, OwnedRow::default())).collect()
}

/// Collects what a row writes, fitting or not.
struct Values<'a> {
    columns: Columns<'a>,
    values: Vec<OwnedDatum>,
}

impl RowSink for Values<'_> {
    type Error = RowError;

    fn columns(&self) -> Option<Columns<'_>> {
        Some(self.columns)
    }

    fn put(&mut self, datum: Datum<'_>) -> Result<(), RowError> {
        self.values.push(datum.into());
        Ok(())
    }
}

#[cfg(test)]
#[path = "dead_letter_tests.rs"]
mod tests;
