//! The bytes of a script's tables, rows and batches.

use std::fmt::Write as _;

use bytes::Bytes;
use fluss_core::batch::{ArrowBatchBuilder, ArrowBatchOptions, ArrowCompression, Push};
use fluss_core::row::key::KeyEncoder;
use fluss_core::row::{DataType, OwnedDatum, OwnedRow, RowLayout, Schema, compacted};
use fluss_proto::record::{SealedBatch, Stamp, crc32c, push_kv_record};

use super::must;
use super::step::{Batch, COLUMNS, Damage, Row, Table};

/// A table's schema with everything made from it.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) schema: Schema,
    pub(super) json: String,
    pub(super) layout: RowLayout,
    pub(super) kv: bool,
}

impl Shape {
    pub(super) fn new(table: &Table) -> Self {
        let text = if table.strict { DataType::STRING.not_null() } else { DataType::STRING };
        let [a, b, c] = COLUMNS;
        let mut builder =
            Schema::builder().column(a, DataType::INT).column(b, text).column(c, DataType::BIGINT);
        if !table.key.is_empty() {
            builder = builder.primary_key(table.key.iter().copied());
        }
        let builder = table.auto_increment.iter().fold(builder, |b, name| b.auto_increment(*name));
        let schema = must("a schema", builder.build());
        let json = descriptor(&schema, table);
        let layout = RowLayout::new(&schema);
        Self { schema, json, layout, kv: !table.key.is_empty() }
    }

    /// The key of a row with these values of `a` and `b`.
    pub(super) fn key(&self, a: i32, b: &str) -> Bytes {
        let encoder = must("a key", KeyEncoder::new(&self.schema, self.schema.primary_key()));
        let mut key = Vec::new();
        let row = [OwnedDatum::Int32(a), OwnedDatum::Str(b.into()), OwnedDatum::Null];
        must("a key", encoder.encode(&OwnedRow::new(row.to_vec()), &mut key));
        key.into()
    }

    /// The first column's share of a key.
    pub(super) fn prefix(&self, a: i32) -> Bytes {
        let encoder = must("a key", KeyEncoder::new(&self.schema, &[0]));
        let mut key = Vec::new();
        let row = [OwnedDatum::Int32(a), OwnedDatum::Null, OwnedDatum::Null];
        must("a key", encoder.encode(&OwnedRow::new(row.to_vec()), &mut key));
        key.into()
    }

    /// A log batch.
    pub(super) fn log_batch(&self, batch: &Batch, writer: i64) -> Bytes {
        let options = ArrowBatchOptions {
            compression: ArrowCompression::None,
            ..ArrowBatchOptions::default()
        };
        let builder = ArrowBatchBuilder::new(self.schema.clone(), options);
        let mut builder = must("a builder", builder);
        for row in &batch.rows {
            let pushed = must("a row", builder.try_push(&OwnedRow::new(values(row))));
            assert!(matches!(pushed, Push::Pushed(_)), "the batch is full");
        }
        let schema_id = match batch.damage {
            Damage::Schema(id) => id,
            _ => 1,
        };
        let sealed = must("a batch", builder.seal(schema_id, Vec::new()));
        stamped(&sealed, batch, writer, 12)
    }

    /// A KV batch.
    pub(super) fn kv_batch(&self, batch: &Batch, writer: i64) -> Bytes {
        let mut body = Vec::new();
        for row in &batch.rows {
            let (key, value) = match row {
                Row::Set(a, b, _) => {
                    let mut value = Vec::new();
                    let row = OwnedRow::new(values(row));
                    must("a row", compacted::encode(&self.layout, &row, &mut value));
                    (self.key(*a, b.unwrap_or_default()), Some(value))
                }
                Row::Delete(a, b) => (self.key(*a, b), None),
            };
            must("a record", push_kv_record(&mut body, &key, value.as_deref()));
        }
        let schema_id = match batch.damage {
            Damage::Schema(id) => id,
            _ => 1,
        };
        let count = batch.rows.len() as u32;
        let sealed = must("a batch", SealedBatch::kv_v0(schema_id, 0, count, body.into()));
        stamped(&sealed, batch, writer, 4)
    }
}

/// The whole batch under its stamp, damaged if wanted; `magic_at` is where the version byte is.
fn stamped(sealed: &SealedBatch, batch: &Batch, writer: i64, magic_at: usize) -> Bytes {
    let head = sealed.stamp(Stamp { writer_id: writer, sequence: batch.sequence });
    let mut bytes = [head.as_ref(), &sealed.payload()].concat();
    let end = bytes.len();
    match batch.damage {
        Damage::None | Damage::Schema(_) => {}
        Damage::Payload => bytes[end - 1] ^= 0x55,
        Damage::Magic => bytes[magic_at] = 9,
        Damage::Statistics => bytes[magic_at] = 1,
        Damage::Length => bytes[magic_at - 4..magic_at].copy_from_slice(&(-5_i32).to_le_bytes()),
        Damage::Empty => bytes.clear(),
        Damage::Short => bytes.truncate(10),
        Damage::Cut => bytes.truncate(end - 7),
    }
    bytes.into()
}

fn values(row: &Row) -> Vec<OwnedDatum> {
    let (Row::Set(a, ..) | Row::Delete(a, _)) = row;
    let (b, c) = match row {
        Row::Set(_, b, c) => (*b, *c),
        Row::Delete(_, b) => (Some(*b), None),
    };
    vec![
        OwnedDatum::Int32(*a),
        b.map_or(OwnedDatum::Null, |b| OwnedDatum::Str(b.into())),
        c.map_or(OwnedDatum::Null, OwnedDatum::Int64),
    ]
}

/// The table's JSON. Nothing is compressed, so that sizes do not depend on a library's version.
fn descriptor(schema: &Schema, table: &Table) -> String {
    let mut properties = String::from(r#""table.log.arrow.compression.type":"NONE""#);
    for (name, value) in table.properties {
        must("a property", write!(properties, r#","{name}":"{value}""#));
    }
    let quoted =
        |names: &[&str]| names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(",");
    format!(
        r#"{{"version":1,"schema":{},"partition_key":[{}],"bucket_key":[{}],"bucket_count":{},
        "properties":{{{properties}}},"custom_properties":{{}}}}"#,
        schema.to_json(),
        quoted(table.partition_by),
        quoted(table.bucket_key),
        table.buckets,
    )
}

/// A short name for bytes, where their content is compared and not shown.
pub(super) fn digest(bytes: &[u8]) -> String {
    format!("{}b#{:08x}", bytes.len(), crc32c(bytes))
}
