//! Positions that a server refuses although its log holds them: one that was cut and has grown
//! again before its range is asked for, and one that goes on refusing.

use std::sync::{Arc, Mutex};
use std::task::Poll;

use super::signal::lock;
use super::testkit::{Stage, events};
use crate::testing::cluster::{Fault, FaultKind, On};
use crate::time::Duration;
use crate::{Error, OnOutOfRange, ScanEvent};

const OUT_OF_RANGE: Fault = Fault::ErrorBefore(19);

/// Reads from an offset with so many refusals on the way; what was told, and what came of it.
fn read_on(policy: OnOutOfRange, refusals: usize) -> (Vec<ScanEvent>, Result<i64, Error>, u64) {
    let mut stage = Stage::new();
    let table = events(&mut stage, 1);
    let key = table.info().bucket(0);
    let writer = table.appender().build().expect("a writer");
    for id in 0..3_i64 {
        let ticket = stage.run(writer.append(&(id, "x"))).expect("room");
        drop(stage.run(writer.flush()));
        stage.run(ticket).expect("written");
    }
    stage.cluster(|c| (0..refusals).for_each(|_| c.inject(On::Fetch, 0, OUT_OF_RANGE)));
    let told = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&told);
    let from = if policy == OnOutOfRange::Earliest { 0 } else { 3 };
    let builder = table.scanner().from_offsets([(key, from)]).on_out_of_range(policy);
    let builder = builder.on_event(move |event| lock(&events).push(event.clone()));
    let mut scanner = stage.run(builder.build()).expect("a scanner");
    let mut waiting = scanner.next_batch();
    let mut next = stage.poll(&mut waiting);
    while next.is_pending() && lock(&told).is_empty() {
        stage.pass(Duration::from_millis(1));
        next = stage.poll(&mut waiting);
    }
    drop(writer.try_append(&(3_i64, "y")).expect("room"));
    let next = match next {
        Poll::Ready(next) => next,
        Poll::Pending => stage.run(waiting),
    };
    let next = next.map(|batch| batch.expect("nobody wakes it").base_offset());
    let refused = stage.cluster(|c| c.faults().count(FaultKind::ErrorBefore));
    (std::mem::take(&mut *lock(&told)), next, refused)
}

#[test]
fn a_position_that_is_in_its_log_again_is_asked_for_again() {
    for (policy, at) in [(OnOutOfRange::Latest, 3), (OnOutOfRange::Earliest, 0)] {
        let (told, next, refused) = read_on(policy, 1);
        let [ScanEvent::PositionReset { from, to, range: (0, end), .. }] = told[..] else {
            panic!("{policy:?}: {told:?}")
        };
        assert_eq!(from, at, "{policy:?}");
        assert_eq!(to, if at == 0 { 0 } else { end }, "{policy:?}");
        assert_eq!((next.expect("readable"), refused), (at, 1), "{policy:?}");
    }
}

#[test]
fn a_server_that_goes_on_refusing_what_its_log_holds_is_an_error() {
    let (told, next, refused) = read_on(OnOutOfRange::Earliest, 1000);
    let Err(Error::Scan(error)) = next else { panic!("{next:?}") };
    assert_eq!((error.position, error.range.map(|range| range.0)), (0, Some(0)));
    assert_eq!((told.len(), refused), (9, 10), "{told:?}");
}
