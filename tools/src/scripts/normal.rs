//! Answers with ids and times mapped, so that those of two clusters can be compared.

use bytes::Bytes;
use fluss_core::batch::ArrowDecoder;
use fluss_core::row::{Datum, OwnedDatum, compacted};
use fluss_proto::message::*;
use fluss_proto::record::{Check, LogBatch, LogBatches, Value, ValueBatch};
use prost::Message;

use super::data::{Shape, digest};
use super::text::short;
use super::wire::Got;
use super::words::Asked;

/// What a script knows by symbols: its table, its writers, the servers, the time it runs.
#[derive(Clone, Debug)]
pub(super) struct Symbols {
    pub(super) shape: Option<Shape>,
    pub(super) table_name: String,
    /// The other table that a request is about.
    pub(super) about: Option<PbTablePath>,
    pub(super) table: i64,
    pub(super) writers: Vec<i64>,
    pub(super) addresses: Vec<(String, i32)>,
    pub(super) started_ms: i64,
    pub(super) now_ms: i64,
    pub(super) leader: i32,
    /// Who led before.
    pub(super) former: Option<i32>,
    /// The columns of the fetch that is answered, if it projects.
    pub(super) projection: Option<Vec<usize>>,
    /// The request that is answered.
    pub(super) asked: Asked,
}

/// Stands for the script's own table.
const TABLE: i64 = 1_000_000;
/// Stands for anything that has no symbol.
const STRANGE: i64 = -1_000_000;

fn text(words: impl Into<String>) -> Bytes {
    Bytes::from(words.into().replace('"', "'"))
}

impl Symbols {
    /// How many tablet servers there are.
    pub(super) fn servers(&self) -> usize {
        self.addresses.len() - 1
    }

    /// What came back, as text.
    pub(super) fn normal(&self, api: i16, got: Got) -> String {
        match got {
            Got::Closed => "closed".to_owned(),
            Got::Silence => "silence".to_owned(),
            Got::Refused(mut error) => {
                self.words(&mut error.error_message);
                format!("refused {}", short(&error))
            }
            Got::Failure(mut error) => {
                self.words(&mut error.error_message);
                format!("failure {}", short(&error))
            }
            Got::Answer(body) => match self.answer(api, body) {
                Ok(text) => text,
                Err(error) => format!("undecodable: {error}"),
            },
        }
    }

    fn answer(&self, api: i16, body: Bytes) -> Result<String, prost::DecodeError> {
        Ok(match api {
            1001 => short(&CreateDatabaseResponse::decode(body)?),
            1002 => short(&DropDatabaseResponse::decode(body)?),
            1004 => short(&DatabaseExistsResponse::decode(body)?),
            1005 => short(&CreateTableResponse::decode(body)?),
            1006 => short(&DropTableResponse::decode(body)?),
            1007 => self.info(GetTableInfoResponse::decode(body)?),
            1008 => self.tables(ListTablesResponse::decode(body)?),
            1009 => partitions(ListPartitionInfosResponse::decode(body)?),
            1010 => short(&TableExistsResponse::decode(body)?),
            1011 => {
                let mut answer = GetTableSchemaResponse::decode(body)?;
                answer.schema_json = json(&answer.schema_json);
                short(&answer)
            }
            1012 => self.metadata(MetadataResponse::decode(body)?),
            1014 => self.produced(ProduceLogResponse::decode(body)?),
            1015 => self.fetched(FetchLogResponse::decode(body)?),
            1016 => self.upserted(PutKvResponse::decode(body)?),
            1017 => self.looked_up(LookupResponse::decode(body)?),
            1021 => {
                let mut answer = ListOffsetsResponse::decode(body)?;
                answer.buckets_resp.sort_by_key(|bucket| bucket.bucket_id);
                answer.buckets_resp.iter_mut().for_each(|b| self.words(&mut b.error_message));
                short(&answer)
            }
            1026 => self.writer(InitWriterResponse::decode(body)?.writer_id),
            1033 => self.scanned(LimitScanResponse::decode(body)?),
            1034 => self.prefix_looked_up(PrefixLookupResponse::decode(body)?),
            1035 => {
                let mut answer = GetDatabaseInfoResponse::decode(body)?;
                answer.database_json = json(&answer.database_json);
                answer.created_time = self.time(answer.created_time);
                answer.modified_time = self.time(answer.modified_time);
                short(&answer)
            }
            1036 => short(&CreatePartitionResponse::decode(body)?),
            1037 => short(&DropPartitionResponse::decode(body)?),
            1038 => short(&AuthenticateResponse::decode(body)?),
            1044 => short(&AlterTableResponse::decode(body)?),
            1039 => {
                let mut answer = CreateAclsResponse::decode(body)?;
                for result in &mut answer.acl_res {
                    self.map_resource(&mut result.acl);
                    self.words(&mut result.error_message);
                }
                short(&answer)
            }
            1041 => {
                let mut answer = DropAclsResponse::decode(body)?;
                let matching = answer.filter_results.iter_mut().flat_map(|r| &mut r.matching_acls);
                for matching in matching {
                    self.map_resource(&mut matching.acl);
                    self.words(&mut matching.error_message);
                }
                short(&answer)
            }
            _ => digest(&body),
        })
    }

    fn map_resource(&self, acl: &mut PbAclInfo) {
        acl.resource_name = acl.resource_name.replace(&self.table_name, "table");
    }

    fn table(&self, id: i64) -> i64 {
        if id == self.table { TABLE } else { STRANGE }
    }

    /// A writer's symbol; ids of others are shown as such.
    pub(super) fn writer(&self, id: i64) -> String {
        match self.writers.iter().position(|writer| *writer == id) {
            Some(index) => format!("w{index}"),
            None if id == -1 => "none".to_owned(),
            None => "stranger".to_owned(),
        }
    }

    pub(super) fn time(&self, ms: i64) -> i64 {
        let running = self.started_ms - 1000..=self.now_ms + 1000;
        if running.contains(&ms) { 1 } else { STRANGE }
    }

    fn produced(&self, mut answer: ProduceLogResponse) -> String {
        answer.buckets_resp.sort_by_key(|bucket| bucket.bucket_id);
        answer.buckets_resp.iter_mut().for_each(|bucket| self.words(&mut bucket.error_message));
        short(&answer)
    }

    fn upserted(&self, mut answer: PutKvResponse) -> String {
        answer.buckets_resp.sort_by_key(|bucket| bucket.bucket_id);
        answer.buckets_resp.iter_mut().for_each(|bucket| self.words(&mut bucket.error_message));
        short(&answer)
    }

    fn looked_up(&self, mut answer: LookupResponse) -> String {
        answer.buckets_resp.sort_by_key(|bucket| bucket.bucket_id);
        for bucket in &mut answer.buckets_resp {
            self.words(&mut bucket.error_message);
            for value in &mut bucket.values {
                value.values = value.values.take().map(|value| self.value(&value));
            }
        }
        short(&answer)
    }

    fn prefix_looked_up(&self, mut answer: PrefixLookupResponse) -> String {
        answer.buckets_resp.sort_by_key(|bucket| bucket.bucket_id);
        for bucket in &mut answer.buckets_resp {
            self.words(&mut bucket.error_message);
            for value in bucket.value_lists.iter_mut().flat_map(|list| &mut list.values) {
                *value = self.value(value);
            }
        }
        short(&answer)
    }

    fn scanned(&self, mut answer: LimitScanResponse) -> String {
        self.words(&mut answer.error_message);
        answer.records = answer.records.map(|records| match answer.is_log_table {
            Some(true) => self.log(records),
            _ => text(match ValueBatch::new_checked(records.clone()) {
                Ok(batch) => batch
                    .values()
                    .map(|value| match value {
                        Ok(value) => self.row(value.schema_id, &value.row),
                        Err(error) => error.to_string(),
                    })
                    .collect::<Vec<_>>()
                    .join("; "),
                Err(error) => format!("{error}: {}", digest(&records)),
            }),
        });
        short(&answer)
    }

    fn value(&self, bytes: &Bytes) -> Bytes {
        text(match Value::parse(bytes) {
            Ok(value) => self.row(value.schema_id, &value.row),
            Err(error) => error.to_string(),
        })
    }

    fn row(&self, schema_id: i16, row: &Bytes) -> String {
        let Some(shape) = &self.shape else { return digest(row) };
        match compacted::decode(&shape.layout, row) {
            Ok(row) => {
                let values: Vec<String> = row.into_values().iter().map(owned).collect();
                format!("v{schema_id} {}", values.join(","))
            }
            Err(error) => error.to_string(),
        }
    }

    fn fetched(&self, mut answer: FetchLogResponse) -> String {
        for table in &mut answer.tables_resp {
            table.table_id = self.table(table.table_id);
            table.buckets_resp.sort_by_key(|bucket| bucket.bucket_id);
            for bucket in &mut table.buckets_resp {
                self.words(&mut bucket.error_message);
                bucket.records = bucket.records.take().map(|records| self.log(records));
            }
        }
        short(&answer)
    }

    /// Log batches: header fields, rows, and for rows as they were sent the bytes too.
    fn log(&self, records: Bytes) -> Bytes {
        let mut batches = LogBatches::new(records).check(Check::Structure);
        let mut out = Vec::new();
        for batch in batches.by_ref() {
            out.push(match batch {
                Ok(batch) => self.batch(&batch),
                Err(error) => error.to_string(),
            });
        }
        let rest = batches.rest();
        if !rest.is_empty() {
            out.push(format!("cut {}b", rest.len()));
        }
        text(out.join(" | "))
    }

    fn batch(&self, batch: &LogBatch) -> String {
        let crc = if batch.verify_checksum().is_ok() { "" } else { " badcrc" };
        let appended = if batch.is_append_only() { " append" } else { "" };
        let bytes = match &self.shape {
            Some(shape) if !shape.kv && self.projection.is_none() => {
                format!(" {}", digest(&batch.payload()))
            }
            _ => String::new(),
        };
        format!(
            "@{}-{} {:?} v{} {} s{} n{} t{}{:?}{appended}{crc}{bytes}: {}",
            batch.base_offset(),
            batch.last_offset(),
            batch.version(),
            batch.schema_id(),
            self.writer(batch.writer_id()),
            batch.sequence(),
            batch.record_count(),
            self.time(batch.commit_timestamp()),
            batch.leader_epoch(),
            self.rows(batch)
        )
    }

    fn rows(&self, batch: &LogBatch) -> String {
        let Some(shape) = &self.shape else { return String::new() };
        if batch.record_count() == 0 {
            return format!("{}b", batch.payload().len());
        }
        let decoder = match &self.projection {
            None => ArrowDecoder::new(&shape.schema),
            Some(columns) => {
                let schema = shape.schema.columns();
                let mut builder = fluss_core::row::Schema::builder();
                for column in columns.iter().filter_map(|&at| schema.get(at)) {
                    builder = builder.column(&column.name, column.data_type.clone());
                }
                match builder.build() {
                    Ok(schema) => ArrowDecoder::new(&schema),
                    Err(error) => return error.to_string(),
                }
            }
        };
        let rows = match decoder.decode_rows(batch) {
            Ok(rows) => rows,
            Err(error) => return error.to_string(),
        };
        let row = |row: fluss_core::batch::RowView<'_>| {
            let columns = 0..rows.schema().columns().len();
            let values: Vec<String> = columns
                .map(|column| row.value(column).map_or_else(|e| e.to_string(), datum))
                .collect();
            format!("{} {}", row.change_type().symbol(), values.join(","))
        };
        rows.iter().map(row).collect::<Vec<_>>().join("; ")
    }

    fn tables(&self, mut answer: ListTablesResponse) -> String {
        for name in &mut answer.table_name {
            *name = name.replace(&self.table_name, "table");
        }
        answer.table_name.sort();
        short(&answer)
    }

    fn info(&self, mut answer: GetTableInfoResponse) -> String {
        answer.table_id = self.table(answer.table_id);
        answer.table_json = json(&answer.table_json);
        answer.created_time = self.time(answer.created_time);
        answer.modified_time = self.time(answer.modified_time);
        short(&answer)
    }

    fn node(&self, node: &mut PbServerNode) {
        let place =
            self.addresses.iter().position(|address| *address == (node.host.clone(), node.port));
        node.port = place.map_or(-1, |place| place as i32);
        node.host.clear();
    }

    fn metadata(&self, mut answer: MetadataResponse) -> String {
        answer.coordinator_server.iter_mut().for_each(|node| self.node(node));
        answer.tablet_servers.sort_by_key(|node| node.node_id);
        answer.tablet_servers.iter_mut().for_each(|node| self.node(node));
        for table in &mut answer.table_metadata {
            table.table_id = self.table(table.table_id);
            table.table_json = json(&table.table_json);
            table.created_time = self.time(table.created_time);
            table.modified_time = self.time(table.modified_time);
            if table.table_path.table_name == self.table_name {
                table.table_path.table_name.clear();
            }
            table.bucket_metadata.sort_by_key(|bucket| bucket.bucket_id);
            for bucket in &mut table.bucket_metadata {
                self.replicas(bucket);
            }
        }
        short(&answer)
    }

    /// With several replicas, who leads is the cluster's choice.
    fn replicas(&self, bucket: &mut PbBucketMetadata) {
        if bucket.replica_id.len() > 1 {
            let first = bucket.leader_id == bucket.replica_id.first().copied();
            bucket.leader_id = bucket.leader_id.map(|_| if first { 0 } else { 1 });
            bucket.replica_id.sort_unstable();
        }
    }
}

/// Partitions by their values, without ids.
fn partitions(mut answer: ListPartitionInfosResponse) -> String {
    answer.partitions_info.iter_mut().for_each(|partition| partition.partition_id = 0);
    answer.partitions_info.sort_by_key(short);
    short(&answer)
}

/// JSON with sorted keys.
fn json(bytes: &Bytes) -> Bytes {
    text(match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(value) => value.to_string(),
        Err(error) => error.to_string(),
    })
}

fn owned(value: &OwnedDatum) -> String {
    datum(value.as_datum())
}

fn datum(value: Datum<'_>) -> String {
    match value {
        Datum::Null => "null".to_owned(),
        Datum::Int32(value) => value.to_string(),
        Datum::Int64(value) => format!("{value}L"),
        Datum::Str(value) => format!("'{value}'"),
        other => format!("{other:?}"),
    }
}
