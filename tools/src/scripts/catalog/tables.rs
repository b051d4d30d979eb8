//! Tables that cannot be made, or not so.

use super::super::Script;
use super::super::step::{KV, LOG, Step, Table};
use super::script;

type Properties = &'static [(&'static str, &'static str)];

const COMPRESSION: &str = "table.log.arrow.compression.type";
const LEVEL: &str = "table.log.arrow.compression.zstd.level";
const ENGINE: &str = "table.merge-engine";
const VERSION: &str = "table.merge-engine.versioned.ver-column";
const DELETES: &str = "table.delete.behavior";
const REPLICAS: &str = "table.replication.factor";

pub(super) fn scripts() -> Vec<Script> {
    let named: Vec<(&str, Table, Vec<Properties>)> = vec![
        ("unknown-properties", LOG, unknown()),
        ("compression", LOG, compression()),
        ("values", LOG, values()),
        ("replicas", LOG, replicas()),
        ("log-with-key-properties", LOG, keyed()),
        ("merge-engines", KV, engines()),
    ];
    let scripts = named.into_iter().map(|(name, table, all)| {
        made(name, all.into_iter().map(|properties| Table { properties, ..table.clone() }))
    });
    let mut scripts: Vec<Script> = scripts.collect();
    scripts.push(made("buckets", buckets().into_iter()));
    scripts
}

fn unknown() -> Vec<Properties> {
    vec![
        &[("table.nonsense", "1")],
        &[("table.statistics.columns", "a")],
        &[("table.", "")],
        &[("table.log.format.x", "ARROW")],
        &[("TABLE.LOG.FORMAT", "ARROW")],
        &[("nonsense", "1")],
        &[("", "1")],
        &[("client.writer.acks", "1")],
    ]
}

fn compression() -> Vec<Properties> {
    vec![
        &[(COMPRESSION, "BROTLI")],
        &[(COMPRESSION, "")],
        &[(COMPRESSION, "zstd")],
        &[(COMPRESSION, "lz4_frame")],
        &[(COMPRESSION, "ZSTD"), (LEVEL, "0")],
        &[(COMPRESSION, "ZSTD"), (LEVEL, "23")],
        &[(COMPRESSION, "ZSTD"), (LEVEL, "22")],
        &[(COMPRESSION, "ZSTD"), (LEVEL, "-1")],
        &[(COMPRESSION, "ZSTD"), (LEVEL, "high")],
        &[(LEVEL, "99")],
    ]
}

fn values() -> Vec<Properties> {
    vec![
        &[("table.log.format", "CSV")],
        &[("table.log.format", "indexed")],
        &[("table.kv.format", "CSV")],
        &[("table.log.ttl", "soon")],
        &[("table.log.ttl", "7 d")],
        &[("table.log.tiered.local-segments", "0")],
        &[("table.log.tiered.local-segments", "two")],
        &[("table.changelog.image", "HALF")],
        &[("table.auto-partition.enabled", "true")],
        &[("table.auto-partition.enabled", "perhaps")],
        &[("table.datalake.enabled", "true")],
        &[("table.datalake.enabled", "perhaps")],
        &[("table.kv.format-version", "9")],
    ]
}

fn replicas() -> Vec<Properties> {
    vec![
        &[(REPLICAS, "0")],
        &[(REPLICAS, "-1")],
        &[(REPLICAS, "2")],
        &[(REPLICAS, "many")],
        &[(REPLICAS, "1")],
    ]
}

fn keyed() -> Vec<Properties> {
    vec![
        &[(ENGINE, "FIRST_ROW")],
        &[(ENGINE, "BEST")],
        &[(DELETES, "IGNORE")],
        &[(DELETES, "SOMETIMES")],
        &[("table.kv.format", "INDEXED")],
    ]
}

fn engines() -> Vec<Properties> {
    vec![
        &[(ENGINE, "BEST")],
        &[(ENGINE, "VERSIONED")],
        &[(ENGINE, "VERSIONED"), (VERSION, "z")],
        &[(ENGINE, "VERSIONED"), (VERSION, "b")],
        &[(ENGINE, "first_row"), (DELETES, "ALLOW")],
        &[(ENGINE, "VERSIONED"), (VERSION, "c"), (DELETES, "allow")],
        &[(ENGINE, "VERSIONED"), (VERSION, "c"), (DELETES, "disable")],
        &[(DELETES, "SOMETIMES")],
        &[("table.log.format", "INDEXED")],
        &[("table.log.format", "INDEXED"), ("table.kv.format", "INDEXED")],
        &[("table.log.format", "COMPACTED"), ("table.kv.format", "INDEXED")],
        &[("table.kv.format-version", "9")],
        &[("table.kv.format-version", "0")],
        &[("table.kv.format-version", "new")],
    ]
}

fn buckets() -> Vec<Table> {
    let of = |buckets: i32| Table { buckets, ..LOG };
    let by = |bucket_key| Table { bucket_key, ..LOG };
    let keyed = |bucket_key| Table { bucket_key, ..KV };
    vec![
        of(0),
        of(-1),
        of(128_001),
        by(&["z"]),
        by(&["b"]),
        by(&["a", "a"]),
        keyed(&["b"]),
        keyed(&["z"]),
        keyed(&["a"]),
    ]
}

/// Asks for tables, each under a name of its own.
fn made(name: &str, tables: impl Iterator<Item = Table>) -> Script {
    let mut steps = vec![Step::Create(LOG)];
    steps.extend((0..).zip(tables).map(|(number, table)| Step::CreateOther(number, table)));
    script("tables", name, steps)
}
