//! The cost of a client that has nothing to do; in a process of its own, where nobody else is busy.

mod harness;

use std::thread;
use std::time::Duration;

use fluss_core::testing::conformance::idle::an_idle_client_hardly_turns;

#[test]
fn an_idle_client_hardly_turns_current_thread() {
    an_idle_client_hardly_turns::<harness::CurrentThread>(|| thread::sleep(Duration::from_secs(5)));
}

#[test]
fn an_idle_client_hardly_turns_multi_thread() {
    an_idle_client_hardly_turns::<harness::MultiThread>(|| thread::sleep(Duration::from_secs(5)));
}
