//! Rounds of faults on a real cluster. The command `fluss-chaos` plays more of them, and others.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use fluss_tools::chaos::{self, Following, Kind, Options, Report};
use fluss_tools::cluster::real_cluster_or_skip;

/// Two clusters whose leaders are killed are more than a small machine does in time.
static CLUSTER: Mutex<()> = Mutex::new(());

/// Plays the rounds; what came of them, and their table.
fn play(options: &Options) -> (Vec<Report>, String) {
    let _alone = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    let mut table = Vec::new();
    let reports = chaos::run(options, &AtomicBool::new(false), &mut table).unwrap();
    let table = String::from_utf8(table).unwrap();
    println!("{table}");
    (reports, table)
}

#[test]
fn no_writer_is_told_a_lie_while_leaders_are_killed() {
    if !real_cluster_or_skip("no_writer_is_told_a_lie_while_leaders_are_killed") {
        return;
    }
    let kinds = vec![Kind::Kill];
    let options = Options { rounds: 3, seed: 1, rows: 12_000, kinds, ..Options::default() };
    let (reports, table) = play(&options);
    assert_eq!(reports.len(), 3, "{table}");
    for report in reports {
        // Longer runs may repeat a round whose servers broke down before its first row.
        assert!(report.passed() && report.repeated.is_none(), "{table}");
        assert!(report.rows() >= 10_000 && report.deeds.kills >= 1, "{table}");
        assert!(report.failovers >= 1 && report.deeds.in_flight > Some(0), "{table}");
        assert!(report.harm.cuts > 0 && report.harm.lost_answers > 0, "{table}");
    }
}

#[test]
fn readers_whose_waits_are_dropped_hand_out_each_record_once_while_leaders_are_killed() {
    let name = "readers_whose_waits_are_dropped_hand_out_each_record_once_while_leaders_are_killed";
    if real_cluster_or_skip(name) {
        follow(Kind::Reader, 50_000);
    }
}

#[test]
fn readers_come_from_remote_storage_to_the_live_log_while_leaders_are_killed() {
    let name = "readers_come_from_remote_storage_to_the_live_log_while_leaders_are_killed";
    if real_cluster_or_skip(name) {
        let readers = follow(Kind::Tiered, 150_000);
        assert!(readers.iter().all(|reader| reader.remote_bytes > Some(0)), "{readers:?}");
    }
}

/// Plays a round with readers, which has to be right.
fn follow(kind: Kind, rows: u64) -> Vec<Following> {
    let kinds = vec![kind];
    let options = Options { rounds: 1, seed: 1, rows, kinds, ..Options::default() };
    let (mut reports, table) = play(&options);
    let report = reports.remove(0);
    assert!(report.passed() && report.repeated.is_none(), "{table}");
    assert!(report.rows() >= rows && report.deeds.kills >= 1, "{table}");
    assert!(report.failovers >= 1 && report.harm.cuts > 0, "{table}");
    let runtimes: Vec<&str> = report.followed.iter().map(|reader| reader.runtime).collect();
    assert_eq!(runtimes, ["tokio", "smol", "blocking"], "{table}");
    for reader in &report.followed {
        assert!(reader.records >= report.ok && reader.dropped_waits >= 100, "{table}");
    }
    report.followed
}
