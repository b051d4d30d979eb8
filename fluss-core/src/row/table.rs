//! The description of a table, as it is created and read back.

use std::collections::BTreeMap;

use super::json::{Reader, Writer, parse, schema_from};
use super::schema::{Schema, SchemaError};

/// The properties of tables that the servers known today have.
const PROPERTIES: [&str; 29] = [
    "table.auto-increment.cache-size",
    "table.auto-partition.enabled",
    "table.auto-partition.key",
    "table.auto-partition.num-precreate",
    "table.auto-partition.num-retention",
    "table.auto-partition.time-format",
    "table.auto-partition.time-unit",
    "table.auto-partition.time-zone",
    "table.changelog.image",
    "table.datalake.auto-compaction",
    "table.datalake.auto-expire-snapshot",
    "table.datalake.enabled",
    "table.datalake.format",
    "table.datalake.freshness",
    "table.datalake.historical-partition.enabled",
    "table.delete.behavior",
    "table.kv.format",
    "table.kv.format-version",
    "table.kv.standby-replica.enabled",
    "table.log.arrow.compression.type",
    "table.log.arrow.compression.zstd.level",
    "table.log.format",
    "table.log.local-ttl",
    "table.log.tiered.local-segments",
    "table.log.ttl",
    "table.merge-engine",
    "table.merge-engine.versioned.ver-column",
    "table.replication.factor",
    "table.statistics.columns",
];

/// What a table is: columns, keys, buckets, properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDescriptor {
    /// Columns and primary key.
    pub schema: Schema,
    /// Free text.
    pub comment: Option<String>,
    /// Positions of the partition columns; empty without partitions.
    pub partition_key: Vec<usize>,
    /// Positions of the columns that choose the bucket. Empty means the primary key without the
    /// partition columns, or in a log table no bucket key.
    pub bucket_key: Vec<usize>,
    /// The number of buckets; None lets the server choose.
    pub bucket_count: Option<u32>,
    /// The server's own properties, all of them named `table.…`.
    pub properties: BTreeMap<String, String>,
    /// Properties that only clients read.
    pub custom_properties: BTreeMap<String, String>,
}

impl TableDescriptor {
    /// A table with this schema and nothing else.
    #[must_use]
    pub fn new(schema: Schema) -> Self {
        Self {
            schema,
            comment: None,
            partition_key: Vec::new(),
            bucket_key: Vec::new(),
            bucket_count: None,
            properties: BTreeMap::new(),
            custom_properties: BTreeMap::new(),
        }
    }

    /// The primary key without the partition columns, which is what keys are made of; empty for a
    /// log table.
    #[must_use]
    pub fn physical_primary_key(&self) -> Vec<usize> {
        let key = self.schema.primary_key().iter().copied();
        key.filter(|column| !self.partition_key.contains(column)).collect()
    }

    /// The bucket key that is in force: the one given, or the one a primary-key table has without.
    #[must_use]
    pub fn effective_bucket_key(&self) -> Vec<usize> {
        if self.bucket_key.is_empty() {
            self.physical_primary_key()
        } else {
            self.bucket_key.clone()
        }
    }

    /// Checks what a server would refuse at creation as far as a client can know it.
    ///
    /// # Errors
    /// The first problem and what to do.
    pub fn validate(&self) -> Result<(), TableError> {
        let primary = self.schema.primary_key();
        let name = |column: usize| {
            let column = self.schema.columns().get(column);
            column.map_or_else(|| "?".to_owned(), |column| column.name.clone())
        };
        if !primary.is_empty() {
            if self.physical_primary_key().is_empty() {
                return Err(TableError::NoKeyBesidesPartition);
            }
            if let Some(&column) = self.partition_key.iter().find(|c| !primary.contains(c)) {
                return Err(TableError::PartitionOutsideKey(name(column)));
            }
            if let Some(&column) = self.bucket_key.iter().find(|c| !primary.contains(c)) {
                return Err(TableError::BucketOutsideKey(name(column)));
            }
        }
        if let Some(&column) = self.bucket_key.iter().find(|c| self.partition_key.contains(c)) {
            return Err(TableError::BucketIsPartition(name(column)));
        }
        if self.bucket_count.is_some_and(|count| count == 0 || i32::try_from(count).is_err()) {
            return Err(TableError::BucketCount);
        }
        // Servers take such a table, and then keep the last value as in any other.
        let engine = self.properties.get("table.merge-engine");
        if !engine.is_some_and(|engine| engine.eq_ignore_ascii_case("aggregation")) {
            let mut columns = 0..self.schema.columns().len();
            if let Some(column) = columns.find(|&at| self.schema.aggregation(at).is_some()) {
                return Err(TableError::AggregationUnused(name(column)));
            }
        }
        match self.properties.keys().find(|key| !PROPERTIES.contains(&key.as_str())) {
            Some(key) if key.starts_with("table.") => {
                Err(TableError::UnknownProperty(super::error::shorten(key)))
            }
            Some(key) => Err(TableError::Property(key.clone())),
            None => Ok(()),
        }
    }

    /// The descriptor as JSON of the protocol.
    ///
    /// # Panics
    /// If a key's position is none of the schema's.
    #[must_use]
    pub fn to_json(&self) -> String {
        let names = |columns: &[usize]| -> Vec<String> {
            columns.iter().map(|&index| self.schema.columns()[index].name.clone()).collect()
        };
        let mut json = Writer::object();
        json.number("version", 1);
        json.raw("schema", &self.schema.to_json());
        if let Some(comment) = &self.comment {
            json.text("comment", comment);
        }
        json.texts("partition_key", names(&self.partition_key).iter().map(String::as_str));
        let bucket_key = self.effective_bucket_key();
        if !bucket_key.is_empty() || self.bucket_count.is_some() {
            // A count is read only beside a bucket key, be it an empty one.
            json.texts("bucket_key", names(&bucket_key).iter().map(String::as_str));
        }
        if let Some(count) = self.bucket_count {
            json.number("bucket_count", i64::from(count));
        }
        for (key, map) in
            [("properties", &self.properties), ("custom_properties", &self.custom_properties)]
        {
            json.map(key, map.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        }
        json.finish()
    }

    /// Reads the JSON of the protocol.
    ///
    /// # Errors
    /// [`SchemaError::Json`] for malformed text, otherwise what is wrong with the schema or a key.
    pub fn from_json(bytes: &[u8]) -> Result<Self, SchemaError> {
        let value = parse(bytes)?;
        let json = Reader::new(&value, "the table")?;
        let schema = schema_from(json.required("schema")?)?;
        let partition_key = schema.indexes_of("partition key", &json.texts("partition_key")?)?;
        let bucket_key = schema.indexes_of("bucket key", &json.texts("bucket_key")?)?;
        let bucket_count = match json.optional("bucket_count") {
            None => None,
            Some(value) => {
                let count = json.integer("bucket_count")?;
                let count = u32::try_from(count).ok().filter(|n| (1..1 << 31).contains(n));
                Some(count.ok_or_else(|| json.wrong("bucket_count", "1 to 2147483647", value))?)
            }
        };
        Ok(Self {
            schema,
            comment: json.optional_text("comment")?,
            partition_key,
            bucket_key,
            bucket_count,
            properties: json.map("properties")?.into_iter().collect(),
            custom_properties: json.map("custom_properties")?.into_iter().collect(),
        })
    }
}

/// Why a table cannot be created as described.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// All columns of the primary key are partition columns.
    #[error("the primary key has no column besides the partition columns: add one")]
    NoKeyBesidesPartition,
    /// A partition column outside the primary key.
    #[error("the partition column `{0}` is not part of the primary key: add it there")]
    PartitionOutsideKey(String),
    /// A bucket key column outside the primary key.
    #[error("the bucket key column `{0}` is not part of the primary key: leave it out")]
    BucketOutsideKey(String),
    /// A bucket key column that is a partition column.
    #[error("the bucket key column `{0}` is a partition column: leave it out")]
    BucketIsPartition(String),
    /// A bucket count of 0 or beyond 32 bits.
    #[error("the number of buckets must be 1 to 2147483647")]
    BucketCount,
    /// A column with an aggregation function in a table that aggregates nothing.
    #[error(
        "the column `{0}` has an aggregation function, which counts with the property \
         `table.merge-engine=aggregation` only: set it, or leave the function out"
    )]
    AggregationUnused(String),
    /// A property that no server knows.
    #[error(
        "the property `{0}` is none that servers know: mend its name, or make it a custom property"
    )]
    UnknownProperty(String),
    /// A property that is not the server's.
    #[error("the property `{0}` does not begin with `table.`: make it a custom property")]
    Property(String),
}

#[cfg(test)]
mod tests {
    use super::super::{AggFunction, DataType};
    use super::*;

    const EXAMPLE: &str = concat!(
        r#"{"version":1,"schema":{"version":1,"columns":["#,
        r#"{"name":"id","data_type":{"type":"BIGINT","nullable":false},"id":0},"#,
        r#"{"name":"dt","data_type":{"type":"STRING","nullable":false},"id":1}],"#,
        r#""primary_key":["id","dt"],"highest_field_id":1},"comment":"orders","#,
        r#""partition_key":["dt"],"bucket_key":["id"],"bucket_count":16,"#,
        r#""properties":{"table.kv.format-version":"2","table.replication.factor":"3"},"#,
        r#""custom_properties":{"owner":"team-a"}}"#,
    );

    fn example() -> TableDescriptor {
        TableDescriptor::from_json(EXAMPLE.as_bytes()).expect("a sound table")
    }

    #[test]
    fn the_descriptor_of_the_protocol_reads_and_writes_unchanged() {
        let table = example();
        assert_eq!((&table.partition_key[..], &table.bucket_key[..]), (&[1][..], &[0][..]));
        assert_eq!(table.bucket_count, Some(16));
        assert_eq!(table.physical_primary_key(), [0]);
        assert_eq!(table.validate(), Ok(()));
        assert_eq!(table.to_json(), EXAMPLE);
    }

    #[test]
    fn a_plain_table_is_written_with_what_servers_require() {
        let schema = Schema::builder().column("a", DataType::INT).build().expect("a schema");
        let mut table = TableDescriptor::new(schema);
        let json = table.to_json();
        assert!(json.ends_with(r#""partition_key":[],"properties":{},"custom_properties":{}}"#));
        assert_eq!(TableDescriptor::from_json(json.as_bytes()).map(|t| t.bucket_count), Ok(None));
        table.bucket_count = Some(3);
        let json = table.to_json();
        assert!(json.contains(r#""bucket_key":[],"bucket_count":3"#), "{json}");
    }

    #[test]
    fn what_a_server_would_refuse_is_refused_with_advice() {
        let change = |change: &dyn Fn(&mut TableDescriptor)| {
            let mut table = example();
            change(&mut table);
            table.validate()
        };
        let dt = || "dt".to_owned();
        assert_eq!(
            change(&|t| t.partition_key = vec![0, 1]),
            Err(TableError::NoKeyBesidesPartition)
        );
        assert_eq!(change(&|t| t.bucket_key = vec![1]), Err(TableError::BucketIsPartition(dt())));
        assert_eq!(change(&|t| t.bucket_count = Some(0)), Err(TableError::BucketCount));
        let owner = "owner".to_owned();
        assert_eq!(
            change(&|t| drop(t.properties.insert("owner".to_owned(), String::new()))),
            Err(TableError::Property(owner))
        );
        let slip = "table.log.tll".to_owned();
        assert_eq!(
            change(&|t| drop(t.properties.insert(slip.clone(), "1 d".to_owned()))),
            Err(TableError::UnknownProperty(slip.clone()))
        );
        assert_eq!(
            change(&|t| drop(t.properties.insert("table.log.ttl".to_owned(), "1 d".to_owned()))),
            Ok(())
        );
        let sums = |engine: Option<&str>| {
            change(&|t| {
                let schema = Schema::builder().column("id", DataType::BIGINT.not_null());
                let schema = schema.column("dt", DataType::STRING.not_null());
                let schema = schema.column("sum", DataType::BIGINT);
                let schema = schema.aggregation(AggFunction::new("sum")).primary_key(["id", "dt"]);
                t.schema = schema.build().expect("a schema");
                let engine = engine.map(str::to_owned);
                t.properties.extend(engine.map(|name| ("table.merge-engine".to_owned(), name)));
            })
        };
        let unused = Err(TableError::AggregationUnused("sum".to_owned()));
        assert_eq!((sums(None), sums(Some("versioned"))), (unused.clone(), unused));
        assert_eq!(sums(Some("AGGREGATION")), Ok(()));
    }

    #[test]
    fn malformed_descriptors_are_refused() {
        for (json, part) in [
            ("{}", "the table lacks `schema`"),
            (r#"{"schema":{"columns":[]},"partition_key":["x"]}"#, "names `x`"),
            (r#"{"schema":{"columns":[]},"bucket_count":0}"#, "must be 1 to 2147483647"),
            (r#"{"schema":{"columns":[]},"properties":{"a":1}}"#, "an object of strings"),
        ] {
            let error = TableDescriptor::from_json(json.as_bytes()).expect_err(json).to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
    }
}
