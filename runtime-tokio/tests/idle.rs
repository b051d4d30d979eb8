//! The cost of a client that has nothing to do; each in a process of its own, where nobody else is
//! busy.

mod harness;

use std::thread;
use std::time::Duration;

use fluss_core::testing::conformance::Harness;
use fluss_core::testing::conformance::idle::an_idle_client_hardly_turns;
use fluss_tools::alone::alone;

fn idle<H: Harness>(test: &str) {
    alone(test, || an_idle_client_hardly_turns::<H>(|| thread::sleep(Duration::from_secs(5))));
}

#[test]
fn an_idle_client_hardly_turns_current_thread() {
    idle::<harness::CurrentThread>("an_idle_client_hardly_turns_current_thread");
}

#[test]
fn an_idle_client_hardly_turns_multi_thread() {
    idle::<harness::MultiThread>("an_idle_client_hardly_turns_multi_thread");
}
