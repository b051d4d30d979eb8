//! `fluss consume`: the records of a table's log.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use fluss_core::batch::RowView;
use fluss_core::ids::BucketKey;
use fluss_core::row::Schema;
use fluss_core::{Error, LogScanner, OffsetSpec, ScanBuilder, SnapshotEvent, Table};
use fluss_proto::record::ChangeType;

use super::Work;
use super::args::{Args, partition_pairs};
use super::failure::{Failure, Result, Status};
use super::json::RowWriter;
use super::output::{Output, say};
use super::partition::{Partitions, buckets, offset_spec};
use super::progress::Progress;
use super::session::Session;
use super::settings::ScannerSettings;
use super::snapshot::changes_settings;

/// The timestamp of rows of a state: when they were stored is told by the changelog only.
const NO_TIME: i64 = -1;

struct Options {
    from: OffsetSpec,
    bucket: Option<i32>,
    offset: Option<i64>,
    partition: Option<Vec<(String, String)>>,
    columns: Option<Vec<String>>,
    count: u64,
    follow: bool,
    snapshot: bool,
}

pub(crate) fn prepare(args: &Args) -> Result<Work<'_>> {
    let path = args.table()?;
    let options = Options::read(args)?;
    Ok(Box::new(move |session, out| {
        let table = session.table(path)?;
        if options.snapshot {
            return with_snapshot(session, out, &table, &options);
        }
        consume(session, out, &table, &options)
    }))
}

impl Options {
    fn read(args: &Args) -> Result<Self> {
        let offset: Option<i64> = args.number("offset")?;
        if offset.is_some() && args.value("from").is_some() {
            return Err(Failure::usage("--from and --offset cannot be combined"));
        }
        let bucket: Option<i32> = args.number("bucket")?;
        let snapshot = args.has("snapshot");
        if snapshot && (offset.is_some() || args.value("from").is_some()) {
            let text = "--snapshot begins with the rows as they are: it cannot be combined with";
            return Err(Failure::usage(format!("{text} --from or --offset")));
        }
        if offset.is_some() && bucket.is_none() {
            return Err(Failure::usage("--offset needs --bucket, whose offset it is"));
        }
        if offset.is_some_and(|offset| offset < 0) || bucket.is_some_and(|bucket| bucket < 0) {
            return Err(Failure::usage("--bucket and --offset cannot be negative"));
        }
        Ok(Self {
            from: offset_spec("from", args.value("from").unwrap_or("earliest"))?,
            bucket,
            offset,
            partition: args.value("partition").map(partition_pairs).transpose()?,
            columns: args.list("columns")?,
            count: args.number("count")?.unwrap_or(u64::MAX),
            follow: args.has("follow"),
            snapshot,
        })
    }

    fn scanner(&self, session: &Session, table: &Table) -> Result<LogScanner> {
        let mut builder = scanner_settings(table.scanner(), &session.settings.scanner);
        builder = match (self.offset, self.from) {
            (Some(offset), _) => builder.from_offset(offset),
            (None, OffsetSpec::Latest) => builder.from_latest(),
            (None, OffsetSpec::Timestamp(millis)) => builder.from_timestamp(millis),
            (None, _) => builder.from_earliest(),
        };
        if let Some(keys) = self.buckets(session, table)? {
            builder = builder.buckets(keys);
        }
        if let Some(names) = &self.columns {
            builder = builder.columns(in_schema_order(table, names)?);
        }
        if !self.follow {
            builder = builder.bounded();
        }
        session.call(builder.build())
    }

    /// The buckets asked for; None for all.
    fn buckets(&self, session: &Session, table: &Table) -> Result<Option<Vec<BucketKey>>> {
        if self.bucket.is_none() && self.partition.is_none() {
            return Ok(None);
        }
        let mut keys = buckets(session, table, self.partition.as_deref())?;
        if let Some(bucket) = self.bucket {
            keys.retain(|key| key.bucket == bucket);
            if keys.is_empty() {
                let path = &table.info().path;
                return Err(Failure::failed(format!("{path} has no bucket {bucket}")));
            }
        }
        Ok(Some(keys))
    }
}

/// Output keeps the order of the schema, whatever the order on the command line.
fn in_schema_order(table: &Table, names: &[String]) -> Result<Vec<String>> {
    let info = table.info();
    let mut indexes = info
        .schema()
        .indexes_of("projection", names)
        .map_err(|e| Failure::failed(format!("{}: {e}", info.path)))?;
    indexes.sort_unstable();
    let columns = info.schema().columns();
    Ok(indexes.into_iter().map(|index| columns[index].name.clone()).collect())
}

pub(crate) fn scanner_settings(
    mut builder: ScanBuilder,
    settings: &ScannerSettings,
) -> ScanBuilder {
    if let Some(bytes) = settings.max_bytes {
        builder = builder.max_bytes(bytes);
    }
    if let Some(bytes) = settings.max_bytes_per_bucket {
        builder = builder.max_bytes_per_bucket(bytes);
    }
    if let Some(bytes) = settings.min_bytes {
        builder = builder.min_bytes(bytes);
    }
    if let Some(wait) = settings.max_wait {
        builder = builder.max_wait(wait);
    }
    if let Some(bytes) = settings.buffer_limit {
        builder = builder.buffer_limit(bytes);
    }
    builder
}

fn consume(
    session: &Session,
    out: &mut Output,
    table: &Table,
    options: &Options,
) -> Result<Status> {
    let mut scanner = options.scanner(session, table)?;
    let mut printer = Printer::new(table, scanner.schema(), options.count);
    let mut progress = Progress::new(session.quiet);
    let mut failed: BTreeSet<BucketKey> = BTreeSet::new();
    while printer.left > 0 {
        match session.wait_to_print(scanner.next_batch())? {
            Ok(None) => break,
            Ok(Some(batch)) => {
                let rows = batch.rows()?;
                let place = (batch.bucket(), batch.timestamp());
                printer.print(session, out, place, rows.iter())?;
                out.flush()?;
            }
            // The other buckets go on; at their end the error comes again.
            Err(Error::Scan(error)) if failed.insert(error.bucket) => {
                say(&Error::Scan(error).to_string());
            }
            Err(Error::Scan(_)) => break,
            Err(error) => return Err(error.into()),
        }
        progress.tick(options.count - printer.left, printer.bytes, || 0);
    }
    progress.end();
    session.summary(&format!("{} records", options.count - printer.left));
    Ok(Status::of(failed.is_empty()))
}

/// The rows as they are, bucket by bucket, then what changes them.
fn with_snapshot(
    session: &Session,
    out: &mut Output,
    table: &Table,
    options: &Options,
) -> Result<Status> {
    if !table.info().has_primary_key() {
        let path = &table.info().path;
        let text = format!("{path} is a log table: --snapshot is for tables with a primary key");
        return Err(Failure::failed(text));
    }
    let builder = table.snapshot_then_changes();
    let mut builder = changes_settings(builder, &session.settings.scanner);
    if let Some(keys) = options.buckets(session, table)? {
        builder = builder.buckets(keys);
    }
    if let Some(names) = &options.columns {
        builder = builder.columns(in_schema_order(table, names)?);
    }
    if !options.follow {
        builder = builder.bounded();
    }
    let mut reader = session.call(builder.build())?;
    let mut printer = Printer::new(table, reader.schema(), options.count);
    let mut progress = Progress::new(session.quiet);
    let mut failed: BTreeSet<BucketKey> = BTreeSet::new();
    while printer.left > 0 {
        match session.wait_to_print(reader.next_event())? {
            Ok(None) => break,
            Ok(Some(SnapshotEvent::State(batch))) => {
                let rows = batch.rows()?;
                printer.print(session, out, (batch.bucket(), NO_TIME), rows.iter())?;
                out.flush()?;
            }
            Ok(Some(SnapshotEvent::Changes(batch))) => {
                let rows = batch.rows()?;
                let place = (batch.bucket(), batch.timestamp());
                printer.print(session, out, place, rows.iter())?;
                out.flush()?;
            }
            Ok(Some(_)) => {}
            Err(Error::Scan(error)) if failed.insert(error.bucket) => {
                say(&Error::Scan(error).to_string());
            }
            Err(Error::Scan(_)) => break,
            Err(error) => return Err(error.into()),
        }
        progress.tick(options.count - printer.left, printer.bytes, || 0);
    }
    progress.end();
    session.summary(&format!("{} records", options.count - printer.left));
    Ok(Status::of(failed.is_empty()))
}

struct Printer {
    rows: RowWriter,
    partitions: Partitions,
    line: String,
    /// Records still wanted.
    left: u64,
    bytes: u64,
}

impl Printer {
    fn new(table: &Table, schema: &Schema, left: u64) -> Self {
        let (rows, partitions) = (RowWriter::new(schema), Partitions::new(table));
        Self { rows, partitions, line: String::new(), left, bytes: 0 }
    }

    fn print<'a>(
        &mut self,
        session: &Session,
        out: &mut Output,
        (bucket, timestamp): (BucketKey, i64),
        rows: impl Iterator<Item = RowView<'a>>,
    ) -> Result<()> {
        let mut head = String::from("{");
        if self.partitions.any() {
            let partition = self.partitions.json(session, bucket.partition)?;
            // Writing to a String cannot fail.
            let _ = write!(head, "\"partition\":{partition},");
        }
        let _ = write!(head, "\"bucket\":{},\"offset\":", bucket.bucket);
        for row in rows {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            self.line.clear();
            let change = change_text(row.change_type());
            let _ = write!(
                self.line,
                r#"{head}{},"timestamp":{timestamp},"change":"{change}","row":"#,
                row.offset()
            );
            self.rows.push_row(&mut self.line, |column| row.value(column)).map_err(|error| {
                let offset = row.offset();
                Failure::failed(format!("{bucket} offset {offset}: {error}"))
            })?;
            self.line.push('}');
            self.bytes += self.line.len() as u64 + 1;
            out.line(&self.line)?;
        }
        Ok(())
    }
}

fn change_text(change: ChangeType) -> &'static str {
    match change {
        ChangeType::Append => "+A",
        ChangeType::Insert => "+I",
        ChangeType::UpdateBefore => "-U",
        ChangeType::UpdateAfter => "+U",
        ChangeType::Delete => "-D",
    }
}
