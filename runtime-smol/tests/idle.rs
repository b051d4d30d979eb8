//! The cost of a client that has nothing to do; in a process of its own, where nobody else is busy.

mod harness;

use std::thread;
use std::time::Duration;

use fluss_core::testing::conformance::idle::an_idle_client_hardly_turns;

#[test]
fn an_idle_client_hardly_turns_global() {
    an_idle_client_hardly_turns::<harness::Global>(|| thread::sleep(Duration::from_secs(5)));
}

#[test]
fn an_idle_client_hardly_turns_one_thread() {
    an_idle_client_hardly_turns::<harness::OneThread>(|| thread::sleep(Duration::from_secs(5)));
}
