//! LOOKUP and PREFIX_LOOKUP.

use bytes::{BufMut, Bytes, BytesMut};
use fluss_proto::message::{
    LookupRequest, PbLookupRespForBucket, PbPrefixLookupRespForBucket, PbValueList,
    PrefixLookupRequest, PrefixLookupResponse,
};
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::api::code;
use super::conn::Outcome;
use super::kv::{Kv, Row};
use super::write::{tablet, unknown_bucket};
use super::{Answer, Failure, FakeCluster, Fault, bucket_error, words};
use crate::ids::{BucketKey, ConnId, PartitionId, ServerId, TableId};

impl FakeCluster {
    pub(super) fn lookup(
        &mut self,
        conn: ConnId,
        server: ServerId,
        (version, fault): (i16, Option<Fault>),
        request: &LookupRequest,
    ) -> Answer<BytesMut> {
        let refused = self.injected(fault).or_else(|| self.unreadable(conn, request.table_id));
        let mut answer = Outcome::empty();
        let mut found = Vec::new();
        for bucket in &request.buckets_req {
            let key = bucket_key(request.table_id, bucket.partition_id, bucket.bucket_id);
            let by = bucket.routing_bucket_count;
            let keyless = words::no_primary_key;
            let kv = self.rows_of(server, (key, by, version), refused.as_ref(), keyless);
            let head = head_of(key, &kv.clone().map(drop));
            found.clear();
            if let Ok(kv) = kv {
                found.extend(bucket.keys.iter().map(|key| kv.visible(key)));
            }
            put_bucket(&mut answer, &head, &found);
        }
        Ok(answer)
    }

    pub(super) fn prefix_lookup(
        &mut self,
        conn: ConnId,
        server: ServerId,
        (version, fault): (i16, Option<Fault>),
        request: &PrefixLookupRequest,
    ) -> Answer<PrefixLookupResponse> {
        let refused = self.injected(fault).or_else(|| self.unreadable(conn, request.table_id));
        let answer = |bucket: &fluss_proto::message::PbPrefixLookupReqForBucket| {
            let key = bucket_key(request.table_id, bucket.partition_id, bucket.bucket_id);
            let by = bucket.routing_bucket_count;
            let keyless = words::no_prefix_lookup;
            let kv = self.rows_of(server, (key, by, version), refused.as_ref(), keyless);
            let lists = kv.map(|kv| {
                let list = |prefix: &Bytes| PbValueList {
                    values: kv.with_prefix(prefix).map(Row::value).collect(),
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
        (key, by, version): (BucketKey, Option<i32>, i16),
        refused: Option<&Failure>,
        keyless: fn(BucketKey) -> String,
    ) -> Answer<&Kv> {
        if let Some(failure) = refused {
            return Err(failure.clone());
        }
        self.knows_keys(tablet(server), version, key)?;
        self.serves(tablet(server), key)?;
        self.routed(key, by)?;
        let bucket = self.catalog.buckets.get(&key).ok_or_else(|| unknown_bucket(key))?;
        let keyless = || Failure::new(code::NOT_PRIMARY_KEY_TABLE, keyless(key));
        bucket.kv.as_ref().ok_or_else(keyless)
    }
}

/// The entry of a bucket in a LookupResponse without its values.
pub(super) fn head_of(key: BucketKey, result: &Answer<()>) -> PbLookupRespForBucket {
    let (error_code, error_message) = bucket_error(result);
    PbLookupRespForBucket {
        partition_id: key.partition.map(|partition| partition.0),
        bucket_id: key.bucket,
        error_code,
        error_message,
        values: Vec::new(),
        original_partition_name: None,
    }
}

pub(super) fn bucket_key(table: i64, partition: Option<i64>, bucket: i32) -> BucketKey {
    BucketKey { table: TableId(table), partition: partition.map(PartitionId), bucket }
}

/// Fields 1 of a LookupResponse and of a PbValue, 5 of a PbLookupRespForBucket: all with a length.
const FIRST: u8 = 1 << 3 | 2;
const VALUES: u8 = 5 << 3 | 2;

fn with_length(bytes: usize) -> usize {
    1 + encoded_len_varint(bytes as u64) + bytes
}

/// Puts a bucket and its values behind what is there of a LookupResponse, copying each row once:
/// what clients are measured against is to cost less than they do.
pub(super) fn put_bucket(
    answer: &mut BytesMut,
    head: &PbLookupRespForBucket,
    found: &[Option<&Row>],
) {
    let inner = |row: &Option<&Row>| row.map_or(0, |row| with_length(2 + row.bytes.len()));
    let values: usize = found.iter().map(|row| with_length(inner(row))).sum();
    let length = head.encoded_len() + values;
    answer.reserve(with_length(length));
    answer.put_u8(FIRST);
    encode_varint(length as u64, answer);
    head.encode_raw(answer);
    for row in found {
        answer.put_u8(VALUES);
        encode_varint(inner(row) as u64, answer);
        if let Some(row) = row {
            answer.put_u8(FIRST);
            encode_varint(2 + row.bytes.len() as u64, answer);
            answer.put_i16_le(row.schema_id);
            answer.put_slice(&row.bytes);
        }
    }
}
