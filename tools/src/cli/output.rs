//! Standard output that may be closed by its reader, and standard error.

use std::io::{self, BufWriter, ErrorKind, Stdout, Write as _};

use super::failure::{Failure, Result};

/// Lines on standard output. They are written when there are many, and when [`Output::flush`] asks
/// for it.
#[derive(Debug)]
pub(crate) struct Output {
    out: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { out: BufWriter::with_capacity(64 << 10, io::stdout()) }
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, line: &str) -> Result<()> {
        let written = self.out.write_all(line.as_bytes()).and_then(|()| self.out.write_all(b"\n"));
        written.map_err(|error| failure(&error))
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(|error| failure(&error))
    }
}

fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::failed(format!("cannot write to standard output: {error}")),
    }
}

/// A message for people. That standard error is closed is no reason to fail.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "fluss: {text}");
}
