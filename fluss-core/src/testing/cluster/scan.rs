//! LIST_OFFSETS, LIMIT_SCAN and GET_TABLE_STATS.

use bytes::{Bytes, BytesMut};
use fluss_proto::message::{
    GetTableStatsRequest, GetTableStatsResponse, LimitScanRequest, LimitScanResponse,
    ListOffsetsRequest, ListOffsetsResponse, PbListOffsetsRespForBucket, PbTableStatsRespForBucket,
};
use std::collections::BTreeSet;

use super::api::code;
use super::write::{tablet, unknown_bucket};
use super::{Answer, Failure, FakeCluster, bucket_error, words};
use crate::ids::{BucketKey, PartitionId, ServerId, TableId};

impl FakeCluster {
    /// Any tablet server answers, leader or not; the answer of a stale one is its own.
    pub(super) fn list_offsets(
        &mut self,
        _: ServerId,
        request: &ListOffsetsRequest,
    ) -> Answer<ListOffsetsResponse> {
        let buckets: BTreeSet<i32> = request.bucket_id.iter().copied().collect();
        let answer = |bucket_id: i32| {
            let key = BucketKey {
                table: TableId(request.table_id),
                partition: request.partition_id.map(PartitionId),
                bucket: bucket_id,
            };
            let offset = self.offset_of(key, request);
            let (error_code, error_message) = bucket_error(&offset.clone().map(drop));
            PbListOffsetsRespForBucket { bucket_id, error_code, error_message, offset: offset.ok() }
        };
        Ok(ListOffsetsResponse { buckets_resp: buckets.into_iter().map(answer).collect() })
    }

    fn offset_of(&self, key: BucketKey, request: &ListOffsetsRequest) -> Answer<i64> {
        let bucket = self.catalog.buckets.get(&key).ok_or_else(|| unknown_bucket(key))?;
        self.routed(key, request.routing_bucket_count)?;
        match request.offset_type {
            0 => Ok(bucket.log.start),
            1 if request.follower_server_id >= 0 => Ok(bucket.log.end),
            1 => Ok(bucket.log.high_watermark),
            2 => {
                let missing = || Failure::new(code::UNKNOWN, words::NO_TIME);
                let timestamp = request.start_timestamp.ok_or_else(missing)?;
                let now = self.now_ms();
                if timestamp > now {
                    let message = words::time_to_come(key, timestamp, now);
                    return Err(Failure::new(code::INVALID_TIMESTAMP, message));
                }
                Ok(bucket.log.offset_at(timestamp))
            }
            // What servers ask each other for after a change of leaders.
            3 => Ok(bucket.leads_from),
            other => Err(Failure::new(code::UNKNOWN, words::offset_type(other))),
        }
    }

    pub(super) fn limit_scan(
        &mut self,
        server: ServerId,
        request: &LimitScanRequest,
    ) -> Answer<LimitScanResponse> {
        let key = BucketKey {
            table: TableId(request.table_id),
            partition: request.partition_id.map(PartitionId),
            bucket: request.bucket_id,
        };
        let routed = self.serves(tablet(server), key);
        let routed = routed.and_then(|()| self.routed(key, request.routing_bucket_count));
        let scanned = routed.and_then(|()| self.last_rows(key, request));
        let (error_code, error_message) = bucket_error(&scanned.clone().map(drop));
        let (is_log_table, records) = scanned.ok().unzip();
        Ok(LimitScanResponse { error_code, error_message, is_log_table, records })
    }

    fn last_rows(&self, key: BucketKey, request: &LimitScanRequest) -> Answer<(bool, Bytes)> {
        let bucket = self.catalog.buckets.get(&key).ok_or_else(|| unknown_bucket(key))?;
        let limit = usize::try_from(request.limit).unwrap_or(0);
        if let Some(forged) = self.forged.get(&key) {
            return Ok((bucket.kv.is_none(), forged.clone()));
        }
        if let Some(kv) = &bucket.kv {
            return Ok((false, kv.first_rows(limit)));
        }
        let end = bucket.log.high_watermark;
        if request.limit < 0 {
            let from = end - i64::from(request.limit);
            let message = words::out_of_range(from, key, (bucket.log.start, bucket.log.end));
            return Err(Failure::new(code::OFFSET_OUT_OF_RANGE, message));
        }
        let from = end.saturating_sub(i64::from(request.limit.max(0))).max(bucket.log.start);
        let mut out = BytesMut::new();
        for entry in bucket.log.segment(from) {
            if entry.next_offset() <= end && limit > 0 {
                entry.batch.write(entry.base_offset, entry.timestamp, &mut out);
            }
        }
        Ok((true, out.freeze()))
    }

    pub(super) fn table_stats(
        &mut self,
        server: ServerId,
        request: &GetTableStatsRequest,
    ) -> Answer<GetTableStatsResponse> {
        let server = tablet(server);
        let buckets_resp = request.buckets_req.iter().map(|wanted| {
            let key = BucketKey {
                table: TableId(request.table_id),
                partition: wanted.partition_id.map(PartitionId),
                bucket: wanted.bucket_id,
            };
            let count = self.serves(server, key).map(|()| self.row_count(key));
            let (error_code, error_message) = bucket_error(&count.clone().map(drop));
            PbTableStatsRespForBucket {
                error_code,
                error_message,
                partition_id: wanted.partition_id,
                bucket_id: wanted.bucket_id,
                row_count: count.ok(),
            }
        });
        Ok(GetTableStatsResponse { buckets_resp: buckets_resp.collect() })
    }

    fn row_count(&self, key: BucketKey) -> i64 {
        let Some(bucket) = self.catalog.buckets.get(&key) else { return 0 };
        let keys = bucket.kv.as_ref().map(|kv| i64::try_from(kv.len()).unwrap_or(i64::MAX));
        keys.unwrap_or(bucket.log.high_watermark)
    }
}
