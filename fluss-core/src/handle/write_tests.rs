//! Writes that meet trouble, from a row to the log: what shows only when all machines work
//! together.

use std::task::Poll;

use super::testkit::{Stage, events};
use crate::error::{Error, WriteError};
use crate::ids::{BucketKey, ServerId, TablePath};
use crate::rng::Rng;
use crate::row::{DataType, OwnedDatum, Schema, TableDescriptor};
use crate::testing::cluster::{
    Bug, ClusterOptions, FakeCluster, Fault, FaultKind, Faults, On, Rule, StoredBatch,
};
use crate::time::Duration;
use crate::{AppendWriter, ErrorCode, Table};

const PRODUCE_LOG: i16 = 1014;
const PUT_KV: i16 = 1016;
const INIT_WRITER: i16 = 1026;
const SECOND: Duration = Duration::from_secs(1);

fn writer(stage: &mut Stage, table: &Table) -> AppendWriter {
    stage.settle();
    table.appender().build().expect("a writer")
}

fn stored(stage: &Stage, table: &Table) -> Vec<StoredBatch> {
    stage.cluster(|c| c.log(table.info().bucket(0)).collect())
}

fn sequences(stage: &Stage, table: &Table) -> Vec<(i64, i32)> {
    stored(stage, table).iter().map(|b| (b.writer_id, b.sequence)).collect()
}

fn ids(stage: &Stage, bucket: BucketKey) -> Vec<i64> {
    let rows = stage.cluster(|c| c.rows(bucket)).expect("rows of the table");
    let id = |row: &crate::testing::cluster::LogRow| match row.values.values()[0] {
        OwnedDatum::Int64(id) => id,
        ref other => panic!("{other:?} is no id"),
    };
    rows.iter().map(id).collect()
}

fn requests(stage: &Stage, api: i16) -> u64 {
    stage.cluster(|c| c.requests().get(&api).copied().unwrap_or(0))
}

fn tablets(cluster: &FakeCluster) -> Vec<ServerId> {
    cluster.servers().filter(|s| matches!(s, ServerId::Tablet(_))).collect()
}

/// Hands a row in and seals it at once, as a batch of its own.
fn batch(stage: &mut Stage, writer: &AppendWriter, id: i64) -> crate::Ticket {
    let ticket = writer.try_append(&(id, "a")).expect("room");
    let mut flush = writer.flush();
    assert!(stage.poll(&mut flush).is_pending());
    ticket
}

#[test]
fn a_log_that_lacks_a_batch_or_has_one_twice_fails_its_test() {
    for twice in [false, true] {
        let caught = std::panic::catch_unwind(|| {
            let mut stage = Stage::new();
            let table = events(&mut stage, 1);
            let writer = writer(&mut stage, &table);
            stage.cluster(|c| {
                if twice {
                    c.inject(On::Write, 0, Fault::LoseAnswer);
                    c.switch_off(Rule::WindowCheck);
                    c.switch_off(Rule::SequenceContinuity);
                } else {
                    c.misbehave(0, Bug::LoseAcknowledged);
                }
            });
            for id in 0..2i64 {
                let ticket = writer.try_append(&(id, "a")).expect("room");
                stage.run(ticket).expect("written");
            }
        });
        let said = caught.expect_err("nobody noticed");
        let said = said.downcast_ref::<String>().expect("a text");
        assert!(said.contains("a sequence of writer id 0"), "{said}");
    }
}

#[test]
fn an_answer_that_does_not_parse_is_asked_for_again_on_another_connection() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = writer(&mut stage, &table);
    stage.cluster(|c| c.inject(On::Write, 0, Fault::GarbageBody));
    let ticket = writer.try_append(&(1i64, "a")).expect("room");
    let ack = stage.run(ticket).expect("written");
    assert_eq!(ack.offset, Some(0));
    assert_eq!(sequences(&stage, &table), [(0, 0)]);
    assert_eq!(requests(&stage, PRODUCE_LOG), 2);
}

#[test]
fn a_write_without_an_answer_on_a_living_socket_is_sent_again_after_the_request_deadline() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = writer(&mut stage, &table);
    stage.cluster(|c| c.inject(On::Write, 0, Fault::SwallowAnswer));
    let start = stage.now();
    let ticket = writer.try_append(&(1i64, "a")).expect("room");
    let ack = stage.run(ticket).expect("written");
    let took = stage.now().saturating_since(start);
    assert!((40 * SECOND..42 * SECOND).contains(&took), "{took:?}");
    assert_eq!(stage.fluss.counters().connections_lost, 1, "nobody knows what is left of it");
    assert_eq!(ack.offset, Some(0));
    assert_eq!(sequences(&stage, &table), [(0, 0)]);
}

#[test]
fn a_batch_that_was_never_sent_uses_no_sequence() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = writer(&mut stage, &table);
    stage.cluster(|c| tablets(c).into_iter().for_each(|s| c.stop(s)));
    let start = stage.now();
    let ticket = writer.try_append(&(1i64, "a")).expect("room");
    let error = stage.run(ticket).expect_err("no server is there");
    assert!(matches!(error, WriteError::NotWritten(_)), "{error}");
    let took = stage.now().saturating_since(start);
    assert!((120 * SECOND..=121 * SECOND).contains(&took), "{took:?}");
    stage.cluster(|c| tablets(c).into_iter().for_each(|s| c.start(s)));
    let ticket = writer.try_append(&(2i64, "b")).expect("room");
    stage.run(ticket).expect("written");
    assert_eq!(sequences(&stage, &table), [(0, 0)]);
    assert_eq!(ids(&stage, table.info().bucket(0)), [2]);
}

#[test]
fn a_writer_id_whose_answer_is_lost_is_left_unused() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = writer(&mut stage, &table);
    stage.cluster(|c| c.inject(On::InitWriter, 0, Fault::LoseAnswer));
    let ticket = writer.try_append(&(1i64, "a")).expect("room");
    stage.run(ticket).expect("written");
    assert_eq!(requests(&stage, INIT_WRITER), 2);
    assert_eq!(sequences(&stage, &table), [(1, 0)]);
}

#[test]
fn rows_for_a_table_that_was_made_again_do_not_reach_the_new_one() {
    let mut stage = Stage::new();
    let old = events(&mut stage, 1);
    let before = writer(&mut stage, &old);
    let ticket = before.try_append(&(0i64, "a")).expect("room");
    stage.run(ticket).expect("written");
    // As many batches as may be are on their way when the table goes, and one waits behind them.
    stage.cluster(|c| (0..5).for_each(|_| c.inject(On::Write, 0, Fault::DropRequest)));
    let tickets: Vec<_> = (1..7i64).map(|id| batch(&mut stage, &before, id)).collect();
    stage.settle();
    assert!(stage.cluster(|c| c.recreate_table(old.info().id)));
    for (at, ticket) in tickets.into_iter().enumerate() {
        let error = stage.run(ticket).expect_err("its table is gone");
        assert_eq!(matches!(error, WriteError::OutcomeUnknown(_)), at < 5, "{error}");
        assert!(error.to_string().contains("made again"), "{error}");
    }
    let opening = stage.fluss.table("shop.events");
    let new = stage.run(opening).expect("it is there");
    assert_ne!(new.info().id, old.info().id);
    let after = writer(&mut stage, &new);
    let ticket = after.try_append(&(7i64, "d")).expect("room");
    stage.run(ticket).expect("written");
    assert_eq!(ids(&stage, new.info().bucket(0)), [7]);
    assert_eq!(stored(&stage, &new)[0].sequence, 0);
}

#[test]
fn a_table_whose_identity_cannot_be_looked_up_keeps_its_batches() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = writer(&mut stage, &table);
    stage.cluster(|c| {
        c.inject(On::Write, 0, Fault::ErrorAfter(21));
        for skip in 0..3 {
            c.inject(On::Metadata, skip, Fault::ErrorBefore(-1));
        }
    });
    let ticket = writer.try_append(&(1i64, "a")).expect("room");
    assert_eq!(stage.run(ticket).expect("written").offset, Some(0));
    assert_eq!(ids(&stage, table.info().bucket(0)), [1]);
}

fn users(stage: &mut Stage, buckets: u32) -> Table {
    let schema = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("name", DataType::STRING)
        .column("town", DataType::STRING)
        .primary_key(["id"])
        .build()
        .expect("a sound schema");
    let mut users = TableDescriptor::new(schema);
    users.bucket_count = Some(buckets);
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    stage.run(admin.create_table("shop.users", &users, false)).expect("a table");
    let opening = stage.fluss.table("shop.users");
    stage.run(opening).expect("it is there")
}

#[test]
fn an_upsert_whose_answer_was_lost_ends_with_the_first_end_offset() {
    let mut stage = Stage::new();
    let table = users(&mut stage, 1);
    let writer = table.upserter().build().expect("a writer");
    stage.cluster(|c| c.inject(On::Write, 0, Fault::LoseAnswer));
    let ticket = writer.try_upsert(&(1i64, "Ann", "Rome")).expect("room");
    assert_eq!(stage.run(ticket).expect("written").log_end_offset, Some(1));
    assert_eq!(stored(&stage, &table).len(), 1);
}

#[test]
fn a_delete_without_effect_takes_a_sequence_and_an_offset() {
    let mut stage = Stage::new();
    let table = users(&mut stage, 1);
    let writer = table.upserter().build().expect("a writer");
    let ticket = writer.try_delete(&(7i64,)).expect("room");
    assert_eq!(stage.run(ticket).expect("written").log_end_offset, Some(1));
    let ticket = writer.try_upsert(&(1i64, "Ann", "Rome")).expect("room");
    assert_eq!(stage.run(ticket).expect("written").log_end_offset, Some(2));
    assert_eq!(sequences(&stage, &table), [(0, 0), (0, 1)]);
}

#[test]
fn batches_of_one_bucket_never_share_a_request() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = writer(&mut stage, &table);
    // Three batches wait while the leader cannot be reached.
    stage.cluster(|c| tablets(c).into_iter().for_each(|s| c.stop(s)));
    let tickets = [1i64, 2, 3].map(|id| batch(&mut stage, &writer, id));
    stage.settle();
    stage.cluster(|c| tablets(c).into_iter().for_each(|s| c.start(s)));
    for ticket in tickets {
        stage.run(ticket).expect("written");
    }
    // A bucket entered twice would lose the first entry's batch.
    assert_eq!(requests(&stage, PRODUCE_LOG), 3);
    assert_eq!(ids(&stage, table.info().bucket(0)), [1, 2, 3]);
}

#[test]
fn batches_sealed_before_there_is_a_connection_leave_in_their_order() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = writer(&mut stage, &table);
    stage.cluster(|c| tablets(c).into_iter().for_each(|s| c.stop(s)));
    let tickets = [1i64, 2, 3].map(|id| batch(&mut stage, &writer, id));
    stage.pass(SECOND);
    assert_eq!(stage.fluss.counters().copies, 0, "there is no connection to send on");
    stage.cluster(|c| tablets(c).into_iter().for_each(|s| c.start(s)));
    for ticket in tickets {
        stage.run(ticket).expect("written");
    }
    assert_eq!(sequences(&stage, &table), [(0, 0), (0, 1), (0, 2)]);
    assert_eq!(ids(&stage, table.info().bucket(0)), [1, 2, 3]);
}

#[test]
fn upserts_of_different_columns_go_in_requests_of_their_own() {
    // One server, so that only their columns keep batches out of each other's requests.
    let mut stage = Stage::with(ClusterOptions { tablet_servers: 1, ..ClusterOptions::default() });
    let table = users(&mut stage, 2);
    let names = table.upserter().columns(["id", "name"]).build().expect("a writer");
    let towns = table.upserter().columns(["id", "town"]).build().expect("a writer");
    // All batches wait for the same connection.
    stage.cluster(|c| tablets(c).into_iter().for_each(|s| c.stop(s)));
    let mut tickets = Vec::new();
    for id in 0..8i64 {
        tickets.push(names.try_upsert(&(id, "Ann")).expect("room"));
        tickets.push(towns.try_upsert(&(id, "Rome")).expect("room"));
    }
    for writer in [&names, &towns] {
        assert!(stage.poll(&mut writer.flush()).is_pending());
    }
    stage.settle();
    stage.cluster(|c| tablets(c).into_iter().for_each(|s| c.start(s)));
    for ticket in tickets {
        stage.run(ticket).expect("written");
    }
    // The batches of two buckets share a request, those of other columns have another one.
    assert_eq!(requests(&stage, PUT_KV), 2);
    let text = |s: &str| OwnedDatum::Str(s.to_owned());
    let rows = |bucket| stage.cluster(|c| c.live_rows(table.info().bucket(bucket))).expect("rows");
    let (first, second) = (rows(0), rows(1));
    assert!(!first.is_empty() && !second.is_empty());
    assert_eq!(first.len() + second.len(), 8);
    for row in first.iter().chain(&second) {
        assert_eq!(row.values()[1..], [text("Ann"), text("Rome")]);
    }
}

#[test]
fn a_flush_returns_after_all_rows_though_the_session_ends_meanwhile() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = writer(&mut stage, &table);
    let ticket = writer.try_append(&(1i64, "a")).expect("room");
    stage.run(ticket).expect("written");
    stage.cluster(|c| c.inject(On::Write, 0, Fault::ExpireWriters));
    let tickets = [2i64, 3].map(|id| batch(&mut stage, &writer, id));
    stage.run(writer.flush()).expect("nothing failed");
    assert!(tickets.iter().all(|t| matches!(t.outcome(), Some(Ok(_)))));
    assert_eq!(sequences(&stage, &table), [(0, 0), (1, 0), (1, 1)]);
}

#[test]
fn a_close_with_time_enough_writes_every_row_and_gives_back_all_memory() {
    let options = ClusterOptions { replication_delay: 5 * SECOND, ..ClusterOptions::default() };
    let mut stage = Stage::with(options);
    let table = events(&mut stage, 1);
    let writer = writer(&mut stage, &table);
    // One may be written and one is refused for now, one waits for its replicas, one is open.
    stage.cluster(|c| {
        c.inject(On::Write, 0, Fault::ErrorAfter(25));
        c.inject(On::Write, 1, Fault::ErrorBefore(29));
    });
    let mut tickets: Vec<_> = (0..3i64).map(|id| batch(&mut stage, &writer, id)).collect();
    stage.settle();
    assert_eq!(stage.cluster(|c| c.faults().count(FaultKind::ErrorBefore)), 1);
    tickets.push(writer.try_append(&(3i64, "a")).expect("room"));
    assert!(tickets.iter().all(|ticket| ticket.outcome().is_none()));
    let closing = stage.fluss.close(60 * SECOND);
    assert_eq!(stage.run(closing), Ok(0));
    assert!(tickets.iter().all(|ticket| matches!(ticket.outcome(), Some(Ok(_)))));
    assert_eq!(ids(&stage, table.info().bucket(0)), [0, 1, 2, 3]);
    assert_eq!(stage.fluss.memory_used(), 0);
}

#[test]
fn a_close_whose_time_is_over_ends_sent_rows_as_unknown_and_unsent_ones_as_not_written() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = writer(&mut stage, &table);
    let ticket = writer.try_append(&(0i64, "a")).expect("room");
    stage.run(ticket).expect("written");
    // Five are appended and never answered, two wait behind them, one is in an open batch.
    stage.cluster(|c| (0..5).for_each(|_| c.inject(On::Write, 0, Fault::SwallowAnswer)));
    let mut tickets: Vec<_> = (1..8i64).map(|id| batch(&mut stage, &writer, id)).collect();
    stage.settle();
    tickets.push(writer.try_append(&(8i64, "a")).expect("room"));
    let start = stage.now();
    let closing = stage.fluss.close(10 * SECOND);
    assert_eq!(stage.run(closing), Ok(8));
    assert_eq!(stage.now().saturating_since(start), 10 * SECOND);
    for (at, ticket) in tickets.iter().enumerate() {
        let outcome = ticket.outcome().expect("each has one");
        let Err(error) = outcome else { panic!("nobody said so of row {at}: {outcome:?}") };
        let unknown = matches!(error, WriteError::OutcomeUnknown(_));
        assert_eq!(unknown, at < 5, "row {at}: {error}");
    }
    assert_eq!(ids(&stage, table.info().bucket(0)), (0..6).collect::<Vec<i64>>());
    assert_eq!(stage.fluss.memory_used(), 0);
}

#[test]
fn rows_of_a_dropped_writer_are_delivered_until_their_delivery_timeout() {
    for back in [true, false] {
        let mut stage = Stage::new();
        let table = events(&mut stage, 1);
        let writer = writer(&mut stage, &table);
        stage.cluster(|c| tablets(c).into_iter().for_each(|s| c.stop(s)));
        let start = stage.now();
        let ticket = writer.try_append(&(1i64, "a")).expect("room");
        drop(writer);
        stage.pass(100 * SECOND);
        assert_eq!(ticket.outcome(), None, "its time is not over");
        if back {
            stage.cluster(|c| tablets(c).into_iter().for_each(|s| c.start(s)));
        }
        let outcome = stage.run(ticket);
        let took = stage.now().saturating_since(start);
        if back {
            outcome.expect("written");
            assert!(took < 120 * SECOND, "{took:?}");
        } else {
            let error = outcome.expect_err("no server is there");
            assert!(matches!(error, WriteError::NotWritten(_)), "{error}");
            assert!((120 * SECOND..=161 * SECOND).contains(&took), "{took:?}");
        }
        let expected: &[i64] = if back { &[1] } else { &[] };
        assert_eq!(ids(&stage, table.info().bucket(0)), expected);
        assert_eq!(stage.fluss.metrics().writers, 0, "nothing is left of the writer");
    }
}

/// Gives a bucket its other leader, which has what was replicated and no more; how many rows it
/// lacks.
fn flip(cluster: &mut FakeCluster, bucket: BucketKey) -> i64 {
    cluster.move_leader(bucket, None).expect("another server");
    let truth = cluster.truth(bucket).expect("the bucket");
    cluster.truncate_log(bucket, truth.high_watermark);
    truth.log_end - truth.high_watermark
}

#[test]
fn without_epochs_leaders_that_flip_back_with_less_of_the_log_lose_and_double_no_row() {
    let (mut lacked, mut refused) = (0, 0);
    for seed in 0..100 {
        let mut stage = Stage::with(ClusterOptions {
            seed,
            tablet_servers: 2,
            leader_epochs: false,
            // Meanwhile it depends on whom the client asks which of the two it is sent to.
            metadata_lag: 3 * SECOND / 2,
            replication_delay: SECOND / 5,
            ..ClusterOptions::default()
        });
        let table = events(&mut stage, 1);
        let bucket = table.info().bucket(0);
        let writer = writer(&mut stage, &table);
        let faults = Faults::new(seed).one_in(8, On::Write, Fault::LoseAnswer);
        stage.cluster(|c| c.set_faults(faults));
        let mut rng = Rng::new(seed);
        let mut tickets = Vec::new();
        for id in 0..20i64 {
            tickets.push(batch(&mut stage, &writer, id));
            stage.pass(Duration::from_millis(rng.below(300)));
            if rng.one_in(3) {
                lacked += stage.cluster(|c| flip(c, bucket));
            }
        }
        for (id, ticket) in tickets.into_iter().enumerate() {
            stage.run(ticket).unwrap_or_else(|error| panic!("seed {seed}, row {id}: {error}"));
        }
        assert_eq!(ids(&stage, bucket), (0..20).collect::<Vec<i64>>(), "seed {seed}");
        let counters = stage.fluss.counters();
        assert_eq!(counters.invariant_violations, 0, "seed {seed}");
        refused += counters.resends_ambiguous;
    }
    assert!(lacked > 100 && refused > 100, "{lacked} rows lacked, {refused} copies in doubt");
}

#[test]
fn memory_is_what_rows_without_an_outcome_take_at_every_moment() {
    let options = ClusterOptions { replication_delay: 5 * SECOND, ..ClusterOptions::default() };
    let mut stage = Stage::with(options);
    let table = events(&mut stage, 1);
    let writer = writer(&mut stage, &table);
    assert_eq!(stage.fluss.memory_used(), 0);
    let mut tickets = Vec::new();
    let mut held = 0;
    for id in 0..4i64 {
        tickets.push(batch(&mut stage, &writer, id));
        stage.settle();
        let used = stage.fluss.memory_used();
        assert!(used > held, "batch {id} takes nothing");
        held = used;
    }
    // Equal batches take equal shares, and each gives back its own when it ends.
    let each = held / 4;
    assert_eq!(held % 4, 0);
    for _ in 0..200 {
        stage.pass(SECOND / 10);
        let open = tickets.iter().filter(|t| t.outcome().is_none()).count() as u64;
        assert_eq!(stage.fluss.memory_used(), open * each);
    }
    assert_eq!(stage.fluss.memory_used(), 0);
}

#[test]
fn a_write_to_a_dropped_table_tells_its_code() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = writer(&mut stage, &table);
    let ticket = writer.try_append(&(1i64, "a")).expect("room");
    stage.run(ticket).expect("written");
    let admin = stage.fluss.admin();
    // One batch is on its way when the table goes, one is still open.
    stage.cluster(|c| c.inject(On::Write, 0, Fault::DropRequest));
    let sent = batch(&mut stage, &writer, 2);
    stage.settle();
    let mut queued = writer.try_append(&(3i64, "b")).expect("room");
    assert!(matches!(stage.poll(&mut queued), Poll::Pending));
    stage.run(admin.drop_table("shop.events", false)).expect("dropped");
    let sent = stage.run(sent).expect_err("its table is gone");
    assert!(matches!(sent, WriteError::OutcomeUnknown(_)), "{sent}");
    let queued = stage.run(queued).expect_err("its table is gone");
    for error in [&sent, &queued] {
        assert_eq!(error.cause().code(), Some(ErrorCode::TABLE_NOT_EXIST), "{error}");
        assert_eq!(error.code().map(|code| code.0), Some(7), "{error}");
    }
    let path = TablePath::parse("shop.events").expect("a path");
    assert_eq!(stage.cluster(|c| c.table_id(&path)), None);
    let opening = stage.fluss.table("shop.events");
    assert!(matches!(stage.run(opening), Err(Error::Rejected { .. })));
}

#[test]
fn rows_for_a_server_that_cannot_be_written_to_are_not_written_and_keep_nobody_busy() {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let writer = table.appender().linger(Duration::ZERO).build().expect("a writer");
    stage.cluster(|c| {
        c.offer_only((1000..1060).filter(|api| *api != PRODUCE_LOG).map(|api| (api, 0)).collect());
        c.cut_connections(None);
    });
    let before = (stage.now(), stage.fluss.turns());
    let ticket = writer.try_append(&(1_i64, "a")).expect("room");
    let refused = stage.run(ticket).expect_err("nobody takes it");
    let WriteError::NotWritten(failure) = &refused else { panic!("{refused:?}") };
    assert!(matches!(&failure.error, Error::Rejected { code, .. } if code.0 == 2), "{failure:?}");
    assert!(refused.to_string().contains("PRODUCE_LOG"), "{refused}");
    let (waited, turns) = (stage.now().saturating_since(before.0), stage.fluss.turns() - before.1);
    assert!(waited < Duration::from_secs(5) && turns < 100, "{turns} turns in {waited:?}");
}
