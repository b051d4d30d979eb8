//! Which bucket a row goes to: the table's own rule, or one of the user's.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::row::hash::{BucketFunction, KeyHash};
use crate::row::{RowError, RowErrorKind};

/// Chooses the buckets of a writer's rows in place of the table's own rule; given to
/// [`AppendBuilder::bucket_assigner`](super::AppendBuilder::bucket_assigner) or
/// [`UpsertBuilder::bucket_assigner`](super::UpsertBuilder::bucket_assigner). Closures that take a
/// [`RowToAssign`] are assigners.
///
/// It is asked once for each row, on the thread that hands the row in, and again where the row's
/// partition turns out to have another number of buckets. It must not wait for anything, nor hand
/// rows in through the writer that asks it: other rows of the handle wait meanwhile.
///
/// ```no_run
/// use fluss_core::{BucketAssigner, RowToAssign};
///
/// /// Rows of a customer stay together, large customers get a bucket of their own.
/// struct ByCustomer {
///     large: Vec<Vec<u8>>,
/// }
///
/// impl BucketAssigner for ByCustomer {
///     fn columns(&self) -> Option<Vec<String>> {
///         Some(vec!["customer".to_owned()])
///     }
///
///     fn assign(&self, row: &RowToAssign<'_>) -> u32 {
///         let large = self.large.iter().position(|key| *key == row.key);
///         let sum: u32 = row.key.iter().map(|byte| u32::from(*byte)).sum();
///         large.map_or(sum, |at| at as u32) % row.buckets
///     }
/// }
/// # fn f(table: &fluss_core::Table) -> fluss_core::Result<()> {
/// let writer = table.appender().bucket_assigner(ByCustomer { large: Vec::new() }).build()?;
/// # Ok(())
/// # }
/// ```
pub trait BucketAssigner: Send + Sync + 'static {
    /// The columns whose values [`RowToAssign::key`] has; asked once, when the writer is built.
    /// They must be scalar and not null; with a primary key they must be among its columns, as
    /// deletes have no others. Default None: the bucket key of the table.
    fn columns(&self) -> Option<Vec<String>> {
        None
    }

    /// The bucket of a row, from 0 to `row.buckets - 1`. Any other number refuses the row.
    fn assign(&self, row: &RowToAssign<'_>) -> u32;
}

impl<F: Fn(&RowToAssign<'_>) -> u32 + Send + Sync + 'static> BucketAssigner for F {
    fn assign(&self, row: &RowToAssign<'_>) -> u32 {
        self(row)
    }
}

/// A row that needs a bucket.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RowToAssign<'a> {
    /// The bytes of the columns that the assigner named, one after the other as in a COMPACTED row
    /// without null bits; or those of the table's bucket key, empty where it has none.
    pub key: &'a [u8],
    /// The name of the row's partition, in a partitioned table.
    pub partition: Option<&'a str>,
    /// The number of buckets to choose from, at least 1.
    pub buckets: u32,
}

/// An assigner of the user's.
#[derive(Clone)]
pub(super) struct Assigner(Arc<dyn BucketAssigner>);

impl std::fmt::Debug for Assigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BucketAssigner")
    }
}

impl Assigner {
    pub(super) fn new(assigner: impl BucketAssigner) -> Self {
        Self(Arc::new(assigner))
    }

    pub(super) fn columns(&self) -> Option<Vec<String>> {
        self.0.columns()
    }

    /// Kept out of the path of tables that place their rows themselves.
    #[inline(never)]
    fn bucket(&self, row: &RowToAssign<'_>) -> std::result::Result<i32, RowError> {
        let (bucket, buckets) = (self.0.assign(row), row.buckets);
        match i32::try_from(bucket) {
            Ok(found) if bucket < buckets => Ok(found),
            _ => Err(RowErrorKind::Bucket { bucket, buckets }.into()),
        }
    }
}

/// How a writer's rows find their buckets.
#[derive(Clone, Debug, Default)]
pub(super) struct Placing {
    pub(super) function: BucketFunction,
    pub(super) assigner: Option<Assigner>,
}

impl Placing {
    /// Whether rows can be placed anew by another number of buckets, in their order.
    pub(super) fn check_reroute(&self) -> Result<()> {
        match self.assigner {
            None => Ok(()),
            Some(_) => Err(Error::misuse("what an assigner placed has no order to be kept")),
        }
    }

    /// The bucket of a row of a table without partitions whose key, with this hash, is its bucket
    /// key.
    #[inline]
    pub(super) fn bucket_by(
        &self,
        hash: KeyHash,
        key: &[u8],
        buckets: u32,
    ) -> std::result::Result<i32, RowError> {
        match &self.assigner {
            // A key without a bucket has been refused before.
            None => Ok(self.function.bucket_by(hash, key, buckets).unwrap_or(0) as i32),
            Some(_) => self.bucket(key, None, buckets),
        }
    }

    /// The bucket of a row with this key.
    #[inline]
    pub(super) fn bucket(
        &self,
        key: &[u8],
        partition: Option<&str>,
        buckets: u32,
    ) -> std::result::Result<i32, RowError> {
        match &self.assigner {
            // A key without a bucket has been refused before.
            None => Ok(self.function.bucket_of(key, buckets).unwrap_or(0) as i32),
            Some(assigner) => assigner.bucket(&RowToAssign { key, partition, buckets }),
        }
    }
}
