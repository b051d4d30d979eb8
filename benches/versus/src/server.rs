//! The server, in a process of its own: one that only acknowledges, or one that keeps what is
//! written in memory, to be read.
//!
//! It prints its address, answers each line on standard input with the number of rows it counted so
//! far and the CPU time it took for all, and ends with its input.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use fluss_core::testing::cluster::{ClusterOptions, FakeCluster};
use fluss_core::testing::loopback::{Loopback, LoopbackOptions};

use crate::Failure;
use crate::client::cpu;

const KEEP: &str = "keep";

/// Serves until standard input ends.
pub fn run() -> Result<(), Failure> {
    let ack_only = std::env::args().nth(2).as_deref() != Some(KEEP);
    let options = ClusterOptions { tablet_servers: 1, ack_only, ..Default::default() };
    let fake = Loopback::start(FakeCluster::new(options), LoopbackOptions::default())?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", fake.bootstrap())?;
    for line in std::io::stdin().lines() {
        line?;
        writeln!(out, "{} {}", fake.with(|cluster| cluster.rows_appended()), cpu())?;
    }
    Ok(())
}

/// A running server. It ends when this is dropped.
pub struct Server {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pub bootstrap: String,
}

impl Server {
    pub fn start(keep: bool) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("server")
            .args(keep.then_some(KEEP))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or("the server has no output")?;
        let mut server =
            Self { child, input, output: BufReader::new(output), bootstrap: String::new() };
        server.bootstrap = server.line()?;
        Ok(server)
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err("the server ended".into());
        }
        Ok(line.trim().to_owned())
    }

    /// The rows it counted so far, and the CPU time it took, in nanoseconds.
    pub fn so_far(&mut self) -> Result<(u64, u64), Failure> {
        self.input.as_mut().ok_or("the server has no input")?.write_all(b"rows\n")?;
        let line = self.line()?;
        let (rows, cpu) = line.split_once(' ').ok_or("the server says something else")?;
        Ok((rows.parse()?, cpu.parse()?))
    }

    /// The rows it counted so far.
    pub fn rows(&mut self) -> Result<u64, Failure> {
        Ok(self.so_far()?.0)
    }

    /// The CPU time it took so far, in nanoseconds.
    pub fn cpu(&mut self) -> Result<u64, Failure> {
        Ok(self.so_far()?.1)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        // It ends with its input; what it left behind is not of interest any more.
        let _ = self.child.wait();
    }
}
