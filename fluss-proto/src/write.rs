//! Write requests without a copy of the batches they carry.
//!
//! [`ProduceLog`] and [`PutKv`] encode the messages
//! [`ProduceLogRequest`](crate::message::ProduceLogRequest) and
//! [`PutKvRequest`](crate::message::PutKvRequest) byte for byte as protobuf does. All lengths are
//! computed first; then everything but the payloads of the batches goes into one allocation, and
//! the result is a list of slices of it with the payloads in between.

use bytes::Bytes;

use crate::api::ApiKey;
use crate::header::{EncodeError, LENGTH_BYTES, RequestHeader};
use crate::record::{Payload, SealedBatch, Stamp, StampedHead, put_varint64, varint64_len};
use crate::segments::Segments;

/// Pieces of payloads up to this many bytes are copied: that is cheaper than a piece of their own
/// in the vectored write.
const COPY_UP_TO: usize = 512;

// Field numbers. All are below 16, so that each tag takes one byte.
const ACKS: u8 = 1;
const TABLE_ID: u8 = 2;
const TIMEOUT_MS: u8 = 3;
const LOG_BUCKETS: u8 = 4;
const KV_TARGET_COLUMNS: u8 = 4;
const KV_BUCKETS: u8 = 5;
const KV_AGG_MODE: u8 = 6;
const PARTITION_ID: u8 = 1;
const BUCKET_ID: u8 = 2;
const RECORDS: u8 = 3;
const ORIGINAL_PARTITION_NAME: u8 = 4;
const ROUTING_BUCKET_COUNT: u8 = 5;

/// The batch for one bucket.
#[derive(Debug, Clone)]
pub struct BucketBatch<'a> {
    /// The partition; [`None`] for a table without partitions.
    pub partition_id: Option<i64>,
    /// The bucket, from 0. A request must not name a bucket of a partition twice: a server keeps
    /// the last batch and silently loses the others.
    pub bucket_id: i32,
    /// The header of the batch.
    pub head: StampedHead,
    /// The batch behind its header.
    pub payload: Payload,
    /// The partition that the rows belong to, if the bucket is one of the historical partition.
    /// Needs version 1 of `PRODUCE_LOG` or version 3 of `PUT_KV`.
    pub original_partition_name: Option<&'a str>,
    /// The bucket count that the bucket was computed with.
    pub routing_bucket_count: Option<i32>,
}

impl BucketBatch<'_> {
    /// A sealed batch under a stamp, for a bucket of a table without partitions. The other fields
    /// are absent.
    pub fn new(bucket_id: i32, batch: &SealedBatch, stamp: Stamp) -> Self {
        Self {
            partition_id: None,
            bucket_id,
            head: batch.stamp(stamp),
            payload: batch.shared_payload(),
            original_partition_name: None,
            routing_bucket_count: None,
        }
    }

    fn records_len(&self) -> usize {
        self.head.len() + self.payload.len()
    }

    /// The size of the message without the field it is in.
    fn encoded_len(&self) -> usize {
        optional_int_len(self.partition_id)
            + int_len(i64::from(self.bucket_id))
            + delimited_len(self.records_len())
            + self.original_partition_name.map_or(0, |name| delimited_len(name.len()))
            + optional_int_len(self.routing_bucket_count.map(i64::from))
    }

    fn put(&self, out: &mut Pieces) {
        let prefix = &mut out.prefix;
        put_optional_int(prefix, PARTITION_ID, self.partition_id);
        put_int(prefix, BUCKET_ID, i64::from(self.bucket_id));
        put_delimiter(prefix, RECORDS, self.records_len());
        prefix.extend_from_slice(&self.head);
        self.payload.pieces().iter().for_each(|piece| out.put_piece(piece));
        let prefix = &mut out.prefix;
        if let Some(name) = self.original_partition_name {
            put_delimiter(prefix, ORIGINAL_PARTITION_NAME, name.len());
            prefix.extend_from_slice(name.as_bytes());
        }
        put_optional_int(prefix, ROUTING_BUCKET_COUNT, self.routing_bucket_count.map(i64::from));
    }
}

/// An append of log batches to buckets of one table.
///
/// ```
/// use bytes::{Buf, Bytes};
/// use fluss_proto::record::{SealedBatch, Stamp};
/// use fluss_proto::write::{BucketBatch, ProduceLog};
///
/// let sealed = SealedBatch::log_v0(1, 1, 3, 2, Bytes::from(vec![0; 100_000]))?;
/// let buckets = [BucketBatch::new(0, &sealed, Stamp { writer_id: 9, sequence: 0 })];
/// let request = ProduceLog { acks: -1, table_id: 7, timeout_ms: 30_000, buckets: &buckets };
/// let wire = request.encode(1, 0)?;
/// assert_eq!(wire.remaining(), request.wire_bytes());
/// // The payload is the one that was sealed.
/// assert!(wire.iter().any(|part| part.as_ptr() == sealed.payload().as_ptr()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ProduceLog<'a> {
    /// -1 waits for all replicas in sync, 1 for the leader; 0 is answered too.
    pub acks: i32,
    /// The table.
    pub table_id: i64,
    /// How long the server waits for replicas if `acks` is -1, in milliseconds.
    pub timeout_ms: i32,
    /// The batches.
    pub buckets: &'a [BucketBatch<'a>],
}

impl ProduceLog<'_> {
    /// The size on the wire, with length field and header. Servers compare it with their limit,
    /// by default 100 MiB.
    pub fn wire_bytes(&self) -> usize {
        self.shape().wire_bytes()
    }

    /// The whole request: length, header and body.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLong`] above 2 GiB; [`EncodeError::NeedsVersion`] for rows of a
    /// historical partition below version 1.
    pub fn encode(&self, request_id: i32, version: i16) -> Result<Segments, EncodeError> {
        self.shape().encode(request_id, version)
    }

    fn shape(&self) -> Shape<'_> {
        Shape {
            api: ApiKey::ProduceLog,
            historical_since: 1,
            acks: self.acks,
            table_id: self.table_id,
            timeout_ms: self.timeout_ms,
            target_columns: &[],
            bucket_field: LOG_BUCKETS,
            buckets: self.buckets,
            agg_mode: None,
        }
    }
}

/// An upsert of key-value batches into buckets of one table.
#[derive(Debug, Clone)]
pub struct PutKv<'a> {
    /// -1 waits for all replicas in sync, 1 for the leader; 0 is answered too.
    pub acks: i32,
    /// The table.
    pub table_id: i64,
    /// How long the server waits for replicas if `acks` is -1, in milliseconds.
    pub timeout_ms: i32,
    /// The positions of the columns that a partial update sets; empty for all columns.
    pub target_columns: &'a [i32],
    /// The batches.
    pub buckets: &'a [BucketBatch<'a>],
    /// 0 or [`None`] goes through the merge engine, 1 overwrites past it.
    pub agg_mode: Option<i32>,
}

impl PutKv<'_> {
    /// The size on the wire, with length field and header. Servers compare it with their limit,
    /// by default 100 MiB.
    pub fn wire_bytes(&self) -> usize {
        self.shape().wire_bytes()
    }

    /// The whole request: length, header and body.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLong`] above 2 GiB; [`EncodeError::NeedsVersion`] for rows of a
    /// historical partition below version 3.
    pub fn encode(&self, request_id: i32, version: i16) -> Result<Segments, EncodeError> {
        self.shape().encode(request_id, version)
    }

    fn shape(&self) -> Shape<'_> {
        Shape {
            api: ApiKey::PutKv,
            historical_since: 3,
            acks: self.acks,
            table_id: self.table_id,
            timeout_ms: self.timeout_ms,
            target_columns: self.target_columns,
            bucket_field: KV_BUCKETS,
            buckets: self.buckets,
            agg_mode: self.agg_mode,
        }
    }
}

/// What both requests have in common. Their first three fields and the message for a bucket are
/// the same.
struct Shape<'a> {
    api: ApiKey,
    /// The first version that knows original partition names.
    historical_since: i16,
    acks: i32,
    table_id: i64,
    timeout_ms: i32,
    target_columns: &'a [i32],
    bucket_field: u8,
    buckets: &'a [BucketBatch<'a>],
    agg_mode: Option<i32>,
}

impl Shape<'_> {
    fn wire_bytes(&self) -> usize {
        LENGTH_BYTES + RequestHeader::BYTES + self.body_len()
    }

    fn columns_len(&self) -> usize {
        self.target_columns.iter().map(|column| number_len(i64::from(*column))).sum()
    }

    fn body_len(&self) -> usize {
        let columns =
            if self.target_columns.is_empty() { 0 } else { delimited_len(self.columns_len()) };
        let buckets: usize =
            self.buckets.iter().map(|bucket| delimited_len(bucket.encoded_len())).sum();
        int_len(i64::from(self.acks))
            + int_len(self.table_id)
            + int_len(i64::from(self.timeout_ms))
            + columns
            + buckets
            + optional_int_len(self.agg_mode.map(i64::from))
    }

    fn check_version(&self, version: i16) -> Result<(), EncodeError> {
        let historical = self.buckets.iter().any(|bucket| bucket.original_partition_name.is_some());
        if historical && version < self.historical_since {
            return Err(EncodeError::NeedsVersion {
                api: self.api,
                field: "original_partition_name",
                needed: self.historical_since,
                version,
            });
        }
        Ok(())
    }

    fn encode(&self, request_id: i32, version: i16) -> Result<Segments, EncodeError> {
        self.check_version(version)?;
        let header = RequestHeader { api_key: self.api.number(), api_version: version, request_id };
        let body = self.body_len();
        let start = header.to_wire(body)?;
        let pieces = self.buckets.iter().flat_map(|bucket| bucket.payload.pieces());
        let apart = pieces.map(Bytes::len);
        let apart: usize = apart.filter(|length| *length > COPY_UP_TO).sum();
        let mut out = Pieces::with_capacity(start.len() + body - apart);
        let prefix = &mut out.prefix;
        prefix.extend_from_slice(&start);
        put_int(prefix, ACKS, i64::from(self.acks));
        put_int(prefix, TABLE_ID, self.table_id);
        put_int(prefix, TIMEOUT_MS, i64::from(self.timeout_ms));
        if !self.target_columns.is_empty() {
            put_delimiter(prefix, KV_TARGET_COLUMNS, self.columns_len());
            for column in self.target_columns {
                put_varint64(prefix, i64::from(*column) as u64);
            }
        }
        for bucket in self.buckets {
            put_delimiter(&mut out.prefix, self.bucket_field, bucket.encoded_len());
            bucket.put(&mut out);
        }
        put_optional_int(&mut out.prefix, KV_AGG_MODE, self.agg_mode.map(i64::from));
        Ok(out.finish())
    }
}

/// Bytes that are written here, and pieces of payloads that belong at some places in between.
struct Pieces {
    prefix: Vec<u8>,
    /// The size that the prefix was computed to have.
    computed: usize,
    apart: Vec<(usize, Bytes)>,
}

impl Pieces {
    fn with_capacity(prefix: usize) -> Self {
        Self { prefix: Vec::with_capacity(prefix), computed: prefix, apart: Vec::new() }
    }

    fn put_piece(&mut self, piece: &Bytes) {
        if piece.len() <= COPY_UP_TO {
            self.prefix.extend_from_slice(piece);
        } else {
            self.apart.push((self.prefix.len(), piece.clone()));
        }
    }

    fn finish(self) -> Segments {
        debug_assert_eq!(self.prefix.len(), self.computed, "a length was miscalculated");
        let prefix = Bytes::from(self.prefix);
        let mut segments = Segments::new();
        let mut from = 0;
        for (at, piece) in self.apart {
            segments.push(prefix.slice(from..at));
            segments.push(piece);
            from = at;
        }
        segments.push(prefix.slice(from..));
        segments
    }
}

/// Integers of both sizes are sign-extended to 64 bits, so a negative one takes ten bytes.
fn number_len(value: i64) -> usize {
    varint64_len(value as u64)
}

fn int_len(value: i64) -> usize {
    1 + number_len(value)
}

fn optional_int_len(value: Option<i64>) -> usize {
    value.map_or(0, int_len)
}

fn delimited_len(length: usize) -> usize {
    1 + varint64_len(length as u64) + length
}

fn put_int(out: &mut Vec<u8>, field: u8, value: i64) {
    out.push(field << 3);
    put_varint64(out, value as u64);
}

fn put_optional_int(out: &mut Vec<u8>, field: u8, value: Option<i64>) {
    if let Some(value) = value {
        put_int(out, field, value);
    }
}

fn put_delimiter(out: &mut Vec<u8>, field: u8, length: usize) {
    const LENGTH_DELIMITED: u8 = 2;
    out.push(field << 3 | LENGTH_DELIMITED);
    put_varint64(out, length as u64);
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
