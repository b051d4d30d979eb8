//! The cost of a client that has nothing to do; each in a process of its own, where nobody else is
//! busy.

mod harness;

use std::process::Command;
use std::time::Duration;
use std::{env, thread};

use fluss_core::testing::conformance::Harness;
use fluss_core::testing::conformance::idle::an_idle_client_hardly_turns;

/// Runs the test of this name in a process of its own.
fn alone<H: Harness>(test: &str) {
    if env::var_os("FLUSS_ALONE").is_some() {
        return an_idle_client_hardly_turns::<H>(|| thread::sleep(Duration::from_secs(5)));
    }
    let this = env::current_exe().expect("the path of this test");
    let mut child = Command::new(this);
    let output = child.args([test, "--exact"]).env("FLUSS_ALONE", "1").output();
    let said = String::from_utf8(output.expect("a process").stdout).expect("text");
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn an_idle_client_hardly_turns_attended() {
    alone::<harness::Attended>("an_idle_client_hardly_turns_attended");
}

#[test]
fn an_idle_client_hardly_turns_turned() {
    alone::<harness::Turned>("an_idle_client_hardly_turns_turned");
}
