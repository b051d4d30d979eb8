//! The rows of one bucket, by the best way that its server has.
//!
//! | the server has | the rows come by |
//! |---|---|
//! | SCAN_KV | a session |
//! | the whole changelog | its replay, in memory |
//! | neither | a limit scan, if all rows are surely in it |

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fluss_proto::ErrorCode;
use fluss_proto::message::{GetTableSchemaRequest, GetTableSchemaResponse};
use fluss_proto::record::Values;

use super::batch::SnapshotBatch;
use super::replay::{State, StateBudget, replay};
use super::session::{self, Opened, Session, is_lost, nonsense};
use crate::batch::decode::ValueReader;
use crate::command::Target;
use crate::error::{Error, Result};
use crate::handle::fluss::pb_path;
use crate::handle::limit_scan::first_values;
use crate::handle::offsets::{OffsetSpec, list_offsets};
use crate::handle::signal::lock;
use crate::handle::table::Table;
use crate::ids::BucketKey;
use crate::row::Schema;
use fluss_proto::ApiKey;

/// What all buckets of one read have in common.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) table: Table,
    pub(super) fetch_bytes: usize,
    pub(super) buffer_limit: u64,
    pub(super) max_rows: u32,
    /// Whether rows are of use only with the offset that they belong to.
    pub(super) with_offset: bool,
    pub(super) budget: Arc<StateBudget>,
    /// Of rows as servers store them.
    pub(super) stored: Mutex<ValueReader>,
    /// Of rows as a replay keeps them.
    pub(super) replayed: ValueReader,
}

impl Job {
    /// The schema id of the rows of a replay, whatever that of the table is.
    pub(super) const OWN: i16 = 0;
}

/// What reading on has come to.
#[derive(Debug)]
pub(super) enum Step {
    Rows(SnapshotBatch),
    /// The rest cannot be had; all can, of another moment.
    Lost(Error),
    /// All rows were there, as of this offset where it is known.
    End(Option<i64>),
}

#[derive(Debug)]
enum Source {
    Begin,
    Scan(Session),
    Ended,
}

#[derive(Debug)]
enum Rows {
    None,
    Values(Values),
    State(State),
}

/// Reads one bucket.
#[derive(Debug)]
pub(super) struct BucketRead {
    job: Arc<Job>,
    bucket: BucketKey,
    /// The number of buckets beside it, where it is known.
    of: Option<i32>,
    limit: Option<u64>,
    left: u64,
    source: Source,
    rows: Rows,
    log_offset: Option<i64>,
}

impl BucketRead {
    pub(super) fn new(
        job: &Arc<Job>,
        bucket: BucketKey,
        of: Option<i32>,
        limit: Option<u64>,
    ) -> Self {
        Self {
            job: Arc::clone(job),
            bucket,
            of,
            limit,
            left: limit.unwrap_or(u64::MAX),
            source: Source::Begin,
            rows: Rows::None,
            log_offset: None,
        }
    }

    /// Forgets all that was read.
    pub(super) fn restart(&mut self) {
        self.left = self.limit.unwrap_or(u64::MAX);
        (self.source, self.rows, self.log_offset) = (Source::Begin, Rows::None, None);
    }

    /// Reads on. Dropping the future ends what was begun.
    pub(super) async fn next(mut self) -> (Self, Result<Step>) {
        let step = self.step().await;
        (self, step)
    }

    async fn step(&mut self) -> Result<Step> {
        loop {
            if let Some(batch) = self.cut().await? {
                return Ok(Step::Rows(batch));
            }
            if self.left == 0 {
                self.source = Source::Ended;
            }
            match &mut self.source {
                Source::Begin => self.begin().await?,
                Source::Scan(session) => match session.next().await {
                    Ok((values, more)) => {
                        self.rows = values.map_or(Rows::None, Rows::Values);
                        if !more {
                            self.source = Source::Ended;
                        }
                    }
                    Err(error) if is_lost(&error) => {
                        self.source = Source::Ended;
                        return Ok(Step::Lost(error));
                    }
                    Err(error) => return Err(error),
                },
                Source::Ended => return Ok(Step::End(self.log_offset)),
            }
        }
    }

    async fn begin(&mut self) -> Result<()> {
        let (fluss, info) = (self.job.table.fluss(), self.job.table.info());
        let fetch_bytes = i32::try_from(self.job.fetch_bytes).unwrap_or(i32::MAX);
        let opened =
            session::open(fluss, &info.path, self.bucket, self.of, fetch_bytes, self.limit).await;
        match opened {
            // Of a bucket without rows the offset may not be told.
            Ok(Opened { session: None, values: None, log_offset: None })
                if self.job.with_offset =>
            {
                self.begin_without_scan().await
            }
            Ok(Opened { log_offset: None, .. }) if self.job.with_offset => {
                let what = format!("SCAN_KV {} bucket {}", info.path, self.bucket.bucket);
                Err(nonsense(&what, "rows without the offset that they belong to"))
            }
            Ok(Opened { session, values, log_offset }) => {
                self.source = session.map_or(Source::Ended, Source::Scan);
                self.rows = values.map_or(Rows::None, Rows::Values);
                self.log_offset = log_offset;
                Ok(())
            }
            Err(Error::Unsupported { .. }) => self.begin_without_scan().await,
            Err(error) => Err(error),
        }
    }

    async fn begin_without_scan(&mut self) -> Result<()> {
        let (table, bucket) = (&self.job.table, self.bucket);
        if !self.job.with_offset && self.left <= u64::from(self.job.max_rows) {
            return self.begin_limit_scan().await;
        }
        let (fluss, info) = (table.fluss(), table.info());
        let starts = list_offsets(fluss, info, &[bucket], OffsetSpec::Earliest).await?;
        let start = starts.get(&bucket).copied().unwrap_or_default();
        let replayed = match start {
            0 => replay(table, bucket, self.job.buffer_limit, &self.job.budget).await,
            _ => Err(Error::misuse(format!(
                "{} {bucket}: the changelog begins at offset {start}, so that nobody can tell from \
                 it which rows there were before, and the server has no scan that tells; only \
                 servers of the 1.0 line do",
                info.path
            ))),
        };
        match replayed {
            Ok((state, end)) => {
                self.rows = Rows::State(state);
                self.log_offset = Some(end);
                self.source = Source::Ended;
                Ok(())
            }
            Err(error) if self.job.with_offset => Err(error),
            Err(error) if start != 0 || is_out_of_reach(&error) => self.begin_limit_scan().await,
            Err(error) => Err(error),
        }
    }

    async fn begin_limit_scan(&mut self) -> Result<()> {
        let (table, cap) = (&self.job.table, self.job.max_rows);
        // One more than is good, to see whether there are more.
        let ask = self.left.min(u64::from(cap) + 1).min(i32::MAX as u64);
        let ask = i32::try_from(ask).unwrap_or(i32::MAX);
        let batch = first_values(table.fluss(), table.info(), self.bucket, ask).await?;
        let count = batch.as_ref().map_or(0, fluss_proto::record::ValueBatch::record_count);
        if count > cap {
            return Err(Error::misuse(format!(
                "{} {}: the bucket has more than {cap} rows, and the server can only send the \
                 first ones; raise max_rows, if there is memory for so many at once",
                table.info().path,
                self.bucket
            )));
        }
        self.rows = batch.map_or(Rows::None, |batch| Rows::Values(batch.values()));
        self.source = Source::Ended;
        Ok(())
    }

    /// Some of the rows that are there, as columns.
    async fn cut(&mut self) -> Result<Option<SnapshotBatch>> {
        let max_rows = lock(&self.job.stored).max_rows();
        let max_rows = usize::try_from(self.left).map_or(max_rows, |left| left.min(max_rows));
        let mut taken: Vec<(i16, Bytes)> = Vec::new();
        let mut bytes = 0;
        while taken.len() < max_rows && (bytes < self.job.fetch_bytes || taken.is_empty()) {
            let row = match &mut self.rows {
                Rows::None => None,
                Rows::Values(values) => match values.next() {
                    None => None,
                    Some(Ok(value)) => Some((value.schema_id, value.row)),
                    Some(Err(error)) => {
                        let info = self.job.table.info();
                        let what = format!("rows of {} {}", info.path, self.bucket);
                        return Err(nonsense(&what, &error.to_string()));
                    }
                },
                Rows::State(state) => state.pop().map(|row| (Job::OWN, Bytes::from(row))),
            };
            let Some(row) = row else { break };
            bytes += row.1.len();
            taken.push(row);
        }
        if taken.is_empty() {
            self.rows = Rows::None;
            return Ok(None);
        }
        self.left -= taken.len() as u64;
        let of_state = matches!(self.rows, Rows::State(_));
        if !of_state {
            self.learn(&taken).await?;
        }
        let rows = taken.iter().map(|(id, row)| (*id, &row[..]));
        let (columns, schema) = if of_state {
            (self.job.replayed.read(rows)?, self.job.replayed.schema().clone())
        } else {
            let reader = lock(&self.job.stored);
            (reader.read(rows)?, reader.schema().clone())
        };
        let (bucket, log_offset, bytes) = (self.bucket, self.log_offset, bytes as u64);
        Ok(Some(SnapshotBatch { bucket, schema, columns, log_offset, bytes }))
    }

    /// Asks for the schemas of rows that are not known yet.
    async fn learn(&self, rows: &[(i16, Bytes)]) -> Result<()> {
        let mut last = None;
        for (id, _) in rows {
            if last == Some(*id) {
                continue;
            }
            last = Some(*id);
            if !lock(&self.job.stored).knows(*id) {
                let schema = self.ask_schema(*id).await?;
                lock(&self.job.stored).learn(*id, &schema)?;
            }
        }
        Ok(())
    }

    async fn ask_schema(&self, id: i16) -> Result<Schema> {
        let info = self.job.table.info();
        let table_path = pb_path(&info.path);
        let request = GetTableSchemaRequest { table_path, schema_id: Some(i32::from(id)) };
        let what = format!("GET_TABLE_SCHEMA {} schema {id}", info.path);
        let (api, target) = (ApiKey::GetTableSchema, Target::AnyServer);
        let answer: GetTableSchemaResponse =
            self.job.table.fluss().call(api, &request, target, &what, true).await?;
        Schema::from_json(&answer.schema_json).map_err(|e| nonsense(&what, &e.to_text()))
    }
}

/// Whether a changelog could not be read because a part of it is gone, or elsewhere.
fn is_out_of_reach(error: &Error) -> bool {
    let Error::Scan(error) = error else { return false };
    error.cause.code() == Some(ErrorCode::LOG_OFFSET_OUT_OF_RANGE_EXCEPTION)
        || matches!(*error.cause, Error::Misuse(_))
}
