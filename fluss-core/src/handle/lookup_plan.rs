//! From a key's values to its bytes, bucket and partition, and from the bytes of values to rows.

use std::sync::Arc;

use super::table::TableInfo;
use crate::error::{Error, Result};
use crate::row::hash::BucketFunction;
use crate::row::key::{KeyEncoder, KeyRules};
use crate::row::partition::PartitionNamer;
use crate::row::{
    OwnedDatum, OwnedRow, Row, RowDecodeError, RowError, RowErrorKind, RowLayout, Schema,
};
use crate::row::{compacted, indexed};

/// Where a key is to be looked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) key: Vec<u8>,
    /// None: the bucket key is the key.
    bucket_key: Option<Vec<u8>>,
    pub(super) partition: Option<Arc<str>>,
}

impl Place {
    pub(super) fn bucket_key(&self) -> &[u8] {
        self.bucket_key.as_deref().unwrap_or(&self.key)
    }
}

/// Turns the values of a key or prefix into bytes.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    key: KeyEncoder,
    /// None: the bucket key is the key.
    bucket: Option<KeyEncoder>,
    partition: Option<PartitionNamer>,
    /// From the bucket key's bytes to the bucket.
    pub(super) function: BucketFunction,
    /// Keys with more bytes than these cannot be prefixes.
    prefix_bytes: Option<usize>,
}

impl Keys {
    /// For the whole primary key.
    pub(super) fn whole(info: &TableInfo) -> Result<Self> {
        let table = &info.descriptor;
        let physical = table.physical_primary_key();
        Self::new(info, &physical, info.schema().primary_key())
    }

    /// For a prefix: the partition and bucket key columns, in the order of the primary key.
    pub(super) fn prefix(info: &TableInfo) -> Result<Self> {
        let table = &info.descriptor;
        let physical = table.physical_primary_key();
        let bucket = table.effective_bucket_key();
        if !physical.starts_with(&bucket) || physical.len() == bucket.len() {
            let name = |index: &usize| info.schema().columns()[*index].name.as_str();
            let names: Vec<&str> = bucket.iter().map(name).collect();
            return Err(Error::misuse(format!(
                "{}: a prefix lookup needs a bucket key that is the beginning of the primary key \
                 and not all of it, but it is ({}); use `lookup`",
                info.path,
                names.join(", ")
            )));
        }
        let primary = info.schema().primary_key().iter().copied();
        let given: Vec<usize> = primary
            .filter(|column| bucket.contains(column) || table.partition_key.contains(column))
            .collect();
        let mut keys = Self::new(info, &bucket, &given)?;
        // In a row of Paimon's, what is long stands behind the slots of all columns.
        keys.prefix_bytes = keys.key.fixed_bytes();
        let whole = KeyEncoder::new(info.schema(), &physical)?.with_format(keys.key.format())?;
        if let (Some(prefix), Some(whole)) = (keys.prefix_bytes, whole.fixed_bytes())
            && whole - prefix != 8 * (physical.len() - bucket.len())
        {
            let text = "the primary key has too many columns for prefix lookups; use `lookup`";
            return Err(Error::misuse(format!("{}: {text}", info.path)));
        }
        Ok(keys)
    }

    fn new(info: &TableInfo, key: &[usize], given: &[usize]) -> Result<Self> {
        let (table, schema) = (&info.descriptor, info.schema());
        let rules = KeyRules::of(table);
        let rules = rules.map_err(|e| Error::misuse(format!("{}: {e}", info.path)))?;
        let bucket = table.effective_bucket_key();
        let bucket = if bucket == key && rules.bucket_key == rules.key {
            None
        } else {
            let encoder = KeyEncoder::for_values(schema, &bucket, given)?;
            Some(encoder.with_format(rules.bucket_key)?)
        };
        let partition = if table.partition_key.is_empty() {
            None
        } else {
            Some(PartitionNamer::for_values(schema, &table.partition_key, given)?)
        };
        let key = KeyEncoder::for_values(schema, key, given)?.with_format(rules.key)?;
        Ok(Self { key, bucket, partition, function: rules.function, prefix_bytes: None })
    }

    /// Appends a key, and puts its bucket key into the other buffer. False: that is the key itself.
    pub(super) fn append<R: Row + ?Sized>(
        &self,
        row: &R,
        key: &mut Vec<u8>,
        bucket_key: &mut Vec<u8>,
    ) -> Result<bool, RowError> {
        self.key.encode(row, key)?;
        let Some(encoder) = &self.bucket else { return Ok(false) };
        bucket_key.clear();
        encoder.encode(row, bucket_key)?;
        Ok(true)
    }

    pub(super) fn place<R: Row + ?Sized>(&self, row: &R) -> Result<Place, RowError> {
        // Most keys are no longer.
        let mut key = Vec::with_capacity(24);
        self.key.encode(row, &mut key)?;
        if let Some(limit) = self.prefix_bytes.filter(|limit| key.len() > *limit) {
            return Err(RowErrorKind::Prefix { size: key.len(), limit }.into());
        }
        let bucket_key = match &self.bucket {
            None => None,
            Some(encoder) => {
                let mut bytes = Vec::new();
                encoder.encode(row, &mut bytes)?;
                Some(bytes)
            }
        };
        let partition = match &self.partition {
            None => None,
            Some(namer) => {
                let mut name = String::new();
                namer.name(row, &mut name)?;
                Some(name.into())
            }
        };
        Ok(Place { key, bucket_key, partition })
    }
}

/// The id of the schema a value was written with.
pub(super) fn schema_id_of(value: &[u8]) -> Result<i16> {
    match value {
        [low, high, ..] => Ok(i16::from_le_bytes([*low, *high])),
        _ => Err(unreadable(format!("it has {} bytes, less than a schema id", value.len()))),
    }
}

fn unreadable(why: impl std::fmt::Display) -> Error {
    Error::Peer {
        server: "server".into(),
        what: format!("a value of a lookup cannot be read: {why}").into(),
    }
}

type Decode = fn(&RowLayout, &[u8]) -> Result<OwnedRow, RowDecodeError>;

/// Reads values written with one schema as rows of the table as it was opened.
#[derive(Debug)]
pub(super) struct ValueDecoder {
    layout: RowLayout,
    decode: Decode,
    /// For each column of the table its position in the value; None if the positions are the same.
    columns: Option<Box<[Option<usize>]>>,
}

impl ValueDecoder {
    pub(super) fn new(info: &TableInfo, schema: Schema) -> Result<Self> {
        let format = info.descriptor.properties.get("table.kv.format").map(String::as_str);
        let decode: Decode = match format {
            None => compacted::decode,
            Some(name) if name.eq_ignore_ascii_case("COMPACTED") => compacted::decode,
            Some(name) if name.eq_ignore_ascii_case("INDEXED") => indexed::decode,
            Some(other) => {
                let text = format!("{}: the KV format {other} is unknown", info.path);
                return Err(Error::misuse(text));
            }
        };
        let written = schema.with_field_ids();
        let wanted = info.schema().with_field_ids();
        let ids = |schema: &Schema| -> Vec<Option<i32>> {
            schema.columns().iter().map(|column| column.id).collect()
        };
        let (from, to) = (ids(&written), ids(&wanted));
        let columns = (from != to)
            .then(|| to.iter().map(|id| from.iter().position(|other| other == id)).collect());
        Ok(Self { layout: RowLayout::new(&schema), decode, columns })
    }

    /// The row of a value, whose first two bytes are the schema id.
    pub(super) fn decode(&self, value: &[u8]) -> Result<OwnedRow> {
        let row = (self.decode)(&self.layout, value.get(2..).unwrap_or_default());
        let row = row.map_err(unreadable)?;
        let Some(columns) = &self.columns else { return Ok(row) };
        let mut values: Vec<Option<OwnedDatum>> = row.into_values().into_iter().map(Some).collect();
        let mut take = |index: Option<usize>| {
            index.and_then(|i| values.get_mut(i)?.take()).unwrap_or(OwnedDatum::Null)
        };
        Ok(OwnedRow::new(columns.iter().map(|index| take(*index)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{TableId, TablePath};
    use crate::row::{Column, DataType, TableDescriptor};

    fn column(name: &str, data_type: DataType, id: i32) -> Column {
        let mut column = Column::new(name, data_type);
        column.id = Some(id);
        column
    }

    fn info(columns: Vec<Column>) -> TableInfo {
        TableInfo {
            path: TablePath::new("shop", "users"),
            id: TableId(1),
            schema_id: 2,
            descriptor: TableDescriptor::new(Schema::new(columns, vec![0])),
            created_ms: 0,
            modified_ms: 0,
        }
    }

    /// Column c was added in the middle of a's and b's life; b was renamed.
    fn evolved() -> (TableInfo, Schema) {
        let a = || column("a", DataType::INT.not_null(), 0);
        let old = Schema::new(vec![a(), column("b", DataType::STRING, 1)], vec![0]);
        let c = column("c", DataType::BIGINT, 2);
        (info(vec![a(), c, column("bee", DataType::STRING, 1)]), old)
    }

    #[test]
    fn values_of_an_older_schema_are_aligned_by_column_id() {
        let (info, old) = evolved();
        let decoder = ValueDecoder::new(&info, old).expect("a known format");
        // Schema id 1, no nulls, a = 7, b = "x".
        let row = decoder.decode(&[1, 0, 0, 7, 1, b'x']).expect("a row");
        let text = OwnedDatum::Str("x".to_owned());
        assert_eq!(row.values(), [OwnedDatum::Int32(7), OwnedDatum::Null, text]);
    }

    #[test]
    fn values_of_a_newer_schema_lose_what_is_not_known() {
        let (newer, old) = evolved();
        let info = info(old.columns().to_vec());
        let decoder = ValueDecoder::new(&info, newer.schema().clone()).expect("a known format");
        let row = decoder.decode(&[2, 0, 0, 7, 5, 1, b'x']).expect("a row");
        let text = OwnedDatum::Str("x".to_owned());
        assert_eq!(row.values(), [OwnedDatum::Int32(7), text]);
    }

    #[test]
    fn damaged_values_are_errors() {
        let (info, old) = evolved();
        let decoder = ValueDecoder::new(&info, old).expect("a known format");
        for value in [&[1, 0][..], &[1, 0, 0], &[1, 0, 0, 7, 9, b'x'], &[1, 0, 0, 7, 1, 0xff]] {
            let error = decoder.decode(value).expect_err("damaged");
            assert!(matches!(error, Error::Peer { .. }), "{value:?}: {error}");
        }
        assert_eq!(schema_id_of(&[3, 1]), Ok(259));
        assert!(matches!(schema_id_of(&[3]), Err(Error::Peer { .. })));
    }

    #[test]
    fn keys_of_unknown_data_lakes_and_unknown_formats_are_refused() {
        let (mut info, old) = evolved();
        info.descriptor.properties.insert("table.datalake.format".into(), "delta".into());
        info.descriptor.properties.insert("table.kv.format".into(), "AVRO".into());
        let keys = Keys::whole(&info).expect_err("not ours");
        assert!(keys.to_string().contains("delta"), "{keys}");
        let decoder = ValueDecoder::new(&info, old).expect_err("unknown");
        assert!(decoder.to_string().contains("AVRO"), "{decoder}");
    }

    #[test]
    fn prefixes_of_paimon_keys_are_refused_where_they_would_find_nothing() {
        let mut info = info(vec![
            column("name", DataType::STRING.not_null(), 0),
            column("id", DataType::INT.not_null(), 1),
        ]);
        info.descriptor.schema = Schema::new(info.schema().columns().to_vec(), vec![0, 1]);
        info.descriptor.bucket_key = vec![0];
        info.descriptor.properties.insert("table.datalake.format".into(), "paimon".into());
        let prefix = Keys::prefix(&info).expect("sound keys");
        let whole = Keys::whole(&info).expect("sound keys");
        let place = prefix.place(&("shop",)).expect("short");
        let key = whole.place(&("shop", 7)).expect("a key");
        assert!(key.key.starts_with(&place.key), "{:?} {:?}", key.key, place.key);
        assert_eq!(place.bucket_key(), key.bucket_key());
        let error = prefix.place(&("a long name",)).expect_err("stands behind").to_string();
        assert!(error.contains("prefix"), "{error}");
        // With version 2 such keys are compacted.
        info.descriptor.properties.insert("table.kv.format-version".into(), "2".into());
        let prefix = Keys::prefix(&info).expect("sound keys");
        let place = prefix.place(&("a long name",)).expect("a prefix");
        let key = Keys::whole(&info).and_then(|w| Ok(w.place(&("a long name", 7))?));
        let key = key.expect("a key");
        assert!(key.key.starts_with(&place.key));
        assert_eq!(place.bucket_key(), key.bucket_key());
        assert_ne!(place.bucket_key(), place.key);
    }

    #[test]
    fn a_place_has_key_bucket_key_and_partition() {
        let mut info = info(vec![
            column("day", DataType::STRING.not_null(), 0),
            column("shop", DataType::INT.not_null(), 1),
            column("id", DataType::INT.not_null(), 2),
        ]);
        info.descriptor.schema = Schema::new(info.schema().columns().to_vec(), vec![1, 0, 2]);
        info.descriptor.partition_key = vec![0];
        info.descriptor.bucket_key = vec![1];
        let whole = Keys::whole(&info).expect("sound keys");
        let place = whole.place(&(5, "2025", 6)).expect("a key");
        assert_eq!((&place.key[..], place.bucket_key()), (&[5, 6][..], &[5][..]));
        assert_eq!(place.partition.as_deref(), Some("2025"));
        let prefix = Keys::prefix(&info).expect("sound keys");
        let place = prefix.place(&(5, "2025")).expect("a prefix");
        assert_eq!((&place.key[..], place.bucket_key()), (&[5][..], &[5][..]));
        assert_eq!(place.partition.as_deref(), Some("2025"));
    }
}
