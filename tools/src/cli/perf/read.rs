//! `fluss perf consume` and `fluss perf lookup`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fluss_core::{Lookuper, OffsetSpec, Table};

use super::super::consume::scanner_settings;
use super::super::failure::{Failure, Result};
use super::super::session::Session;
use super::super::wait::wait;
use super::Options;
use super::meter::{Measured, Meter};
use super::rows::{RowMaker, row_bytes};
use super::spawn;

/// Reads the first rows of the table, until a signal comes; latencies are those of waits for a
/// batch.
pub(super) fn consume(session: &Session, table: &Table, options: &Options) -> Result<Measured> {
    let wanted = options.rows + options.warmup;
    let sum = |at| -> Result<i64> {
        let offsets = session.call(table.offsets(at))?;
        Ok(offsets.iter().map(|bucket| bucket.offset).sum())
    };
    let there = sum(OffsetSpec::Latest)? - sum(OffsetSpec::Earliest)?;
    if u64::try_from(there).unwrap_or(0) < wanted {
        let path = &table.info().path;
        return Err(Failure::failed(format!("{path} has {there} rows, {wanted} are to be read")));
    }
    let builder = scanner_settings(table.scanner(), &session.settings.scanner);
    let mut scanner = session.call(builder.bounded().build())?;
    let (mut seen, mut bytes, mut latencies) = (0, 0, Vec::new());
    let mut meter = Meter::start();
    while seen < wanted && !session.interrupted.load(Ordering::Relaxed) {
        let start = Instant::now();
        let batch = match session.call(scanner.next_batch()) {
            Err(Failure::Interrupted) => break,
            batch => batch?,
        };
        let batch = batch.ok_or_else(|| Failure::failed("the table ended early"))?;
        let measuring = seen >= options.warmup;
        if measuring {
            latencies.push(start.elapsed());
        }
        for row in batch.rows()?.iter().take((wanted - seen) as usize) {
            seen += 1;
            let columns = row.schema().columns().len();
            let values = (0..columns).map(|column| row.value(column).map(Into::into));
            let values = values.collect::<std::result::Result<_, _>>();
            let values: fluss_core::row::OwnedRow =
                values.map_err(|error| Failure::failed(error.to_string()))?;
            if seen == options.warmup {
                meter = Meter::start();
            } else if seen > options.warmup {
                bytes += row_bytes(&values);
            }
        }
    }
    // A signal may come before the last row of the warm-up, which starts the clock.
    Ok(Measured { latencies, ..meter.stop(seen.saturating_sub(options.warmup), bytes) })
}

/// Looks keys up in turn, `in_flight` at once in each thread, until a signal comes. A key without a
/// row is no error.
pub(super) fn lookup(session: &Session, table: &Table, options: &Options) -> Result<Measured> {
    let schema = table.info().schema();
    let key = schema.primary_key();
    let lookuper = table.lookuper()?;
    let maker = RowMaker::new(schema, key, key, options)?;
    let stop = &session.interrupted;
    one_thread(&lookuper, &maker, 0..options.warmup, options.in_flight, stop);
    let meter = Meter::start();
    let shares = (0..options.threads).map(|t| options.share(t, options.warmup, options.rows));
    let threads = shares.map(|share| {
        let (lookuper, maker, in_flight) = (lookuper.clone(), maker.clone(), options.in_flight);
        let stop = Arc::clone(stop);
        spawn(move || one_thread(&lookuper, &maker, share, in_flight, &stop))
    });
    let threads: Vec<_> = threads.collect::<Result<_>>()?;
    let mut sum = Answers::default();
    for thread in threads {
        let answers = thread.join().map_err(|_| Failure::failed("a thread panicked"))?;
        sum.bytes += answers.bytes;
        sum.errors += answers.errors;
        sum.latencies.extend(answers.latencies);
    }
    let (latencies, errors) = (sum.latencies, sum.errors);
    let ended = latencies.len() as u64;
    Ok(Measured { latencies, errors, ..meter.stop(ended, sum.bytes) })
}

#[derive(Default)]
struct Answers {
    bytes: u64,
    errors: u64,
    latencies: Vec<Duration>,
}

fn one_thread(
    lookuper: &Lookuper,
    maker: &RowMaker,
    mut numbers: std::ops::Range<u64>,
    in_flight: usize,
    stop: &AtomicBool,
) -> Answers {
    let mut waiting = VecDeque::new();
    let mut answers = Answers::default();
    while !stop.load(Ordering::Relaxed) {
        while waiting.len() < in_flight
            && let Some(number) = numbers.next()
        {
            waiting.push_back((Instant::now(), lookuper.lookup(&maker.row(number))));
        }
        let Some((start, lookup)) = waiting.pop_front() else { break };
        // Nothing is lost with an answer that nobody waits for.
        match wait(lookup, stop) {
            Ok(Ok(row)) => answers.bytes += row.as_ref().map_or(0, row_bytes),
            Ok(Err(_)) => answers.errors += 1,
            Err(_) => break,
        }
        answers.latencies.push(start.elapsed());
    }
    answers
}
