//! Which encoding a table's keys have, and which function places them.

use super::super::TableDescriptor;
use super::super::error::shorten;
use super::super::hash::BucketFunction;
use super::KeyFormat;

/// The property that chooses the lake whose keys and buckets a table has. It counts even while the
/// lake itself is switched off, so that the table can be tiered there later.
const LAKE: &str = "table.datalake.format";
const VERSION: &str = "table.kv.format-version";

/// How the keys of a table are encoded and placed, which its properties decide.
///
/// | `table.datalake.format` | `table.kv.format-version` | bucket key | key | bucket key's bytes |
/// |---|---|---|---|---|
/// | none, `lance` | 1, 2 | any | compacted | compacted |
/// | `paimon`, `iceberg` | 1, or none | any | the lake's | the lake's |
/// | `paimon`, `iceberg` | 2 | the primary key | the lake's | the lake's |
/// | `paimon`, `iceberg` | 2 | a part of it | compacted | the lake's |
/// | `hudi` | any | any | compacted | the lake's |
///
/// ```
/// use fluss_core::row::key::{KeyFormat, KeyRules};
/// use fluss_core::row::{DataType, Schema, TableDescriptor};
///
/// let schema = Schema::builder().column("id", DataType::INT).primary_key(["id"]).build().unwrap();
/// let mut table = TableDescriptor::new(schema);
/// assert_eq!(KeyRules::of(&table).unwrap().key, KeyFormat::Compacted);
/// table.properties.insert("table.datalake.format".into(), "paimon".into());
/// assert_eq!(KeyRules::of(&table).unwrap().key, KeyFormat::Paimon);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyRules {
    /// Of the primary key without the partition columns, and of the prefixes of prefix lookups;
    /// without meaning for a log table.
    pub key: KeyFormat,
    /// Of the columns that choose the bucket.
    pub bucket_key: KeyFormat,
    /// From the bytes of the bucket key to the bucket.
    pub function: BucketFunction,
}

/// A table whose keys this client cannot encode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsupportedKeys {
    /// A lake this client does not know.
    #[error(
        "the table's keys follow table.datalake.format={0}, which this client does not know: it \
         knows paimon, iceberg, hudi, lance and none"
    )]
    LakeFormat(String),
    /// A version of the key encoding this client does not know.
    #[error(
        "the table's keys follow table.kv.format-version={0}, which this client does not know: it \
         knows 1 and 2"
    )]
    Version(String),
}

impl KeyRules {
    /// The rules of a table, from its properties, primary key and bucket key.
    ///
    /// # Errors
    /// A format or version that this client does not know.
    pub fn of(table: &TableDescriptor) -> Result<Self, UnsupportedKeys> {
        let lake = table.properties.get(LAKE).map(|lake| lake.to_ascii_lowercase());
        let (lake, function) = match lake.as_deref() {
            None | Some("lance") => (KeyFormat::Compacted, BucketFunction::Fluss),
            Some("paimon") => (KeyFormat::Paimon, BucketFunction::Paimon),
            Some("iceberg") => (KeyFormat::Iceberg, BucketFunction::Iceberg),
            Some("hudi") => (KeyFormat::Hudi, BucketFunction::Hudi),
            Some(other) => return Err(UnsupportedKeys::LakeFormat(shorten(other))),
        };
        let log = table.schema.primary_key().is_empty();
        let key = if log || lake == KeyFormat::Hudi {
            // A Hudi key cannot be read back, so rows have another.
            KeyFormat::Compacted
        } else {
            match table.properties.get(VERSION).map(|version| version.trim()) {
                None | Some("1") => lake,
                // Only whole keys are the lake's, so that prefixes of others can be looked up.
                Some("2") if table.effective_bucket_key() == table.physical_primary_key() => lake,
                Some("2") => KeyFormat::Compacted,
                Some(other) => return Err(UnsupportedKeys::Version(shorten(other))),
            }
        };
        Ok(Self { key, bucket_key: lake, function })
    }
}
