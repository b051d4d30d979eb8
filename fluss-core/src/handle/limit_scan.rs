//! The rows of a primary-key table as they are now, bucket by bucket.

use bytes::Bytes;
use fluss_proto::error_code::ServerError;
use fluss_proto::message::{LimitScanRequest, LimitScanResponse};
use fluss_proto::record::{RecordError, Value, ValueBatch, encode_value};
use fluss_proto::{ApiKey, ErrorCode};
use prost::Message;

use super::fluss::{Fluss, decode};
use super::lookup::Lookuper;
use super::pending::{CommandFuture, Pending};
use super::table::TableInfo;
use crate::command::{Call, Target};
use crate::error::{Error, Result};
use crate::handle::scan::places::Partitions;
use crate::ids::BucketKey;
use crate::row::OwnedRow;

impl Lookuper {
    /// The first rows of a bucket as they are now, in the order of their encoded keys: at most
    /// `limit`, which must fit 31 bits. They come in one answer, so all of them together have to
    /// fit [`Config::max_frame_bytes`](crate::config::Config::max_frame_bytes).
    ///
    /// # Errors
    /// [`Error::Misuse`] for a bucket that the table does not have or a limit that does not fit,
    /// [`Error::Rejected`] with the server's code, [`Error::Unavailable`] without an answer within
    /// [`Config::command_deadline`](crate::config::Config::command_deadline).
    pub fn first_rows(&self, bucket: BucketKey, limit: u32) -> Pending<Vec<OwnedRow>> {
        let lookuper = self.clone();
        Pending::new(self.table().fluss(), async move {
            let (fluss, info) = (lookuper.table().fluss(), lookuper.table().info());
            // One that is not there has no leader, which would be waited for.
            Partitions::default().check(info, [&bucket])?;
            let limit = i32::try_from(limit).map_err(|_| {
                Error::misuse(format!("a limit of {limit} rows is above 2147483647"))
            })?;
            let Some(batch) = first_values(fluss, info, bucket, limit).await? else {
                return Ok(Vec::new());
            };
            let values = values_of(&batch).map_err(|why| nonsense(&what(info, bucket), &why))?;
            let read = lookuper.read(&values).await;
            read.map_err(|error| match error {
                Error::Peer { what: why, .. } => nonsense(&what(info, bucket), &why),
                other => other,
            })
        })
    }
}

/// The first rows of a bucket of a primary-key table as they are stored, in the order of their
/// keys; None if there are none.
pub(super) async fn first_values(
    fluss: &Fluss,
    info: &TableInfo,
    bucket: BucketKey,
    limit: i32,
) -> Result<Option<ValueBatch>> {
    let request = LimitScanRequest {
        table_id: bucket.table.0,
        partition_id: bucket.partition.map(|partition| partition.0),
        bucket_id: bucket.bucket,
        limit,
        routing_bucket_count: None,
    };
    let what = what(info, bucket);
    let (body, target) = (request.encode_to_vec().into(), Target::Leader(bucket));
    let mut call = Call::new(ApiKey::LimitScan, body, target, &what);
    call.limit = fluss.config(|config| config.command_deadline);
    call.body_error = Some(body_error);
    call.routing = Some(6);
    call.check = Some(check);
    let answer = CommandFuture::start(fluss.shared(), call).await?;
    let answer: LimitScanResponse = decode(answer, &what)?;
    batch_of(answer).map_err(|why| nonsense(&what, &why))
}

fn what(info: &TableInfo, bucket: BucketKey) -> String {
    format!("LIMIT_SCAN {} bucket {}", info.path, bucket.bucket)
}

fn nonsense(what: &str, why: &str) -> Error {
    Error::Peer { server: "server".into(), what: format!("{what}: {why}").into() }
}

fn body_error(body: &[u8]) -> Option<(ErrorCode, String)> {
    let answer = LimitScanResponse::decode(body).ok()?;
    let error = ServerError::check(answer.error_code, answer.error_message.as_deref()).err()?;
    let usual = || error.code.info().map_or("no explanation", |info| info.meaning).to_owned();
    Some((error.code, error.message.clone().unwrap_or_else(usual)))
}

fn check(body: &[u8]) -> Result<(), String> {
    let answer = LimitScanResponse::decode(body);
    let answer = answer.map_err(|error| format!("an answer that does not parse: {error}"))?;
    let Some(batch) = batch_of(answer)? else { return Ok(()) };
    batch.values().try_for_each(|value| value.map(drop).map_err(unreadable))
}

fn unreadable(error: RecordError) -> String {
    format!("rows that cannot be read: {error}")
}

/// Servers leave the field out where there are no rows.
fn batch_of(answer: LimitScanResponse) -> Result<Option<ValueBatch>, String> {
    let records = answer.records.filter(|records| !records.is_empty());
    records.map(ValueBatch::new_checked).transpose().map_err(unreadable)
}

/// The rows with the ids of their schemas.
fn values_of(batch: &ValueBatch) -> Result<Vec<Bytes>, String> {
    let whole = |value: Value| Bytes::from(encode_value(value.schema_id, &value.row));
    batch.values().map(|value| value.map(whole).map_err(unreadable)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::testkit::Stage;
    use crate::row::{DataType, OwnedDatum, Schema, TableDescriptor};

    fn users() -> TableDescriptor {
        let schema = Schema::builder()
            .column("id", DataType::BIGINT)
            .column("name", DataType::STRING)
            .primary_key(["id"])
            .build()
            .expect("a sound schema");
        let mut table = TableDescriptor::new(schema);
        table.bucket_count = Some(2);
        table
    }

    #[test]
    fn the_rows_of_each_bucket_come_as_they_are_now() {
        let mut stage = Stage::new();
        let admin = stage.fluss.admin();
        stage.run(admin.create_database("shop", false)).expect("made");
        stage.run(admin.create_table("shop.users", &users(), false)).expect("made");
        let table = stage.run(stage.fluss.table("shop.users")).expect("opened");
        let lookuper = table.lookuper().expect("it has a key");
        let buckets = stage.run(table.buckets()).expect("buckets");
        assert_eq!(stage.run(lookuper.first_rows(buckets[0], 10)), Ok(Vec::new()));

        let writer = table.upserter().build().expect("a writer");
        for id in 0..20_i64 {
            drop(stage.run(writer.upsert(&(id, "old"))).expect("taken"));
        }
        for id in 0..10_i64 {
            drop(stage.run(writer.upsert(&(id, "new"))).expect("taken"));
        }
        drop(stage.run(writer.delete(&(19_i64,))).expect("taken"));
        stage.run(writer.flush()).expect("written");
        let mut found = Vec::new();
        for bucket in &buckets {
            let rows = stage.run(lookuper.first_rows(*bucket, 100)).expect("rows");
            let some = stage.run(lookuper.first_rows(*bucket, 3)).expect("rows");
            assert_eq!(some[..], rows[..3]);
            found.extend(rows);
        }
        let row = |row: OwnedRow| match row.values() {
            [OwnedDatum::Int64(id), OwnedDatum::Str(name)] => (*id, name.clone()),
            other => panic!("{other:?}"),
        };
        let mut found: Vec<(i64, String)> = found.into_iter().map(row).collect();
        found.sort();
        let name = |id| if id < 10 { "new" } else { "old" };
        let expected: Vec<_> = (0..19).map(|id| (id, name(id).to_owned())).collect();
        assert_eq!(found, expected);

        let strange = BucketKey { bucket: 7, ..buckets[0] };
        assert!(stage.run(lookuper.first_rows(strange, 1)).is_err());
        assert!(stage.run(lookuper.first_rows(buckets[0], u32::MAX)).is_err());
    }

    #[test]
    fn rows_that_are_cut_short_are_the_servers_fault() {
        let answer = |records: &[u8]| LimitScanResponse {
            records: Some(Bytes::copy_from_slice(records)),
            ..LimitScanResponse::default()
        };
        assert_eq!(batch_of(LimitScanResponse::default()), Ok(None));
        assert_eq!(batch_of(answer(&[])), Ok(None));
        for records in [&[1][..], &[5, 0, 0, 0, 0, 1, 0, 0, 0], &[5, 0, 0, 0, 9, 0, 0, 0, 0]] {
            assert!(check(&answer(records).encode_to_vec()).is_err(), "{records:?}");
        }
        let refused = LimitScanResponse { error_code: Some(12), ..LimitScanResponse::default() };
        let error = body_error(&refused.encode_to_vec()).expect("an error");
        assert_eq!(error.0, ErrorCode(12));
    }
}
