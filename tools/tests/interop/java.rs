//! The published Java client behind a pipe: `TableInterop.java`, one process for all tables.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use fluss_tools::cluster::RealCluster;

use super::compare::Record;

/// The program. It ends when its input does, hence with this process.
pub(crate) struct Java {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Java {
    /// Starts it and connects it to the cluster.
    pub(crate) fn start(cluster: &RealCluster) -> Self {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/java/TableInterop.java");
        let mut child = cluster
            .java_client()
            .expect("the jars of the Java client")
            .args(["--add-opens=java.base/java.nio=ALL-UNNAMED", "-Xmx512m"])
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", source])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Java starts");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut java = Self { child, input, output };
        java.ok(&format!("connect {}", cluster.tablet_servers().join(",")));
        java
    }

    /// A command that is answered by nothing but its success.
    pub(crate) fn ok(&mut self, command: &str) {
        self.say(command);
        let answer = self.line();
        assert_eq!(answer, "ok", "Java was told: {}", command.lines().next().unwrap_or_default());
    }

    /// `append`, `upsert` or `delete`.
    pub(crate) fn write(&mut self, verb: &str, rows: &[String]) {
        self.ok(&with_rows(verb, rows));
    }

    /// The rows of the keys; none for a key without a row.
    pub(crate) fn lookup(&mut self, keys: &[String]) -> Vec<Option<String>> {
        self.say(&with_rows("lookup", keys));
        let found = keys.iter().map(|_| self.line());
        found.map(|line| (line != "-").then_some(line)).collect()
    }

    /// All records of the table.
    pub(crate) fn scan(&mut self) -> Vec<Record> {
        self.records("scan")
    }

    /// These columns of the records that the last scan of all columns brought.
    pub(crate) fn scan_columns(&mut self, places: &[usize], by_name: bool) -> Vec<Record> {
        let places: Vec<String> = places.iter().map(usize::to_string).collect();
        let how = if by_name { "name" } else { "index" };
        self.records(&format!("scan {how} {}", places.join(",")))
    }

    fn records(&mut self, command: &str) -> Vec<Record> {
        self.say(command);
        let mut records = Vec::new();
        loop {
            let line = self.line();
            if line == "end" {
                return records;
            }
            records.push(Record::parse(&line));
        }
    }

    /// Lets it end.
    pub(crate) fn end(self) {
        let Self { mut child, input, .. } = self;
        drop(input);
        assert!(child.wait().expect("Java ends").success(), "what Java says stands above");
    }

    fn say(&mut self, line: &str) {
        // In one write: a flush per line is a system call per row.
        self.input.write_all(format!("{line}\n").as_bytes()).expect("Java reads, see above");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("Java writes");
        assert!(line.ends_with('\n'), "Java ended, what it says stands above");
        assert!(!line.starts_with("error"), "Java: {line}");
        line.truncate(line.trim_end().len());
        line
    }
}

fn with_rows(verb: &str, rows: &[String]) -> String {
    let mut text = format!("{verb} {}", rows.len());
    for row in rows {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{row}");
    }
    text
}
