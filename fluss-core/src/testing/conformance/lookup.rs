//! Lookups: the row or none, in few requests, whatever happens to connections and leaders.

use std::collections::VecDeque;
use std::pin::pin;
use std::task::Poll;

use super::Harness;
use super::stage::{Stage, keyed_table, poll_once};
use crate::error::Error;
use crate::handle::{Lookup, Lookuper, Table};
use crate::rng::Rng;
use crate::row;
use crate::row::{OwnedDatum, OwnedRow};
use crate::testing::cluster::{Fault, FaultKind, On};
use crate::time::Duration;

const LOOKUP: i16 = 1017;
/// A deadline that a silent server lets pass.
const SOON: Duration = Duration::from_millis(250);

/// Upserts rows with ids from 0 on.
async fn fill(table: &Table, rows: i64) {
    let writer = table.upserter().linger(Duration::ZERO).build().expect("a writer");
    let run = writer.upsert_all((0..rows).map(|id| (id, text(id)))).await.expect("it fits");
    assert!(run.await.iter().all(|part| part.outcome.is_ok()));
}

fn text(id: i64) -> String {
    format!("user {id}")
}

/// This is the row with this id.
fn is_row(id: i64, found: Result<Option<OwnedRow>, Error>) {
    let row = found.expect("an answer").expect("a row");
    assert_eq!(row.values(), [OwnedDatum::Int64(id), OwnedDatum::Str(text(id))]);
}

/// The row with this id is there, and is the right one.
async fn found(lookuper: &Lookuper, id: i64) {
    is_row(id, lookuper.lookup(&row![id]).await);
}

/// A key without a row has none; that is no error.
pub fn a_key_without_a_row_finds_none<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let table = keyed_table(stage).await;
        let lookuper = table.lookuper().expect("a table with keys");
        assert_eq!(lookuper.lookup(&row![0_i64]).await, Ok(None), "nothing was written yet");
        fill(&table, 10).await;
        for id in 0..10 {
            found(&lookuper, id).await;
        }
        assert_eq!(lookuper.lookup(&row![10_i64]).await, Ok(None));
        let writer = table.upserter().build().expect("a writer");
        drop(writer.delete(&row![3_i64]).await.expect("it fits"));
        writer.flush().await.expect("written");
        assert_eq!(lookuper.lookup(&row![3_i64]).await, Ok(None), "it was deleted");
        let error = lookuper.lookup(&row!["three"]).await.expect_err("no BIGINT");
        assert!(error.to_string().contains("id"), "{error}");
    });
}

/// Keys that are asked for while a request is on its way go together in the next one.
pub fn keys_looked_up_in_one_go_share_requests<H: Harness>() {
    const KEYS: i64 = 500;
    Stage::<H>::run(async |stage| {
        let fluss = stage.client_with(stage.config().lookup_in_flight(1));
        let table = fluss.table(super::stage::TABLE).await.expect("the table exists");
        fill(&table, KEYS).await;
        let lookuper = table.lookuper().expect("a table with keys");
        found(&lookuper, 0).await;
        let before = stage.requests(LOOKUP);
        stage.inject(On::Lookup, 0, Fault::DelayAnswer(SOON));
        let keys: Vec<_> = (0..KEYS).map(|id| row![id]).collect();
        let rows = lookuper.lookup_all(keys.iter()).await.expect("answers");
        for (id, row) in (0..).zip(rows) {
            let row = row.expect("a row");
            assert_eq!(row.values(), [OwnedDatum::Int64(id), OwnedDatum::Str(text(id))]);
        }
        let requests = stage.requests(LOOKUP) - before;
        assert!((1..=KEYS as u64 / 50).contains(&requests), "{requests} requests");
    });
}

/// A lookup that is lost on the way there or back is repeated.
pub fn a_lookup_whose_answer_is_lost_is_repeated<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let config = stage.config().ack_timeout(SOON / 2).request_deadline(SOON);
        let fluss = stage.client_with(config);
        let table = fluss.table(super::stage::TABLE).await.expect("the table exists");
        fill(&table, 10).await;
        let lookuper = table.lookuper().expect("a table with keys");
        let losses = [
            Fault::CutRequest,
            Fault::LoseAnswer,
            Fault::CutAnswer,
            Fault::DropRequest,
            Fault::SwallowAnswer,
        ];
        for (id, loss) in (0..).zip(losses) {
            let before = stage.requests(LOOKUP);
            stage.inject(On::Lookup, 0, loss);
            found(&lookuper, id).await;
            assert_eq!(stage.with(|cluster| cluster.faults().count(loss.kind())), 1);
            assert!(stage.requests(LOOKUP) > before, "{loss:?}");
        }
    });
}

/// Lookups go to where the leader is.
pub fn lookups_follow_a_leader_that_moves<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let table = keyed_table(stage).await;
        fill(&table, 10).await;
        let lookuper = table.lookuper().expect("a table with keys");
        for id in 0..3 {
            found(&lookuper, id).await;
            stage.inject(On::Lookup, 0, Fault::MoveLeader);
            found(&lookuper, id + 3).await;
        }
        assert_eq!(stage.with(|cluster| cluster.faults().count(FaultKind::MoveLeader)), 3);
    });
}

/// A lookup whose future is dropped, before or after it was sent, disturbs no other.
pub fn a_dropped_lookup_disturbs_no_other<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let table = keyed_table(stage).await;
        fill(&table, 10).await;
        let lookuper = table.lookuper().expect("a table with keys");
        found(&lookuper, 0).await;
        drop(lookuper.lookup(&row![1_i64]));
        found(&lookuper, 2).await;
        let before = stage.requests(LOOKUP);
        stage.inject(On::Lookup, 0, Fault::DropRequest);
        {
            let (key, other) = (row![3_i64], row![4_i64]);
            let mut silent = pin!(lookuper.lookup(&key));
            assert!(poll_once(&mut silent).await.is_pending(), "nobody answers that");
            stage.until_requests(LOOKUP, before + 1).await;
            assert!(lookuper.lookup(&other).await.expect("an answer").is_some());
        }
        found(&lookuper, 5).await;
    });
}

/// Beyond the budget a lookup waits in line, a try gives the key back, and a dropped lookup gives
/// its place to the next one.
pub fn lookups_beyond_the_budget_wait_and_a_try_gives_the_key_back<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let fluss = stage.client_with(stage.config().lookup_limit(2));
        let table = fluss.table(super::stage::TABLE).await.expect("the table exists");
        fill(&table, 10).await;
        let lookuper = table.lookuper().expect("a table with keys");
        found(&lookuper, 0).await;
        let before = stage.requests(LOOKUP);
        stage.inject(On::Lookup, 0, Fault::DropRequest);
        stage.inject(On::Lookup, 1, Fault::DropRequest);
        let mut silent = Vec::new();
        for id in [1_i64, 2] {
            let mut lookup = lookuper.try_lookup(&row![id]).expect("room");
            assert!(poll_once(&mut lookup).await.is_pending(), "nobody answers that");
            stage.until_requests(LOOKUP, before + silent.len() as u64 + 1).await;
            silent.push(lookup);
        }
        let full = lookuper.try_lookup(&row![3_i64]).expect_err("two are on their way");
        assert!(matches!(full, Error::LookupsFull { lookups: 2, max_lookups: 2, .. }), "{full}");
        let mut first = lookuper.lookup(&row![4_i64]);
        let mut second = lookuper.lookup(&row![5_i64]);
        assert!(poll_once(&mut first).await.is_pending(), "it is in line");
        assert!(poll_once(&mut second).await.is_pending(), "it is in line");
        assert_eq!(fluss.metrics().lookup_waiters, 2);
        drop(first);
        drop(silent.pop());
        let row = second.await.expect("an answer").expect("a row");
        assert_eq!(row.values(), [OwnedDatum::Int64(5), OwnedDatum::Str(text(5))]);
        drop(silent);
        assert_eq!((fluss.metrics().lookups, fluss.metrics().lookup_waiters), (0, 0));
    });
}

/// Blocked threads wait for their turn, also where only a lookup that is given up makes room.
pub fn blocked_threads_wait_for_a_place_in_the_budget<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let fluss = stage.client_with(stage.config().lookup_limit(3));
        let table = fluss.table(super::stage::TABLE).await.expect("the table exists");
        fill(&table, 90).await;
        let lookuper = table.lookuper().expect("a table with keys");
        let threads = [0, 30, 60].map(|first| {
            let lookuper = lookuper.clone();
            stage.aside(move || {
                let ids = first..first + 30_i64;
                let lookups: Vec<_> = ids.map(|id| lookuper.lookup(&row![id])).collect();
                let rows = lookups.into_iter().map(|lookup| lookup.wait().expect("an answer"));
                rows.flatten().count()
            })
        });
        for thread in threads {
            assert_eq!(thread.await, 30);
        }
        let before = stage.requests(LOOKUP);
        for skip in 0..3 {
            stage.inject(On::Lookup, skip, Fault::DropRequest);
        }
        let mut silent = Vec::new();
        for id in 0..3_i64 {
            let mut lookup = lookuper.lookup(&row![id]);
            assert!(poll_once(&mut lookup).await.is_pending(), "nobody answers that");
            stage.until_requests(LOOKUP, before + id as u64 + 1).await;
            silent.push(lookup);
        }
        let blocked = stage.aside(move || lookuper.lookup(&row![4_i64]).wait());
        while fluss.metrics().lookup_waiters == 0 {
            let mut others_ran = false;
            let others = std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                if std::mem::replace(&mut others_ran, true) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            });
            others.await;
        }
        drop(silent.pop());
        assert!(blocked.await.expect("an answer").is_some());
        drop(silent);
    });
}

/// Lookups from threads that know nothing of the runtime.
pub fn blocked_threads_look_rows_up<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let table = keyed_table(stage).await;
        fill(&table, 100).await;
        let lookuper = table.lookuper().expect("a table with keys");
        let threads = [0, 50].map(|first| {
            let lookuper = lookuper.clone();
            stage.aside(move || {
                let look = |id: i64| lookuper.lookup(&row![id]).wait().expect("an answer");
                (first..first + 50).filter(|id| look(*id).is_some()).count()
            })
        });
        for thread in threads {
            assert_eq!(thread.await, 50);
        }
    });
}

const CROWD_KEYS: u64 = 300;

/// Looks rows up, waits for most and gives the others up, in random turns.
fn look_up_in_turns(lookuper: &Lookuper, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut on_their_way: VecDeque<(i64, Lookup<Option<OwnedRow>>)> = VecDeque::new();
    for _ in 0..3_000 {
        let id = rng.below(CROWD_KEYS).cast_signed();
        match rng.below(15) {
            0..=9 => on_their_way.push_back((id, lookuper.lookup(&row![id]))),
            10 | 11 => {
                let there_is_room = lookuper.try_lookup(&row![id]).ok();
                on_their_way.extend(there_is_room.map(|lookup| (id, lookup)));
            }
            12 => {
                let any = rng.below(on_their_way.len() as u64 + 1) as usize;
                drop(on_their_way.remove(any));
            }
            _ => {
                let stay = rng.below(100) as usize;
                let go = on_their_way.len().saturating_sub(stay);
                on_their_way.drain(..go).for_each(|(id, lookup)| is_row(id, lookup.wait()));
            }
        }
    }
    on_their_way.into_iter().for_each(|(id, lookup)| is_row(id, lookup.wait()));
}

/// Threads share a client, with lookups on their way that they wait for or give up, in random
/// turns, with room for all of them and for few: each gets the row of its key.
pub fn threads_that_look_up_and_give_up_in_turns_get_their_rows<H: Harness>() {
    Stage::<H>::run(async |stage| {
        fill(&keyed_table(stage).await, CROWD_KEYS.cast_signed()).await;
        for room in [10_000, 30] {
            let fluss = stage.client_with(stage.config().lookup_limit(room));
            let table = fluss.table(super::stage::TABLE).await.expect("the table exists");
            let lookuper = table.lookuper().expect("a table with keys");
            let threads = [1, 2, 3].map(|seed| {
                let lookuper = lookuper.clone();
                stage.aside(move || look_up_in_turns(&lookuper, seed))
            });
            for thread in threads {
                thread.await;
            }
            assert_eq!((fluss.metrics().lookups, fluss.metrics().lookup_waiters), (0, 0));
        }
    });
}
