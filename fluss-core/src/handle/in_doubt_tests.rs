//! Rows whose answer is lost, swallowed, or says less than it should, and what servers say to the
//! copies that follow: rows of primary-key tables, and the same as rows of log tables.

use std::task::Poll;

use super::testkit::{Stage, events, users};
use crate::config::WriterConfig;
use crate::error::WriteError;
use crate::testing::cluster::{Fault, FaultKind, On, StoredBatch};
use crate::time::Duration;
use crate::{AppendWriter, Table, Ticket, UpsertWriter};

const PRODUCE_LOG: i16 = 1014;
const PUT_KV: i16 = 1016;

/// A writer of either kind of table, with one bucket.
enum Rows {
    Plain(Table, AppendWriter),
    Keyed(Table, UpsertWriter),
}

impl Rows {
    fn new(stage: &mut Stage, keyed: bool) -> Self {
        Self::with(stage, keyed, WriterConfig::default())
    }

    fn with(stage: &mut Stage, keyed: bool, config: WriterConfig) -> Self {
        let table = if keyed { users(stage) } else { events(stage, 1) };
        stage.settle();
        if keyed {
            let writer = table.upserter().config(config).build().expect("a writer");
            Self::Keyed(table, writer)
        } else {
            let writer = table.appender().config(config).build().expect("a writer");
            Self::Plain(table, writer)
        }
    }

    fn table(&self) -> &Table {
        match self {
            Self::Plain(table, _) | Self::Keyed(table, _) => table,
        }
    }

    /// Hands a row in and seals it at once, as a batch of its own.
    fn hand_in(&self, stage: &Stage, id: i64) -> Ticket {
        let row = (id, "a");
        let (ticket, mut flush) = match self {
            Self::Plain(_, writer) => (writer.try_append(&row), writer.flush()),
            Self::Keyed(_, writer) => (writer.try_upsert(&row), writer.flush()),
        };
        assert!(stage.poll(&mut flush).is_pending());
        ticket.expect("room")
    }

    /// Deletes a row by its key, or appends one, as a batch of its own.
    fn delete(&self, stage: &Stage, id: i64) -> Ticket {
        let Self::Keyed(_, writer) = self else { return self.hand_in(stage, id) };
        let ticket = writer.try_delete(&(id,)).expect("room");
        assert!(stage.poll(&mut writer.flush()).is_pending());
        ticket
    }

    fn stored(&self, stage: &Stage) -> Vec<StoredBatch> {
        stage.cluster(|c| c.log(self.table().info().bucket(0)).collect())
    }

    fn requests(&self, stage: &Stage) -> u64 {
        let api = if matches!(self, Self::Plain(..)) { PRODUCE_LOG } else { PUT_KV };
        stage.cluster(|c| c.requests().get(&api).copied().unwrap_or(0))
    }

    fn set_in_sync(&self, stage: &Stage, replicas: usize) {
        stage.cluster(|c| c.set_in_sync(self.table().info().bucket(0), replicas));
    }
}

/// Five batches are under way, the answer to the first never comes, those to the others do.
#[test]
fn rows_that_later_answers_prove_are_not_sent_again_and_wait_for_their_offset_where_asked_to() {
    // Unless told otherwise, only upserts wait for where their batch ends.
    let told = [None, Some(false), Some(true)];
    for (keyed, track_offsets) in told.iter().flat_map(|told| [(false, *told), (true, *told)]) {
        let mut stage = Stage::new();
        let config = WriterConfig { track_offsets, ..WriterConfig::default() };
        let rows = Rows::with(&mut stage, keyed, config);
        stage.cluster(|c| c.inject(On::Write, 0, Fault::SwallowAnswer));
        let mut tickets = (0..5).map(|id| rows.hand_in(&stage, id)).collect::<Vec<_>>();
        stage.pass(Duration::from_secs(1));
        tickets.push(rows.hand_in(&stage, 5));
        stage.pass(Duration::from_secs(1));
        let mut first = tickets.remove(0);
        let ends: Vec<Option<i64>> = tickets
            .into_iter()
            .map(|ticket| stage.run(ticket).expect("written"))
            .inspect(|ack| assert!(!ack.inferred, "{ack:?}"))
            .map(|ack| ack.log_end_offset.or(ack.offset.map(|offset| offset + 1)))
            .collect();
        let waits = track_offsets.unwrap_or(keyed);
        assert_eq!(stage.poll(&mut first).is_pending(), waits, "{keyed} {track_offsets:?}");
        stage.cluster(|c| c.cut_connections(None));
        let ack = stage.run(first).expect("written");
        assert!(ack.inferred && ack.offset.is_none() && ack.log_end_offset.is_none(), "{ack:?}");
        stage.pass(Duration::from_secs(5));
        // The largest offset is told all the same, by the last of them.
        assert_eq!(ends, (2..=6).map(Some).collect::<Vec<_>>());
        let stored: Vec<_> =
            rows.stored(&stage).iter().map(|b| (b.writer_id, b.sequence)).collect();
        assert_eq!(stored, (0..6).map(|sequence| (0, sequence)).collect::<Vec<_>>());
        assert_eq!(rows.requests(&stage), 6, "nothing was sent again");
    }
}

/// What was committed is refused for good when it is sent again: the table was altered meanwhile.
#[test]
fn a_written_row_whose_copies_are_refused_for_good_is_never_called_not_written() {
    for (keyed, followed) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut stage = Stage::new();
        let rows = Rows::new(&mut stage, keyed);
        let before = rows.hand_in(&stage, 1);
        stage.run(before).expect("written");
        stage.cluster(|c| {
            c.inject(On::Write, 0, Fault::LoseAnswer);
            (0..3).for_each(|_| c.inject(On::Write, 0, Fault::ErrorBefore(57)));
        });
        let doubtful = rows.delete(&stage, 1);
        let refused = |stage: &Stage| stage.cluster(|c| c.faults().count(FaultKind::ErrorBefore));
        while refused(&stage) < 2 {
            stage.pass(Duration::from_millis(1));
        }
        assert_eq!(doubtful.outcome(), None);
        // The last copy that is refused leaves with a row behind it, or alone.
        let next = followed.then(|| rows.hand_in(&stage, 2));
        let outcome = stage.run(doubtful);
        assert_eq!(refused(&stage), 3);
        match outcome {
            // The row behind it proves it.
            Ok(ack) => assert!(followed && ack.inferred, "{ack:?}"),
            Err(error) => {
                assert!(matches!(error, WriteError::OutcomeUnknown(_)) && !followed, "{error}");
                assert_eq!(error.cause().code().map(|code| code.0), Some(57));
            }
        }
        if let Some(next) = next {
            stage.run(next).expect("written");
        }
        assert_eq!(rows.stored(&stage).len(), 2 + usize::from(followed), "each is there once");
    }
}

/// What was committed, or appended and not replicated, meets a bucket with too few replicas in
/// sync when it is sent again.
#[test]
fn a_written_row_is_sent_again_until_enough_replicas_are_back() {
    for (keyed, fault) in [
        (false, Fault::LoseAnswer),
        (true, Fault::LoseAnswer),
        (false, Fault::ErrorAfter(28)),
        (true, Fault::ErrorAfter(28)),
    ] {
        let mut stage = Stage::new();
        let rows = Rows::new(&mut stage, keyed);
        stage.cluster(|c| c.inject(On::Write, 0, fault));
        let mut ticket = rows.hand_in(&stage, 1);
        stage.settle();
        assert_eq!((rows.stored(&stage).len(), ticket.outcome()), (1, None));
        rows.set_in_sync(&stage, 0);
        stage.pass(Duration::from_secs(20));
        assert!(stage.poll(&mut ticket).is_pending());
        let refused = rows.requests(&stage) - 1;
        assert!(refused > 5, "{refused} copies were refused");
        rows.set_in_sync(&stage, 1);
        let Poll::Ready(outcome) = settled(&mut stage, &mut ticket) else { panic!("no outcome") };
        let ack = outcome.expect("written");
        let end = ack.log_end_offset.or(ack.offset.map(|offset| offset + 1));
        assert_eq!((end, ack.inferred), (Some(1), false), "keyed: {keyed}, {fault:?}");
        assert_eq!(rows.stored(&stage).len(), 1);
    }
}

/// The outcome that a row has a little later.
fn settled(stage: &mut Stage, ticket: &mut Ticket) -> Poll<<Ticket as Future>::Output> {
    stage.pass(Duration::from_secs(2));
    stage.poll(ticket)
}
