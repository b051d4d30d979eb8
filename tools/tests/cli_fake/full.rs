//! What `produce` says when its report finds no room.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Fake, Ran};

/// A device on which there is never any room.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("a device of Linux").into()
}

#[test]
fn produce_says_that_its_report_cannot_be_written_and_counts_every_row() {
    let fake = Fake::with_tables();
    let rows = |count| (0..count).map(|id| format!("{{\"id\":{id}}}\n")).collect::<String>();
    let mut there = 0;
    // A report that fails at its end, and one that fails while there is more to read.
    for count in [20, 200_000] {
        let mut command = fake.command(&["produce", "shop.events", "--report"]);
        let ran = Ran::writing_to(&mut command, full(), &rows(count));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let lines: Vec<&str> = ran.stderr.lines().collect();
        assert_eq!(lines.len(), 3, "{ran:?}");
        let (head, row) = lines[0].rsplit_once(' ').expect("words");
        assert_eq!(head, "fluss: the report cannot be written: stopped after row", "{ran:?}");
        let written: usize = row.parse().expect("a number");
        assert!((1..=count).contains(&written), "{ran:?}");
        assert!(lines[1].starts_with(&format!("fluss: {written} rows written, 0 not")), "{ran:?}");
        let why = "fluss: cannot write to standard output: No space left on device";
        assert!(lines[2].starts_with(why), "{ran:?}");
        assert!(lines[2].ends_with("the report has no whole line for certain"), "{ran:?}");
        there += written as u64;
        assert_eq!(fake.servers.with(|cluster| cluster.rows_appended()), there);
    }
}

#[test]
fn a_report_that_is_cut_off_says_up_to_which_row_it_is_whole() {
    let fake = Fake::with_tables();
    let name = format!("fluss-report-{}", std::process::id());
    let file = std::env::temp_dir().join(name);
    let fluss = fake.command(&["produce", "shop.events", "--report"]);
    let mut shell = Command::new("sh");
    // No file may grow beyond some KiB; without the signal the write fails.
    let script = r#"trap '' XFSZ; ulimit -f 8; exec "$0" "$@" >"$REPORT""#;
    shell.args(["-c", script]).arg(fluss.get_program()).args(fluss.get_args());
    shell.envs(fluss.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("REPORT", &file).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = shell.spawn().expect("a shell");
    let mut stdin = child.stdin.take().expect("a pipe");
    writeln!(stdin, "{{\"id\":0}}").expect("the binary reads");
    let reported = || fs::read_to_string(&file).unwrap_or_default();
    let start = Instant::now();
    while !reported().ends_with('\n') {
        assert!(start.elapsed() < Duration::from_secs(60), "the first row is not reported");
        std::thread::yield_now();
    }
    // It may not read to the end, and then nobody reads the rest.
    let _ = stdin.write_all("{\"id\":1}\n".repeat(10_000).as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let report = reported();
    fs::remove_file(&file).expect("it can be removed");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let (_, row) = stderr.trim_end().rsplit_once("the report is whole up to row ").expect(&stderr);
    let row: usize = row.parse().expect("a number");
    let lines = report.lines().filter(|line| line.ends_with('}')).count();
    assert!(row > 0 && row <= lines && lines < 10_000, "{row} of {lines}: {stderr}");
}
