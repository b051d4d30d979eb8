//! `fluss produce`: rows from standard input to a table.

mod claim;
mod writer;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fluss_core::row::OwnedRow;
use fluss_core::{Ack, MergeMode, Table};

use super::Work;
use super::args::Args;
use super::failure::{Failure, Problem, Result, Status};
use super::input::{CHUNK_LINES, Line, Lines, Next};
use super::output::{Output, say};
use super::partition::Partitions;
use super::progress::Progress;
use super::row_in::RowReader;
use super::session::Session;
use claim::{Batch, Claim, Outcome};
use writer::Writer;

/// Rows without an outcome at which reading pauses.
const MAX_WAITING: usize = 1_000_000;
/// Bytes of lines kept for the dead-letter file until their rows have outcomes.
const MAX_KEPT: usize = 64 << 20;
/// How long to wait for input before outcomes are looked at.
const TICK: Duration = Duration::from_millis(10);
/// Problems that standard error tells in full.
const TOLD: u64 = 10;

struct Options {
    delete: bool,
    columns: Option<Vec<String>>,
    /// Given only where it was said.
    merge_mode: Option<MergeMode>,
    /// Rows of an Arrow record batch; None sends row by row.
    arrow: Option<usize>,
    report: bool,
    dead_letter: Option<String>,
}

pub(crate) fn prepare(args: &Args) -> Result<Work<'_>> {
    let path = args.table()?;
    let options = Options {
        delete: args.has("delete"),
        columns: args.list("columns")?,
        merge_mode: merge_mode(args)?,
        arrow: args.positive("arrow")?.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
        report: args.has("report"),
        dead_letter: args.value("dead-letter").map(str::to_owned),
    };
    Ok(Box::new(move |session, out| {
        let table = session.table(path)?;
        Run::new(session, out, &table, &options)?.run()
    }))
}

fn merge_mode(args: &Args) -> Result<Option<MergeMode>> {
    match args.value("merge-mode") {
        None => Ok(None),
        Some("default") => Ok(Some(MergeMode::Default)),
        Some("overwrite") => Ok(Some(MergeMode::Overwrite)),
        Some(other) => {
            let text = format!("--merge-mode wants default or overwrite, not `{other}`");
            Err(Failure::usage(text))
        }
    }
}

/// A row whose outcome was not told yet.
struct Waiting {
    row: u64,
    /// As it came, for the dead-letter file.
    line: Option<Vec<u8>>,
    claim: Claim,
}

#[derive(Debug, Default)]
struct Tally {
    written: u64,
    not_written: u64,
    unknown: u64,
}

/// Why reading ended before the input did.
enum Stop {
    Interrupted,
    OutputClosed,
    /// The input failed.
    Input(Failure),
    /// The report or the dead-letter file failed.
    Output(Failure),
}

/// What becomes of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    Open,
    /// Nobody reads standard output any more.
    Closed,
    /// It could not be written, which was told.
    Failed,
}

struct Run<'a> {
    session: &'a Session,
    out: &'a mut Output,
    options: &'a Options,
    reader: RowReader,
    writer: Writer,
    partitions: Partitions,
    /// The record batch that is being filled, and since when.
    batch: Option<(Rc<RefCell<Batch>>, Instant)>,
    dead_letter: Option<BufWriter<File>>,
    waiting: VecDeque<Waiting>,
    /// Bytes of the lines kept for the dead-letter file.
    kept: usize,
    tally: Tally,
    progress: Progress,
    /// The last row taken from the input.
    last_row: u64,
    bytes: u64,
    report: Report,
    /// The row told last, and the last one that the report has for certain.
    told: u64,
    reported: u64,
}

impl<'a> Run<'a> {
    fn new(
        session: &'a Session,
        out: &'a mut Output,
        table: &Table,
        options: &'a Options,
    ) -> Result<Self> {
        let writer = Writer::open(session, table, options)?;
        let reader = RowReader::new(table.info().schema(), writer.columns(), options.delete);
        let dead_letter = options.dead_letter.as_deref().map(open_dead_letter).transpose()?;
        Ok(Self {
            session,
            out,
            options,
            reader,
            writer,
            partitions: Partitions::new(table),
            batch: None,
            dead_letter,
            waiting: VecDeque::new(),
            kept: 0,
            tally: Tally::default(),
            progress: Progress::new(session.quiet),
            last_row: 0,
            bytes: 0,
            report: Report::Open,
            told: 0,
            reported: 0,
        })
    }

    fn run(mut self) -> Result<Status> {
        let lines = Lines::of_stdin()?;
        let stop = loop {
            match self.step(&lines) {
                Ok(true) => {}
                Ok(false) => break None,
                Err(stop) => break Some(stop),
            }
        };
        self.hand_in_batch();
        self.writer.seal();
        if matches!(stop, Some(Stop::Interrupted)) && !self.waiting.is_empty() {
            let left = self.waiting.len();
            say(&format!(
                "interrupted: waiting for the outcomes of {left} rows; \
                 interrupt again to end at once"
            ));
        }
        let settled = self.settle_all();
        self.progress.end();
        let Tally { written, not_written, unknown } = self.tally;
        if let Some(why) = self.why_stopped(stop.as_ref()) {
            say(&format!("{why}: stopped after row {}", self.last_row));
        }
        self.session.summary(&format!(
            "{written} rows written, {not_written} not written, {unknown} with an unknown outcome"
        ));
        settled?;
        match stop {
            Some(Stop::Interrupted) => Err(Failure::Interrupted),
            Some(Stop::Input(failure) | Stop::Output(failure)) => Err(failure),
            Some(Stop::OutputClosed) => Ok(Status::Partly),
            None => Ok(Status::of(not_written == 0 && unknown == 0 && self.is_reporting())),
        }
    }

    fn why_stopped(&self, stop: Option<&Stop>) -> Option<&'static str> {
        match (stop, self.report) {
            (Some(Stop::Interrupted), _) => Some("interrupted"),
            (Some(Stop::Input(_)), _) => Some("an error ended the input"),
            // The input may be at its end before anybody sees what became of the report.
            (Some(Stop::OutputClosed), _) | (None, Report::Closed) => {
                Some("standard output was closed")
            }
            (_, Report::Failed) => Some("the report cannot be written"),
            (Some(Stop::Output(_)), _) => Some("the dead-letter file cannot be written"),
            (None, Report::Open) => None,
        }
    }

    /// Takes some input, if there is any, and tells what is known. False at the end of the input.
    fn step(&mut self, lines: &Lines) -> Result<bool, Stop> {
        self.settle(false).map_err(Stop::Output)?;
        if !self.is_reporting() {
            return Err(Stop::OutputClosed);
        }
        if self.session.interrupted.load(Ordering::Relaxed) {
            return Err(Stop::Interrupted);
        }
        let (rows, bytes) = (self.tally.written, self.bytes);
        self.progress.tick(rows, bytes, || self.session.fluss.memory_used());
        let full = self.waiting.len() + CHUNK_LINES > MAX_WAITING || self.kept > MAX_KEPT;
        let linger = self.session.settings.writer.linger;
        // No row of a record batch gets an outcome, which makes room, before it is handed in.
        if self.batch.as_ref().is_some_and(|(_, since)| full || since.elapsed() >= linger) {
            self.hand_in_batch();
        }
        if full {
            std::thread::sleep(TICK);
            return Ok(true);
        }
        match lines.next(TICK).map_err(Stop::Input)? {
            Next::Quiet => Ok(true),
            Next::End => Ok(false),
            Next::Lines(lines) => {
                for line in lines {
                    self.take(line)?;
                }
                Ok(true)
            }
        }
    }

    fn take(&mut self, line: Line) -> Result<(), Stop> {
        let claim = match self.reader.read(&line.bytes) {
            Err(problem) => Claim::Refused(problem),
            Ok(row) if self.options.arrow.is_some() => self.gather(row),
            Ok(row) => match self.writer.put(self.session, &row) {
                Ok(handed_in) => Claim::of(handed_in),
                // It waited for memory and was not handed in.
                Err(_) => return Err(Stop::Interrupted),
            },
        };
        self.last_row = line.row;
        self.bytes += line.bytes.len() as u64;
        let bytes = self.dead_letter.is_some().then_some(line.bytes);
        self.kept += bytes.as_ref().map_or(0, Vec::len);
        self.waiting.push_back(Waiting { row: line.row, line: bytes, claim });
        self.note_open();
        Ok(())
    }

    /// Puts a row into the record batch, and hands that in when it is full.
    fn gather(&mut self, row: OwnedRow) -> Claim {
        let open = || (Rc::new(RefCell::new(Batch::Open(Vec::new()))), Instant::now());
        let (batch, _) = self.batch.get_or_insert_with(open);
        let index = batch.borrow_mut().push(row);
        let claim = Claim::Run(Rc::clone(batch), index);
        if self.options.arrow.is_some_and(|rows| index + 1 >= rows) {
            self.hand_in_batch();
        }
        claim
    }

    fn hand_in_batch(&mut self) {
        if let Some((batch, _)) = self.batch.take() {
            batch.borrow_mut().hand_in(&self.writer);
        }
    }

    fn settle_all(&mut self) -> Result<()> {
        let mut result = self.settle(true);
        if let Some(file) = &mut self.dead_letter {
            result = result.and(file.flush().map_err(|error| dead_letter_failure(&error)));
        }
        result
    }

    fn note_open(&self) {
        self.session.open_rows.store(self.waiting.len() as u64, Ordering::Relaxed);
    }

    /// Tells outcomes in the order of the input, up to the first that is not known yet; with
    /// `wait`, all of them. A file or report that fails ends nothing: every row still counts.
    fn settle(&mut self, wait: bool) -> Result<()> {
        let mut told = false;
        let mut result = Ok(());
        loop {
            self.note_open();
            let Some(first) = self.waiting.pop_front() else { break };
            let outcome = match first.claim.settle(false) {
                Ok(outcome) => outcome,
                Err(claim) if !wait => {
                    self.waiting.push_front(Waiting { claim, ..first });
                    break;
                }
                Err(claim) => {
                    if told && self.is_reporting() {
                        result = result.and(self.flush_output());
                    }
                    match claim.settle(true) {
                        Ok(outcome) => outcome,
                        // It was waited for, so it is there.
                        Err(_) => break,
                    }
                }
            };
            told = true;
            self.kept -= first.line.as_ref().map_or(0, Vec::len);
            result = result.and(self.tell(first.row, first.line.as_deref(), &outcome));
        }
        if told && self.is_reporting() {
            result = result.and(self.flush_output());
        }
        result
    }

    fn is_reporting(&self) -> bool {
        self.report == Report::Open
    }

    fn flush_output(&mut self) -> Result<()> {
        let flushed = self.out.flush();
        if flushed.is_ok() {
            self.reported = self.told;
        }
        self.output_result(flushed)
    }

    /// That nobody reads the report any more is noted, as the rows taken are still waited for.
    fn output_result(&mut self, result: Result<()>) -> Result<()> {
        let Err(failure) = result else { return Ok(()) };
        if matches!(failure, Failure::OutputClosed) {
            self.report = Report::Closed;
            return Ok(());
        }
        self.report = Report::Failed;
        let there = match self.reported {
            0 => "the report has no whole line for certain".to_owned(),
            row => format!("the report is whole up to row {row}"),
        };
        Err(Failure::failed(format!("{failure}; {there}")))
    }

    fn tell(&mut self, row: u64, line: Option<&[u8]>, outcome: &Outcome) -> Result<()> {
        let mut result = Ok(());
        self.told = row;
        match outcome {
            Outcome::Written(_) => self.tally.written += 1,
            Outcome::NotWritten(problem) => {
                self.tally.not_written += 1;
                self.complain(row, "was not written", problem);
                if let (Some(file), Some(line)) = (&mut self.dead_letter, line) {
                    let written = file.write_all(line).and_then(|()| file.write_all(b"\n"));
                    result = written.map_err(|error| dead_letter_failure(&error));
                }
            }
            Outcome::Unknown(problem) => {
                self.tally.unknown += 1;
                self.complain(row, "has an unknown outcome", problem);
            }
        }
        if self.options.report && self.is_reporting() {
            let line = self.report_line(row, outcome)?;
            let written = self.out.line(&line);
            result = result.and(self.output_result(written));
        }
        result
    }

    fn complain(&mut self, row: u64, what: &str, problem: &Problem) {
        if self.options.report {
            return;
        }
        let count = self.tally.not_written + self.tally.unknown;
        if count <= TOLD {
            say(&format!("row {row} {what}: {}", problem.message));
        } else if count == TOLD + 1 {
            say("there are more such rows; --report tells all of them");
        }
    }

    fn report_line(&mut self, row: u64, outcome: &Outcome) -> Result<String> {
        let mut line = format!(r#"{{"row":{row},"outcome":"#);
        match outcome {
            Outcome::Written(ack) => {
                let partition = self.partitions.json(self.session, ack.partition);
                // A signal must not lose the report of what is written.
                let partition = partition.unwrap_or("null");
                line.push_str(&written_text(ack, partition, self.writer.is_append()));
            }
            Outcome::NotWritten(problem) => {
                line.push_str("\"not_written\",\"error\":");
                problem.push_json(&mut line);
            }
            Outcome::Unknown(problem) => {
                line.push_str("\"unknown\",\"error\":");
                problem.push_json(&mut line);
            }
        }
        line.push('}');
        Ok(line)
    }
}

fn written_text(ack: &Ack, partition: &str, append: bool) -> String {
    let number = |offset: Option<i64>| offset.map_or_else(|| "null".to_owned(), |o| o.to_string());
    let (name, offset) = match append {
        true => ("offset", number(ack.offset)),
        false => ("log_end_offset", number(ack.log_end_offset)),
    };
    let bucket = ack.bucket;
    let inferred = if ack.inferred { ",\"inferred\":true" } else { "" };
    format!(r#""ok","partition":{partition},"bucket":{bucket},"{name}":{offset}{inferred}"#)
}

/// Rows are added to a file that exists: it may hold rows of an earlier run that are nowhere else.
fn open_dead_letter(path: &str) -> Result<BufWriter<File>> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map(BufWriter::new).map_err(|error| {
        Failure::failed(format!("cannot open the dead-letter file {path}: {error}"))
    })
}

fn dead_letter_failure(error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot write to the dead-letter file: {error}"))
}
