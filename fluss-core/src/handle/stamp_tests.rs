//! When a batch gets its writer id and sequence: not before a socket takes the request it is in.

use super::testkit::{Cut, Stage, events};
use crate::testing::cluster::ClusterOptions;
use crate::time::Duration;

/// Batches that are sealed while a server reads nothing.
const BATCHES: i64 = 4;

#[test]
fn only_the_request_that_a_full_socket_has_begun_to_take_is_stamped() {
    let mut stage = Stage::with(ClusterOptions::default());
    let table = events(&mut stage, 1);
    let writer = table.appender().linger(Duration::ZERO).build().expect("a writer");
    let first = writer.try_append(&(0_i64, "a")).expect("room");
    stage.run(first).expect("written");

    stage.cut(Cut::Deaf(0));
    let mut tickets = Vec::new();
    for id in 1..=BATCHES {
        tickets.push(writer.try_append(&(id, "a")).expect("room"));
        let mut flush = writer.flush();
        assert!(stage.poll(&mut flush).is_pending());
        stage.settle();
    }
    // Five are allowed in flight, and a stamp is in use from when it is given: eager stamping would
    // have used up four.
    let metrics = stage.fluss.metrics();
    assert_eq!(metrics.batches, BATCHES as usize, "{metrics:?}");
    assert_eq!((metrics.requests_in_flight, metrics.batches_in_flight), (1, 1), "{metrics:?}");

    stage.cut(Cut::Never);
    let mut offsets = Vec::new();
    for ticket in tickets {
        offsets.push(stage.run(ticket).expect("written").offset);
    }
    assert_eq!(offsets, (1..=BATCHES).map(Some).collect::<Vec<_>>());
    let sequences: Vec<i32> =
        stage.cluster(|c| c.log(table.info().bucket(0)).map(|b| b.sequence).collect());
    assert_eq!(sequences, [0, 1, 2, 3, 4]);
    assert_eq!(stage.fluss.metrics().memory_used, 0);
}
