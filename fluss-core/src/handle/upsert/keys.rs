//! What is read off the keys of primary-key tables: partitions, and the bytes that place rows.

use crate::error::{Error, Result};
use crate::handle::table::TableInfo;
use crate::row::key::KeyEncoder;
use crate::row::partition::PartitionNamer;
use crate::row::{RowLayout, compacted};

/// What names the partitions of rows, in partitioned tables.
#[derive(Debug)]
pub(super) struct Namers {
    pub(super) of_row: PartitionNamer,
    /// From the values of the primary key alone.
    pub(super) of_key: PartitionNamer,
}

impl Namers {
    pub(super) fn new(info: &TableInfo, targets: Option<&[usize]>) -> Result<Option<Self>> {
        let (schema, key) = (info.schema(), &info.descriptor.partition_key);
        if key.is_empty() {
            return Ok(None);
        }
        let of_row = match targets {
            None => PartitionNamer::new(schema, key)?,
            Some(targets) => PartitionNamer::for_values(schema, key, targets)?,
        };
        let of_key = PartitionNamer::for_values(schema, key, schema.primary_key())?;
        Ok(Some(Self { of_row: of_row.for_new(), of_key }))
    }
}

/// Reads compacted keys, for the bytes of some of their columns.
#[derive(Debug)]
pub(super) struct KeyReader {
    pub(super) layout: RowLayout,
    pub(super) encoder: KeyEncoder,
}

impl KeyReader {
    pub(super) fn read(&self, key: &[u8], out: &mut Vec<u8>) -> Result<()> {
        // A key is a row without null bits, of which a key has none.
        let mut row = vec![0; self.layout.arity().div_ceil(8)];
        row.extend_from_slice(key);
        let row = compacted::decode(&self.layout, &row);
        let row = row.map_err(|error| Error::misuse(format!("a key cannot be read: {error}")))?;
        Ok(self.encoder.encode(&row, out)?)
    }
}
