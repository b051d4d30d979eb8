//! The scripts against a real cluster: its answers must be those that are recorded.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod script_file;

use fluss_tools::cluster::{ClusterOptions, RealCluster, real_cluster_or_skip};
use fluss_tools::scripts::{Kind, RealWire, difference, groups, play, render};

fn options(kind: Kind) -> ClusterOptions {
    match kind {
        Kind::Single => ClusterOptions::default(),
    }
}

#[test]
fn the_real_server_answers_as_recorded() {
    if !real_cluster_or_skip("the_real_server_answers_as_recorded") {
        return;
    }
    let mut real = Vec::new();
    let mut running: Option<(Kind, RealCluster)> = None;
    for (number, group) in groups().iter().enumerate() {
        if running.as_ref().is_none_or(|(kind, _)| *kind != group.cluster) {
            drop(running.take());
            running = Some((group.cluster, RealCluster::start(options(group.cluster)).unwrap()));
        }
        let cluster = &running.as_ref().unwrap().1;
        real.extend(play(group, &number.to_string(), &mut RealWire::new(cluster)));
    }
    if std::env::var_os("FLUSS_SCRIPTS_RECORD").is_some() {
        std::fs::write(script_file::path(), render(&real)).unwrap();
    }
    let different = difference(&real, &script_file::read());
    assert!(
        different.is_empty(),
        "the recording (here called fake) is not up to date\n{different}"
    );
}
