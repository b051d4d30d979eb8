//! The launcher against real servers and real deaths.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use common::{Launcher, Process, await_gone, descendants, exchange};
use fluss_tools::cluster::{
    ClusterError, ClusterOptions, RealCluster, Sasl, Server, TableLosses, real_cluster_or_skip,
};
use rustix::process::Signal;

/// What the issue of a killed launcher may take.
const GONE_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn the_command_prints_its_addresses_and_ends_with_its_input() {
    if !real_cluster_or_skip("the_command_prints_its_addresses_and_ends_with_its_input") {
        return;
    }
    let mut launcher = Launcher::start(&["--until-eof", "--tablet-servers", "2"]);
    let line = launcher.ready();
    let prefix = format!("{{\"bootstrap\":[\"{}\"", line.bootstrap[0]);
    assert!(line.text.starts_with(&prefix), "{}", line.text);
    assert_eq!(line.bootstrap[0], line.coordinator);
    assert_eq!(line.bootstrap[1..], line.tablet_servers);
    assert_eq!(line.tablet_servers.len(), 2);
    let servers = launcher.processes(4);
    launcher.close_input();
    assert_eq!(launcher.exit_code(), Some(0));
    await_gone(&servers, GONE_WITHIN);
    assert!(!launcher.scratch_exists(), "the temporary directory is still there");
}

#[test]
fn no_jvm_is_left_after_the_launcher_was_killed() {
    if !real_cluster_or_skip("no_jvm_is_left_after_the_launcher_was_killed") {
        return;
    }
    let mut launcher = Launcher::start(&["--tablet-servers", "3"]);
    launcher.ready();
    let servers = launcher.processes(5);
    launcher.signal(Signal::KILL);
    await_gone(&servers, GONE_WITHIN);
    launcher.await_scratch_gone(GONE_WITHIN);
}

#[test]
fn no_jvm_is_left_after_the_launcher_was_killed_at_any_point_of_its_start() {
    if !real_cluster_or_skip(
        "no_jvm_is_left_after_the_launcher_was_killed_at_any_point_of_its_start",
    ) {
        return;
    }
    for jvms in 1..=3 {
        let mut launcher = Launcher::start(&[]);
        let servers = launcher.processes(jvms);
        launcher.signal(Signal::KILL);
        await_gone(&servers, GONE_WITHIN);
        launcher.await_scratch_gone(GONE_WITHIN);
    }
}

#[test]
fn no_jvm_is_left_after_the_parent_of_the_launcher_was_killed() {
    if !real_cluster_or_skip("no_jvm_is_left_after_the_parent_of_the_launcher_was_killed") {
        return;
    }
    let mut launcher = Launcher::start_below_a_shell();
    launcher.ready();
    // The launcher, its two guards and three servers.
    let processes = launcher.all_below(6);
    launcher.signal(Signal::KILL);
    await_gone(&processes, GONE_WITHIN);
    launcher.await_scratch_gone(GONE_WITHIN);
}

#[test]
fn a_signal_takes_everything_down() {
    if !real_cluster_or_skip("a_signal_takes_everything_down") {
        return;
    }
    for (signal, when_ready) in
        [(Signal::INT, true), (Signal::TERM, true), (Signal::HUP, true), (Signal::INT, false)]
    {
        let mut launcher = Launcher::start(&[]);
        let servers = if when_ready {
            launcher.ready();
            launcher.processes(3)
        } else {
            launcher.processes(1)
        };
        launcher.signal(signal);
        assert_eq!(launcher.exit_code(), Some(130), "{signal:?}");
        await_gone(&servers, GONE_WITHIN);
        assert!(!launcher.scratch_exists(), "{signal:?}: the directory is still there");
    }
}

#[test]
fn servers_are_killed_stopped_paused_and_restarted() {
    if !real_cluster_or_skip("servers_are_killed_stopped_paused_and_restarted") {
        return;
    }
    let cluster = RealCluster::start(ClusterOptions::replicated()).unwrap();
    let before = cluster.tablet_servers();
    let id = |server: Server| cluster.process_id(server).unwrap();

    cluster.kill9(0).unwrap();
    assert_eq!(id(Server::Tablet(0)), None);
    let down = ClusterError::NotRunning(Server::Tablet(0));
    assert_eq!(cluster.kill9(0), Err(down.clone()));
    assert_eq!(cluster.pause(0), Err(down.clone()));
    assert_eq!(cluster.stop(0), Err(down));
    // Ready without it, once its session is over, and with it again.
    cluster.wait_until_ready().unwrap();
    cluster.restart(0).unwrap();
    cluster.wait_until_ready().unwrap();

    let kept = id(Server::Tablet(1));
    cluster.pause(1).unwrap();
    assert_eq!(Process::of(kept.unwrap()).state(), Some('T'));
    cluster.resume(1).unwrap();
    assert_eq!(id(Server::Tablet(1)), kept);
    cluster.pause(1).unwrap();
    cluster.stop(1).unwrap();
    cluster.restart(1).unwrap();
    assert_ne!(id(Server::Tablet(1)), kept);

    cluster.kill9(Server::Coordinator).unwrap();
    cluster.restart_coordinator().unwrap();
    cluster.restart_coordinator().unwrap();
    assert_eq!(cluster.tablet_servers(), before);
    cluster.check().unwrap();
    assert_eq!(
        cluster.kill9(3),
        Err(ClusterError::NoSuchServer { server: Server::Tablet(3), tablet_servers: 3 })
    );

    let servers: Vec<_> = descendants(std::process::id())
        .into_iter()
        .filter(|p| p.command.contains(&cluster.dir().display().to_string()))
        .collect();
    assert!(servers.len() >= 5, "{servers:?}");
    drop(cluster);
    await_gone(&servers, Duration::ZERO);
}

#[test]
fn a_server_that_ends_by_itself_is_reported_with_its_log() {
    if !real_cluster_or_skip("a_server_that_ends_by_itself_is_reported_with_its_log") {
        return;
    }
    let bad = ClusterOptions::default().set("default.bucket.number", "many");
    match RealCluster::start(bad) {
        Err(ClusterError::Exited { server: Server::Coordinator, tail, .. }) => {
            assert!(tail.contains("many"), "{tail}");
        }
        other => panic!("{other:?}"),
    }

    let cluster = RealCluster::start(ClusterOptions::default()).unwrap();
    // Its port is taken while it is down.
    cluster.kill9(0).unwrap();
    let foreign = TcpListener::bind(&cluster.tablet_servers()[0]).unwrap();
    let ended = cluster.restart(0).and_then(|()| {
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until {
            cluster.check()?;
        }
        Ok(())
    });
    match ended {
        Err(ClusterError::Exited { server: Server::Tablet(0), tail, .. }) => {
            assert!(tail.contains("Address already in use"), "{tail}");
        }
        other => panic!("{other:?}"),
    }
    drop(foreign);
    cluster.restart(0).unwrap();
    cluster.wait_until_ready().unwrap();
}

#[test]
fn a_start_that_takes_too_long_quotes_the_logs() {
    if !real_cluster_or_skip("a_start_that_takes_too_long_quotes_the_logs") {
        return;
    }
    let options = ClusterOptions::default().limit(Duration::from_millis(1));
    match RealCluster::start(options) {
        Err(error @ ClusterError::NotReady { .. }) => {
            assert!(error.to_string().contains("log of the ZooKeeper"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_sasl_listener_wants_the_right_password_and_the_internal_one_none() {
    if !real_cluster_or_skip("the_sasl_listener_wants_the_right_password_and_the_internal_one_none")
    {
        return;
    }
    let options = ClusterOptions::default().sasl(Sasl::default().user("bob", "secret"));
    let cluster = RealCluster::start(options).unwrap();
    let login = |user: &str, password: &str| {
        let token = format!("\0{user}\0{password}");
        // AUTHENTICATE: field 1 the mechanism, field 2 the token.
        let mut body = b"\x0a\x05PLAIN\x12".to_vec();
        body.push(u8::try_from(token.len()).unwrap());
        body.extend_from_slice(token.as_bytes());
        exchange(&cluster.bootstrap()[0], 1038, &body)
    };
    // The first byte is 0 for success and 1 for an error; code 46 is a failed authentication.
    assert_eq!(login("bob", "secret")[0], 0);
    assert_eq!(login("root", "rootpw")[0], 0);
    let refused = login("bob", "wrong");
    assert_eq!((refused[0], refused[6]), (1, 46), "{refused:?}");
    assert_ne!(cluster.internal_bootstrap(), cluster.bootstrap());
    assert_eq!(exchange(&cluster.internal_bootstrap()[1], 1012, &[])[0], 0);
}

#[test]
fn a_table_of_the_real_server_gets_leaders_or_is_made_again() {
    if !real_cluster_or_skip("a_table_of_the_real_server_gets_leaders_or_is_made_again") {
        return;
    }
    let cluster = RealCluster::start(ClusterOptions::default()).unwrap();
    let losses = TableLosses::new();
    for i in 0..20 {
        let (name, ()) = losses
            .make(
                &cluster,
                &format!("t{i}"),
                |name| {
                    let answer = common::create_table(&cluster.coordinator(), name);
                    if answer[0] == 0 { Ok(()) } else { Err(ClusterError::Cancelled) }
                },
                |name, ()| cluster.has_leaders("fluss", name, None),
            )
            .unwrap();
        assert!(cluster.has_leaders("fluss", &name, None).unwrap());
    }
    assert_eq!(losses.made(), 20 + losses.lost());
    let unknown = cluster.has_leaders("fluss", "nobody_made_it", None);
    assert!(matches!(unknown, Err(ClusterError::Refused { .. }) | Ok(false)), "{unknown:?}");
}
