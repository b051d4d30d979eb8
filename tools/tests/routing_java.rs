//! Where rows go, against the classes of the published client: the bytes of keys, their buckets,
//! and the names of partitions, for every type that can be a key or partition column.
//!
//! Left out, because those classes have it not: the lake format `hudi`, whose vectors are tests of
//! the core. Of FLOAT and DOUBLE a Java before version 19 writes more digits than needed for some
//! values; such a name must read as the same value, and be rare.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use fluss_core::rng::Rng;
use fluss_core::row::hash::BucketFunction;
use fluss_core::row::key::{KeyEncoder, KeyFormat, KeyRules};
use fluss_core::row::partition::PartitionNamer;
use fluss_core::row::{
    DataType, OwnedDatum, OwnedRow, RowLayout, Schema, TableDescriptor, Timestamp, TypeKind,
    compacted,
};
use fluss_core::testing::random::{self, Shape};
use fluss_tools::cluster::{RealCluster, real_cluster_or_skip};

/// Keys of each type.
const KEYS: usize = 10_000;
const BUCKETS: [u32; 3] = [3, 7, 16];
/// The lakes in the order in which Java answers, with the property that chooses each.
const LAKES: [(Option<&str>, KeyFormat, BucketFunction); 4] = [
    (None, KeyFormat::Compacted, BucketFunction::Fluss),
    (Some("lance"), KeyFormat::Compacted, BucketFunction::Fluss),
    (Some("paimon"), KeyFormat::Paimon, BucketFunction::Paimon),
    (Some("iceberg"), KeyFormat::Iceberg, BucketFunction::Iceberg),
];
const TYPES: [&str; 24] = [
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INT",
    "BIGINT",
    "FLOAT",
    "DOUBLE",
    "DECIMAL(5, 2)",
    "DECIMAL(18, 4)",
    "DECIMAL(19, 0)",
    "DECIMAL(38, 10)",
    "CHAR(12)",
    "STRING",
    "BINARY(5)",
    "BYTES",
    "DATE",
    "TIME(0)",
    "TIME(9)",
    "TIMESTAMP(0)",
    "TIMESTAMP(3)",
    "TIMESTAMP(9)",
    "TIMESTAMP_LTZ(0)",
    "TIMESTAMP_LTZ(3)",
    "TIMESTAMP_LTZ(9)",
];

/// The Java program. It ends when its input does, hence with this process.
struct Java {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Lines to be said.
    said: String,
    /// Answers still to come.
    due: usize,
}

impl Java {
    fn start() -> Self {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/java/RoutingInterop.java");
        let mut child = RealCluster::java_alone()
            .expect("the jars of the server")
            .args(["--add-opens=java.base/java.nio=ALL-UNNAMED", source])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Java starts");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::with_capacity(1 << 20, child.stdout.take().expect("a pipe"));
        Self { child, input, output, said: String::new(), due: 0 }
    }

    /// Says a line that has an answer. True: what was said fills a pipe, time to listen.
    fn ask(&mut self, word: &str, rest: &str) -> bool {
        self.say(word, rest);
        self.due += 1;
        self.said.len() > 30_000
    }

    fn say(&mut self, word: &str, rest: &str) {
        self.said += word;
        self.said.push(' ');
        self.said += rest;
        self.said.push('\n');
    }

    fn answers(&mut self) -> Vec<String> {
        let said = std::mem::take(&mut self.said);
        self.input.write_all(said.as_bytes()).expect("Java reads, what it says stands above");
        let lines = (0..std::mem::take(&mut self.due)).map(|_| {
            let mut line = String::new();
            self.output.read_line(&mut line).expect("Java writes");
            assert!(line.ends_with('\n'), "Java ended, what it says stands above");
            line.trim_end_matches('\n').to_owned()
        });
        lines.collect()
    }

    fn answer(&mut self, word: &str, rest: &str) -> String {
        self.ask(word, rest);
        self.answers().remove(0)
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn schema(types: &[DataType]) -> Schema {
    let builder = Schema::builder();
    let columns = types.iter().enumerate();
    let column = |builder: fluss_core::row::SchemaBuilder, (at, data_type): (usize, &DataType)| {
        builder.column(format!("c{at}"), data_type.clone())
    };
    columns.fold(builder, column).build().expect("a schema")
}

fn encoded(layout: &RowLayout, row: &OwnedRow) -> String {
    let mut bytes = Vec::new();
    compacted::encode(layout, row, &mut bytes).expect("the row fits");
    hex(&bytes)
}

/// What this client says of a key: its bytes and buckets, `!` if it refuses it.
fn place(encoder: Option<&KeyEncoder>, function: BucketFunction, row: &OwnedRow) -> String {
    let mut key = Vec::new();
    match encoder.map(|encoder| encoder.encode(row, &mut key)) {
        Some(Ok(())) => {}
        _ => return "!".to_owned(),
    }
    let buckets = BUCKETS.map(|n| function.bucket_of(&key, n).expect("a key with a bucket"));
    format!("{}:{}:{}:{}", hex(&key), buckets[0], buckets[1], buckets[2])
}

/// Compares keys and buckets of random rows; the version of Java.
fn keys(java: &mut Java, types: &[DataType], rows: usize, rng: &mut Rng) -> u32 {
    let schema = schema(types);
    let layout = RowLayout::new(&schema);
    let columns: Vec<usize> = (0..types.len()).collect();
    java.say("schema", &schema.to_json());
    let lakes = java.answer("lakes", "");
    let mut words = lakes.split(' ').skip(1);
    let version = words.next().and_then(|word| word.parse().ok()).expect("a version");
    let encoder = |format| {
        KeyEncoder::new(&schema, &columns).and_then(|encoder| encoder.with_format(format)).ok()
    };
    let encoders = LAKES.map(|(_, format, _)| encoder(format));
    let ours: Vec<&str> = encoders.iter().map(|e| if e.is_some() { "ok" } else { "no" }).collect();
    assert_eq!(words.collect::<Vec<_>>(), ours, "{types:?}: the lakes that take such keys");
    let mut asked = Vec::new();
    for number in 0..rows {
        let row = random::row(rng, &schema);
        let full = java.ask("row", &encoded(&layout, &row));
        asked.push(row);
        if !full && number + 1 < rows {
            continue;
        }
        for (row, answer) in asked.drain(..).zip(java.answers()) {
            let places = LAKES.iter().zip(&encoders);
            let ours: Vec<String> =
                places.map(|((_, _, f), encoder)| place(encoder.as_ref(), *f, &row)).collect();
            assert_eq!(ours, answer.split(' ').collect::<Vec<_>>(), "{types:?}: {row:?}");
        }
    }
    version
}

/// Compares which encoding the properties of a table choose.
fn rules(java: &mut Java, rng: &mut Rng) {
    let types = [DataType::INT.not_null(), DataType::STRING.not_null()];
    for count in [1, 2] {
        let schema = schema(&types[..count]);
        let row = random::row(rng, &schema);
        java.say("schema", &schema.to_json());
        let answer = java.answer("rules", &encoded(&RowLayout::new(&schema), &row));
        let mut ours = Vec::new();
        for (lake, ..) in LAKES {
            for version in ["1", "2"] {
                for usual in [true, false] {
                    // A primary key of one column has no other bucket key; say it of a longer one.
                    let key: Vec<String> = (0..count).map(|at| format!("c{at}")).collect();
                    let all: Vec<usize> = (0..count).collect();
                    let keyed = Schema::builder()
                        .column("c0", types[0].clone())
                        .column("c1", types[1].clone())
                        .column("c2", DataType::INT.not_null());
                    let keyed = match usual {
                        true => keyed.primary_key(key),
                        false => keyed.primary_key(["c0", "c1", "c2"]),
                    };
                    let mut table = TableDescriptor::new(keyed.build().expect("a schema"));
                    if !usual {
                        table.bucket_key = all.clone();
                    }
                    let mut set = |key: &str, value: &str| {
                        table.properties.insert(key.to_owned(), value.to_owned());
                    };
                    set("table.kv.format-version", version);
                    if let Some(lake) = lake {
                        set("table.datalake.format", lake);
                    }
                    let rules = KeyRules::of(&table).expect("known properties");
                    let encoder = KeyEncoder::new(&schema, &all);
                    let encoder = encoder.and_then(|encoder| encoder.with_format(rules.key));
                    let mut bytes = Vec::new();
                    ours.push(match encoder.and_then(|encoder| encoder.encode(&row, &mut bytes)) {
                        Ok(()) => hex(&bytes),
                        Err(_) => "!".to_owned(),
                    });
                }
            }
        }
        assert_eq!(ours, answer.split(' ').collect::<Vec<_>>(), "{row:?}");
    }
}

/// A value that a partition may have, most likely.
fn partition_value(rng: &mut Rng, data_type: &DataType) -> OwnedDatum {
    const LETTERS: &[u8] = b"abcXYZ019_-";
    match data_type.kind {
        TypeKind::String | TypeKind::Char(_) => {
            let length = 1 + rng.below(12);
            let letter = |_| LETTERS[rng.below(LETTERS.len() as u64) as usize] as char;
            OwnedDatum::Str((0..length).map(letter).collect())
        }
        // Years 1 to 9999.
        TypeKind::Timestamp(_) | TypeKind::TimestampLtz(_) => {
            let seconds = rng.below(315_537_897_600) as i64 - 62_135_596_800;
            let coarse = [1_000_000_000, 1_000_000, 1_000, 1][rng.below(4) as usize];
            let nanos = rng.below(1_000_000_000) / coarse * coarse;
            let millis = seconds * 1000 + (nanos / 1_000_000) as i64;
            let time = Timestamp { millis, nanos: (nanos % 1_000_000) as u32 };
            match data_type.kind {
                TypeKind::Timestamp(_) => OwnedDatum::Timestamp(time),
                _ => OwnedDatum::TimestampLtz(time),
            }
        }
        _ => random::value(rng, data_type),
    }
}

/// Compares the names of partitions with one column of the type. Answers how many were compared and
/// how many of them Java wrote with more digits than needed.
fn partitions(java: &mut Java, data_type: &DataType, rng: &mut Rng) -> (usize, usize) {
    let schema = schema(std::slice::from_ref(data_type));
    let layout = RowLayout::new(&schema);
    let namer = PartitionNamer::new(&schema, &[0]).expect("a type of partitions");
    java.say("schema", &schema.to_json());
    let (mut compared, mut longer, mut name) = (0, 0, String::new());
    let mut asked = Vec::new();
    for _ in 0..20 * KEYS {
        let row = OwnedRow::new(vec![partition_value(rng, data_type)]);
        // As a row of this type holds it: without nanoseconds at a low precision.
        let text = encoded(&layout, &row);
        let row = compacted::decode(&layout, &bytes(&text)).expect("a row");
        if namer.name(&row, &mut name).is_err() {
            // No server takes such a name.
            continue;
        }
        let full = java.ask("partition", &text);
        asked.push((row, name.clone()));
        if !full && asked.len() + compared < KEYS {
            continue;
        }
        for ((row, name), answer) in asked.drain(..).zip(java.answers()) {
            compared += 1;
            if name == answer {
                continue;
            }
            let number = |text: &str| text.replace('_', ".");
            let same = match data_type.kind {
                TypeKind::Float => {
                    let value = |text| number(text).parse::<f32>().ok().map(f32::to_bits);
                    value(&name).is_some() && value(&name) == value(&answer)
                }
                TypeKind::Double => {
                    let value = |text| number(text).parse::<f64>().ok().map(f64::to_bits);
                    value(&name).is_some() && value(&name) == value(&answer)
                }
                _ => false,
            };
            assert!(same, "{data_type}: {row:?} is {name} here and {answer} in Java");
            longer += 1;
        }
        if compared >= KEYS {
            return (compared, longer);
        }
    }
    panic!("{data_type}: only {compared} names were compared")
}

#[test]
fn rows_go_where_the_published_java_classes_put_them() {
    if !real_cluster_or_skip("rows_go_where_the_published_java_classes_put_them") {
        return;
    }
    let mut java = Java::start();
    let mut rng = Rng::new(5);
    let types = TYPES.map(|text| text.parse::<DataType>().expect("a type").not_null());
    let mut version = 0;
    for data_type in &types {
        version = keys(&mut java, std::slice::from_ref(data_type), KEYS, &mut rng);
    }
    // Keys of several columns, null among them.
    let shape = Shape { depth: 0, ..Shape::default() };
    for _ in 0..KEYS / 50 {
        let count = 2 + rng.below(3);
        let types: Vec<DataType> = (0..count).map(|_| shape.data_type(&mut rng)).collect();
        keys(&mut java, &types, 50, &mut rng);
    }
    rules(&mut java, &mut rng);
    for data_type in types.iter().filter(|t| !matches!(t.kind, TypeKind::Decimal { .. })) {
        let (compared, longer) = partitions(&mut java, data_type, &mut rng);
        let most = match data_type.kind {
            TypeKind::Float if version < 19 => compared / 7,
            TypeKind::Double if version < 19 => compared / 100,
            _ => 0,
        };
        assert!(longer <= most, "{data_type}: {longer} of {compared} names are longer in Java");
    }
    let Java { mut child, input, .. } = java;
    drop(input);
    assert!(child.wait().expect("Java ends").success());
    println!("{KEYS} keys of {} types, Java {version}", TYPES.len());
}
