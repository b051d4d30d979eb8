//! The `fluss` binary against a real cluster: rows of all scalar types come back byte for byte.

mod command;

use std::fmt::Write as _;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use command::Ran;
use fluss_core::rng::Rng;
use fluss_core::row::text::{
    format_date, format_f32, format_f64, format_time, format_timestamp, format_timestamp_ltz,
};
use fluss_core::row::{Decimal, Timestamp};
use fluss_tools::cluster::{ClusterOptions, RealCluster, TableLosses, real_cluster_or_skip};

const ROWS: usize = 10_000;
const SEED: u64 = 20_261_120;
static LOSSES: TableLosses = TableLosses::new();

/// Name, type, and how a random value looks in canonical form.
type ColumnOf = (&'static str, &'static str, fn(&mut Rng) -> String);

const COLUMNS: &[ColumnOf] = &[
    ("yes", "BOOLEAN", |rng| (rng.below(2) == 0).to_string()),
    ("tiny", "TINYINT", |rng| (rng.next_u64() as i8).to_string()),
    ("small", "SMALLINT", |rng| (rng.next_u64() as i16).to_string()),
    ("int", "INT", |rng| (rng.next_u64() as i32).to_string()),
    ("big", "BIGINT", |rng| (rng.next_u64() as i64).to_string()),
    ("float", "FLOAT", |rng| {
        let value = f32::from_bits(rng.next_u64() as u32);
        if value.is_finite() { format_f32(value) } else { quoted(&format_f32(value)) }
    }),
    ("double", "DOUBLE", |rng| {
        let value = f64::from_bits(rng.next_u64());
        if value.is_finite() { format_f64(value) } else { quoted(&format_f64(value)) }
    }),
    ("dec5", "DECIMAL(5, 2)", |rng| decimal(rng, 99_999, 2)),
    ("dec18", "DECIMAL(18, 0)", |rng| decimal(rng, 999_999_999_999_999_999, 0)),
    ("dec38", "DECIMAL(38, 10)", |rng| decimal(rng, 10_i128.pow(38) - 1, 10)),
    ("char", "CHAR(5)", |rng| text(rng, 5)),
    ("string", "STRING", |rng| {
        let length = rng.below(40) as usize;
        text(rng, length)
    }),
    ("binary", "BINARY(4)", |rng| bytes(rng, 4)),
    ("bytes", "BYTES", |rng| {
        let length = rng.below(40) as usize;
        bytes(rng, length)
    }),
    ("date", "DATE", |rng| quoted(&format_date(rng.next_u64() as i32))),
    ("time0", "TIME(0)", |rng| quoted(&format_time(rng.below(86_400) as i32 * 1000))),
    ("time6", "TIME(6)", |rng| quoted(&format_time(rng.below(86_400_000) as i32))),
    ("time9", "TIME(9)", |rng| quoted(&format_time(rng.below(86_400_000) as i32))),
    ("time", "TIME(3)", |rng| quoted(&format_time(rng.below(86_400_000) as i32))),
    ("ts0", "TIMESTAMP(0)", |rng| quoted(&format_timestamp(timestamp(rng, 0)))),
    ("ts3", "TIMESTAMP(3)", |rng| quoted(&format_timestamp(timestamp(rng, 3)))),
    ("ts6", "TIMESTAMP(6)", |rng| quoted(&format_timestamp(timestamp(rng, 6)))),
    ("ts9", "TIMESTAMP(9)", |rng| quoted(&format_timestamp(timestamp(rng, 9)))),
    ("ltz0", "TIMESTAMP_LTZ(0)", |rng| quoted(&format_timestamp_ltz(timestamp(rng, 0)))),
    ("ltz3", "TIMESTAMP_LTZ(3)", |rng| quoted(&format_timestamp_ltz(timestamp(rng, 3)))),
    ("ltz6", "TIMESTAMP_LTZ(6)", |rng| quoted(&format_timestamp_ltz(timestamp(rng, 6)))),
    ("ltz9", "TIMESTAMP_LTZ(9)", |rng| quoted(&format_timestamp_ltz(timestamp(rng, 9)))),
];

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn decimal(rng: &mut Rng, max: i128, scale: u8) -> String {
    let wide = (u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())) as i128;
    quoted(&Decimal::new(wide % (max + 1), scale).to_string())
}

fn text(rng: &mut Rng, length: usize) -> String {
    const LETTERS: [char; 12] =
        ['a', 'Z', '0', ' ', '"', '\\', '\n', '\u{1}', 'é', '水', '🌊', '\u{7f}'];
    let letters = (0..length).map(|_| LETTERS[rng.below(LETTERS.len() as u64) as usize]);
    quoted(&letters.collect::<String>())
}

fn bytes(rng: &mut Rng, length: usize) -> String {
    let bytes: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
    quoted(&STANDARD.encode(bytes))
}

/// A point in time that a column with so many digits can hold: nanoseconds since 1970 are stored
/// in 64 bits, microseconds likewise.
fn timestamp(rng: &mut Rng, digits: u32) -> Timestamp {
    let range: i64 = if digits > 6 { 9_000_000_000_000 } else { 8_000_000_000_000_000 };
    let millis = (rng.next_u64() as i64) % range;
    match digits {
        0 => Timestamp::from_millis(millis.div_euclid(1000) * 1000),
        3 => Timestamp::from_millis(millis),
        6 => Timestamp { millis, nanos: rng.below(1000) as u32 * 1000 },
        _ => Timestamp { millis, nanos: rng.below(1_000_000) as u32 },
    }
}

/// Rows in canonical form, each behind its key; keys all differ and use all 64 bits.
fn rows() -> Vec<(i64, String)> {
    let mut rng = Rng::new(SEED);
    let row = |number: usize| {
        let id = (number as i64).wrapping_mul(0x1234_5678_9ABC_DEF1);
        let mut line = format!("{{\"id\":{id}");
        for (name, _, value) in COLUMNS {
            // Every eighth value is null.
            let value = if rng.below(8) == 0 { "null".to_owned() } else { value(&mut rng) };
            // Writing to a String cannot fail.
            let _ = write!(line, ",\"{name}\":{value}");
        }
        line.push('}');
        (id, line)
    };
    (0..ROWS).map(row).collect()
}

struct Cli {
    bootstrap: String,
}

impl Cli {
    fn ok(&self, arguments: &[&str], input: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fluss"));
        command.args(arguments).args(["--bootstrap", &self.bootstrap]);
        let ran = Ran::of(&mut command, input);
        assert_eq!(ran.code, Some(0), "seed {SEED}: {arguments:?}: {}", ran.stderr);
        ran.stdout
    }

    /// Makes a table with all columns; answers its path.
    fn create(&self, cluster: &RealCluster, name: &str, more: &[&str]) -> String {
        let columns: Vec<String> = std::iter::once("--column=id BIGINT NOT NULL".to_owned())
            .chain(COLUMNS.iter().map(|(name, kind, _)| format!("--column={name} {kind}")))
            .collect();
        let create = |name: &str| {
            let path = format!("fluss.{name}");
            let mut arguments = vec!["create", path.as_str(), "--buckets=3"];
            arguments.extend(columns.iter().map(String::as_str));
            arguments.extend(more);
            self.ok(&arguments, "");
            Ok::<_, fluss_tools::cluster::ClusterError>(())
        };
        let led = |name: &str, (): &()| cluster.has_leaders("fluss", name, None);
        let (name, ()) = LOSSES.make(cluster, name, create, led).expect("a table with leaders");
        format!("fluss.{name}")
    }
}

/// The `row` objects of records with this change, sorted by key.
fn row_objects(records: &str, change: &str) -> Vec<(i64, String)> {
    let head = format!(",\"change\":\"{change}\",\"row\":");
    let mut rows: Vec<(i64, String)> = records
        .lines()
        .map(|line| {
            let (_, row) = line.split_once(&head).unwrap_or_else(|| panic!("no {change}: {line}"));
            let row = row.strip_suffix('}').expect("the record ends");
            let parsed: serde_json::Value = serde_json::from_str(row).expect("JSON");
            (parsed["id"].as_i64().expect("a key"), row.to_owned())
        })
        .collect();
    rows.sort();
    rows
}

/// A whole comparison would print megabytes.
fn assert_same(found: &[(i64, String)], expected: &[(i64, String)], what: &str) {
    assert_eq!(found.len(), expected.len(), "seed {SEED}: {what}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "seed {SEED}: {what}");
    }
}

#[test]
fn rows_of_all_scalar_types_come_back_byte_for_byte() {
    if !real_cluster_or_skip("rows_of_all_scalar_types_come_back_byte_for_byte") {
        return;
    }
    let cluster = RealCluster::start(ClusterOptions::default()).expect("a cluster");
    let cli = Cli { bootstrap: cluster.bootstrap().join(",") };
    let rows = rows();
    let input: String = rows.iter().map(|(_, row)| format!("{row}\n")).collect();
    let mut sorted = rows.clone();
    sorted.sort();

    let log = cli.create(&cluster, "scalars_log", &[]);
    let report = cli.ok(&["produce", &log, "--report"], &input);
    assert_eq!(report.matches("\"outcome\":\"ok\"").count(), ROWS);
    assert_same(&row_objects(&cli.ok(&["consume", &log], ""), "+A"), &sorted, "consumed log");

    let table = cli.create(&cluster, "scalars_pk", &["--primary-key=id"]);
    cli.ok(&["produce", &table], &input);
    assert_same(&row_objects(&cli.ok(&["consume", &table], ""), "+I"), &sorted, "changelog");
    let keys: String = rows.iter().map(|(id, _)| format!("{{\"id\":{id}}}\n")).collect();
    let found = cli.ok(&["lookup", &table], &keys);
    let found: Vec<(i64, String)> =
        rows.iter().map(|(id, _)| *id).zip(found.lines().map(str::to_owned)).collect();
    assert_same(&found, &rows, "looked up");

    let half: String = keys.split_inclusive('\n').step_by(2).collect();
    cli.ok(&["produce", &table, "--delete"], &half);
    let gone = cli.ok(&["lookup", &table], &half);
    assert_eq!(gone.lines().filter(|line| *line == "null").count(), ROWS / 2);

    // The server makes rows where there are none, and leaves those that there are.
    let (some, nulls): (String, String) = (
        keys.split_inclusive('\n').take(10).collect(),
        COLUMNS.iter().map(|(name, ..)| format!(",\"{name}\":null")).collect(),
    );
    let of = |(at, (id, row)): (usize, &(i64, String))| match at % 2 {
        0 => format!("{{\"id\":{id}{nulls}}}\n"),
        _ => format!("{row}\n"),
    };
    let made: String = rows.iter().enumerate().take(10).map(of).collect();
    assert_eq!(cli.ok(&["lookup", &table, "--insert-if-not-exists"], &some), made);
    assert_eq!(cli.ok(&["lookup", &table], &some), made);
}
