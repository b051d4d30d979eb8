//! The rows of one bucket of a primary-key table.

use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;

/// A stored row: its bytes and the schema they were encoded with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) schema_id: i16,
    pub(super) bytes: Bytes,
}

impl Row {
    /// The row as lookups return it.
    pub(super) fn value(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(2 + self.bytes.len());
        out.put_i16_le(self.schema_id);
        out.put_slice(&self.bytes);
        out.freeze()
    }
}

/// Rows by encoded key.
#[derive(Clone, Debug, Default)]
pub(super) struct Kv {
    rows: BTreeMap<Bytes, Row>,
}

impl Kv {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Row> {
        self.rows.get(key)
    }

    pub(super) fn set(&mut self, key: Bytes, row: Option<Row>) {
        match row {
            Some(row) => drop(self.rows.insert(key, row)),
            None => drop(self.rows.remove(&key)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Row)> {
        self.rows.iter()
    }

    /// Rows whose keys start with `prefix`, in key order.
    pub(super) fn with_prefix<'a>(&'a self, prefix: &'a [u8]) -> impl Iterator<Item = &'a Row> {
        let from = Bytes::copy_from_slice(prefix);
        let rows = self.rows.range(from..).take_while(move |(key, _)| key.starts_with(prefix));
        rows.map(|(_, row)| row)
    }

    /// The first rows in key order as a value batch.
    pub(super) fn first_rows(&self, limit: usize) -> Bytes {
        let rows: Vec<&Row> = self.rows.values().take(limit).collect();
        let mut out = BytesMut::new();
        out.put_i32_le(0);
        out.put_u8(0);
        out.put_i32_le(i32::try_from(rows.len()).unwrap_or(i32::MAX));
        for row in rows {
            out.put_i32_le(i32::try_from(2 + row.bytes.len()).unwrap_or(i32::MAX));
            out.put_i16_le(row.schema_id);
            out.put_slice(&row.bytes);
        }
        let length = i32::try_from(out.len() - 4).unwrap_or(i32::MAX);
        out[..4].copy_from_slice(&length.to_le_bytes());
        out.freeze()
    }
}
