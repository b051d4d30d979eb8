//! The scripts against real clusters: their answers must be those that are recorded.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod script_file;

use fluss_tools::cluster::{ClusterOptions, RealCluster, Sasl, real_cluster_or_skip};
use fluss_tools::scripts::{Kind, Played, RealWire, USERS, difference, groups, play, render};

fn options(kind: Kind) -> ClusterOptions {
    match kind {
        Kind::Single => ClusterOptions::default(),
        Kind::Replicated => ClusterOptions::replicated(),
        Kind::Secured => {
            let mut sasl = Sasl::default();
            for (user, password) in USERS.iter().skip(1) {
                sasl = sasl.user(user, password);
            }
            ClusterOptions::default().sasl(sasl)
        }
        Kind::Forgetful => ClusterOptions::default()
            .set("server.writer-id.expiration-time", "10s")
            .set("server.writer-id.expiration-check-interval", "1s"),
    }
}

fn play_kind(kind: Kind) -> Vec<Played> {
    let cluster = RealCluster::start(options(kind)).unwrap();
    let mut wire = RealWire::new(&cluster);
    let groups = groups().into_iter().enumerate().filter(|(_, group)| group.cluster == kind);
    groups.flat_map(|(number, group)| play(&group, &number.to_string(), &mut wire)).collect()
}

#[test]
fn the_real_server_answers_as_recorded() {
    if !real_cluster_or_skip("the_real_server_answers_as_recorded") {
        return;
    }
    // The clusters mostly wait, so all of them take hardly longer than the slowest.
    let real: Vec<Played> = std::thread::scope(|scope| {
        let kinds = Kind::ALL.map(|kind| scope.spawn(move || play_kind(kind)));
        kinds.into_iter().flat_map(|kind| kind.join().unwrap()).collect()
    });
    if std::env::var_os("FLUSS_SCRIPTS_RECORD").is_some() {
        std::fs::write(script_file::path(), render(&real)).unwrap();
    }
    let different = difference(&real, &script_file::read());
    assert!(
        different.is_empty(),
        "the recording (here called fake) is not up to date\n{different}"
    );
}
