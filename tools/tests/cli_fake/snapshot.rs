//! `fluss scan` and `fluss consume --snapshot`, on servers with and without SCAN_KV.

use std::collections::BTreeMap;

use fluss_core::testing::cluster::{ClusterOptions, Release};
use serde_json::{Value, json};

use super::{Fake, objects};

fn fakes() -> [Fake; 2] {
    let of = |release| ClusterOptions { release, ..ClusterOptions::default() };
    [Release::V0_9, Release::V1_0].map(|release| Fake::of_release(of(release)))
}

fn rows(ids: std::ops::Range<i64>, score: f64) -> String {
    ids.map(|id| format!("{{\"id\":{id},\"name\":\"n{id}\",\"score\":{score:?}}}\n")).collect()
}

/// The rows that records lead to, by their ids.
fn applied(records: &[Value]) -> BTreeMap<i64, Value> {
    let mut rows = BTreeMap::new();
    for record in records {
        let id = record["row"]["id"].as_i64().expect("a key");
        match record["change"].as_str().expect("a change") {
            "+I" | "+U" => assert_eq!(rows.insert(id, record["row"].clone()), None, "{record}"),
            "-U" | "-D" => assert_eq!(rows.remove(&id), Some(record["row"].clone()), "{record}"),
            other => panic!("{other}: {record}"),
        }
    }
    rows
}

#[test]
fn a_scan_of_many_rows_in_small_pieces_prints_each_once() {
    for fake in fakes() {
        fake.ok(&["produce", "shop.users"], &rows(0..3_000, 1.0));
        fake.ok(&["produce", "shop.users"], &rows(1_000..1_500, 2.0));
        let small = ["scan", "shop.users", "-c", "client.scanner.kv.fetch.max-bytes=1kb"];
        let found = objects(&fake.ok(&small, ""));
        assert_eq!(found.len(), 3_000);
        let by_id: BTreeMap<i64, &Value> =
            found.iter().map(|row| (row["id"].as_i64().expect("a key"), row)).collect();
        assert_eq!(by_id.len(), 3_000);
        for (id, row) in by_id {
            let score = if (1_000..1_500).contains(&id) { 2.0 } else { 1.0 };
            assert_eq!(*row, json!({"id": id, "name": format!("n{id}"), "score": score}));
        }
        let some = [&small[..], &["--limit=1700", "--columns=score,id"]].concat();
        let some = fake.ok(&some, "");
        assert_eq!(some.lines().count(), 1_700);
        assert!(some.lines().all(|line| line.starts_with("{\"id\":")), "the order of the schema");
    }
}

#[test]
fn consume_with_a_snapshot_prints_the_rows_as_inserts_and_then_what_changes_them() {
    for fake in fakes() {
        fake.ok(&["produce", "shop.users"], &rows(0..100, 1.0));
        fake.ok(&["produce", "shop.users"], &rows(0..50, 2.0));
        fake.ok(&["produce", "shop.users", "--delete"], "{\"id\":99}\n");
        let end = objects(&fake.ok(&["offsets", "shop.users"], ""))[0]["offset"].clone();
        let records = objects(&fake.ok(&["consume", "shop.users", "--snapshot"], ""));
        assert_eq!(records.len(), 99);
        for record in &records {
            assert_eq!((&record["change"], &record["offset"]), (&json!("+I"), &end), "{record}");
            assert_eq!((&record["bucket"], &record["timestamp"]), (&json!(0), &json!(-1)));
            let names: Vec<&String> = record.as_object().expect("an object").keys().collect();
            assert_eq!(names.len(), 5, "{record}");
        }
        let scores = applied(&records);
        assert_eq!(scores[&10]["score"], json!(2.0));
        let some = ["consume", "shop.users", "--snapshot", "--count=7", "--columns=name"];
        let some = objects(&fake.ok(&some, ""));
        assert_eq!(some.len(), 7);
        assert_eq!(some[0]["row"].as_object().expect("an object").len(), 1);
        for wrong in ["--from=earliest", "--offset=1"] {
            let arguments = ["consume", "shop.users", "--snapshot", "--bucket=0", wrong];
            let ran = fake.run(&arguments, "");
            assert_eq!(ran.code, Some(2), "{ran:?}");
        }
        let ran = fake.run(&["consume", "shop.events", "--snapshot"], "");
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("primary key"), "{ran:?}");
    }
}

#[cfg(unix)]
#[test]
fn consume_with_a_snapshot_follows_without_a_gap() {
    use std::io::{BufRead as _, BufReader};

    use rustix::process::{Pid, Signal, kill_process};

    for fake in fakes() {
        fake.ok(&["produce", "shop.users"], &rows(0..100, 1.0));
        let arguments = ["consume", "shop.users", "--snapshot", "--follow"];
        let mut child = fake.command(&arguments).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut records: Vec<Value> = Vec::new();
        let mut read = |count: usize, records: &mut Vec<Value>| {
            for _ in 0..count {
                let line = lines.next().expect("no end").expect("text");
                records.push(serde_json::from_str(&line).expect("JSON"));
            }
        };
        read(100, &mut records);
        fake.ok(&["produce", "shop.users"], &rows(50..150, 2.0));
        fake.ok(&["produce", "shop.users", "--delete"], "{\"id\":0}\n");
        // 50 updates of two records each, 50 inserts, a delete.
        read(151, &mut records);
        let mut offsets = records[100..].iter().map(|record| record["offset"].as_i64());
        let first = offsets.next().flatten().expect("an offset");
        assert_eq!(first, records[99]["offset"].as_i64().expect("an offset"));
        assert!(offsets.zip(first + 1..).all(|(found, next)| found == Some(next)));
        let found = applied(&records);
        assert_eq!(found.len(), 149);
        assert_eq!(found[&50]["score"], json!(2.0));
        kill_process(Pid::from_child(&child), Signal::INT).expect("it is still there");
        assert_eq!(child.wait().expect("it ends").code(), Some(130));
    }
}
