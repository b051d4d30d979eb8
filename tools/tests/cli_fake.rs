//! The `fluss` binary against a fake cluster behind real ports.

mod command;
#[path = "cli_fake/ends.rs"]
mod ends;
#[path = "cli_fake/forms.rs"]
mod forms;
#[cfg(target_os = "linux")]
#[path = "cli_fake/full.rs"]
mod full;
#[path = "cli_fake/kept.rs"]
mod kept;
#[path = "cli_fake/messages.rs"]
mod messages;
#[path = "cli_fake/snapshot.rs"]
mod snapshot;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use command::Ran;
use fluss_core::testing::cluster::{ClusterOptions, FakeCluster};
use fluss_core::testing::loopback::{Loopback, LoopbackOptions};
use serde_json::Value;

/// A fake cluster and what the command line says about it.
struct Fake {
    servers: Loopback,
}

impl Fake {
    fn start() -> Self {
        Self::with(ClusterOptions::default())
    }

    fn with(options: ClusterOptions) -> Self {
        let cluster = FakeCluster::new(options);
        let servers = Loopback::start(cluster, LoopbackOptions::default()).expect("free ports");
        Self { servers }
    }

    /// The coordinator alone is known at first, which offers neither writer ids nor rows.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fluss"));
        command
            .args(arguments)
            .env("FLUSS_BOOTSTRAP", self.servers.bootstrap())
            .env_remove("FLUSS_USER")
            .env_remove("FLUSS_PASSWORD")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str], input: &str) -> Ran {
        Ran::of(&mut self.command(arguments), input)
    }

    /// A run that must succeed; answers what it printed.
    fn ok(&self, arguments: &[&str], input: &str) -> String {
        let ran = self.run(arguments, input);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        ran.stdout
    }

    /// A log table `shop.events` and a primary-key table `shop.users`.
    fn with_tables() -> Self {
        Self::of_release(ClusterOptions::default())
    }

    fn of_release(options: ClusterOptions) -> Self {
        let fake = Self::with(options);
        fake.ok(&["create-database", "shop"], "");
        let columns = ["--column=id BIGINT", "--column=name STRING", "--column=score DOUBLE"];
        let create = |table, more: &[&str]| {
            let arguments: Vec<&str> =
                ["create", table].into_iter().chain(columns).chain(more.iter().copied()).collect();
            fake.ok(&arguments, "");
        };
        create("shop.events", &["--buckets=1"]);
        create("shop.users", &["--buckets=1", "--primary-key=id"]);
        fake
    }
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
}

#[test]
fn databases_and_tables_come_and_go() {
    let fake = Fake::start();
    fake.ok(&["create-database", "shop"], "");
    assert_eq!(fake.run(&["create-database", "shop"], "").code, Some(1));
    fake.ok(&["create-database", "shop", "--if-not-exists"], "");
    assert!(fake.ok(&["databases"], "").lines().any(|name| name == "shop"));
    fake.ok(
        &[
            "create",
            "shop.orders",
            "--column=id BIGINT",
            "--column=price DECIMAL(10, 2) NOT NULL",
            "--primary-key=id",
            "--buckets=3",
            "--comment=all of them",
            "--custom-property=owner=ada",
        ],
        "",
    );
    assert_eq!(fake.ok(&["tables", "shop"], ""), "orders\n");
    let described = &objects(&fake.ok(&["describe", "shop.orders", "--json"], ""))[0];
    assert_eq!(described["buckets"], 3);
    assert_eq!(described["bucket_key"], serde_json::json!(["id"]));
    assert_eq!(described["schema"]["primary_key"], serde_json::json!(["id"]));
    assert_eq!(described["custom_properties"], serde_json::json!({"owner": "ada"}));
    assert_eq!(described["comment"], "all of them");
    let text = fake.ok(&["describe", "shop.orders"], "");
    assert!(text.contains("DECIMAL(10, 2) NOT NULL"), "{text}");
    assert_eq!(fake.run(&["drop-database", "shop"], "").code, Some(1));
    fake.ok(&["drop", "shop.orders"], "");
    let gone = fake.run(&["drop", "shop.orders"], "");
    assert_eq!(gone.code, Some(1));
    assert!(gone.stderr.contains("TABLE_NOT_EXIST"), "{gone:?}");
    fake.ok(&["drop", "shop.orders", "--if-exists"], "");
    fake.ok(&["drop-database", "shop", "--cascade"], "");
}

#[test]
fn every_server_answers_a_ping() {
    let fake = Fake::start();
    let found = objects(&fake.ok(&["ping"], ""));
    let roles: Vec<_> = found.iter().map(|server| server["role"].clone()).collect();
    assert_eq!(roles, ["coordinator", "tablet_server", "tablet_server", "tablet_server"]);
    assert_eq!(found[0]["address"], fake.servers.bootstrap());
    assert_eq!(found[0]["apis"]["API_VERSIONS"], serde_json::json!([0, 0]));
    for (server, between) in [(0, "ADJUST_ISR"), (1, "STOP_REPLICA")] {
        let apis = found[server]["apis"].as_object().expect("an object");
        assert!(apis.contains_key(between), "{apis:?}");
        let unnamed: Vec<_> = apis.keys().filter(|name| name.parse::<i32>().is_ok()).collect();
        assert!(unnamed.is_empty(), "{unnamed:?}");
    }
}

#[test]
fn rows_travel_to_a_log_table_and_back() {
    let fake = Fake::with_tables();
    let input = concat!(
        r#"{"id":9223372036854775807,"name":"ada","score":0.1}"#,
        "\n\n",
        r#"{"score":"NaN","id":2}"#,
    );
    let report = fake.ok(&["produce", "shop.events", "--report"], input);
    assert_eq!(
        report,
        concat!(
            r#"{"row":1,"outcome":"ok","partition":null,"bucket":0,"offset":0}"#,
            "\n",
            r#"{"row":2,"outcome":"ok","partition":null,"bucket":0,"offset":1}"#,
            "\n"
        )
    );
    let offsets = fake.ok(&["offsets", "shop.events"], "");
    assert_eq!(offsets, "{\"partition\":null,\"bucket\":0,\"offset\":2}\n");
    let records = fake.ok(&["consume", "shop.events"], "");
    let lines: Vec<&str> = records.lines().collect();
    assert_eq!(lines.len(), 2, "{records}");
    assert!(lines[0].starts_with(r#"{"bucket":0,"offset":0,"timestamp":"#), "{records}");
    let row = r#","change":"+A","row":{"id":9223372036854775807,"name":"ada","score":0.1}}"#;
    assert!(lines[0].ends_with(row), "{records}");
    let row = r#","change":"+A","row":{"id":2,"name":null,"score":"NaN"}}"#;
    assert!(lines[1].ends_with(row), "{records}");
    let part = ["consume", "shop.events", "--columns=score,id", "--bucket=0", "--offset=1"];
    let records = fake.ok(&part, "");
    assert!(records.ends_with("\"row\":{\"id\":2,\"score\":\"NaN\"}}\n"), "{records}");
    assert_eq!(fake.ok(&["consume", "shop.events", "--count=1"], "").lines().count(), 1);
    assert_eq!(fake.ok(&["consume", "shop.events", "--from=latest"], ""), "");
}

#[test]
fn rows_of_a_primary_key_table_change_and_are_looked_up() {
    let fake = Fake::with_tables();
    let input = "{\"id\":1,\"name\":\"a\"}\n{\"id\":2}\n{\"id\":1,\"name\":\"b\"}\n";
    let report = objects(&fake.ok(&["produce", "shop.users", "--report"], input));
    assert!(report.iter().all(|line| line["log_end_offset"].as_i64() > Some(0)), "{report:?}");
    assert!(report.iter().all(|line| line.get("offset").is_none()), "{report:?}");
    fake.ok(&["produce", "shop.users", "--delete"], "{\"id\":2,\"further\":[1]}\n");
    let records = objects(&fake.ok(&["consume", "shop.users"], ""));
    let changes: Vec<&str> = records.iter().filter_map(|r| r["change"].as_str()).collect();
    assert_eq!(changes, ["+I", "+I", "-U", "+U", "-D"]);
    let found = fake.run(
        &["lookup", "shop.users"],
        "{\"id\":1}\n{\"id\":2}\n{\"id\":\"?\"}\n{\"id\":1,\"x\":0}",
    );
    assert_eq!(found.code, Some(1));
    let lines: Vec<&str> = found.stdout.lines().collect();
    assert_eq!(lines[..2], [r#"{"id":1,"name":"b","score":null}"#, "null"]);
    let error = &objects(lines[2])[0]["error"];
    assert_eq!((&error["code"], &error["name"]), (&Value::Null, &"ROW_DOES_NOT_FIT".into()));
    assert!(lines[3].contains("ROW_DOES_NOT_FIT") && lines[3].contains("`x`"), "{}", lines[3]);
}

#[test]
fn rows_in_record_batches_have_the_outcomes_and_contents_of_rows_one_by_one() {
    let fake = Fake::with_tables();
    let strict = ["create", "shop.strict", "--column=id BIGINT NOT NULL", "--column=name STRING"];
    fake.ok(&strict, "");
    fake.ok(&["create", "shop.twin", strict[2], strict[3]], "");
    let mut input: String =
        (0..10).map(|n| format!("{{\"id\":{n},\"name\":\"n{n}\"}}\n")).collect();
    input.push_str("{\"name\":\"no id\"}\nnonsense\n{\"id\":13}\n");
    let by_row = fake.run(&["produce", "shop.strict", "--report"], &input);
    let by_batch = fake.run(&["produce", "shop.twin", "--report", "--arrow=4"], &input);
    assert_eq!((by_row.code, by_batch.code), (Some(1), Some(1)));
    assert_eq!(by_batch.stdout, by_row.stdout);
    assert_eq!(by_row.stdout.matches("\"ok\"").count(), 11, "{by_row:?}");
    let contents = |table: &str| {
        let records = objects(&fake.ok(&["consume", table], ""));
        records.into_iter().map(|record| record["row"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(contents("shop.twin"), contents("shop.strict"));

    let users = "{\"id\":1,\"name\":\"a\"}\n{\"id\":2}\n{\"id\":1,\"name\":\"b\"}\n";
    fake.ok(&["produce", "shop.users", "--arrow=2"], users);
    fake.ok(&["produce", "shop.users", "--arrow=9", "--delete"], "{\"id\":2,\"more\":0}\n");
    fake.ok(
        &["produce", "shop.users", "--arrow=9", "--columns=score,id"],
        "{\"id\":1,\"score\":3}",
    );
    let left = objects(&fake.ok(&["scan", "shop.users"], ""));
    assert_eq!(left, [serde_json::json!({"id": 1, "name": "b", "score": 3.0})]);
    assert_eq!(fake.run(&["produce", "shop.users", "--arrow=0"], "").code, Some(2));
}

#[test]
fn a_scan_prints_rows_as_they_are_now_or_the_last_of_a_log() {
    let fake = Fake::with_tables();
    let rows: String = (0..50).map(|n| format!("{{\"id\":{n},\"name\":\"n{n}\"}}\n")).collect();
    fake.ok(&["produce", "shop.events"], &rows);
    fake.ok(&["produce", "shop.users"], &rows);
    fake.ok(&["produce", "shop.users"], "{\"id\":3,\"name\":\"new\"}\n");
    fake.ok(&["produce", "shop.users", "--delete"], "{\"id\":4}\n");
    let found = objects(&fake.ok(&["scan", "shop.users"], ""));
    assert_eq!(found.len(), 49);
    let of = |id: i64| found.iter().find(|row| row["id"] == id);
    assert_eq!(of(3), Some(&serde_json::json!({"id": 3, "name": "new", "score": null})));
    assert_eq!(of(4), None);
    let some = fake.ok(&["scan", "shop.users", "--limit=7", "--columns=name"], "");
    assert_eq!(some.lines().count(), 7, "{some}");
    assert!(some.lines().all(|line| line.starts_with("{\"name\":\"n")), "{some}");
    assert_eq!(fake.ok(&["scan", "shop.users", "--limit=0"], ""), "");

    let last = fake.ok(&["scan", "shop.events", "--limit=2", "--columns=name,id"], "");
    assert_eq!(last, "{\"id\":48,\"name\":\"n48\"}\n{\"id\":49,\"name\":\"n49\"}\n");
    assert_eq!(fake.ok(&["scan", "shop.events", "--limit=99"], "").lines().count(), 50);
    let plain = fake.ok(&["consume", "shop.events"], "");
    assert_eq!(fake.ok(&["consume", "shop.events", "--arrow"], ""), plain);
}

#[test]
fn a_row_can_be_written_past_the_merge_engine() {
    let fake = Fake::start();
    fake.ok(&["create-database", "shop"], "");
    let columns = ["--column=id INT", "--column=name STRING", "--primary-key=id"];
    let engine = ["--property=table.merge-engine=first_row"];
    fake.ok(&[&["create", "shop.first"][..], &columns[..], &engine[..]].concat(), "");
    let write = |name: &str, more: &[&str]| {
        let row = format!("{{\"id\":1,\"name\":\"{name}\"}}\n");
        fake.ok(&[&["produce", "shop.first"][..], more].concat(), &row);
        let found = &objects(&fake.ok(&["lookup", "shop.first"], "{\"id\":1}"))[0];
        found["name"].as_str().expect("a name").to_owned()
    };
    assert_eq!(write("a", &[]), "a");
    assert_eq!(write("b", &["--merge-mode=default"]), "a");
    assert_eq!(write("c", &["--merge-mode=overwrite"]), "c");
    assert_eq!(write("d", &[]), "c");
    let wrong = fake.run(&["produce", "shop.first", "--merge-mode=other"], "");
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
}

#[test]
fn only_the_columns_named_are_written() {
    let fake = Fake::with_tables();
    fake.ok(&["produce", "shop.users"], r#"{"id":1,"name":"a","score":1.5}"#);
    fake.ok(&["produce", "shop.users", "--columns=id,score"], r#"{"id":1,"score":2.5}"#);
    let row = fake.ok(&["lookup", "shop.users"], r#"{"id":1}"#);
    assert_eq!(row, "{\"id\":1,\"name\":\"a\",\"score\":2.5}\n");
}

#[test]
fn bad_rows_go_to_the_dead_letter_file_and_the_rest_is_written() {
    let fake = Fake::with_tables();
    let name = format!("fluss-dead-letter-{}", std::process::id());
    let file = std::env::temp_dir().join(name);
    let path = file.to_str().expect("UTF-8");
    let bad = ["{\"id\":1,\"nope\":2}", "{ not json", "{\"id\":1.5}"];
    let input = format!("{}\n{{\"id\":1}}\n{}\n{}\n", bad[0], bad[1], bad[2]);
    let ran = fake.run(&["produce", "shop.events", "--report", "--dead-letter", path], &input);
    let dead = std::fs::read_to_string(&file).expect("the file is there");
    std::fs::remove_file(&file).expect("it can be removed");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(dead, format!("{}\n{}\n{}\n", bad[0], bad[1], bad[2]));
    let report = objects(&ran.stdout);
    let outcomes: Vec<_> = report.iter().filter_map(|line| line["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["not_written", "ok", "not_written", "not_written"]);
    assert_eq!(report[0]["error"]["code"], Value::Null);
    assert!(report[0]["error"]["message"].as_str().is_some_and(|m| m.contains("`nope`")));
    assert_eq!(report[2]["error"]["name"], "INVALID_JSON");
    assert!(ran.stderr.contains("1 rows written, 3 not written"), "{ran:?}");
    assert_eq!(fake.ok(&["consume", "shop.events"], "").lines().count(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_dead_letter_file_that_is_full_costs_no_count() {
    let fake = Fake::with_tables();
    let rows = |id| format!("{{\"id\":{id}}}\n{{\"nope{}\":1}}\n", "x".repeat(100));
    let input: String = (0..500).map(rows).collect();
    let ran = fake.run(&["produce", "shop.events", "--dead-letter", "/dev/full"], &input);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("cannot write to the dead-letter file"), "{ran:?}");
    let written = fake.ok(&["consume", "shop.events"], "").lines().count();
    assert!(ran.stderr.contains(&format!("{written} rows written, ")), "{written}: {ran:?}");
}

#[test]
fn a_row_is_sent_and_reported_while_the_input_stays_open() {
    let fake = Fake::with_tables();
    let mut child = fake.command(&["produce", "shop.events", "--report"]).spawn().expect("starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    for row in 0..3 {
        writeln!(stdin, "{{\"id\":{row}}}").expect("the binary reads");
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the binary reports");
        assert!(line.ends_with(&format!("\"offset\":{row}}}\n")), "{line}");
    }
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_reader_that_leaves_ends_a_reading_command_quietly() {
    let fake = Fake::with_tables();
    let rows: String = (0..20_000).map(|n| format!("{{\"id\":{n},\"name\":\"row\"}}\n")).collect();
    fake.ok(&["produce", "shop.events"], &rows);
    let mut child = fake.command(&["consume", "shop.events", "--quiet"]).spawn().expect("starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a record");
    drop(stdout);
    let mut stderr = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("UTF-8");
    assert_eq!((child.wait().expect("it ends").code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn produce_stops_when_nobody_reads_its_report_any_more() {
    let fake = Fake::with_tables();
    let mut child = fake.command(&["produce", "shop.events", "--report"]).spawn().expect("starts");
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().expect("a pipe");
    writeln!(stdin, "{{\"id\":1}}").expect("the binary reads");
    // The input stays open, so only the closed output can end the command.
    let mut stderr = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("UTF-8");
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    assert!(stderr.contains("stopped after row 1"), "{stderr}");
    drop(stdin);
    assert_eq!(fake.ok(&["consume", "shop.events"], "").lines().count(), 1);
}

#[cfg(unix)]
#[test]
fn an_interrupted_follower_ends_cleanly_with_130() {
    use rustix::process::{Pid, Signal, kill_process};
    let fake = Fake::with_tables();
    fake.ok(&["produce", "shop.events"], "{\"id\":1}\n");
    let mut child = fake.command(&["consume", "shop.events", "--follow"]).spawn().expect("starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a record");
    kill_process(Pid::from_child(&child), Signal::INT).expect("it is still there");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}

#[cfg(unix)]
#[test]
fn a_second_interrupt_ends_produce_at_once_and_counts_what_is_open() {
    use fluss_core::testing::cluster::{Fault, On};
    use rustix::process::{Pid, Signal, kill_process};
    let fake = Fake::with_tables();
    fake.servers.with(|cluster| cluster.inject(On::Write, 0, Fault::SwallowAnswer));
    let mut child = fake.command(&["produce", "shop.events", "--report"]).spawn().expect("starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    writeln!(stdin, "{{\"id\":1}}").expect("the binary reads");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while fake.servers.with(|cluster| cluster.rows_appended()) == 0 {
        assert!(std::time::Instant::now() < until, "the row never came");
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::INT).expect("it is still there");
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a word about the wait");
    assert!(line.contains("waiting for the outcomes of 1 rows"), "{line}");
    kill_process(Pid::from_child(&child), Signal::INT).expect("it is still there");
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("UTF-8");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(rest.contains("ended at once") && rest.contains(": 1\n"), "{rest}");
}

#[test]
#[cfg(unix)]
fn a_command_that_waits_for_a_silent_server_is_interrupted_at_once() {
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::{Duration, Instant};

    use rustix::process::{Pid, Signal, kill_process};

    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = silent.local_addr().expect("its address").to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_fluss"))
        .args(["ping", "-b", &address])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // It is connected, and nobody will ever answer.
    let (_connection, _) = silent.accept().expect("a connection");
    let since = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).expect("it is still there");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    // The limit for connecting is 10 s.
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

#[test]
fn wrong_usage_is_told_apart_from_failed_work() {
    let fake = Fake::with_tables();
    for (arguments, named) in [
        (&["consume", "shop.events", "--from=earliest", "--bucket=0", "--offset=1"][..], "--from"),
        (&["consume", "events"], "events"),
        (&["nonsense"], "nonsense"),
        (&["create", "shop.t", "--column=id NUMBER"], "NUMBER"),
        (&["ping", "-c", "client.writer.ack=1"], "client.writer.acks"),
        (&["ping", "--user", "ada"], "--password"),
        (&["ping", "-b", "nowhere"], "nowhere"),
    ] {
        let ran = fake.run(arguments, "");
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments:?}: {ran:?}");
        let says_what = ran.stderr.starts_with("fluss: ") && ran.stderr.contains(named);
        assert!(says_what, "{arguments:?}: {ran:?}");
    }
    for (arguments, named) in [
        (&["produce", "shop.nothing"][..], "shop.nothing"),
        (&["lookup", "shop.events"], "shop.events"),
        (&["consume", "shop.events", "--columns=nope"], "nope"),
        (&["produce", "shop.events", "--delete"], "--delete"),
        (&["produce", "shop.events", "--merge-mode=overwrite"], "--merge-mode"),
        (&["consume", "shop.events", "--snapshot"], "--snapshot"),
        (&["scan", "shop.events"], "--limit"),
    ] {
        let ran = fake.run(arguments, "");
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(named), "{arguments:?}: {ran:?}");
    }
    let noted = fake.run(&["databases", "-c", "netty.client.num-network-threads=2"], "");
    assert_eq!(noted.code, Some(0));
    assert!(noted.stderr.contains("no effect"), "{noted:?}");
}

#[test]
fn measurements_count_what_they_did() {
    let fake = Fake::with_tables();
    let columns = ["--column=id BIGINT", "--column=name STRING", "--column=score DOUBLE"];
    fake.ok(&[&["create", "shop.twin"], &columns[..]].concat(), "");
    for (table, more) in [
        ("shop.events", &["--threads=2", "--warmup=100"][..]),
        ("shop.events", &["--bulk=64"]),
        ("shop.users", &["--keys=300"]),
        ("shop.twin", &["--arrow=64", "--threads=2", "--warmup=100"]),
        ("shop.users", &["--keys=300", "--arrow=64"]),
    ] {
        let arguments = [&["perf", "produce", table, "--rows=2000"], more].concat();
        let measured = &objects(&fake.ok(&arguments, ""))[0];
        assert_eq!((&measured["rows"], &measured["errors"]), (&2000.into(), &0.into()));
        assert_eq!(measured["bytes"], 2000 * (8 + 16 + 8), "{measured}");
        assert!(measured["latency_us"]["p99"].as_u64() > Some(0), "{measured}");
    }
    let read = ["perf", "consume", "shop.events", "--rows=4000", "--warmup=100"];
    let measured = &objects(&fake.ok(&read, ""))[0];
    assert_eq!((&measured["rows"], &measured["bytes"]), (&4000.into(), &(4000 * 32).into()));
    let too_many = fake.run(&["perf", "consume", "shop.events", "--rows=4101"], "");
    assert_eq!(too_many.code, Some(1));
    assert!(too_many.stderr.contains("4100"), "{too_many:?}");
    let lookup = ["perf", "lookup", "shop.users", "--rows=600", "--keys=300", "--in-flight=8"];
    let measured = &objects(&fake.ok(&lookup, ""))[0];
    assert_eq!((&measured["errors"], &measured["bytes"]), (&0.into(), &(600 * 32).into()));
    assert_eq!(fake.run(&["perf", "produce", "shop.events"], "").code, Some(2));
    let both = ["perf", "produce", "shop.events", "--rows=1", "--bulk=1", "--arrow=1"];
    assert_eq!(fake.run(&both, "").code, Some(2));
    assert_eq!(fake.run(&["perf", "sleep", "shop.events", "--rows=1"], "").code, Some(2));
}

#[test]
fn nested_rows_travel_in_every_format() {
    let fake = Fake::start();
    fake.ok(&["create-database", "shop"], "");
    let column = "--column=lines ARRAY<ROW<name STRING, prices MAP<STRING, DECIMAL(5, 2)>>>";
    let rows = [
        concat!(
            r#"{"id":1,"lines":[{"name":"tea","prices":[["EUR","1.50"],["CHF",null]]},"#,
            r#"null,{"name":null,"prices":[]}],"code":"x"}"#
        ),
        r#"{"id":2,"lines":[],"code":"padded"}"#,
        r#"{"id":3,"lines":null,"code":null}"#,
    ];
    let input = rows.map(|row| format!("{row}\n")).concat();
    let key = ["--primary-key=id"];
    let (log, kv) = ("--property=table.log.format", "--property=table.kv.format");
    for (at, (more, properties)) in [
        (&[][..], vec![format!("{log}=ARROW")]),
        (&[], vec![format!("{log}=indexed")]),
        (&[], vec![format!("{log}=compacted")]),
        (&key, vec![format!("{log}=ARROW")]),
        (&key, vec![format!("{log}=COMPACTED")]),
        (&key, vec![format!("{kv}=INDEXED")]),
        (&key, vec![format!("{kv}=INDEXED"), format!("{log}=COMPACTED")]),
    ]
    .into_iter()
    .enumerate()
    {
        let table = format!("shop.t{at}");
        let mut arguments = vec!["create", &table, "--column=id BIGINT NOT NULL", column];
        arguments.extend(["--column=code CHAR(6)", "--buckets=1"]);
        arguments.extend(more);
        arguments.extend(properties.iter().map(String::as_str));
        fake.ok(&arguments, "");
        fake.ok(&["produce", &table], &input);
        let consumed = fake.ok(&["consume", &table], "");
        let found: Vec<&str> = consumed
            .lines()
            .filter_map(|line| line.split_once(",\"row\":")?.1.strip_suffix('}'))
            .collect();
        assert_eq!(found, rows, "{properties:?}");
        if !more.is_empty() {
            let keys = "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n";
            let looked_up = fake.ok(&["lookup", &table], keys);
            assert_eq!(looked_up.lines().collect::<Vec<_>>(), rows, "{properties:?}");
            let deleted = fake.ok(&["produce", &table, "--delete"], "{\"id\":1}\n");
            assert_eq!(deleted, "");
            let consumed = fake.ok(&["consume", &table], "");
            let last = consumed.lines().last().expect("a record");
            assert!(last.contains("\"change\":\"-D\""), "{last}");
            assert!(last.contains(rows[0]), "{last}");
        }
    }
    let refused =
        fake.run(&["produce", "shop.t0"], r#"{"id":4,"lines":[{"prices":[["EUR",1000]]}]}"#);
    assert_eq!(refused.code, Some(1));
    let path = "`lines[0].prices[0].value`";
    assert!(refused.stderr.contains(path), "{refused:?}");
}
