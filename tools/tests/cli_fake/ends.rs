//! How rows of `produce` end, and the command itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::time::Duration;

use fluss_core::testing::cluster::{FakeCluster, Fault, Faults, On};
use fluss_proto::ApiKey;

use super::{Fake, objects};

/// More than any of these runs takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request is given up after little more than a second.
const SHORT: [&str; 2] =
    ["--config=client.request-timeout=1s", "--config=client.request-deadline=1100ms"];

#[test]
fn a_row_whose_answers_are_all_lost_is_reported_as_unknown() {
    let fake = Fake::with_tables();
    let lost = Faults::new(0).one_in(1, On::Write, Fault::LoseAnswer);
    fake.servers.with(|cluster| cluster.set_faults(lost));
    let limit = "--config=client.writer.delivery-timeout=2s";
    let name = format!("fluss-dead-letter-unknown-{}", std::process::id());
    let file = std::env::temp_dir().join(name);
    let dead_letter = ["--dead-letter", file.to_str().expect("UTF-8")];
    let arguments = ["produce", "shop.events", "--report", SHORT[0], SHORT[1], limit];
    let ran = fake.run(&[&arguments[..], &dead_letter].concat(), "{\"id\":1}\n");
    let dead = std::fs::read_to_string(&file).expect("the file is there");
    std::fs::remove_file(&file).expect("it can be removed");
    assert_eq!((ran.code, dead.as_str()), (Some(1), ""), "it may have been written: {ran:?}");
    let head = r#"{"row":1,"outcome":"unknown","error":{"code":null,"name":"#;
    assert!(ran.stdout.starts_with(head), "{ran:?}");
    let report = objects(&ran.stdout);
    assert_eq!(report.len(), 1, "{ran:?}");
    let names: Vec<&String> = report[0].as_object().expect("an object").keys().collect();
    assert_eq!(names.len(), 3, "nothing but row, outcome and error: {ran:?}");
    let error = &report[0]["error"];
    assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{ran:?}");
    let told = fake.ok(&["help", "errors"], "");
    let name = error["name"].as_str().expect("a name");
    assert!(
        told.lines().any(|line| line.split_whitespace().next() == Some(name)),
        "{name}: {told}"
    );
    assert!(ran.stderr.contains("0 rows written, 0 not written, 1 with an unknown"), "{ran:?}");
}

#[test]
fn a_row_that_a_later_answer_shows_to_be_written_is_reported_as_inferred() {
    let fake = Fake::with_tables();
    fake.servers.with(|cluster| cluster.inject(On::Write, 0, Fault::SwallowAnswer));
    let arguments = ["produce", "shop.events", "--report", SHORT[0], SHORT[1]];
    let mut child = fake.command(&arguments).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    for row in 1..=2 {
        writeln!(stdin, "{{\"id\":{row}}}").expect("the binary reads");
        let there = fake.servers.wait_for(PATIENCE, |cluster| cluster.rows_appended() == row);
        assert!(there, "row {row} never came");
    }
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let report = concat!(
        r#"{"row":1,"outcome":"ok","partition":null,"bucket":0,"offset":null,"inferred":true}"#,
        "\n",
        r#"{"row":2,"outcome":"ok","partition":null,"bucket":0,"offset":1}"#,
        "\n"
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), report, "{stderr}");
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(fake.ok(&["consume", "shop.events"], "").lines().count(), 2);
}

#[cfg(unix)]
#[test]
fn an_interrupt_lets_produce_wait_for_its_rows_and_end_with_130() {
    use rustix::process::{Pid, Signal, kill_process};
    let fake = Fake::with_tables();
    let late = Fault::DelayAnswer(Duration::from_secs(1));
    fake.servers.with(|cluster| cluster.inject(On::Write, 0, late));
    let mut child = fake.command(&["produce", "shop.events", "--report"]).spawn().expect("starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    writeln!(stdin, "{{\"id\":1}}").expect("the binary reads");
    let there = fake.servers.wait_for(PATIENCE, |cluster| cluster.rows_appended() == 1);
    assert!(there, "the row never came");
    kill_process(Pid::from_child(&child), Signal::INT).expect("it is still there");
    let output = child.wait_with_output().expect("it ends, though its input is open");
    drop(stdin);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let report = "{\"row\":1,\"outcome\":\"ok\",\"partition\":null,\"bucket\":0,\"offset\":0}\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), report, "{stderr}");
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("1 rows written, 0 not written, 0 with an unknown"), "{stderr}");
}

#[test]
fn progress_is_drawn_on_a_terminal_only_and_quiet_says_nothing_at_all() {
    for (quiet, says) in [(&[][..], true), (&["--quiet"], false)] {
        let fake = Fake::with_tables();
        // Longer than the time between two lines of progress.
        let late = Fault::DelayAnswer(Duration::from_secs(1));
        fake.servers.with(|cluster| cluster.inject(On::Write, 0, late));
        let arguments = [&["produce", "shop.events", "--report"], quiet].concat();
        let mut child = fake.command(&arguments).spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        writeln!(stdin, "{{\"id\":1}}").expect("the binary reads");
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the binary reports");
        drop(stdin);
        let mut stderr = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("UTF-8");
        assert!(child.wait().expect("it ends").success(), "{stderr}");
        let drawn = ["\r", "\u{1b}", "rows/s"].iter().any(|mark| stderr.contains(mark));
        assert!(!drawn, "{stderr:?}");
        let summary = "fluss: 1 rows written, 0 not written, 0 with an unknown outcome\n";
        assert_eq!(stderr, if says { summary } else { "" });
    }
}

/// Ends a measurement by a signal once the servers were asked `times` by this API; answers what it
/// says it has done.
#[cfg(unix)]
fn measured_until(
    fake: &Fake,
    arguments: &[&str],
    (api, times): (ApiKey, usize),
    signal: rustix::process::Signal,
) -> serde_json::Value {
    use rustix::process::{Pid, kill_process};
    let asked = |cluster: &FakeCluster| {
        cluster.requests().get(&api.number()).map_or(0, |count| *count as usize)
    };
    let before = fake.servers.with(|cluster| asked(cluster));
    let child = fake.command(arguments).spawn().expect("it starts");
    let there = fake.servers.wait_for(PATIENCE, |cluster| asked(cluster) >= before + times);
    assert!(there, "{arguments:?} never asked");
    kill_process(Pid::from_child(&child), signal).expect("it is still there");
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{arguments:?}: {stderr}");
    assert_eq!(stderr, "fluss: interrupted\n");
    let measured = objects(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(measured.len(), 1, "{arguments:?}: {measured:?}");
    measured[0].clone()
}

/// Both of the signals that end a command, and the ways to hand rows in.
#[cfg(unix)]
const SIGNALS: [(rustix::process::Signal, &str); 3] = [
    (rustix::process::Signal::INT, "--threads=2"),
    (rustix::process::Signal::TERM, "--bulk=20000"),
    (rustix::process::Signal::INT, "--arrow=20000"),
];

/// Less memory than the rows of a measurement take.
#[cfg(unix)]
const LITTLE: [&str; 2] =
    ["--config=client.writer.buffer.memory-size=64kb", "--config=client.writer.batch-size=8kb"];

#[cfg(unix)]
#[test]
fn an_interrupt_lets_a_measurement_of_writes_wait_for_the_rows_it_counts() {
    for (signal, how) in SIGNALS {
        let fake = Fake::with_tables();
        let late = Faults::new(0).one_in(1, On::Write, Fault::DelayAnswer(PATIENCE / 60));
        fake.servers.with(|cluster| cluster.set_faults(late));
        let arguments = ["perf", "produce", "shop.events", "--rows=100000", how];
        let arguments = [&arguments[..], &LITTLE].concat();
        let measured = measured_until(&fake, &arguments, (ApiKey::ProduceLog, 1), signal);
        let written = fake.servers.with(|cluster| cluster.rows_appended());
        assert!((1..100_000).contains(&written), "{written}: {measured}");
        assert_eq!(measured["rows"], written, "{how}: {measured}");
        assert_eq!(measured["bytes"], written * 32, "{how}: {measured}");
        assert_eq!(measured["errors"], 0, "{how}: {measured}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_a_measurement_of_writes_to_a_silent_server() {
    for (signal, how) in SIGNALS {
        let fake = Fake::with_tables();
        let silent = Faults::new(0).one_in(1, On::Write, Fault::DropRequest);
        fake.servers.with(|cluster| cluster.set_faults(silent));
        let limit = "--config=client.writer.delivery-timeout=2s";
        let arguments = ["perf", "produce", "shop.events", "--rows=100000", how];
        let arguments = [&arguments[..], &LITTLE, &SHORT, &[limit]].concat();
        let measured = measured_until(&fake, &arguments, (ApiKey::ProduceLog, 1), signal);
        let rows = measured["rows"].as_u64().expect("a number");
        assert!((1..100_000).contains(&rows), "{how}: {measured}");
        assert_eq!(measured["errors"], rows, "none has an outcome, {how}: {measured}");
    }
}

#[test]
fn measurements_leave_the_numbers_of_new_rows_to_the_server() {
    let fake = Fake::with_tables();
    let columns = ["--column=id BIGINT NOT NULL", "--column=n BIGINT", "--column=text STRING"];
    let key = ["--primary-key=id", "--auto-increment=n", "--buckets=1"];
    fake.ok(&[&["create", "shop.numbered"][..], &columns, &key].concat(), "");
    for how in ["--seed=1", "--bulk=7", "--arrow=20"] {
        fake.ok(&["perf", "produce", "shop.numbered", "--rows=50", how], "");
        let rows = objects(&fake.ok(&["scan", "shop.numbered"], ""));
        assert_eq!(rows.len(), 50, "{how}");
        assert!(rows.iter().all(|row| row["n"].is_i64() && row["text"].is_string()), "{rows:?}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_measurements_of_reads_from_a_silent_server() {
    let fake = Fake::with_tables();
    for table in ["shop.events", "shop.users"] {
        fake.ok(&["perf", "produce", table, "--rows=2000"], "");
    }
    for signal in [SIGNALS[0].0, SIGNALS[1].0] {
        fake.servers.with(|cluster| cluster.inject(On::Lookup, 5, Fault::Silence));
        let lookup = ["perf", "lookup", "shop.users", "--rows=2000"];
        let measured = measured_until(&fake, &lookup, (ApiKey::Lookup, 6), signal);
        assert_eq!((&measured["rows"], &measured["bytes"]), (&5.into(), &(5 * 32).into()));
        assert_eq!(measured["errors"], 0, "{measured}");
        fake.servers.with(|cluster| cluster.inject(On::Fetch, 0, Fault::Silence));
        let consume = ["perf", "consume", "shop.events", "--rows=2000"];
        let measured = measured_until(&fake, &consume, (ApiKey::FetchLog, 1), signal);
        assert_eq!((&measured["rows"], &measured["bytes"]), (&0.into(), &0.into()));
        assert_eq!(measured["latency_us"]["p50"], serde_json::Value::Null, "{measured}");
    }
}
