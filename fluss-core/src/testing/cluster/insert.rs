//! LOOKUP that inserts the rows it does not find: a write of their keys, answered as a lookup.

use bytes::{Bytes, BytesMut};
use fluss_proto::message::{LookupRequest, PbLookupReqForBucket};
use std::collections::{BTreeMap, BTreeSet};

use super::api::code;
use super::batch::{KvBatch, KvRecord};
use super::catalog::Table;
use super::conn::Outcome;
use super::dispatch::ReplyTo;
use super::log::Place;
use super::lookup::{bucket_key, head_of, put_bucket};
use super::write::{Answering, HeldBucket, KvWrite, WriteRequest, tablet, unknown_bucket};
use super::{Answer, Failure, FakeCluster, words};
use crate::ids::{BucketKey, ServerId};
use crate::row::{Column, OwnedDatum, OwnedRow, RowLayout, Schema, compacted};

/// Nothing was written, so nothing is waited for.
const NOTHING: Place = Place { base_offset: -1, last_offset: -1, duplicate: true };

impl FakeCluster {
    pub(super) fn lookup_or_insert(
        &mut self,
        to: ReplyTo,
        server: ServerId,
        version: i16,
        request: LookupRequest,
    ) {
        let (Some(timeout_ms), Some(acks)) = (request.timeout_ms, request.acks) else {
            let field = if request.timeout_ms.is_none() { "timeout_ms" } else { "acks" };
            let failure = Failure::new(code::UNKNOWN, words::field_not_set(field));
            return self.respond(to, Outcome::Refused(failure), false);
        };
        // What is there already is answered whatever the acks.
        let writes = |(key, bucket)| !self.missing(key, bucket).is_empty();
        if !matches!(acks, -1..=1) && by_key(&request).into_iter().any(writes) {
            let failure = Failure::new(code::INVALID_ACKS, words::invalid_acks(acks));
            return self.respond(to, Outcome::Refused(failure), false);
        }
        let server = tablet(server);
        let write = WriteRequest { server, acks, table: request.table_id, timeout_ms };
        let injected = to.fault.filter(|fault| fault.refusal(version).is_some());
        if let Some(fault) = injected {
            self.faults.fired(fault);
        }
        let mut buckets = Vec::with_capacity(request.buckets_req.len());
        for (key, bucket) in by_key(&request) {
            let result = match injected.and_then(|fault| fault.refusal(version)) {
                Some(code) => Err(Failure::new(code, "injected before the append")),
                None => self.insert_missing(&write, version, key, bucket),
            };
            buckets.push(HeldBucket::new(key, result));
        }
        self.hold(to, &write, buckets, Answering::Lookup(request));
    }

    /// The keys of a bucket that readers do not see, each once.
    fn missing(&self, key: BucketKey, bucket: &PbLookupReqForBucket) -> Vec<Bytes> {
        let kv = self.catalog.buckets.get(&key).and_then(|bucket| bucket.kv.as_ref());
        let mut seen = BTreeSet::new();
        let missing = |key: &&Bytes| {
            kv.is_some_and(|kv| kv.visible(key).is_none()) && seen.insert((*key).clone())
        };
        bucket.keys.iter().filter(missing).cloned().collect()
    }

    /// Writes the keys that are missing. One that was written, but is not replicated yet, is
    /// written again, and changes.
    fn insert_missing(
        &mut self,
        write: &WriteRequest,
        version: i16,
        key: BucketKey,
        bucket: &PbLookupReqForBucket,
    ) -> Answer<Place> {
        self.knows_keys(write.server, version, key)?;
        self.check_write(write, key)?;
        self.routed(key, bucket.routing_bucket_count)?;
        if self.catalog.buckets.get(&key).is_some_and(|bucket| bucket.kv.is_none()) {
            return Err(Failure::new(code::NOT_PRIMARY_KEY_TABLE, words::no_primary_key(key)));
        }
        let missing = self.missing(key, bucket);
        if missing.is_empty() {
            return Ok(NOTHING);
        }
        let table = self.catalog.table_by_id(write.table).ok_or_else(|| unknown_bucket(key))?;
        let record = |key: Bytes| {
            let row = Some(row_of(table, &key)?);
            Ok(KvRecord { key, row })
        };
        let records = missing.into_iter().map(record).collect::<Answer<Vec<_>>>()?;
        let target = |&at: &usize| i32::try_from(at).unwrap_or(i32::MAX);
        let columns = KvWrite {
            version,
            target_columns: table.schema.primary_key().iter().map(target).collect(),
            overwrite: false,
        };
        let schema_id = i16::try_from(table.schema_id).unwrap_or(i16::MAX);
        let batch = KvBatch { schema_id, writer_id: -1, sequence: -1, records };
        self.append_rows(key, &columns, &batch)
    }

    /// The answer once the rows are there.
    pub(super) fn insert_answer(&self, request: &LookupRequest, held: &[HeldBucket]) -> BytesMut {
        let asked = by_key(request);
        let mut answer = Outcome::empty();
        for bucket in held {
            let kv = self.catalog.buckets.get(&bucket.key).and_then(|bucket| bucket.kv.as_ref());
            let keys = asked.get(&bucket.key).map_or(&[][..], |asked| &asked.keys);
            let found: Vec<_> = match (kv, &bucket.result) {
                (Some(kv), Ok(_)) => keys.iter().map(|key| kv.visible(key)).collect(),
                _ => Vec::new(),
            };
            let head = head_of(bucket.key, &bucket.result.clone().map(drop));
            put_bucket(&mut answer, &head, &found);
        }
        answer
    }
}

/// The entries of a request; of two for one bucket the last one counts.
fn by_key(request: &LookupRequest) -> BTreeMap<BucketKey, &PbLookupReqForBucket> {
    let entry = |bucket: &'_ PbLookupReqForBucket| {
        bucket_key(request.table_id, bucket.partition_id, bucket.bucket_id)
    };
    request.buckets_req.iter().map(|bucket| (entry(bucket), bucket)).collect()
}

/// The row that a key stands for: null in all other columns. As the server does it, the key is read
/// as if it held all columns of the primary key, though it lacks those of the partition.
fn row_of(table: &Table, key: &[u8]) -> Answer<Bytes> {
    let primary_key = table.schema.primary_key();
    let columns = table.schema.columns();
    let of_key =
        |at: &usize| Column::new(columns[*at].name.clone(), columns[*at].data_type.clone());
    let schema = Schema::new(primary_key.iter().map(of_key).collect(), vec![]);
    // A key is a row without null bits, of which a key has none.
    let mut bytes = vec![0; primary_key.len().div_ceil(8)];
    bytes.extend_from_slice(key);
    let values = compacted::decode(&RowLayout::new(&schema), &bytes);
    let values = values.map_err(|_| Failure::new(code::UNKNOWN, words::KEY_TOO_SHORT))?;
    let mut row = vec![OwnedDatum::Null; columns.len()];
    for (at, value) in primary_key.iter().zip(values.into_values()) {
        row[*at] = value;
    }
    // A column that must not be null is refused when the row is merged.
    let mut columns = columns.to_vec();
    columns.iter_mut().for_each(|column| column.data_type.nullable = true);
    let layout = RowLayout::new(&Schema::new(columns, vec![]));
    let row = table.kv_format().encode(&layout, &OwnedRow::new(row));
    row.map(Bytes::from).map_err(|error| Failure::new(code::UNKNOWN, error))
}
