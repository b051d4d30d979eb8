//! A server that falls silent, takes no more, or goes away, after each byte of a conversation, its
//! own ones and those said to it: everything that was asked for ends in its time, and every row's
//! outcome is true.

use std::collections::BTreeSet;
use std::future::Future;

use super::testkit::{Cut, Stage};
use crate::error::WriteError;
use crate::ids::BucketKey;
use crate::row::{DataType, OwnedDatum, Schema, TableDescriptor};
use crate::testing::cluster::{ClusterOptions, LogRow};
use crate::time::Duration;
use crate::{Ack, OffsetSpec, Table, Ticket};

/// Limit of a command, with a second for its last wait.
pub(super) const COMMAND: Duration = Duration::from_secs(61);
/// Delivery timeout, request deadline, and a second.
pub(super) const WRITE: Duration = Duration::from_secs(120 + 40 + 1);
pub(super) const CLOSE: Duration = Duration::from_secs(10);

/// What was said in a conversation.
pub(super) struct Heard {
    /// Bytes that the servers said.
    pub(super) bytes: u64,
    /// Bytes that were said to them.
    pub(super) told: u64,
    /// The numbers of the APIs that they were asked by.
    pub(super) apis: BTreeSet<i16>,
}

/// Ends a conversation.
pub(super) fn end(mut stage: Stage) -> Heard {
    let closing = stage.fluss.close(CLOSE);
    let _ = within(&mut stage, "close", CLOSE, closing);
    let apis = stage.cluster(|cluster| cluster.requests().keys().copied().collect());
    Heard { bytes: stage.said(), told: stage.told(), apis }
}

/// Cuts the servers off after each byte of a conversation, in all ways.
pub(super) fn cut_everywhere(converse: impl Fn(Cut) -> Heard) {
    let Heard { bytes, told, .. } = converse(Cut::Never);
    assert!(bytes > 300 && told > 300, "the conversation has {bytes} and {told} bytes");
    for at in 0..bytes {
        assert!(converse(Cut::Silent(at)).bytes <= at);
        assert!(converse(Cut::Gone(at)).bytes <= at);
    }
    for at in 0..told {
        assert_eq!(converse(Cut::Deaf(at)).told, at);
        assert_eq!(converse(Cut::Lost(at)).told, at);
    }
}

/// Runs a future that has to end in time.
pub(super) fn within<F: Future>(
    stage: &mut Stage,
    what: &str,
    limit: Duration,
    future: F,
) -> F::Output {
    let start = stage.now();
    let output = stage.run(future);
    let took = stage.now().saturating_since(start);
    assert!(took <= limit, "{what} took {took:?} of {limit:?}");
    output
}

pub(super) fn column(builder: Schema) -> TableDescriptor {
    let mut table = TableDescriptor::new(builder);
    table.bucket_count = Some(1);
    table
}

fn tables() -> [(&'static str, TableDescriptor); 2] {
    let log = Schema::builder().column("id", DataType::BIGINT).build();
    let users = Schema::builder()
        .column("id", DataType::BIGINT.not_null())
        .column("name", DataType::STRING)
        .primary_key(["id"])
        .build();
    [("shop.events", column(log.expect("sound"))), ("shop.users", column(users.expect("sound")))]
}

/// Ids in a log, and the outcomes of the rows handed in.
pub(super) struct Rows {
    pub(super) bucket: BucketKey,
    pub(super) outcomes: Vec<(i64, Result<Ack, WriteError>)>,
}

impl Rows {
    pub(super) fn check(&self, stage: &Stage) {
        let rows = stage.cluster(|c| c.rows(self.bucket)).expect("rows of the table");
        let is = |row: &LogRow, id: i64| row.values.values()[0] == OwnedDatum::Int64(id);
        for (id, outcome) in &self.outcomes {
            let count = rows.iter().filter(|row| is(row, *id)).count();
            let fits = match outcome {
                Ok(_) => count == 1,
                Err(WriteError::NotWritten(_)) => count == 0,
                Err(_) => count <= 1,
            };
            assert!(fits, "row {id} is there {count} times: {outcome:?}");
        }
    }
}

pub(super) fn outcomes(
    stage: &mut Stage,
    tickets: Vec<(i64, Ticket)>,
) -> Vec<(i64, Result<Ack, WriteError>)> {
    let start = stage.now();
    let ended = tickets.into_iter().map(|(id, ticket)| (id, stage.run(ticket))).collect();
    assert!(stage.now().saturating_since(start) <= WRITE, "tickets");
    ended
}

fn write_log(stage: &mut Stage, table: &Table) -> Rows {
    let writer = table.appender().build().expect("a writer");
    let mut tickets = Vec::new();
    for id in 0..3 {
        let row = (id,);
        let ticket = within(stage, "append", COMMAND, writer.append(&row)).expect("room");
        tickets.push((id, ticket));
    }
    let _ = within(stage, "flush", WRITE, writer.flush());
    Rows { bucket: table.info().bucket(0), outcomes: outcomes(stage, tickets) }
}

fn write_keys(stage: &mut Stage, table: &Table) -> Rows {
    let writer = table.upserter().build().expect("a writer");
    let row = (1i64, "Ann");
    let ticket = within(stage, "upsert", COMMAND, writer.upsert(&row)).expect("room");
    let _ = within(stage, "flush", WRITE, writer.flush());
    Rows { bucket: table.info().bucket(0), outcomes: outcomes(stage, vec![(1, ticket)]) }
}

fn read(stage: &mut Stage, events: &Table, users: &Table) {
    let lookuper = users.lookuper().expect("a primary-key table");
    let _ = within(stage, "lookup", COMMAND, lookuper.lookup(&(1i64,)));
    let admin = stage.fluss.admin();
    let offsets = admin.list_offsets(events.info(), None, &[], OffsetSpec::Latest);
    let _ = within(stage, "list offsets", COMMAND, offsets);
    let scan = events.scanner().from_earliest().bounded().build();
    let Ok(mut scanner) = within(stage, "open a scan", 2 * COMMAND, scan) else { return };
    // Whoever follows a log may wait for rows as long as it likes; this scan has an end.
    let _ = within(stage, "read", COMMAND, scanner.next_batch());
}

/// Logging in, making tables, writing, reading.
pub(super) fn converse(cut: Cut) -> Heard {
    let users = vec![("ada".to_owned(), "secret".to_owned())];
    let options = ClusterOptions { users, tablet_servers: 1, ..ClusterOptions::default() };
    let mut stage = Stage::configured(options, |config| config.credentials("ada", "secret"));
    stage.cut(cut);
    let admin = stage.fluss.admin();
    let _ = within(&mut stage, "create", COMMAND, admin.create_database("shop", true));
    let mut open = Vec::new();
    for (path, table) in tables() {
        let creating = admin.create_table(path, &table, true);
        let _ = within(&mut stage, "create", COMMAND, creating);
        let opening = stage.fluss.table(path);
        open.extend(within(&mut stage, "open", COMMAND, opening));
        if open.is_empty() {
            break;
        }
    }
    if let [events, users] = &open[..] {
        let written = [write_log(&mut stage, events), write_keys(&mut stage, users)];
        read(&mut stage, events, users);
        written.iter().for_each(|rows| rows.check(&stage));
    }
    end(stage)
}

/// Rooms of houses by day; a prefix of their key is a day and a house.
pub(super) fn rooms() -> TableDescriptor {
    let schema = Schema::builder()
        .column("day", DataType::STRING.not_null())
        .column("house", DataType::BIGINT.not_null())
        .column("room", DataType::BIGINT.not_null())
        .primary_key(["day", "house", "room"]);
    let mut table = column(schema.build().expect("sound"));
    table.partition_key = vec![0];
    table.bucket_key = vec![1];
    table
}

/// All calls about partitions, and lookups in them.
pub(super) fn converse_about_partitions(cut: Cut) -> Heard {
    const PATH: &str = "shop.rooms";
    let options = ClusterOptions { tablet_servers: 1, ..ClusterOptions::default() };
    let mut stage = Stage::with(options);
    stage.cut(cut);
    let admin = stage.fluss.admin();
    let _ = within(&mut stage, "create", COMMAND, admin.create_database("shop", true));
    let _ = within(&mut stage, "create", COMMAND, admin.create_table(PATH, &rooms(), true));
    let day = [("day", "2026-11-21")];
    let made = within(&mut stage, "create", COMMAND, admin.create_partition(PATH, &day, true));
    let opening = stage.fluss.table(PATH);
    let opened = within(&mut stage, "open", COMMAND, opening);
    let listed = within(&mut stage, "list", COMMAND, admin.list_partitions(PATH));
    if let Ok(listed) = listed {
        assert_eq!((made, listed.len()), (Ok(()), 1));
    }
    if let Ok(table) = opened {
        let lookuper = table.lookuper().expect("a primary-key table");
        let rows = lookuper.lookup_prefix(&("2026-11-21", 7i64));
        let rows = within(&mut stage, "prefix lookup", 2 * COMMAND, rows);
        assert!(rows.is_err() || rows == Ok(Vec::new()), "{rows:?}");
        let row = lookuper.lookup(&("2026-11-21", 7i64, 1i64));
        let row = within(&mut stage, "lookup", 2 * COMMAND, row);
        assert!(row.is_err() || row == Ok(None), "{row:?}");
    }
    let _ = within(&mut stage, "drop", COMMAND, admin.drop_partition(PATH, &day, true));
    end(stage)
}

#[test]
fn calls_about_partitions_and_prefix_lookups_outlive_no_server() {
    cut_everywhere(converse_about_partitions);
}

#[test]
fn writing_and_reading_outlive_no_server() {
    cut_everywhere(converse);
}
