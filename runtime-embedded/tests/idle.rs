//! The cost of a client that has nothing to do; in a process of its own, where nobody else is busy.

mod harness;

use std::thread;
use std::time::Duration;

use fluss_core::testing::conformance::idle::an_idle_client_hardly_turns;

#[test]
fn an_idle_client_hardly_turns_attended() {
    an_idle_client_hardly_turns::<harness::Attended>(|| thread::sleep(Duration::from_secs(5)));
}

#[test]
fn an_idle_client_hardly_turns_turned() {
    an_idle_client_hardly_turns::<harness::Turned>(|| thread::sleep(Duration::from_secs(5)));
}
