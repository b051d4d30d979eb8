use std::collections::{BTreeMap, BTreeSet};

use super::testkit::{Stage, events};
use crate::config::NoKeyAssigner;
use crate::error::Error;
use crate::handle::{Ack, BucketAssigner, RowToAssign, Table};
use crate::row::{DataType, Row, RowErrorKind, Schema, TableDescriptor, hash::BucketFunction};
use crate::testing::cluster::{ClusterOptions, Release};

/// `a INT, b STRING, n BIGINT`, with these properties.
fn table(
    stage: &mut Stage,
    name: &str,
    key: &[&str],
    bucket_key: &[usize],
    properties: &[(&str, &str)],
) -> Table {
    let schema = Schema::builder()
        .column("a", DataType::INT.not_null())
        .column("b", DataType::STRING.not_null())
        .column("n", DataType::BIGINT);
    let schema = if key.is_empty() { schema } else { schema.primary_key(key.to_vec()) };
    let mut table = TableDescriptor::new(schema.build().expect("a sound schema"));
    table.bucket_key = bucket_key.to_vec();
    table.bucket_count = Some(4);
    let property = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    table.properties.extend(properties.iter().map(property));
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    let path = format!("shop.{name}");
    stage.run(admin.create_table(path.as_str(), &table, false)).expect("a table");
    let opening = stage.fluss.table(path.as_str());
    stage.run(opening).expect("it is there")
}

/// The published release does not know Hudi.
fn with_all_lakes() -> Stage {
    Stage::with(ClusterOptions { release: Release::V1_0, ..ClusterOptions::default() })
}

fn append(stage: &mut Stage, table: &Table, row: &(impl Row + ?Sized)) -> Ack {
    let writer = table.appender().build().expect("a writer");
    let ticket = stage.run(writer.append(row)).expect("it fits");
    stage.run(ticket).expect("written")
}

#[test]
fn rows_of_tables_with_a_lake_format_are_placed_as_the_lake_places_them() {
    let mut stage = with_all_lakes();
    // INT 42: among 7 buckets the vectors have 1, 1 and 6; here are 4.
    let bytes = [
        ("paimon", BucketFunction::Paimon, &[0, 0, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0][..]),
        ("iceberg", BucketFunction::Iceberg, &[42, 0, 0, 0, 0, 0, 0, 0]),
        ("hudi", BucketFunction::Hudi, &[0, 0, 6, 0x9d]),
        ("lance", BucketFunction::Fluss, &[42]),
    ];
    for (lake, function, key) in bytes {
        let lake_property = [("table.datalake.format", lake)];
        let log = table(&mut stage, &format!("log_{lake}"), &[], &[0], &lake_property);
        let bucket = function.bucket_of(key, 4).expect("a bucket") as i32;
        assert_eq!(append(&mut stage, &log, &(42, "x", 1_i64)).bucket, bucket, "{lake}");
        // Without a bucket key, no lake decides.
        let any = table(&mut stage, &format!("any_{lake}"), &[], &[], &lake_property);
        append(&mut stage, &any, &(42, "x", 1_i64));
        let kv = table(&mut stage, &format!("kv_{lake}"), &["a"], &[], &lake_property);
        let writer = kv.upserter().build().expect("a writer");
        let ticket = stage.run(writer.upsert(&(42, "x", 1_i64))).expect("it fits");
        assert_eq!(stage.run(ticket).expect("written").bucket, bucket, "{lake}");
    }
}

#[test]
fn keys_of_tables_with_a_lake_format_are_found_again_and_deleted() {
    let mut stage = with_all_lakes();
    let mut number = 0;
    for lake in ["paimon", "iceberg", "hudi", "lance"] {
        for (bucket_key, version) in [(&[][..], "1"), (&[], "2"), (&[0][..], "2"), (&[0], "1")] {
            let properties =
                [("table.datalake.format", lake), ("table.kv.format-version", version)];
            number += 1;
            let several = lake != "iceberg" || !bucket_key.is_empty() && version == "2";
            let key: &[&str] = if several { &["a", "b"] } else { &["a"] };
            let table = table(&mut stage, &format!("t{number}"), key, bucket_key, &properties);
            let what = format!("{lake} {bucket_key:?} {version}");
            let writer = table.upserter().build().expect(&what);
            let name = |a: i32| format!("the name of number {a}");
            for a in 0..40 {
                let row = (a, &*name(a), i64::from(a));
                let _ticket = stage.run(writer.upsert(&row)).expect(&what);
            }
            for a in 0..10 {
                let _ticket = match several {
                    true => stage.run(writer.delete(&(a, &*name(a)))),
                    false => stage.run(writer.delete(&(a,))),
                }
                .expect(&what);
            }
            stage.run(writer.flush()).expect(&what);
            let lookuper = table.lookuper().expect(&what);
            for a in 0..40 {
                let found = match several {
                    true => stage.run(lookuper.lookup(&(a, &*name(a)))),
                    false => stage.run(lookuper.lookup(&(a,))),
                };
                assert_eq!(found.expect(&what).is_some(), a >= 10, "{what} {a}");
                if several && !bucket_key.is_empty() {
                    let found = stage.run(lookuper.lookup_prefix(&(a,))).expect(&what);
                    assert_eq!(found.len(), usize::from(a >= 10), "{what} {a}");
                }
            }
        }
    }
}

#[test]
fn keys_that_a_lake_cannot_place_are_refused_when_the_writer_is_built_or_row_by_row() {
    let mut stage = Stage::new();
    let iceberg = [("table.datalake.format", "iceberg")];
    let two = table(&mut stage, "two", &["a", "b"], &[], &iceberg);
    let error = two.upserter().build().expect_err("two columns").to_string();
    assert!(error.contains("Iceberg") && error.contains("`b`"), "{error}");
    assert!(two.lookuper().is_err());
    let text = table(&mut stage, "text", &["b"], &[], &iceberg);
    let writer = text.upserter().build().expect("a writer");
    let error = stage.run(writer.upsert(&(1, "", 1_i64))).expect_err("no bytes").to_string();
    assert!(error.contains("`b`") && error.contains("empty"), "{error}");
    let _ticket = stage.run(writer.upsert(&(1, "b", 1_i64))).expect("it fits");
    stage.run(writer.flush()).expect("written");
}

#[test]
fn rows_without_a_key_go_to_the_next_bucket_each_where_that_is_asked_for() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 3);
    let writer = table.appender().no_key_assigner(NoKeyAssigner::RoundRobin).build();
    let writer = writer.expect("a writer");
    let mut acks = Vec::new();
    for id in 0..30_i64 {
        acks.push(stage.run(writer.append(&(id, "x"))).expect("it fits"));
    }
    let mut counts = BTreeMap::new();
    let mut order = Vec::new();
    for ticket in acks {
        let bucket = stage.run(ticket).expect("written").bucket;
        *counts.entry(bucket).or_insert(0) += 1;
        order.push(bucket);
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [10, 10, 10]);
    assert!(order.windows(2).all(|two| two[1] == (two[0] + 1) % 3), "{order:?}");
    let schema = table.info().schema().clone();
    let batch = crate::batch::record_batch(&schema, (0..30_i64).map(|id| (id, "y")));
    let ticket = stage.run(writer.append_batch(&batch.expect("a batch"))).expect("handed in");
    let parts = stage.run(ticket);
    let buckets: BTreeSet<i32> =
        parts.iter().map(|part| part.outcome.as_ref().expect("written").bucket).collect();
    assert_eq!(buckets.len(), 3, "{parts:?}");
}

/// Puts rows into the bucket that the last byte of a column names.
struct ByLastByte(&'static str);

impl BucketAssigner for ByLastByte {
    fn columns(&self) -> Option<Vec<String>> {
        Some(vec![self.0.to_owned()])
    }

    fn assign(&self, row: &RowToAssign<'_>) -> u32 {
        u32::from(row.key.last().map_or(0, |byte| byte - b'0'))
    }
}

#[test]
fn an_assigner_of_the_users_chooses_buckets_and_a_wrong_one_refuses_the_row_alone() {
    let mut stage = Stage::new();
    let log = table(&mut stage, "log", &[], &[], &[]);
    let writer = log.appender().bucket_assigner(ByLastByte("b")).build().expect("a writer");
    for bucket in 0..4 {
        let text = format!("b{bucket}");
        let ticket = stage.run(writer.append(&(1, &*text, 1_i64))).expect("it fits");
        assert_eq!(stage.run(ticket).expect("written").bucket, bucket);
    }
    let error = stage.run(writer.append(&(1, "b7", 1_i64))).expect_err("there is no bucket 7");
    let Error::Row(error) = error else { panic!("{error}") };
    assert_eq!(*error.kind(), RowErrorKind::Bucket { bucket: 7, buckets: 4 });
    assert!(error.to_string().contains("bucket 7, but they are 0 to 3"), "{error}");
    let run = [(1, "b1", 1_i64), (2, "b9", 2), (3, "b1", 3)];
    let ticket = stage.run(writer.append_all(run)).expect("handed in");
    let parts = stage.run(ticket);
    let outcomes: Vec<_> = parts.iter().map(|p| (p.rows.clone(), p.outcome.is_ok())).collect();
    assert_eq!(outcomes, [(0..1, true), (1..2, false), (2..3, true)]);
    // Record batches are placed row by row, too.
    let rows = (0..4).map(|n| (n, ["b3", "b2", "b8", "b3"][n as usize], 0_i64));
    let batch = crate::batch::record_batch(log.info().schema(), rows).expect("a batch");
    let ticket = stage.run(writer.append_batch(&batch)).expect("handed in");
    let parts = stage.run(ticket);
    let buckets: Vec<_> =
        parts.iter().map(|part| part.outcome.as_ref().ok().map(|ack| ack.bucket)).collect();
    assert_eq!(buckets, [Some(3), Some(2), None, Some(3)]);
}

#[test]
fn an_assigner_sees_the_bucket_key_and_places_deletes_like_upserts() {
    let mut stage = Stage::new();
    let kv = table(&mut stage, "kv", &["a", "b"], &[0], &[]);
    let last = |row: &RowToAssign<'_>| {
        assert_eq!((row.key.len(), row.partition), (1, None), "the bytes of a small INT");
        row.buckets - 1
    };
    let writer = kv.upserter().bucket_assigner(last).build().expect("a writer");
    for a in 0..20 {
        let ticket = stage.run(writer.upsert(&(a, "x", 1_i64))).expect("it fits");
        assert_eq!(stage.run(ticket).expect("written").bucket, 3);
        let ticket = stage.run(writer.delete(&(a, "x"))).expect("it fits");
        assert_eq!(stage.run(ticket).expect("written").bucket, 3);
    }
    let named = kv.upserter().bucket_assigner(ByLastByte("b")).build().expect("a writer");
    let ticket = stage.run(named.upsert(&(9, "n2", 1_i64))).expect("it fits");
    assert_eq!(stage.run(ticket).expect("written").bucket, 2);
    let ticket = stage.run(named.delete(&(9, "n2"))).expect("it fits");
    assert_eq!(stage.run(ticket).expect("written").bucket, 2);
    for (column, part) in [("n", "not part of the primary key"), ("z", "`z`")] {
        let name: &'static str = column;
        let error = kv.upserter().bucket_assigner(ByLastByte(name)).build();
        let error = error.expect_err("refused").to_string();
        assert!(error.contains(part), "{error}");
    }
}
