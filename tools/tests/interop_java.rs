//! Rows and log batches against the classes of the published client: it reads what this client
//! writes, and this client reads what it writes.
//!
//! Left out, because those classes cannot: CHAR within an ARRAY or MAP of an ARROW log, and points
//! in time before 1970 with a part of a millisecond. The order of a MAP's entries gets lost when
//! they read ARROW, so it does not count there.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use fluss_core::batch::{ArrowBatchOptions, ArrowCompression, LogBatchBuilder, LogFormat, Push};
use fluss_core::rng::Rng;
use fluss_core::row::{OwnedDatum, OwnedRow, RowLayout, Schema, compacted, indexed};
use fluss_core::testing::random::{self, Shape, same};
use fluss_proto::record::Stamp;
use fluss_tools::cluster::{ClusterOptions, RealCluster, real_cluster_or_skip};

const SCHEMAS: u64 = 80;
const ROWS: usize = 12;
const LOGS: [(&str, LogFormat, ArrowCompression); 5] = [
    ("ARROW", LogFormat::Arrow, ArrowCompression::None),
    ("ARROW", LogFormat::Arrow, ArrowCompression::Lz4Frame),
    ("ARROW", LogFormat::Arrow, ArrowCompression::Zstd { level: 3 }),
    ("INDEXED", LogFormat::Indexed, ArrowCompression::None),
    ("COMPACTED", LogFormat::Compacted, ArrowCompression::None),
];

/// The Java program. It ends when its input does, hence with this process.
struct Java {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Java {
    fn start(cluster: &RealCluster) -> Self {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/java/RowInterop.java");
        let mut child = cluster
            .java_client()
            .expect("the jars of the Java client")
            .args(["--add-opens=java.base/java.nio=ALL-UNNAMED", source])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Java starts");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, input, output }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("Java reads, what it says stands above");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("Java writes");
        assert!(line.ends_with('\n'), "Java ended, what it says stands above");
        line.trim_end().to_owned()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// The value with all points in time after 1970.
fn since_1970(value: OwnedDatum) -> OwnedDatum {
    use OwnedDatum::{Array, Map, Row, Timestamp, TimestampLtz};
    let all = |values: Vec<OwnedDatum>| values.into_iter().map(since_1970).collect();
    match value {
        Timestamp(mut time) => {
            time.millis = time.millis.max(0);
            Timestamp(time)
        }
        TimestampLtz(mut time) => {
            time.millis = time.millis.max(0);
            TimestampLtz(time)
        }
        Array(items) => Array(all(items)),
        Row(fields) => Row(all(fields)),
        Map(entries) => {
            let entry = |(key, value)| (since_1970(key), since_1970(value));
            Map(entries.into_iter().map(entry).collect())
        }
        other => other,
    }
}

/// Whether two values are the same, the order of a MAP's entries apart.
fn alike(left: &OwnedDatum, right: &OwnedDatum) -> bool {
    use OwnedDatum::{Array, Map, Row};
    match (left, right) {
        (Array(left), Array(right)) | (Row(left), Row(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| alike(l, r))
        }
        (Map(left), Map(right)) => {
            let among = |entry: &(OwnedDatum, OwnedDatum)| {
                right.iter().any(|other| alike(&entry.0, &other.0) && alike(&entry.1, &other.1))
            };
            left.len() == right.len() && left.iter().all(among)
        }
        (left, right) => same(left.as_datum(), right.as_datum()),
    }
}

fn assert_alike(found: &OwnedRow, expected: &OwnedRow, in_order: bool, what: &str) {
    for (column, (found, expected)) in found.values().iter().zip(expected.values()).enumerate() {
        let equal = match in_order {
            true => same(found.as_datum(), expected.as_datum()),
            false => alike(found, expected),
        };
        assert!(equal, "{what}, column {column}: {found:?} instead of {expected:?}");
    }
}

fn log_batch(
    format: LogFormat,
    compression: ArrowCompression,
    schema: &Schema,
    rows: &[OwnedRow],
) -> Vec<u8> {
    let options = ArrowBatchOptions { compression, ..ArrowBatchOptions::default() };
    let mut builder = LogBatchBuilder::new(format, schema.clone(), options).expect("the options");
    for (index, row) in (0..).zip(rows) {
        assert_eq!(builder.try_push(row), Ok(Push::Pushed(index)));
    }
    let sealed = builder.seal(1, Vec::new()).expect("rows to seal");
    let head = sealed.stamp(Stamp { writer_id: 1, sequence: 0 });
    [&head[..], &sealed.payload()[..]].concat()
}

fn check(java: &mut Java, seed: u64) {
    let mut rng = Rng::new(seed);
    let shape = Shape { nested_char: false, ..Shape::default() };
    let schema =
        Shape { depth: if seed.is_multiple_of(8) { 10 } else { 3 }, ..shape }.schema(&mut rng);
    let layout = RowLayout::new(&schema);
    let row = |_| {
        let values = random::row(&mut rng, &schema).into_values();
        values.into_iter().map(since_1970).collect()
    };
    let rows: Vec<OwnedRow> = (0..ROWS).map(row).collect();
    java.say(&format!("schema {}", schema.to_json()));
    for row in &rows {
        let (mut compact, mut index) = (Vec::new(), Vec::new());
        compacted::encode(&layout, row, &mut compact).expect("the row fits");
        indexed::encode(&layout, row, &mut index).expect("the row fits");
        for (format, encoded) in [("compacted", compact), ("indexed", index)] {
            java.say(&format!("{format} {}", hex(&encoded)));
            let read = compacted::decode(&layout, &bytes(&java.line())).expect("a row of Java's");
            assert_alike(&read, row, true, &format!("seed {seed}, {format} as compacted"));
            let read = indexed::decode(&layout, &bytes(&java.line())).expect("a row of Java's");
            assert_alike(&read, row, true, &format!("seed {seed}, {format} as indexed"));
        }
    }
    for (name, format, compression) in LOGS {
        let batch = log_batch(format, compression, &schema, &rows);
        java.say(&format!("log {name} {}", hex(&batch)));
        for row in &rows {
            let read = compacted::decode(&layout, &bytes(&java.line())).expect("a row of Java's");
            let what = format!("seed {seed}, log {name} {compression:?}");
            assert_alike(&read, row, format != LogFormat::Arrow, &what);
        }
        assert_eq!(java.line(), "", "seed {seed}: no more rows");
    }
}

#[test]
fn the_published_java_classes_read_and_write_the_same_rows() {
    if !real_cluster_or_skip("the_published_java_classes_read_and_write_the_same_rows") {
        return;
    }
    let cluster = RealCluster::start(ClusterOptions::default()).expect("the jars of a cluster");
    let mut java = Java::start(&cluster);
    (0..SCHEMAS).for_each(|seed| check(&mut java, seed));
    let Java { mut child, input, .. } = java;
    drop(input);
    assert!(child.wait().expect("Java ends").success());
    println!("{SCHEMAS} schemas of {ROWS} rows in 2 row formats and {} kinds of log", LOGS.len());
}
