//! The conversations that `cut_off_tests` leaves out, cut off after each byte as there; and that no
//! API of the client is without a conversation.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};
use fluss_proto::ApiKey;
use fluss_proto::record::SealedBatch;

use super::cut_off_tests::{
    CLOSE, COMMAND, Heard, Rows, WRITE, column, converse, converse_about_partitions,
    cut_everywhere, end, outcomes, rooms, within,
};
use super::testkit::{Cut, Stage};
use super::{AppendWriter, UpsertWriter};
use crate::config::{Acks, WriterConfig};
use crate::ids::BucketKey;
use crate::row::{Column, DataType, OwnedDatum, Schema, TableDescriptor};
use crate::testing::cluster::{ClusterOptions, Release};
use crate::time::Duration;
use crate::writer::WriterKind;
use crate::{OffsetSpec, Table, Ticket};

/// A client of one tablet server.
fn stage(cut: Cut) -> Stage {
    let mut stage = Stage::with(ClusterOptions { tablet_servers: 1, ..ClusterOptions::default() });
    stage.cut(cut);
    stage
}

/// Makes a table and opens it.
fn open(stage: &mut Stage, table: &TableDescriptor) -> Option<Table> {
    const PATH: &str = "shop.things";
    let admin = stage.fluss.admin();
    let _ = within(stage, "create", COMMAND, admin.create_database("shop", true));
    let _ = within(stage, "create", COMMAND, admin.create_table(PATH, table, true));
    let opening = stage.fluss.table(PATH);
    within(stage, "open", COMMAND, opening).ok()
}

fn log_of_ids() -> TableDescriptor {
    column(Schema::builder().column("id", DataType::BIGINT).build().expect("sound"))
}

/// Users with a name and a town.
fn users() -> TableDescriptor {
    let schema = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("name", DataType::STRING)
        .column("town", DataType::STRING)
        .primary_key(["id"]);
    column(schema.build().expect("sound"))
}

/// Databases, tables and servers: what there is, and an end to it.
fn ask_for_everything(cut: Cut) -> Heard {
    const PATH: &str = "shop.things";
    let mut stage = stage(cut);
    let admin = stage.fluss.admin();
    let s = &mut stage;
    let _ = within(s, "create", COMMAND, admin.create_database("shop", false));
    let _ = within(s, "databases", COMMAND, admin.list_databases());
    let _ = within(s, "exists", COMMAND, admin.database_exists("shop"));
    let _ = within(s, "create", COMMAND, admin.create_table(PATH, &log_of_ids(), false));
    let _ = within(s, "tables", COMMAND, admin.list_tables("shop"));
    let _ = within(s, "exists", COMMAND, admin.table_exists(PATH));
    let _ = within(s, "table", COMMAND, admin.table_info(PATH));
    let more = [Column::new("more", DataType::INT)];
    let _ = within(s, "add", COMMAND, admin.add_columns(PATH, &more));
    let _ = within(s, "servers", COMMAND, admin.servers());
    let ready = s.fluss.ready();
    let _ = within(s, "ready", COMMAND, ready);
    // Who is there is one question, each server's answer another one.
    let each = Duration::from_secs(10 + 1);
    let pings = within(s, "ping", COMMAND + each, admin.ping());
    assert!(pings.is_err() || pings.is_ok_and(|pings| pings.len() == 2));
    let _ = within(s, "drop", COMMAND, admin.drop_table(PATH, false));
    let _ = within(s, "drop", COMMAND, admin.drop_database("shop", false, true));
    end(stage)
}

/// The rows of a table wherever they are, against the outcomes.
fn check_everywhere(stage: &Stage, table: &Table, tickets: Vec<(i64, Ticket)>, id_column: usize) {
    let buckets: Vec<BucketKey> = stage.cluster(|c| c.buckets(table.info().id).collect());
    let rows = buckets.iter().flat_map(|bucket| stage.cluster(|c| c.rows(*bucket)).expect("rows"));
    let ids: Vec<OwnedDatum> = rows.map(|row| row.values.values()[id_column].clone()).collect();
    for (id, ticket) in tickets {
        let outcome = ticket.outcome().expect("the flush has ended");
        let count = ids.iter().filter(|found| **found == OwnedDatum::Int64(id)).count();
        let fits = match &outcome {
            Ok(_) => count == 1,
            Err(crate::WriteError::NotWritten(_)) => count == 0,
            Err(_) => count <= 1,
        };
        assert!(fits, "row {id} is there {count} times: {outcome:?}");
    }
}

/// Rows whose partitions are created when they come.
fn append_to_new_partitions(cut: Cut) -> Heard {
    let schema = Schema::builder()
        .column("day", DataType::STRING.not_null())
        .column("id", DataType::BIGINT.not_null());
    let mut table = column(schema.build().expect("sound"));
    table.partition_key = vec![0];
    let mut stage = stage(cut);
    let Some(table) = open(&mut stage, &table) else { return end(stage) };
    let writer = table.appender().build().expect("a writer");
    let mut tickets = Vec::new();
    for (day, id) in [("d1", 1_i64), ("d2", 2)] {
        let row = (day, id);
        let ticket = within(&mut stage, "append", COMMAND, writer.append(&row)).expect("room");
        tickets.push((id, ticket));
    }
    let _ = within(&mut stage, "flush", WRITE, writer.flush());
    check_everywhere(&stage, &table, tickets, 1);
    end(stage)
}

/// Like [`append_to_new_partitions`], by key.
fn upsert_to_new_partitions(cut: Cut) -> Heard {
    let mut stage = stage(cut);
    let Some(table) = open(&mut stage, &rooms()) else { return end(stage) };
    let writer = table.upserter().build().expect("a writer");
    let mut tickets = Vec::new();
    for (day, house) in [("d1", 1_i64), ("d2", 2)] {
        let row = (day, house, 7_i64);
        let ticket = within(&mut stage, "upsert", COMMAND, writer.upsert(&row)).expect("room");
        tickets.push((house, ticket));
    }
    let _ = within(&mut stage, "flush", WRITE, writer.flush());
    check_everywhere(&stage, &table, tickets, 1);
    end(stage)
}

/// Writes one change and waits for its outcome.
fn change(stage: &mut Stage, writer: &UpsertWriter, hand_in: impl FnOnce(&UpsertWriter) -> Ticket) {
    let ticket = hand_in(writer);
    let _ = within(stage, "flush", WRITE, writer.flush());
    assert!(ticket.outcome().is_some(), "a flush leaves nothing open");
}

/// Rows by key: parts of them, deletes, rows that a lookup makes, the first ones of a bucket.
fn write_and_read_by_key(cut: Cut) -> Heard {
    let mut stage = stage(cut);
    let Some(table) = open(&mut stage, &users()) else { return end(stage) };
    let s = &mut stage;
    let whole = table.upserter().build().expect("a writer");
    let towns = table.upserter().columns(["id", "town"]).build().expect("a writer");
    change(s, &whole, |w| w.try_upsert(&(1_i64, "Ann", "Rome")).expect("room"));
    change(s, &towns, |w| w.try_upsert(&(1_i64, "Oslo")).expect("room"));
    change(s, &whole, |w| w.try_delete(&(1_i64,)).expect("room"));
    let lookuper = table.lookuper().expect("a primary-key table");
    let made = within(s, "lookup or insert", COMMAND, lookuper.lookup_or_insert(&(7_i64,)));
    assert!(made.is_err() || matches!(made, Ok(Some(_))), "{made:?}");
    let keys = [(1_i64,), (7_i64,)];
    let _ = within(s, "lookups", COMMAND, lookuper.lookup_all(&keys));
    let first = lookuper.first_rows(table.info().bucket(0), 10);
    let first = within(s, "first rows", COMMAND, first);
    assert!(first.as_ref().map_or(true, |rows| rows.len() <= 1), "{first:?}");
    for at in [OffsetSpec::Earliest, OffsetSpec::Latest, OffsetSpec::Timestamp(1)] {
        let _ = within(s, "offsets", COMMAND, table.offsets(at));
    }
    end(stage)
}

/// All rows as they are now, of a reader that is dropped before its end, and then all of them with
/// what changes them.
fn read_as_it_is_now(cut: Cut, release: Release) -> Heard {
    let options = ClusterOptions { tablet_servers: 1, release, ..ClusterOptions::default() };
    let mut stage = Stage::with(options);
    stage.cut(cut);
    let Some(table) = open(&mut stage, &users()) else { return end(stage) };
    let s = &mut stage;
    let writer = table.upserter().build().expect("a writer");
    for id in 0..3_i64 {
        change(s, &writer, |w| w.try_upsert(&(id, "Ann", "Rome")).expect("room"));
    }
    // A session that is lost is opened once more: three answers to wait for at most.
    let answer = 3 * COMMAND;
    let opened = within(s, "open", COMMAND, table.snapshot().fetch_bytes(1).build());
    if let Ok(mut reader) = opened {
        let _ = within(s, "rows", answer, reader.next_batch());
    }
    let opening = table.snapshot_then_changes().fetch_bytes(1).bounded().build();
    if let Ok(mut reader) = within(s, "open", 2 * COMMAND, opening) {
        while let Ok(Some(_)) = within(s, "an event", answer, reader.next_event()) {}
    }
    end(stage)
}

fn read_by_sessions(cut: Cut) -> Heard {
    read_as_it_is_now(cut, Release::V1_0)
}

fn read_by_changelogs(cut: Cut) -> Heard {
    read_as_it_is_now(cut, Release::V0_9)
}

fn append_one(stage: &mut Stage, writer: &AppendWriter, id: i64) -> (i64, Ticket) {
    let row = (id,);
    (id, within(stage, "append", COMMAND, writer.append(&row)).expect("room"))
}

/// Writers that promise less, record batches, and a client that is closed under a flush.
fn append_in_other_ways(cut: Cut) -> Heard {
    let mut stage = stage(cut);
    let Some(table) = open(&mut stage, &log_of_ids()) else { return end(stage) };
    let s = &mut stage;
    let mut tickets = Vec::new();
    for (id, acks) in [(0_i64, Acks::None), (1, Acks::Leader), (2, Acks::All)] {
        let writer = table.appender().idempotence(false).acks(acks).build().expect("a writer");
        tickets.push(append_one(s, &writer, id));
        let _ = within(s, "flush", WRITE, writer.flush());
    }
    let writer = table.appender().build().expect("a writer");
    let ids = Arc::new(Int64Array::from(vec![3_i64, 4]));
    let batch = RecordBatch::try_from_iter([("id", ids as _)]).expect("a batch");
    let ticket = within(s, "append batch", COMMAND, writer.append_batch(&batch)).expect("room");
    let _ = within(s, "flush", WRITE, writer.flush());
    let parts = within(s, "record batch", Duration::ZERO, ticket);
    assert_eq!(parts.iter().map(|part| part.rows.end - part.rows.start).sum::<u64>(), 2);

    tickets.push(append_one(s, &writer, 5));
    let mut flush = writer.flush();
    assert!(s.poll(&mut flush).is_pending());
    let closing = s.fluss.close(CLOSE);
    let _ = within(s, "close", CLOSE, closing);
    assert!(s.poll(&mut flush).is_ready(), "a flush outlives its client");
    let outcomes = outcomes(s, tickets);
    Rows { bucket: table.info().bucket(0), outcomes }.check(s);
    end(stage)
}

/// Reads a batch of a schema that the reader has to ask for.
fn read_an_unknown_schema(cut: Cut) -> Heard {
    let mut stage = stage(cut);
    let Some(table) = open(&mut stage, &log_of_ids()) else { return end(stage) };
    let (bucket, path) = (table.info().bucket(0), table.info().path.clone());
    let written = stage.fluss.shared().with(|core, now| {
        let kind = WriterKind::Append;
        let key = core.client.open_writer(path, kind, WriterConfig::default(), now)?;
        let lane = core.client.open_lane(key)?;
        let sealed = SealedBatch::log_v0(2, 0, 1, 0, vec![0; 8].into()).expect("a short batch");
        core.client.write_batch(lane, bucket, sealed, now)
    });
    written.expect("room");
    stage.pass(Duration::from_secs(1));
    let scan = table.scanner().from_earliest().build();
    let Ok(mut scanner) = within(&mut stage, "open a scan", 2 * COMMAND, scan) else {
        return end(stage);
    };
    let mut next = scanner.next_batch();
    for _ in 0..90 {
        if let std::task::Poll::Ready(read) = stage.poll(&mut next) {
            assert!(read.is_err(), "{read:?}");
            break;
        }
        stage.pass(Duration::from_secs(1));
    }
    drop(scanner);
    end(stage)
}

/// Reads segments in storage that wants a token of the servers.
fn read_with_a_token(cut: Cut) -> Heard {
    let mut stage = stage(cut);
    let Some(table) = open(&mut stage, &log_of_ids()) else { return end(stage) };
    let s = &mut stage;
    let writer = table.appender().build().expect("a writer");
    let ticket = append_one(s, &writer, 0);
    let _ = within(s, "flush", WRITE, writer.flush());
    outcomes(s, vec![ticket]);
    let moved = s.cluster(|c| {
        c.set_remote_root("s3://lake");
        c.give_keys(None);
        c.move_to_remote(table.info().bucket(0), 1)
    });
    let scan = table.scanner().from_earliest().bounded().build();
    let Ok(mut scanner) = within(s, "open a scan", 2 * COMMAND, scan) else {
        return end(stage);
    };
    // However far it came, it is told once that the servers are gone.
    let mut rows = 0;
    let ended = loop {
        match within(s, "read", 2 * COMMAND, scanner.next_batch()) {
            Ok(Some(batch)) => rows += batch.num_rows(),
            other => break other.is_ok(),
        }
    };
    assert!(!ended || rows == usize::from(moved), "{rows} rows at the end");
    drop(scanner);
    end(stage)
}

const CONVERSATIONS: [fn(Cut) -> Heard; 11] = [
    converse,
    converse_about_partitions,
    ask_for_everything,
    append_to_new_partitions,
    upsert_to_new_partitions,
    write_and_read_by_key,
    append_in_other_ways,
    read_an_unknown_schema,
    read_with_a_token,
    read_by_sessions,
    read_by_changelogs,
];

#[test]
fn questions_and_drops_outlive_no_server() {
    cut_everywhere(ask_for_everything);
}

#[test]
fn writers_that_create_partitions_outlive_no_server() {
    cut_everywhere(append_to_new_partitions);
    cut_everywhere(upsert_to_new_partitions);
}

#[test]
fn changes_and_reads_by_key_outlive_no_server() {
    cut_everywhere(write_and_read_by_key);
}

#[test]
fn writers_that_promise_less_record_batches_and_flushes_outlive_no_server() {
    cut_everywhere(append_in_other_ways);
}

#[test]
fn a_reader_in_want_of_a_schema_outlives_no_server() {
    cut_everywhere(read_an_unknown_schema);
}

#[test]
fn a_reader_in_want_of_a_token_outlives_no_server() {
    cut_everywhere(read_with_a_token);
}

#[test]
fn readers_of_all_rows_outlive_no_server() {
    cut_everywhere(read_by_sessions);
    cut_everywhere(read_by_changelogs);
}

/// APIs that the protocol has and the client never asks by: there is no handle and no machine for
/// what they do, so there is no wait that a server could draw out.
const NEVER_ASKED: [ApiKey; 27] = [
    ApiKey::GetLatestKvSnapshots,
    ApiKey::GetKvSnapshotMetadata,
    ApiKey::GetLakeSnapshot,
    ApiKey::GetDatabaseInfo,
    ApiKey::CreateAcls,
    ApiKey::ListAcls,
    ApiKey::DropAcls,
    ApiKey::DescribeClusterConfigs,
    ApiKey::AlterClusterConfigs,
    ApiKey::AddServerTag,
    ApiKey::RemoveServerTag,
    ApiKey::Rebalance,
    ApiKey::ListRebalanceProgress,
    ApiKey::CancelRebalance,
    ApiKey::RegisterProducerOffsets,
    ApiKey::GetProducerOffsets,
    ApiKey::DeleteProducerOffsets,
    ApiKey::AcquireKvSnapshotLease,
    ApiKey::ReleaseKvSnapshotLease,
    ApiKey::DropKvSnapshotLease,
    ApiKey::GetTableStats,
    ApiKey::AlterDatabase,
    ApiKey::GetClusterHealth,
    ApiKey::ListRemoteLogManifests,
    ApiKey::ListKvSnapshots,
    ApiKey::AddServerTagByRack,
    ApiKey::RemoveServerTagByRack,
];

#[test]
fn every_api_of_the_protocol_has_a_conversation_or_is_never_asked_by() {
    let mut heard = BTreeSet::new();
    for converse in CONVERSATIONS {
        heard.extend(converse(Cut::Never).apis);
    }
    for api in ApiKey::all() {
        let exempt = NEVER_ASKED.contains(&api);
        assert_ne!(heard.contains(&api.number()), exempt, "{api}: cut it off in a conversation");
    }
    let known: BTreeSet<i16> = ApiKey::all().map(ApiKey::number).collect();
    assert!(heard.is_subset(&known), "{heard:?}");
    let mut sources = String::new();
    read_sources(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").as_path(), &mut sources);
    for api in NEVER_ASKED {
        let name = format!("ApiKey::{api:?}");
        assert!(!mentions(&sources, &name), "{name} is asked by now: give it a conversation");
    }
}

fn mentions(sources: &str, name: &str) -> bool {
    let goes_on = |rest: &str| rest.starts_with(|c: char| c.is_alphanumeric());
    sources.match_indices(name).any(|(at, _)| !goes_on(&sources[at + name.len()..]))
}

/// The sources of the crate without its tests and its test kit.
fn read_sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() && name != "testing" && name != "tests" {
            read_sources(&path, into);
        } else if name.ends_with(".rs") && !name.contains("tests") {
            into.push_str(&std::fs::read_to_string(&path).expect("a readable file"));
        }
    }
}
