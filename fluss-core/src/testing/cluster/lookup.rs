//! LOOKUP and PREFIX_LOOKUP.

use bytes::Bytes;
use fluss_proto::message::{
    LookupRequest, LookupResponse, PbLookupRespForBucket, PbPrefixLookupRespForBucket, PbValue,
    PbValueList, PrefixLookupRequest, PrefixLookupResponse,
};

use super::api::code;
use super::kv::Kv;
use super::write::{tablet, unknown_bucket};
use super::{Answer, Failure, FakeCluster, Fault, bucket_error, words};
use crate::ids::{BucketKey, ConnId, PartitionId, ServerId, TableId};

impl FakeCluster {
    pub(super) fn lookup(
        &mut self,
        conn: ConnId,
        server: ServerId,
        fault: Option<Fault>,
        request: &LookupRequest,
    ) -> Answer<LookupResponse> {
        if request.insert_if_not_exists == Some(true) {
            return Err(Failure::new(code::UNKNOWN, "inserting lookups are not offered here"));
        }
        let refused = self.injected(fault).or_else(|| self.unreadable(conn, request.table_id));
        let answer = |bucket: &fluss_proto::message::PbLookupReqForBucket| {
            let key = bucket_key(request.table_id, bucket.partition_id, bucket.bucket_id);
            let by = bucket.routing_bucket_count;
            let keyless = words::no_primary_key;
            let values = self.rows_of(server, (key, by), refused.as_ref(), keyless).map(|kv| {
                let value =
                    |key: &Bytes| PbValue { values: kv.visible(key).map(|row| row.value()) };
                bucket.keys.iter().map(value).collect::<Vec<_>>()
            });
            let (error_code, error_message) = bucket_error(&values.clone().map(drop));
            PbLookupRespForBucket {
                partition_id: bucket.partition_id,
                bucket_id: bucket.bucket_id,
                error_code,
                error_message,
                values: values.unwrap_or_default(),
                original_partition_name: None,
            }
        };
        Ok(LookupResponse { buckets_resp: request.buckets_req.iter().map(answer).collect() })
    }

    pub(super) fn prefix_lookup(
        &mut self,
        conn: ConnId,
        server: ServerId,
        fault: Option<Fault>,
        request: &PrefixLookupRequest,
    ) -> Answer<PrefixLookupResponse> {
        let refused = self.injected(fault).or_else(|| self.unreadable(conn, request.table_id));
        let answer = |bucket: &fluss_proto::message::PbPrefixLookupReqForBucket| {
            let key = bucket_key(request.table_id, bucket.partition_id, bucket.bucket_id);
            let by = bucket.routing_bucket_count;
            let keyless = words::no_prefix_lookup;
            let lists = self.rows_of(server, (key, by), refused.as_ref(), keyless).map(|kv| {
                let list = |prefix: &Bytes| PbValueList {
                    values: kv.with_prefix(prefix).map(super::kv::Row::value).collect(),
                };
                bucket.keys.iter().map(list).collect::<Vec<_>>()
            });
            let (error_code, error_message) = bucket_error(&lists.clone().map(drop));
            PbPrefixLookupRespForBucket {
                partition_id: bucket.partition_id,
                bucket_id: bucket.bucket_id,
                error_code,
                error_message,
                value_lists: lists.unwrap_or_default(),
            }
        };
        Ok(PrefixLookupResponse { buckets_resp: request.buckets_req.iter().map(answer).collect() })
    }

    /// A code that every bucket gets because of a fault.
    pub(super) fn injected(&mut self, fault: Option<Fault>) -> Option<Failure> {
        let (Some(fault @ Fault::ErrorBefore(code)) | Some(fault @ Fault::ErrorAfter(code))) =
            fault
        else {
            return None;
        };
        self.faults.fired(fault);
        Some(Failure::new(code, "injected"))
    }

    /// Why this user may not read the table.
    fn unreadable(&self, conn: ConnId, table: i64) -> Option<Failure> {
        self.may_read(conn, table).err()
    }

    fn rows_of(
        &self,
        server: ServerId,
        (key, by): (BucketKey, Option<i32>),
        refused: Option<&Failure>,
        keyless: fn(BucketKey) -> String,
    ) -> Answer<&Kv> {
        if let Some(failure) = refused {
            return Err(failure.clone());
        }
        self.serves(tablet(server), key)?;
        self.routed(key, by)?;
        let bucket = self.catalog.buckets.get(&key).ok_or_else(|| unknown_bucket(key))?;
        let keyless = || Failure::new(code::NOT_PRIMARY_KEY_TABLE, keyless(key));
        bucket.kv.as_ref().ok_or_else(keyless)
    }
}

fn bucket_key(table: i64, partition: Option<i64>, bucket: i32) -> BucketKey {
    BucketKey { table: TableId(table), partition: partition.map(PartitionId), bucket }
}
