//! Tests that want nobody else in their process.

use std::env;
use std::process::Command;

/// Set for the process of its own.
const ALONE: &str = "FLUSS_ALONE";

/// Runs the body of the test with this name in a process of its own, where no other test of the
/// binary is busy.
///
/// # Panics
/// If the test fails there, or there is none of that name.
pub fn alone(test: &str, body: impl FnOnce()) {
    if env::var_os(ALONE).is_some() {
        return body();
    }
    let this = env::current_exe().unwrap_or_else(|error| panic!("the path of this test: {error}"));
    let output = Command::new(this).args([test, "--exact"]).env(ALONE, "1").output();
    let output = output.unwrap_or_else(|error| panic!("a process: {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}");
}
