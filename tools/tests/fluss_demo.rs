//! `fluss demo` as a process: what it prints where, and how it ends.

use std::process::{Command, Output};

fn demo(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fluss"));
    command.arg("demo").args(arguments).output().expect("the binary of this package runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_demo_ends_with_one_line_and_success() {
    let output = demo(&["--rows", "3000", "--seed", "21"]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    assert_eq!(out.lines().count(), 1, "{out}");
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    for field in ["rows", "acked", "not_written", "unknown", "lost", "doubled", "retries"] {
        assert!(json[field].is_u64(), "{field} in {out}");
    }
    for field in ["cuts", "lost_answers", "leader_moves"] {
        assert!(json["faults"][field].as_u64().is_some_and(|count| count > 0), "{field} in {out}");
    }
    assert!(json["seconds"].is_f64(), "{out}");
    assert_eq!((&json["rows"], &json["acked"]), (&3000.into(), &3000.into()), "{out}{err}");
    assert!(err.contains("--seed 21"), "{err}");
}

#[test]
fn a_demo_on_a_lying_server_fails() {
    for (lie, field) in [("--lose-row", "lost"), ("--double-row", "doubled")] {
        let output = demo(&["--rows", "3000", "--seed", "22", "--quiet", lie]);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{lie}: {out}{err}");
        let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert!(json[field].as_u64().is_some_and(|count| count > 0), "{lie}: {out}{err}");
        assert!(err.contains("FAILED"), "{lie}: {err}");
    }
}

#[test]
fn a_row_that_no_scan_can_reach_is_a_lost_one() {
    // With so few rows the batch that gets lost is the last of its bucket: nothing comes after it.
    let output = demo(&["--rows", "5", "--seed", "3", "--quiet", "--lose-row"]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert!(json["lost"].as_u64().is_some_and(|count| count > 0), "{out}{err}");
    assert!(err.contains("FAILED") && err.contains("is lost"), "{err}");
}

#[test]
fn wrong_usage_of_the_demo_is_told_apart() {
    for wrong in [
        &["--rows", "0"][..],
        &["--rows", "x"],
        &["--lose-row", "--double-row"],
        &["--rows", "5", "-c", "nonsense=1"],
        &["--rows", "5", "--user", "ada", "--password", "secret"],
        &["--rows", "5", "-b", "127.0.0.1:1"],
    ] {
        assert_eq!(demo(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let help = text(&demo(&["--help"]).stdout);
    assert!(help.contains("--seed") && !help.contains("--lose-row"), "{help}");
}
