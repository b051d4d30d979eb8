//! What `produce` keeps until rows have outcomes, and says when nobody reads them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Child;
use std::time::{Duration, Instant};

use super::Fake;

#[test]
fn a_record_batch_is_handed_in_when_the_rows_behind_it_are_too_many_to_keep() {
    let fake = Fake::with_tables();
    let name = format!("fluss-dead-letter-many-{}", std::process::id());
    let file = std::env::temp_dir().join(name);
    let path = file.to_str().expect("UTF-8");
    // No line behind the first row can be let go of before that one has an outcome, and it waits
    // for another to fill its batch.
    let settings = ["--arrow=2", "--config=client.writer.batch-timeout=2s", "--dead-letter", path];
    let bad = format!("{}\n", "x".repeat(1 << 20)).repeat(70);
    let arguments = [&["produce", "shop.events"][..], &settings[..]].concat();
    let ran = fake.run(&arguments, &format!("{{\"id\":1}}\n{bad}"));
    let dead = std::fs::metadata(&file).expect("the file is there").len();
    std::fs::remove_file(&file).expect("it can be removed");
    assert_eq!((ran.code, dead), (Some(1), bad.len() as u64), "{}", ran.stderr);
    assert!(ran.stderr.contains("1 rows written, 70 not written"), "{}", ran.stderr);
}

#[test]
fn produce_says_that_nobody_read_its_report_also_when_the_input_ended_first() {
    let fake = Fake::with_tables();
    let mut child = fake.command(&["produce", "shop.events", "--report"]).spawn().expect("starts");
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().expect("a pipe");
    let rows: String = (0..20).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    stdin.write_all(rows.as_bytes()).expect("the binary reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("standard output was closed: stopped after row 20"), "{stderr}");
    assert_eq!(fake.ok(&["consume", "shop.events"], "").lines().count(), 20);
}

#[test]
fn a_command_that_waits_for_what_to_print_ends_when_nobody_reads_it_any_more() {
    let fake = Fake::with_tables();
    fake.ok(&["produce", "shop.events"], "{\"id\":1}\n");
    let commands: [(&[&str], &str); 3] = [
        (&["consume", "shop.events", "--follow"], ""),
        (&["consume", "shop.users", "--follow", "--snapshot"], ""),
        (&["lookup", "shop.users"], "{\"id\":1}\n"),
    ];
    fake.ok(&["produce", "shop.users"], "{\"id\":1}\n");
    for (arguments, input) in commands {
        let mut child = fake.command(arguments).spawn().expect("starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input.as_bytes()).expect("the binary reads");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        stdout.read_line(&mut line).expect("the first row is printed");
        assert!(line.contains("\"id\":1"), "{line}");
        // Nothing more comes, neither from the servers nor on standard input, which stays open.
        drop(stdout);
        let (code, stderr) = ended(child);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
        drop(stdin);
    }
}

/// What a command that has to end by itself left behind; one that does not is killed.
fn ended(mut child: Child) -> (Option<i32>, String) {
    let began = Instant::now();
    while child.try_wait().expect("it is ours").is_none() {
        if began.elapsed() > Duration::from_secs(60) {
            child.kill().expect("it is ours");
            panic!("the command did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("it ended");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}
