//! The progress line on a terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_millis(200);

/// Draws rows, rows/s, MiB/s, bytes in flight and the time so far, where somebody looks at it.
#[derive(Debug)]
pub(crate) struct Progress {
    started: Instant,
    next: Option<Instant>,
    drawn: bool,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let started = Instant::now();
        let shown = !quiet && io::stderr().is_terminal();
        Self { started, next: shown.then_some(started + PERIOD), drawn: false }
    }

    /// Draws the line, if it is time; `in_flight` is asked for only then.
    pub(crate) fn tick(&mut self, rows: u64, bytes: u64, in_flight: impl FnOnce() -> u64) {
        let now = Instant::now();
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        self.next = Some(now + PERIOD);
        self.drawn = true;
        let line = line(rows, bytes, in_flight(), now - self.started);
        // Nobody is harmed by a line that cannot be drawn.
        let _ = write!(io::stderr(), "\r\x1b[K{line}");
    }

    /// Wipes the line away.
    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        self.next = None;
    }
}

fn line(rows: u64, bytes: u64, in_flight: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    format!(
        "{rows} rows, {:.0} rows/s, {:.1} MiB/s, {in_flight} bytes in flight, {seconds:.0} s",
        rows as f64 / seconds,
        mebibytes / seconds,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_all_numbers() {
        assert_eq!(
            line(10_000, 8 << 20, 512, Duration::from_secs(4)),
            "10000 rows, 2500 rows/s, 2.0 MiB/s, 512 bytes in flight, 4 s"
        );
    }
}
