//! Tests that need no Java.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use super::config::{HOST, Layout, Ports, server_yaml, zoo_cfg};
use super::place::{self, reserve};
use super::ports::ReservedPort;
use super::require::{Decision, Mode, decide};
use super::{
    ClusterError, ClusterOptions, RealCluster, Sasl, Server, TableError, TableLosses, Unavailable,
    real_cluster_or_skip,
};

fn layout() -> Layout {
    Layout {
        dir: PathBuf::from("/w"),
        root: "/fluss-1".to_owned(),
        zookeeper: 9200,
        coordinator: Ports { internal: 9201, client: 9301 },
        tablets: vec![
            Ports { internal: 9210, client: 9310 },
            Ports { internal: 9211, client: 9311 },
        ],
    }
}

fn plain_layout() -> Layout {
    let same = |port| Ports { internal: port, client: port };
    Layout { coordinator: same(9201), tablets: vec![same(9210), same(9211)], ..layout() }
}

#[test]
fn zookeeper_gets_its_port_and_the_settings_named_after_it() {
    let options = ClusterOptions::default().set("zoo.maxSessionTimeout", "60000");
    assert_eq!(
        zoo_cfg(&layout(), &options),
        "dataDir=/w/zk\nclientPort=9200\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n\
         admin.enableServer=false\nmaxSessionTimeout=60000\ntickTime=500\n"
    );
}

#[test]
fn a_tablet_server_gets_its_id_directory_listener_and_the_default_settings() {
    assert_eq!(
        server_yaml(&plain_layout(), &ClusterOptions::default(), Server::Tablet(1)),
        "zookeeper.address: 127.0.0.1:9200\n\
         zookeeper.path.root: /fluss-1\n\
         remote.data.dir: /w/remote\n\
         tablet-server.id: 1\n\
         data.dir: /w/data-1\n\
         bind.listeners: FLUSS://127.0.0.1:9211\n\
         default.bucket.number: 1\n\
         default.replication.factor: 1\n\
         log.replica.fetch.wait-max-time: 50ms\n\
         log.replica.high-watermark.checkpoint-interval: 200ms\n\
         log.replica.max-lag-time: 4s\n\
         zookeeper.client.session-timeout: 4s\n"
    );
}

#[test]
fn the_coordinator_has_no_tablet_server_options() {
    let text = server_yaml(&plain_layout(), &ClusterOptions::default(), Server::Coordinator);
    assert!(text.contains("bind.listeners: FLUSS://127.0.0.1:9201\n"), "{text}");
    assert!(!text.contains("tablet-server.id") && !text.contains("\ndata.dir"), "{text}");
}

#[test]
fn a_setting_replaces_a_default_and_the_last_value_counts() {
    let options = ClusterOptions::default()
        .set("default.bucket.number", "3")
        .set("default.bucket.number", "4")
        .set("zookeeper.path.root", "/other");
    let text = server_yaml(&plain_layout(), &options, Server::Coordinator);
    assert!(text.contains("default.bucket.number: 4\n"), "{text}");
    assert_eq!(text.matches("default.bucket.number").count(), 1, "{text}");
    assert_eq!(text.matches("zookeeper.path.root").count(), 1, "{text}");
}

#[test]
fn sasl_gives_two_listeners_users_and_an_authorizer() {
    let options = ClusterOptions::default().sasl(Sasl::default().user("bob", "b;w"));
    let text = server_yaml(&layout(), &options, Server::Tablet(0));
    for line in [
        "bind.listeners: INTERNAL://127.0.0.1:9210,CLIENT://127.0.0.1:9310\n",
        "internal.listener.name: INTERNAL\n",
        "security.protocol.map: INTERNAL:PLAINTEXT,CLIENT:SASL\n",
        "security.sasl.enabled.mechanisms: PLAIN\n",
        "security.sasl.plain.jaas.config: \
         org.apache.fluss.security.auth.sasl.plain.PlainLoginModule required \
         user_alice=\"apw\" user_bob=\"b;w\" user_root=\"rootpw\";\n",
        "authorizer.enabled: true\n",
        "super.users: User:root\n",
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
}

#[test]
fn an_advertised_port_gives_a_listener_of_its_own_to_clients() {
    let options = ClusterOptions::default().tablet_servers(2).advertise([31, 32, 33]);
    let text = server_yaml(&layout(), &options, Server::Tablet(1));
    for line in [
        "bind.listeners: INTERNAL://127.0.0.1:9211,CLIENT://127.0.0.1:9311\n",
        "advertised.listeners: CLIENT://127.0.0.1:33\n",
        "internal.listener.name: INTERNAL\n",
        "security.protocol.map: INTERNAL:PLAINTEXT,CLIENT:PLAINTEXT\n",
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
    let text = server_yaml(&layout(), &options, Server::Coordinator);
    assert!(text.contains("advertised.listeners: CLIENT://127.0.0.1:31\n"), "{text}");
}

#[test]
fn passwords_are_not_in_debug_output() {
    let options = ClusterOptions::default().sasl(Sasl::default());
    assert!(!format!("{options:?}").contains("rootpw"));
}

#[test]
fn options_that_make_no_cluster_are_refused_before_anything_starts() {
    let refused = |options: ClusterOptions, what: &str| match RealCluster::start(options) {
        Err(ClusterError::InvalidOption(text)) => assert!(text.contains(what), "{text}"),
        other => panic!("{what}: {other:?}"),
    };
    refused(ClusterOptions::default().tablet_servers(0), "not 0");
    refused(ClusterOptions::default().tablet_servers(17), "not 17");
    refused(ClusterOptions::default().advertise([1, 2, 3]), "advertise 3 ports");
    refused(ClusterOptions::default().set("data.dir", "/x"), "data.dir");
    refused(ClusterOptions::default().set("a b", "c"), "a b");
    refused(ClusterOptions::default().set("a", "b\nc: d"), "control character");
    refused(ClusterOptions::default().set("a", "b #c"), "a comment would begin");
    refused(ClusterOptions::default().sasl(Sasl::default().user("u", "a\"b")), "user \"u\"");
    refused(ClusterOptions::default().sasl(Sasl::default().user("u", "a #b")), "user \"u\"");
    refused(ClusterOptions::default().sasl(Sasl::default().user("a b", "c")), "user \"a b\"");
}

#[test]
fn a_directory_that_configuration_files_would_cut_short_is_refused_and_not_made() {
    for name in ["a #b", "#", "a\\b", "a\nb"] {
        let dir = std::env::temp_dir().join(format!("fluss-{:016x}{name}", place::chance()));
        match place::directory(Some(&dir)) {
            Err(ClusterError::InvalidOption(text)) => {
                assert!(text.contains("no configuration file can hold"), "{text}");
            }
            other => panic!("{name}: {other:?}"),
        }
        assert!(!dir.exists(), "{name}");
    }
}

#[test]
fn a_test_that_cannot_run_says_so_or_fails_where_it_is_required() {
    assert_eq!(decide("t", Ok(()), true), Decision::Run);
    match decide("t", Err(Unavailable::NoMaven), false) {
        Decision::Skip(text) => assert!(text.contains("NOT RUN: t: ") && text.contains("Maven")),
        other => panic!("{other:?}"),
    }
    match decide("t", Err(Unavailable::NoMaven), true) {
        Decision::Fail(text) => assert!(text.contains("Maven"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_asked_of_tests_is_understood_or_refused_with_the_values_there_are() {
    let of = |value: &str| Mode::of(Some(OsStr::new(value)));
    assert_eq!((Mode::of(None), of("")), (Ok(Mode::WherePossible), Ok(Mode::WherePossible)));
    assert_eq!((of("required"), of("off")), (Ok(Mode::Required), Ok(Mode::Off)));
    for typo in ["requierd", "Required", "required ", "on", "1", "true", "OFF"] {
        let message = of(typo).expect_err(typo);
        for part in ["FLUSS_REAL_CLUSTER", &format!("{typo:?}"), "`required`", "`off`", "unset"] {
            assert!(message.contains(part), "{part} is missing in {message}");
        }
    }
}

#[test]
fn only_a_taken_port_is_worth_another_start() {
    let exited = |tail: &str| ClusterError::Exited {
        server: Server::Coordinator,
        status: String::new(),
        tail: tail.to_owned(),
    };
    assert!(exited("x\njava.net.BindException: Address already in use").is_port_conflict());
    assert!(!exited("out of memory").is_port_conflict());
    assert!(!ClusterError::Cancelled.is_port_conflict());
}

/// Makes a table whose creation is lost the first `lost` times.
fn make(losses: &TableLosses, lost: usize) -> (Result<String, TableError<()>>, usize) {
    let mut created = 0;
    let mut restarts = 0;
    let result = losses.make_with(
        || {
            restarts += 1;
            Ok(())
        },
        "t",
        |_| {
            created += 1;
            Ok(created)
        },
        |_, attempt| Ok(*attempt > lost),
    );
    (result.map(|(name, _)| name), restarts)
}

#[test]
fn a_lost_table_is_made_again_under_another_name_after_a_restart() {
    let losses = TableLosses::with_limit(Duration::ZERO);
    assert_eq!(make(&losses, 0), (Ok("t".to_owned()), 0));
    assert_eq!(make(&losses, 1), (Ok("t_2".to_owned()), 1));
    assert_eq!((losses.made(), losses.lost()), (3, 1));
}

#[test]
fn a_table_that_is_always_lost_is_given_up() {
    let losses = TableLosses::with_limit(Duration::ZERO);
    let (result, restarts) = make(&losses, usize::MAX);
    assert_eq!(result, Err(TableError::NeverLed { name: "t".to_owned(), tried: 4 }));
    assert_eq!((restarts, losses.lost()), (4, 4));
}

#[test]
fn more_than_five_losses_fail_the_run_unless_they_are_at_most_a_tenth() {
    let losses = TableLosses::with_limit(Duration::ZERO);
    for _ in 0..5 {
        losses.record_made();
        assert_eq!(losses.record_lost(), Ok(()));
    }
    losses.record_made();
    assert!(losses.record_lost().is_err());

    let losses = TableLosses::with_limit(Duration::ZERO);
    (0..60).for_each(|_| losses.record_made());
    for _ in 0..6 {
        assert_eq!(losses.record_lost(), Ok(()));
    }
    let error = losses.record_lost().unwrap_err();
    assert_eq!((error.made, error.lost), (60, 7));
}

#[test]
fn an_error_of_the_caller_ends_the_attempt() {
    let losses = TableLosses::with_limit(Duration::ZERO);
    let result: Result<(String, ()), _> =
        losses.make_with(|| Ok(()), "t", |_| Err("no"), |_, ()| Ok(true));
    assert_eq!(result, Err(TableError::Caller { name: "t".to_owned(), source: "no" }));
    assert_eq!(losses.made(), 0);
}

#[test]
fn a_port_that_somebody_else_took_leads_to_a_start_on_others() {
    if !real_cluster_or_skip("a_port_that_somebody_else_took_leads_to_a_start_on_others") {
        return;
    }
    // ZooKeeper's port, then the coordinator's.
    for taken in 0..2 {
        let mut foreign = None;
        let cluster = RealCluster::start_on(ClusterOptions::default(), |options| {
            let mut ports = reserve(options)?;
            let number = ports[taken].number();
            ports[taken] = ReservedPort::lost(number);
            foreign = Some(TcpListener::bind((HOST, number)).unwrap());
            Ok(ports)
        })
        .unwrap();
        let number = foreign.unwrap().local_addr().unwrap().port();
        assert!(!cluster.bootstrap().contains(&format!("{HOST}:{number}")));
        cluster.check().unwrap();
    }
}
