//! Rounds of faults on a real cluster. The command `fluss-chaos` plays more of them, and others.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::AtomicBool;

use fluss_tools::chaos::{self, Kind, Options};
use fluss_tools::cluster::real_cluster_or_skip;

#[test]
fn no_writer_is_told_a_lie_while_leaders_are_killed() {
    if !real_cluster_or_skip("no_writer_is_told_a_lie_while_leaders_are_killed") {
        return;
    }
    let kinds = vec![Kind::Kill];
    let options = Options { rounds: 3, seed: 1, rows: 12_000, kinds, ..Options::default() };
    let mut table = Vec::new();
    let reports = chaos::run(&options, &AtomicBool::new(false), &mut table).unwrap();
    let table = String::from_utf8(table).unwrap();
    println!("{table}");
    assert_eq!(reports.len(), 3, "{table}");
    for report in reports {
        // Longer runs may repeat a round whose servers broke down before its first row.
        assert!(report.passed() && report.repeated.is_none(), "{table}");
        assert!(report.rows() >= 10_000 && report.deeds.kills >= 1, "{table}");
        assert!(report.failovers >= 1 && report.deeds.in_flight > Some(0), "{table}");
        assert!(report.harm.cuts > 0 && report.harm.lost_answers > 0, "{table}");
    }
}
