//! Log scanners: every row once, in order, whatever happens to connections and leaders.

use super::Harness;
use super::stage::{LOG, Stage, poll_once};
use crate::handle::{AppendWriter, LogScanner};
use crate::row;
use crate::row::Datum;
use crate::testing::cluster::{Fault, On};

const FETCH_LOG: i16 = 1015;

/// Appends the row with this id, which is also its offset.
async fn append<H: Harness>(stage: &Stage<H>, writer: &AppendWriter, id: i64) {
    let ticket = writer.append(&row![id, "to be read"]).await.expect("it fits");
    assert_eq!(stage.acked(id, ticket).await.offset, Some(id));
}

/// Reads on until the row before `end` was there; each row must be the next one.
async fn read(scanner: &mut LogScanner, next: &mut i64, end: i64) {
    while *next < end {
        let batch = scanner.next_batch().await.expect("readable").expect("no end");
        let rows = batch.rows().expect("rows");
        for row in rows.iter() {
            let Datum::Int64(id) = row.value_of("id").expect("a column") else { panic!("no id") };
            assert_eq!((row.offset(), id), (*next, *next), "a gap or a repetition");
            *next += 1;
        }
    }
    assert_eq!(*next, end, "rows that nobody wrote");
}

/// A scanner of the log table in a client of its own.
async fn scanner<H: Harness>(stage: &Stage<H>) -> LogScanner {
    let table = stage.client().table(LOG).await.expect("the table exists");
    table.scanner().from_earliest().build().await.expect("a scanner")
}

/// A scanner that has read everything sees what comes later.
pub fn a_scan_sees_rows_that_are_appended_later<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let (writer, mut scanner, mut next) = (stage.writer().await, scanner(stage).await, 0);
        for round in 0..5 {
            for id in round * 3..round * 3 + 3 {
                append(stage, &writer, id).await;
            }
            read(&mut scanner, &mut next, round * 3 + 3).await;
        }
    });
}

/// A bounded scan ends where the log ended when it began.
pub fn a_bounded_scan_ends_where_the_log_ended<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let writer = stage.writer().await;
        for id in 0..3 {
            append(stage, &writer, id).await;
        }
        let mut scanner = writer.table().scanner().bounded().build().await.expect("a scanner");
        append(stage, &writer, 3).await;
        let mut next = 0;
        read(&mut scanner, &mut next, 3).await;
        assert!(scanner.next_batch().await.expect("readable").is_none());
        assert!(scanner.is_finished());
    });
}

/// Connections are cut before, within and after the answers to fetches; all connections at once,
/// too.
pub fn a_scan_is_resumed_after_a_cut<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let (writer, mut scanner, mut next) = (stage.writer().await, scanner(stage).await, 0);
        append(stage, &writer, 0).await;
        read(&mut scanner, &mut next, 1).await;
        for (id, cut) in (1..).zip([Fault::CutRequest, Fault::LoseAnswer, Fault::CutAnswer]) {
            stage.inject(On::Fetch, 0, cut);
            append(stage, &writer, id).await;
            read(&mut scanner, &mut next, id + 1).await;
            // The scanner asks on, also when the fetch that was waiting brought the row.
            stage
                .until("the cut happens", move |cluster| cluster.faults().count(cut.kind()) == 1)
                .await;
        }
        stage.let_go();
        append(stage, &writer, 4).await;
        read(&mut scanner, &mut next, 5).await;
    });
}

/// The leader moves between fetches and while one waits.
pub fn a_scan_follows_a_leader_that_moves<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let (writer, mut scanner, mut next) = (stage.writer().await, scanner(stage).await, 0);
        append(stage, &writer, 0).await;
        read(&mut scanner, &mut next, 1).await;
        let bucket = stage.bucket();
        for id in 1..4 {
            let before = stage.leader();
            stage.with(|cluster| cluster.move_leader(bucket, None)).expect("another server");
            assert_ne!(stage.leader(), before);
            append(stage, &writer, id).await;
            read(&mut scanner, &mut next, id + 1).await;
        }
    });
}

/// Dropping a wait for rows loses none of them.
pub fn a_dropped_wait_for_rows_loses_none<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let (writer, mut scanner, mut next) = (stage.writer().await, scanner(stage).await, 0);
        for id in 0..20 {
            assert!(poll_once(&mut scanner.next_batch()).await.is_pending(), "nothing is there");
            append(stage, &writer, id).await;
            read(&mut scanner, &mut next, id + 1).await;
        }
    });
}

/// A dropped scanner fetches no more, and others of the same client go on.
pub fn a_dropped_scanner_fetches_no_more<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let (writer, mut scanner) = (stage.writer().await, scanner(stage).await);
        let mut next = 0;
        append(stage, &writer, 0).await;
        read(&mut scanner, &mut next, 1).await;
        // The next fetch waits at the server when the scanner goes.
        stage.until_requests(FETCH_LOG, 2).await;
        drop(scanner);
        append(stage, &writer, 1).await;
        let fetches = stage.requests(FETCH_LOG);
        for id in 2..10 {
            append(stage, &writer, id).await;
        }
        assert_eq!(stage.requests(FETCH_LOG), fetches);
        let again = writer.table().scanner().from_earliest().bounded().build();
        read(&mut again.await.expect("a scanner"), &mut 0, 10).await;
    });
}
