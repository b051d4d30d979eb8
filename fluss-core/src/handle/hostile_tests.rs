//! Servers that send damaged batches: every vector there is, and 10,000 batches damaged at random.
//! Each is read, or an error with bucket and offset; nothing panics and nothing hangs.

use bytes::Bytes;

use super::scan_builder::ScanBuilder;
use super::table::Table;
use super::testkit::{Stage, events};
use crate::batch::LogFormat;
use crate::error::Error;
use crate::ids::BucketKey;
use crate::rng::Rng;

use crate::row::{Column, DataType, OwnedDatum, OwnedRow, Schema, TableDescriptor};
use crate::testing::cluster::{ClusterOptions, Fault, FaultKind, On};
use crate::testing::hostile;
use crate::testing::random::{self, Shape};
use crate::time::Duration;

const PATH: &str = "shop.events";
/// Rows of a batch, and offsets of the log that it is said to be from.
const ROWS: i64 = 12;
const FORMATS: [LogFormat; 3] = [LogFormat::Arrow, LogFormat::Indexed, LogFormat::Compacted];

/// Says the seed when a test body panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("failed with seed {}", self.0);
        }
    }
}

fn table(stage: &mut Stage, schema: &Schema, property: (&str, &str)) -> Table {
    let mut table = TableDescriptor::new(schema.clone());
    table.bucket_count = Some(1);
    table.properties = [(property.0.to_owned(), property.1.to_owned())].into();
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    stage.run(admin.create_table(PATH, &table, false)).expect("a table");
    let opening = stage.fluss.table(PATH);
    stage.run(opening).expect("it is there")
}

fn log_table(stage: &mut Stage, format: LogFormat, schema: &Schema) -> Table {
    let name = match format {
        LogFormat::Arrow => "ARROW",
        LogFormat::Indexed => "INDEXED",
        LogFormat::Compacted => "COMPACTED",
    };
    table(stage, schema, ("table.log.format", name))
}

/// Gives the log of the table's one bucket so many offsets.
fn fill(stage: &mut Stage, table: &Table, row: &OwnedRow, count: i64) {
    let writer = table.appender().build().expect("a writer");
    let rows = (0..count).map(|_| row);
    drop(stage.run(writer.append_all(rows)).expect("room"));
    stage.run(writer.flush()).expect("written");
}

/// How a scan of the offsets from 0 up to an end went.
#[derive(Debug)]
enum Read {
    /// All values were looked at.
    Rows(usize),
    Refused(Error),
}

/// An error of a scan names the bucket and an offset, in its parts and in its text.
fn check(error: &Error, key: BucketKey) {
    let Error::Scan(scan) = error else { panic!("an error without a place: {error:?}") };
    assert_eq!(scan.bucket, key, "{error}");
    assert!(scan.position >= 0, "{error}");
    let text = error.to_string();
    let place = format!("{key} at offset {}: ", scan.position);
    assert!(text.starts_with(&place) && text.len() > place.len() + 10, "{text}");
}

fn read(stage: &mut Stage, builder: ScanBuilder, key: BucketKey, end: i64) -> Read {
    let builder = builder.from_offsets([(key, 0)]).until_offsets([(key, end)]);
    let mut scanner = stage.run(builder.build()).expect("a scanner");
    let mut count = 0;
    for _ in 0..100 {
        let rows = match stage.run(scanner.next_batch()) {
            Ok(None) => return Read::Rows(count),
            Ok(Some(batch)) => batch.rows(),
            Err(error) => Err(error),
        };
        match rows {
            Ok(rows) => {
                for row in rows.iter() {
                    let columns = row.schema().columns().len();
                    (0..columns).for_each(|column| drop(row.value(column)));
                    count += 1;
                }
            }
            Err(error) => {
                check(&error, key);
                return Read::Refused(error);
            }
        }
    }
    panic!("a scan of {end} offsets comes to no end");
}

/// Batches of random tables, damaged, in place of the log: where the server sends all columns, and
/// where it leaves one out, so that there is no checksum to trust.
#[test]
fn ten_thousand_damaged_batches_are_read_or_refused_with_bucket_and_offset() {
    const EACH: u64 = 50;
    let (mut whole, mut refused) = (0, 0);
    for seed in 0..200 {
        let _named = Seed(seed);
        let mut rng = Rng::new(seed);
        let mut stage = Stage::new();
        let format = FORMATS[(seed % 4).min(3) as usize % 3];
        let sent = Shape { columns: 6, ..Shape::default() }.schema(&mut rng);
        let names: Vec<String> = sent.columns().iter().map(|c| c.name.clone()).collect();
        let projected = format == LogFormat::Arrow && rng.one_in(2);
        let mut columns = sent.columns().to_vec();
        columns.extend(projected.then(|| Column::new("unwanted", DataType::INT)));
        let schema = Schema::new(columns, vec![]);
        let table = log_table(&mut stage, format, &schema);
        let key = table.info().bucket(0);
        let stored = random::row(&mut rng, &schema);
        fill(&mut stage, &table, &stored, ROWS);
        let rows: Vec<_> = (0..ROWS).map(|_| random::row(&mut rng, &sent)).collect();
        let sound = hostile::log_batch(&mut rng, format, &sent, &rows);
        let scan = || match projected {
            true => table.scanner().columns(names.iter().cloned()),
            false => table.scanner(),
        };
        let forge = |stage: &Stage, bytes: &[u8]| {
            let bytes = Bytes::copy_from_slice(bytes);
            stage.cluster(|cluster| cluster.forge_records(key, bytes));
        };
        forge(&stage, &sound);
        let intact = read(&mut stage, scan(), key, ROWS);
        assert!(matches!(intact, Read::Rows(count) if count == ROWS as usize), "{intact:?}");
        for _ in 0..EACH {
            let damaged = hostile::damaged_log(&mut rng, &sound);
            forge(&stage, &damaged);
            match read(&mut stage, scan(), key, ROWS) {
                Read::Rows(_) => whole += 1,
                Read::Refused(_) => refused += 1,
            }
        }
    }
    assert_eq!(whole + refused, 10_000);
    assert!(whole > 500 && refused > 5_000, "{whole} read, {refused} refused");
}

/// The same for rows of primary-key tables. They have no offsets; the errors name the bucket, or
/// the schema that a row is said to have.
#[test]
fn damaged_rows_of_primary_key_tables_are_read_or_refused_with_their_bucket() {
    let (mut whole, mut refused) = (0, 0);
    for seed in 0..40 {
        let _named = Seed(seed);
        let mut rng = Rng::new(seed);
        let mut stage = Stage::new();
        let is_indexed = rng.one_in(2);
        let random = Shape { columns: 5, ..Shape::default() }.schema(&mut rng);
        let mut columns = vec![Column::new("id", DataType::BIGINT.not_null())];
        columns.extend(random.columns().iter().cloned());
        let schema = Schema::new(columns, vec![0]);
        let format = if is_indexed { "INDEXED" } else { "COMPACTED" };
        let table = table(&mut stage, &schema, ("table.kv.format", format));
        let key = table.info().bucket(0);
        let rows: Vec<_> = (0..ROWS).map(|_| random::row(&mut rng, &schema)).collect();
        let sound = hostile::value_batch(is_indexed, &schema, &rows);
        for run in 0..25 {
            let bytes =
                if run == 0 { sound.clone() } else { hostile::damaged_values(&mut rng, &sound) };
            stage.cluster(|cluster| cluster.forge_records(key, bytes.into()));
            let lookuper = table.lookuper().expect("it has a key");
            match stage.run(lookuper.first_rows(key, 100)) {
                Ok(found) if run == 0 => assert_eq!(found.len(), rows.len()),
                Ok(_) => whole += 1,
                Err(error) => {
                    assert_ne!(run, 0, "{error}");
                    refused += 1;
                    let text = error.to_string();
                    let schema = text.starts_with("GET_TABLE_SCHEMA shop.events schema ");
                    assert!(schema || text.contains("bucket 0"), "without a bucket: {text}");
                }
            }
        }
    }
    assert!(whole > 50 && refused > 300, "{whole} read, {refused} refused");
}

fn bytes_of(hex: &str) -> Bytes {
    let digits = hex.trim();
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

macro_rules! vectors {
    ($($name:literal)+) => {
        [$((
            $name,
            include_str!(concat!("../../../fluss-proto/tests/vectors/hostile/", $name, ".hex")),
        )),+]
    };
}

#[test]
fn every_hostile_vector_is_refused_with_bucket_and_offset() {
    let schema = |columns: &[(&str, DataType)]| {
        let column = |(name, data_type): &(&str, DataType)| Column::new(*name, data_type.clone());
        Schema::new(columns.iter().map(column).collect(), vec![])
    };
    let both = schema(&[("a", DataType::INT), ("b", DataType::STRING)]);
    let only_a = schema(&[("a", DataType::INT)]);
    let mut count = 0;
    for (name, hex) in vectors![
        "arrow_body_len" "arrow_buffer_oob" "arrow_metadata_len" "arrow_no_continuation"
        "arrow_node_length" "arrow_null_count" "arrow_offsets_decreasing" "change_type_9"
        "compacted_record_len_negative" "crc_mismatch" "indexed_var_len" "length_below_header"
        "length_negative" "record_count_mismatch" "record_count_negative" "stats_len_negative"
        "stats_len_past_end" "unknown_magic" "zstd_claimed_size"
    ] {
        let format = match name {
            "indexed_var_len" => LogFormat::Indexed,
            "compacted_record_len_negative" => LogFormat::Compacted,
            _ => LogFormat::Arrow,
        };
        let is_short = name == "zstd_claimed_size";
        let mut stage = Stage::new();
        let table = log_table(&mut stage, format, if is_short { &only_a } else { &both });
        let key = table.info().bucket(0);
        let row: OwnedRow = match is_short {
            true => [OwnedDatum::Int32(1)].into_iter().collect(),
            false => [OwnedDatum::Int32(1), OwnedDatum::Null].into_iter().collect(),
        };
        fill(&mut stage, &table, &row, 4);
        stage.cluster(|cluster| cluster.forge_records(key, bytes_of(hex)));
        let read = read(&mut stage, table.scanner(), key, 4);
        let Read::Refused(error) = read else { panic!("{name}: {read:?}") };
        assert!(!error.to_string().contains("brought none"), "{name}: {error}");
        count += 1;
    }
    for (name, hex) in vectors!["value_batch_count" "value_record_len_negative"] {
        let mut stage = Stage::new();
        let schema = Schema::new(both.columns().to_vec(), vec![0]);
        let table = table(&mut stage, &schema, ("table.kv.format", "COMPACTED"));
        let key = table.info().bucket(0);
        stage.cluster(|cluster| cluster.forge_records(key, bytes_of(hex)));
        let lookuper = table.lookuper().expect("it has a key");
        let error = stage.run(lookuper.first_rows(key, 10)).expect_err(name);
        assert!(error.to_string().contains("bucket 0"), "{name}: {error}");
        count += 1;
    }
    let there = std::fs::read_dir("../fluss-proto/tests/vectors/hostile").expect("the vectors");
    assert_eq!(count, there.count());
}

#[test]
fn what_goes_wrong_beyond_the_end_of_a_scan_is_no_error_of_it() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = table.appender().linger(Duration::ZERO).build().expect("a writer");
    for id in 0..4_i64 {
        let ticket = writer.try_append(&(id, "x")).expect("room");
        stage.run(ticket).expect("written");
    }
    let key = table.info().bucket(0);
    let size =
        stage.cluster(|cluster| cluster.log(key).next().map_or(0, |batch| batch.bytes.len()));
    stage.cluster(|cluster| cluster.inject(On::Fetch, 1, Fault::ErrorBefore(19)));
    // One batch an answer, and room for the next before it is taken.
    let builder = table.scanner().until_offsets([(key, 1)]).max_bytes_per_bucket(size + 1);
    let mut scanner = stage.run(builder.build()).expect("a scanner");
    stage.settle();
    assert_eq!(stage.cluster(|c| c.faults().count(FaultKind::ErrorBefore)), 1);
    let batch = stage.run(scanner.next_batch()).expect("readable").expect("a row");
    assert_eq!((batch.base_offset(), batch.num_rows()), (0, 1));
    assert!(stage.run(scanner.next_batch()).expect("no error").is_none());
    assert!(scanner.is_finished());
}

/// A table whose batches are larger than answers may be: bounded scans and those that follow it end
/// with an error that names the server and both sizes, and what fits is read as before.
#[test]
fn answers_above_the_limit_of_frames_stop_the_scan_with_both_sizes() {
    let limit = 16 << 10;
    let mut stage = Stage::configured(ClusterOptions::default(), |mut config| {
        config.max_frame_bytes = limit;
        config
    });
    let table = events(&mut stage, 1);
    let writer = table.appender().build().expect("a writer");
    // Compressed it is half as long.
    let mut rng = Rng::new(1);
    let text: String = (0..limit / 4).map(|_| format!("{:016x}", rng.next_u64())).collect();
    let small = stage.run(writer.append(&(0i64, "small"))).expect("room");
    stage.run(writer.flush()).expect("written");
    let large = stage.run(writer.append(&(1i64, text.as_str()))).expect("room");
    stage.run(writer.flush()).expect("written");
    assert_eq!(stage.run(small).expect("it is there").offset, Some(0));
    assert_eq!(stage.run(large).expect("it is there").offset, Some(1));
    for bounded in [true, false] {
        let scan = table.scanner().from_earliest();
        let scan = if bounded { scan.bounded() } else { scan };
        let opening = scan.build();
        let mut scanner = stage.run(opening).expect("a scan");
        let error = loop {
            match stage.run(scanner.next_batch()) {
                Ok(Some(records)) => {
                    let read = (records.base_offset(), records.num_rows());
                    assert_eq!(read, (0, 1), "the large row does not fit");
                }
                Ok(None) => panic!("bounded: {bounded}: the large row is not there"),
                Err(error) => break error,
            }
        };
        check(&error, table.info().bucket(0));
        let text = error.to_string();
        assert!(text.contains(&format!("at most {limit} bytes")), "{text}");
        assert!(stage.names_a_server(&text), "{text}");
    }
}
