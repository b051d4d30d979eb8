//! `fluss scan`: the rows of a table: of a primary-key table as they are now, of a log table the
//! last ones.

use std::collections::{BTreeMap, BinaryHeap};

use fluss_core::ids::BucketKey;
use fluss_core::{OffsetSpec, Table};

use super::Work;
use super::args::{Args, partition_pairs};
use super::consume::scanner_settings;
use super::failure::{Failure, Result, Status};
use super::json::RowWriter;
use super::output::Output;
use super::partition::find;
use super::session::Session;
use super::snapshot::snapshot_settings;

struct Options {
    limit: Option<u64>,
    columns: Option<Vec<String>>,
    partition: Option<Vec<(String, String)>>,
}

pub(crate) fn prepare(args: &Args) -> Result<Work<'_>> {
    let path = args.table()?;
    let options = Options {
        limit: args.number("limit")?,
        columns: args.list("columns")?,
        partition: args.value("partition").map(partition_pairs).transpose()?,
    };
    Ok(Box::new(move |session, out| {
        let table = session.table(path)?;
        let columns = options.column_indexes(&table)?;
        let rows = match (table.info().has_primary_key(), options.limit) {
            (true, limit) => rows_now(session, out, &table, &options, limit, &columns)?,
            (false, Some(limit)) => last_rows(session, out, &table, &options, limit, &columns)?,
            (false, None) => {
                let text = format!("{path} is a log table, of which the last rows are scanned");
                return Err(Failure::failed(format!("{text}: say how many with --limit N")));
            }
        };
        session.summary(&format!("{rows} rows"));
        Ok(Status::Done)
    }))
}

impl Options {
    /// The columns asked for, in the order of the schema.
    fn column_indexes(&self, table: &Table) -> Result<Vec<usize>> {
        let info = table.info();
        let Some(names) = &self.columns else {
            return Ok((0..info.schema().columns().len()).collect());
        };
        let mut indexes = info
            .schema()
            .indexes_of("projection", names)
            .map_err(|e| Failure::failed(format!("{}: {e}", info.path)))?;
        indexes.sort_unstable();
        Ok(indexes)
    }
}

/// Prints the rows of a primary-key table as they are now.
fn rows_now(
    session: &Session,
    out: &mut Output,
    table: &Table,
    options: &Options,
    limit: Option<u64>,
    columns: &[usize],
) -> Result<u64> {
    let names = columns.iter().map(|index| table.info().schema().columns()[*index].name.clone());
    let mut builder = snapshot_settings(table.snapshot(), &session.settings.scanner);
    builder = builder.columns(names);
    if let Some(values) = &options.partition {
        builder = builder.partitions([find(session, table, values)?.id]);
    }
    if let Some(limit) = limit {
        builder = builder.limit(limit);
    }
    let mut reader = session.call(builder.build())?;
    let writer = RowWriter::new(reader.schema());
    let (mut printed, mut line) = (0, String::new());
    while let Some(batch) = session.call(reader.next_batch())? {
        for row in batch.rows()?.iter() {
            line.clear();
            writer
                .push_row(&mut line, |column| row.value(column))
                .map_err(|error| Failure::failed(format!("{}: {error}", batch.bucket())))?;
            out.line(&line)?;
        }
        printed += batch.num_rows() as u64;
    }
    Ok(printed)
}

/// A row, in the order in which rows came: by the time at which they were stored, and by bucket and
/// offset among those of one time.
type Place = (i64, BucketKey, i64);

/// Prints the last rows of a log table, over all its buckets, the oldest first.
fn last_rows(
    session: &Session,
    out: &mut Output,
    table: &Table,
    options: &Options,
    limit: u64,
    columns: &[usize],
) -> Result<u64> {
    let ends = ends(session, table, options)?;
    let reach = i64::try_from(limit).unwrap_or(i64::MAX);
    let from = ends
        .into_iter()
        .filter(|(_, (start, end))| start < end)
        .map(|(bucket, (start, end))| (bucket, start.max(end.saturating_sub(reach))));
    let from: BTreeMap<BucketKey, i64> = from.collect();
    if from.is_empty() || limit == 0 {
        return Ok(0);
    }
    let names: Vec<String> =
        columns.iter().map(|index| table.info().schema().columns()[*index].name.clone()).collect();
    let builder = scanner_settings(table.scanner(), &session.settings.scanner);
    let builder = builder.from_offsets(from).columns(names).bounded();
    let mut scanner = session.call(builder.build())?;
    let writer = RowWriter::new(scanner.schema());
    // The first to go is the oldest.
    let mut kept: BinaryHeap<std::cmp::Reverse<(Place, String)>> = BinaryHeap::new();
    while let Some(batch) = session.call(scanner.next_batch())? {
        for row in batch.rows()?.iter() {
            let mut line = String::new();
            writer.push_row(&mut line, |column| row.value(column)).map_err(|error| {
                Failure::failed(format!("{} offset {}: {error}", batch.bucket(), row.offset()))
            })?;
            let place = (batch.timestamp(), batch.bucket(), row.offset());
            kept.push(std::cmp::Reverse((place, line)));
            if kept.len() as u64 > limit {
                kept.pop();
            }
        }
    }
    let rows = kept.len() as u64;
    while let Some(std::cmp::Reverse((_, line))) = kept.pop() {
        out.line(&line)?;
    }
    Ok(rows)
}

/// Where each bucket's log begins and ends.
fn ends(
    session: &Session,
    table: &Table,
    options: &Options,
) -> Result<BTreeMap<BucketKey, (i64, i64)>> {
    let mut ends = BTreeMap::new();
    if let Some(values) = &options.partition {
        // Only its own buckets are asked for: others may be without a leader.
        let id = find(session, table, values)?.id;
        let admin = session.fluss.admin();
        let at = |spec| session.call(admin.list_offsets(table.info(), Some(id), &[], spec));
        let (starts, latest) = (at(OffsetSpec::Earliest)?, at(OffsetSpec::Latest)?);
        for (bucket, end) in latest {
            let key = BucketKey { partition: Some(id), ..table.info().bucket(bucket) };
            ends.insert(key, (starts.get(&bucket).copied().unwrap_or(end), end));
        }
        return Ok(ends);
    }
    let starts = session.call(table.offsets(OffsetSpec::Earliest))?;
    let starts: BTreeMap<BucketKey, i64> =
        starts.into_iter().map(|start| (start.bucket, start.offset)).collect();
    for end in session.call(table.offsets(OffsetSpec::Latest))? {
        let start = starts.get(&end.bucket).copied().unwrap_or(end.offset);
        ends.insert(end.bucket, (start, end.offset));
    }
    Ok(ends)
}
