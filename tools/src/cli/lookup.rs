//! `fluss lookup`: rows by their keys.

use std::collections::VecDeque;
use std::time::Duration;

use fluss_core::row::{OwnedRow, Schema};
use fluss_core::{Error, Lookup, Lookuper, Table};

use super::Work;
use super::args::Args;
use super::failure::{Failure, Problem, Result, Status};
use super::input::{Lines, Next};
use super::json::RowWriter;
use super::output::Output;
use super::row_in::RowReader;
use super::session::Session;
use crate::cluster::is_output_closed;

/// Keys on their way at which reading pauses.
const MAX_WAITING: usize = 4096;
const TICK: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Whole,
    Prefix,
    Insert,
}

pub(crate) fn prepare(args: &Args) -> Result<Work<'_>> {
    let path = args.table()?;
    let kind = match (args.has("prefix"), args.has("insert-if-not-exists")) {
        (false, false) => Kind::Whole,
        (true, false) => Kind::Prefix,
        (false, true) => Kind::Insert,
        (true, true) => {
            return Err(Failure::usage("--prefix and --insert-if-not-exists exclude each other"));
        }
    };
    Ok(Box::new(move |session, out| {
        let table = session.table(path)?;
        run(session, out, &table, kind)
    }))
}

/// A key whose answer was not printed yet.
enum Waiting {
    Refused(Problem),
    One(Lookup<Option<OwnedRow>>),
    Many(Lookup<Vec<OwnedRow>>),
}

fn run(session: &Session, out: &mut Output, table: &Table, kind: Kind) -> Result<Status> {
    let lookuper = table.lookuper()?;
    let schema = table.info().schema();
    let role = if kind == Kind::Prefix { "of the key's prefix" } else { "of the key" };
    let reader = RowReader::new(schema, &key_columns(table, kind), false).called(role);
    let writer = RowWriter::new(schema);
    let lines = Lines::of_stdin()?;
    let (mut waiting, mut printer) = (VecDeque::new(), Printer { writer, all_found: true });
    let end = loop {
        match lines.next(if waiting.is_empty() { TICK } else { Duration::ZERO }) {
            Ok(Next::Lines(keys)) => {
                for key in keys {
                    waiting.push_back(start(&lookuper, &reader, kind, &key.bytes));
                    if waiting.len() >= MAX_WAITING {
                        printer.print_first(session, out, &mut waiting)?;
                    }
                }
            }
            // Nothing to read for the moment: time to wait for an answer.
            Ok(Next::Quiet) if waiting.is_empty() => {
                if is_output_closed() {
                    return Err(Failure::OutputClosed);
                }
            }
            Ok(Next::Quiet) => {
                printer.print_first(session, out, &mut waiting)?;
                out.flush()?;
            }
            Ok(Next::End) => break Ok(()),
            // The keys before it are answered all the same.
            Err(error) => break Err(error),
        }
        if session.interrupted.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
    };
    while !waiting.is_empty() {
        printer.print_first(session, out, &mut waiting)?;
    }
    end?;
    Ok(Status::of(printer.all_found))
}

/// The columns of the keys: the primary key's, or those of its prefix.
fn key_columns(table: &Table, kind: Kind) -> Vec<usize> {
    let info = table.info();
    let (schema, descriptor): (&Schema, _) = (info.schema(), &info.descriptor);
    let mut columns = schema.primary_key().to_vec();
    if kind == Kind::Prefix {
        let bucket_key = descriptor.effective_bucket_key();
        let partition_key = &descriptor.partition_key;
        columns.retain(|column| bucket_key.contains(column) || partition_key.contains(column));
    }
    columns
}

fn start(lookuper: &Lookuper, reader: &RowReader, kind: Kind, line: &[u8]) -> Waiting {
    match (reader.read(line), kind) {
        (Err(problem), _) => Waiting::Refused(problem),
        (Ok(key), Kind::Whole) => Waiting::One(lookuper.lookup(&key)),
        (Ok(key), Kind::Insert) => Waiting::One(lookuper.lookup_or_insert(&key)),
        (Ok(key), Kind::Prefix) => Waiting::Many(lookuper.lookup_prefix(&key)),
    }
}

struct Printer {
    writer: RowWriter,
    all_found: bool,
}

impl Printer {
    /// Waits for the answer to the first key and prints it.
    fn print_first(
        &mut self,
        session: &Session,
        out: &mut Output,
        waiting: &mut VecDeque<Waiting>,
    ) -> Result<()> {
        let mut line = String::new();
        match waiting.pop_front() {
            None => return Ok(()),
            Some(Waiting::Refused(problem)) => self.push_problem(&mut line, &problem),
            Some(Waiting::One(lookup)) => match session.wait_to_print(lookup)? {
                Ok(None) => line.push_str("null"),
                Ok(Some(row)) => self.writer.push_owned(&mut line, &row),
                Err(error) => self.push_error(&mut line, &error),
            },
            Some(Waiting::Many(lookup)) => match session.wait_to_print(lookup)? {
                Ok(rows) => self.push_rows(&mut line, &rows),
                Err(error) => self.push_error(&mut line, &error),
            },
        }
        out.line(&line)
    }

    fn push_rows(&self, line: &mut String, rows: &[OwnedRow]) {
        line.push('[');
        for (index, row) in rows.iter().enumerate() {
            if index > 0 {
                line.push(',');
            }
            self.writer.push_owned(line, row);
        }
        line.push(']');
    }

    fn push_error(&mut self, line: &mut String, error: &Error) {
        self.push_problem(line, &error.into());
    }

    fn push_problem(&mut self, line: &mut String, problem: &Problem) {
        self.all_found = false;
        line.push_str("{\"error\":");
        problem.push_json(line);
        line.push('}');
    }
}
