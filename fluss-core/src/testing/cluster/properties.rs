//! What CREATE_TABLE makes of a table's properties.

use serde_json::{Map, Value, json};

use super::api::code;
use super::{Answer, Failure, FakeCluster, Release};
use crate::row::{Schema, TypeKind};

const COMPRESSION_LEVEL: &str = "table.log.arrow.compression.zstd.level";
const LOCAL_SEGMENTS: &str = "table.log.tiered.local-segments";
const AUTO_PARTITION: &str = "table.auto-partition.enabled";
const DATALAKE: &str = "table.datalake.enabled";
const ENGINE: &str = "table.merge-engine";
const VERSION_COLUMN: &str = "table.merge-engine.versioned.ver-column";
const DELETES: &str = "table.delete.behavior";
const REPLICATION: &str = "table.replication.factor";
const KV_VERSION: &str = "table.kv.format-version";
const STATISTICS: &str = "table.statistics.columns";
/// The highest that servers know.
const MAX_KV_VERSION: i64 = 2;

/// What a value must be.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Int,
    Long,
    Bool,
    Text,
    Duration,
    /// One of these, whatever the case.
    OneOf(&'static [&'static str]),
}
use Kind::*;

/// All that 0.9.1 knows.
const KNOWN: [(&str, Kind); 24] = [
    (REPLICATION, Int),
    ("table.log.format", OneOf(&["ARROW", "INDEXED", "COMPACTED"])),
    ("table.log.arrow.compression.type", OneOf(&["NONE", "LZ4_FRAME", "ZSTD"])),
    (COMPRESSION_LEVEL, Int),
    ("table.kv.format", OneOf(&["COMPACTED", "INDEXED"])),
    (KV_VERSION, Int),
    (AUTO_PARTITION, Bool),
    ("table.auto-partition.key", Text),
    ("table.auto-partition.time-unit", OneOf(&["YEAR", "QUARTER", "MONTH", "DAY", "HOUR"])),
    ("table.auto-partition.time-zone", Text),
    ("table.auto-partition.num-precreate", Int),
    ("table.auto-partition.num-retention", Int),
    ("table.log.ttl", Duration),
    (LOCAL_SEGMENTS, Int),
    (DATALAKE, Bool),
    ("table.datalake.format", OneOf(&["PAIMON", "LANCE", "ICEBERG"])),
    ("table.datalake.freshness", Duration),
    ("table.datalake.auto-compaction", Bool),
    ("table.datalake.auto-expire-snapshot", Bool),
    (ENGINE, OneOf(&["FIRST_ROW", "VERSIONED", "AGGREGATION"])),
    (VERSION_COLUMN, Text),
    (DELETES, OneOf(&["ALLOW", "IGNORE", "DISABLE"])),
    ("table.auto-increment.cache-size", Long),
    ("table.changelog.image", OneOf(&["FULL", "WAL"])),
];

/// Values that only later releases know.
const LATER: [(&str, &str); 1] = [("table.datalake.format", "HUDI")];

const UNITS: &[&str] = &[
    "d",
    "day",
    "days",
    "h",
    "hour",
    "hours",
    "m",
    "min",
    "minute",
    "minutes",
    "s",
    "sec",
    "secs",
    "second",
    "seconds",
    "ms",
    "milli",
    "millis",
    "millisecond",
    "milliseconds",
    "µs",
    "micro",
    "micros",
    "microsecond",
    "microseconds",
    "ns",
    "nano",
    "nanos",
    "nanosecond",
    "nanoseconds",
];

impl Kind {
    fn allows(self, value: &str) -> bool {
        match self {
            Int => value.parse::<i32>().is_ok(),
            Long => value.parse::<i64>().is_ok(),
            Bool => ["true", "false"].iter().any(|word| value.eq_ignore_ascii_case(word)),
            Text => true,
            Duration => {
                let value = value.trim();
                let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
                let (number, unit) = value.split_at(digits);
                number.parse::<i64>().is_ok() && UNITS.contains(&&*unit.trim().to_lowercase())
            }
            OneOf(words) => words.iter().any(|word| value.eq_ignore_ascii_case(word)),
        }
    }
}

fn config(message: impl Into<String>) -> Failure {
    Failure::new(code::INVALID_CONFIG, message)
}

fn unparsed(name: &str, value: &str) -> String {
    format!("Could not parse value '{value}' for key '{name}'.")
}

fn kind_of(name: &str) -> Option<Kind> {
    KNOWN.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

/// The properties of a descriptor.
#[derive(Clone, Copy, Debug)]
struct Properties<'a>(&'a Map<String, Value>);

impl<'a> Properties<'a> {
    fn text(self, name: &str) -> Option<&'a str> {
        self.0.get(name)?.as_str()
    }

    fn number(self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    fn is(self, name: &str, word: &str) -> bool {
        self.text(name).is_some_and(|value| value.eq_ignore_ascii_case(word))
    }

    /// What is read before the rest is looked at, and badly told of.
    fn check_first(self, keyed: bool) -> Answer<()> {
        let early = [ENGINE, KV_VERSION].into_iter().take(if keyed { 2 } else { 1 });
        for (name, value) in early.filter_map(|name| Some((name, self.text(name)?))) {
            if !kind_of(name).is_some_and(|kind| kind.allows(value)) {
                let message = unparsed(name, value);
                let message = format!("java.lang.IllegalArgumentException: {message}");
                return Err(Failure::new(code::UNKNOWN, message));
            }
        }
        if self.is(DATALAKE, "true") {
            let message = format!(
                "'{DATALAKE}' is enabled for the table, but the Fluss cluster doesn't enable \
                 datalake tables."
            );
            return Err(Failure::new(code::INVALID_TABLE, message));
        }
        match self.number(KV_VERSION) {
            Some(version) if keyed && version > MAX_KV_VERSION => Err(config(format!(
                "Unsupported kv format version {version}. The maximum supported version is \
                 {MAX_KV_VERSION}."
            ))),
            _ => Ok(()),
        }
    }

    fn replication(self, default: i32, alive: usize) -> Answer<i32> {
        let refused = |message: String| Failure::new(code::INVALID_REPLICATION, message);
        let factor = match self.text(REPLICATION) {
            None => default,
            Some(text) => text.parse().map_err(|_| {
                let message = format!("For input string: \"{text}\"");
                let message = format!("java.lang.NumberFormatException: {message}");
                Failure::new(code::UNKNOWN, message)
            })?,
        };
        if factor <= 0 {
            return Err(refused("Replication factor must be larger than 0.".to_owned()));
        }
        if usize::try_from(factor).is_ok_and(|factor| factor > alive) {
            return Err(refused(format!(
                "Replication factor: {factor} larger than available tablet servers: {alive}."
            )));
        }
        Ok(factor)
    }

    fn check_values(self, release: Release) -> Answer<()> {
        for (name, value) in self.0 {
            let Some(kind) = kind_of(name) else {
                if !name.starts_with("table.") {
                    return Err(config(format!(
                        "'{name}' is not a Fluss table property. Please use \
                         '.customProperty(..)' to set custom properties."
                    )));
                }
                // What later releases know besides is not checked.
                if release < Release::V1_0 {
                    return Err(config(format!(
                        "'{name}' is not a recognized Fluss table property in the current cluster \
                         version. You may be using an older Fluss cluster that does not support \
                         this property."
                    )));
                }
                continue;
            };
            let later = |value: &str| {
                let known = LATER.iter().any(|(n, v)| n == name && value.eq_ignore_ascii_case(v));
                known && release >= Release::V1_0
            };
            let refused = |value: &&str| !kind.allows(value) && !later(value);
            if let Some(value) = value.as_str().filter(refused) {
                let reason = unparsed(name, value);
                return Err(config(format!("Invalid value for config '{name}'. Reason: {reason}")));
            }
        }
        Ok(())
    }

    fn check(self, schema: &Schema, partitioned: bool) -> Answer<()> {
        let keyed = !schema.primary_key().is_empty();
        let kv_indexed = self.is("table.kv.format", "INDEXED");
        if keyed && !kv_indexed && self.is("table.log.format", "INDEXED") {
            return Err(config(
                "Currently, Primary Key Table supports ARROW or COMPACTED log format when kv \
                 format is COMPACTED.",
            ));
        }
        if let Some(level) = self.number(COMPRESSION_LEVEL).filter(|l| !(1..=22).contains(l)) {
            return Err(config(format!(
                "Invalid ZSTD compression level: {level}. Expected a value between 1 and 22."
            )));
        }
        self.check_engine(schema, keyed)?;
        self.check_deletes(keyed)?;
        if self.number(LOCAL_SEGMENTS).is_some_and(|segments| segments <= 0) {
            return Err(config(format!("'{LOCAL_SEGMENTS}' must be greater than 0.")));
        }
        if self.is(AUTO_PARTITION, "true") && !partitioned {
            return Err(config(format!(
                "Currently, auto partition is only supported for partitioned table, please set \
                 table property '{AUTO_PARTITION}' to false."
            )));
        }
        if keyed && self.0.contains_key(STATISTICS) {
            return Err(config(format!("'{STATISTICS}' is for log tables only")));
        }
        Ok(())
    }

    fn check_engine(self, schema: &Schema, keyed: bool) -> Answer<()> {
        if self.0.contains_key(ENGINE) && !keyed {
            return Err(config("Merge engine is only supported in primary key table."));
        }
        if !self.is(ENGINE, "VERSIONED") {
            return Ok(());
        }
        let Some(name) = self.text(VERSION_COLUMN) else {
            return Err(config(format!(
                "'{VERSION_COLUMN}' must be set for versioned merge engine."
            )));
        };
        let column = schema.index_of(name).and_then(|at| schema.columns().get(at));
        let Some(column) = column else {
            return Err(config(format!(
                "The version column '{name}' for versioned merge engine doesn't exist in schema."
            )));
        };
        let kind = &column.data_type.kind;
        if matches!(
            kind,
            TypeKind::Int | TypeKind::BigInt | TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_)
        ) {
            return Ok(());
        }
        Err(config(format!(
            "The version column '{name}' for versioned merge engine must be one type of [INT, \
             BIGINT, TIMESTAMP, TIMESTAMP_LTZ], but got {}.",
            column.data_type
        )))
    }

    fn check_deletes(self, keyed: bool) -> Answer<()> {
        if self.0.contains_key(DELETES) && !keyed {
            return Err(config(format!(
                "The '{DELETES}' configuration is only supported for primary key tables."
            )));
        }
        let engine = ["FIRST_ROW", "VERSIONED"].into_iter().find(|name| self.is(ENGINE, name));
        match engine {
            Some(engine) if self.is(DELETES, "ALLOW") => Err(config(format!(
                "Table with '{engine}' merge engine does not support delete operations. The \
                 '{DELETES}' config must be set to 'ignore' or 'disable', but got 'allow'."
            ))),
            _ => Ok(()),
        }
    }
}

impl FakeCluster {
    /// Checks the properties, fills in what the coordinator adds, returns the replication factor.
    pub(super) fn set_properties(
        &self,
        descriptor: &mut Value,
        schema: &Schema,
        partitioned: bool,
    ) -> Answer<i32> {
        for name in ["properties", "custom_properties"] {
            if !descriptor[name].is_object() {
                descriptor[name] = json!({});
            }
        }
        let Some(map) = descriptor["properties"].as_object_mut() else { return Ok(1) };
        let properties = Properties(map);
        properties.check_first(!schema.primary_key().is_empty())?;
        let factor = properties.replication(self.options.replication, self.tablets().count())?;
        properties.check_values(self.options.release)?;
        properties.check(schema, partitioned)?;
        map.insert(REPLICATION.to_owned(), factor.to_string().into());
        if !schema.primary_key().is_empty() {
            map.entry(KV_VERSION).or_insert_with(|| "2".into());
            if map.contains_key(ENGINE) {
                map.entry(DELETES).or_insert_with(|| "IGNORE".into());
            }
        }
        Ok(factor)
    }
}
