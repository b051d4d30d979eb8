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

/// Whether standard output is a pipe or a socket whose other end was closed.
#[cfg(unix)]
pub(crate) fn closed() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let out = io::stdout();
    // Nothing is asked for: that the other end is gone is always told.
    let mut asked = [PollFd::new(&out, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let told = poll(&mut asked, Some(&at_once)).is_ok();
    told && asked[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// Where this cannot be asked, the next line that is written tells.
#[cfg(not(unix))]
pub(crate) fn closed() -> bool {
    false
}

/// A message for people. That standard error is closed is no reason to fail.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "fluss: {text}");
}
