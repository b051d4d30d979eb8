//! Finding the cluster and being let in.

use core::net::SocketAddr;

use super::Harness;
use super::stage::{LOG, Stage, config};
use crate::config::{Config, Resolver};
use crate::error::Error;
use crate::ids::ServerId;
use crate::row;
use crate::testing::cluster::ClusterOptions;
use crate::testing::loopback::{LoopbackOptions, Port, Relay, full_port};
use crate::time::Duration;

const API_VERSIONS: i16 = 1000;
const SOON: Duration = Duration::from_millis(250);

/// Connecting, agreeing on versions, a first answer.
pub fn a_client_shakes_hands_and_is_ready<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let fluss = stage.client();
        assert_eq!(stage.requests(API_VERSIONS), 0, "nothing is sent before there is a reason");
        fluss.ready().await.expect("the cluster is there");
        assert!(stage.requests(API_VERSIONS) >= 1);
    });
}

/// A server with which nothing can be agreed on is named at once; when it is replaced by one that
/// can be talked to, the client does.
pub fn no_version_in_common_is_told_at_once<H: Harness>() {
    Stage::<H>::run(async |stage| {
        stage.with(|cluster| cluster.offer_only(vec![(API_VERSIONS, 0)]));
        let fluss = stage.client();
        let error = fluss.ready().await.expect_err("there is no version in common");
        let text = error.to_string();
        // The client found that out; no server said so.
        assert_eq!((error.code(), error.name()), (None, "NO_VERSION_IN_COMMON"), "{text}");
        assert!(text.contains("version in common"), "{text}");
        assert!(text.contains(&stage.config().bootstrap[0].to_string()), "{text}");
        let all = (1000..1060).map(|api| (api, 0)).collect();
        stage.with(|cluster| cluster.offer_only(all));
        fluss.table(LOG).await.expect("usable as before");
    });
}

/// The first bootstrap address may be dead.
pub fn a_dead_first_bootstrap_server_is_passed_over<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let config = config(&format!("{},{}", dead_address(), stage.config().bootstrap[0]));
        stage.client_with(config).table(LOG).await.expect("the second one answers");
    });
}

fn dead_address() -> String {
    Port::open(drop).expect("a port").address().to_string()
}

/// Nobody listens at the only address: an error that names it, in time; the client is fine as soon
/// as somebody does.
pub fn an_address_where_nobody_listens_is_named<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let address = stage.fake().bootstrap();
        stage.fake().stop_server(ServerId::Coordinator);
        let fluss = stage.client_with(config(&address).connect_timeout(SOON));
        let error = fluss.ready().await.expect_err("nobody is there");
        assert!(error.to_string().contains(&address), "{error}");
        stage.fake().start_server(ServerId::Coordinator).expect("the port it had");
        fluss.table(LOG).await.expect("usable as before");
    });
}

/// A server that has no room for connections: whoever waits to be let in is told in time, by an
/// error that names the server; the client is fine as soon as the name leads elsewhere.
pub fn a_server_that_lets_nobody_in_is_given_up_in_time<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let full = match full_port() {
            Ok(full) => full,
            Err(error) => return H::notice(&format!("NOT RUN: no port gets full ({error})\n")),
        };
        let address = full.local_addr().expect("its address");
        let fake = stage.shared_fake();
        fake.stop_server(ServerId::Coordinator);
        let names = Resolver::new(move |_| {
            let open = fake.with(|cluster| cluster.is_up(ServerId::Coordinator));
            Ok(vec![if open { socket_address(&fake.bootstrap()) } else { address }])
        });
        let config = config(&format!("{NAME}:9123")).resolver(names).connect_timeout(SOON);
        let fluss = stage.client_with(config);
        let error = fluss.ready().await.expect_err("nobody is let in").to_string();
        assert!(error.contains(NAME) && error.contains("250 ms"), "{error}");
        stage.fake().start_server(ServerId::Coordinator).expect("the port it had");
        fluss.table(LOG).await.expect("usable as before");
    });
}

/// All servers are replaced while the client runs, and only the bootstrap address still leads to
/// the cluster.
pub fn all_servers_are_replaced_while_the_client_runs<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let relay = Relay::open(&stage.fake().bootstrap(), 4 << 10).expect("a port");
        let config = config(&relay.address().to_string());
        survive(stage, config, |bootstrap| relay.aim(bootstrap)).await;
    });
}

/// The same behind a host name that the servers take along: it is resolved for each connection.
pub fn a_name_is_followed_to_where_it_leads_now<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let fake = stage.shared_fake();
        let names = Resolver::new(move |server| {
            assert_eq!((&*server.host, server.port), (NAME, 9123));
            Ok(vec![socket_address(&fake.bootstrap())])
        });
        survive(stage, config(&format!("{NAME}:9123")).resolver(names), |_| {}).await;
    });
}

/// Leads where the resolver of a case says.
const NAME: &str = "fluss.example.com";

fn socket_address(text: &str) -> SocketAddr {
    text.parse().expect("a literal address")
}

/// Replaces all servers after each row.
async fn survive<H: Harness>(stage: &Stage<H>, config: Config, moved: impl Fn(&str)) {
    let writer = stage.writer_with(config, |b| b).await;
    for id in 0..3 {
        let ticket = writer.append(&row![id, "wherever they are"]).await.expect("it fits");
        assert_eq!(stage.acked(id, ticket).await.offset, Some(id));
        let before = stage.fake().bootstrap();
        stage.fake().replace_all_servers().expect("ports");
        assert_ne!(stage.fake().bootstrap(), before);
        moved(&stage.fake().bootstrap());
    }
}

/// Without a resolver of the application's, the system's finds this machine by its name.
pub fn a_name_is_looked_up_by_the_system<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let port = socket_address(&stage.fake().bootstrap()).port();
        let fluss = stage.client_with(config(&format!("localhost:{port}")));
        fluss.table(LOG).await.expect("the name of this machine is known to it");
    });
}

/// Of several addresses of a name, the first may be dead.
pub fn all_addresses_of_a_name_are_tried<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let (dead, live) = (dead_address(), stage.fake().bootstrap());
        let both = vec![socket_address(&dead), socket_address(&live)];
        let names = Resolver::new(move |_| Ok(both.clone()));
        let config = config(&format!("{NAME}:9123")).resolver(names);
        stage.client_with(config).table(LOG).await.expect("the second address answers");
    });
}

/// A name without an address, or one that cannot be resolved: an error that names it, in time.
pub fn a_name_that_leads_nowhere_is_named<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let nowhere = Resolver::new(|_| Ok(Vec::new()));
        let refused = Resolver::new(|_| Err(std::io::Error::other("the name server is down")));
        for (names, why) in [(nowhere, "no address"), (refused, "the name server is down")] {
            let config = config(&format!("{NAME}:9123")).connect_timeout(SOON).resolver(names);
            let fluss = stage.client_with(config);
            let error = fluss.ready().await.expect_err("there is nothing").to_string();
            assert!(error.contains(NAME) && error.contains(why), "{error}");
        }
    });
}

/// A cluster that listens on IPv6, where the machine has it.
pub fn rows_travel_over_ipv6<H: Harness>() {
    let (cluster, loopback) = (ClusterOptions::default(), LoopbackOptions { ipv6: true });
    Stage::<H>::run_with(cluster, loopback, async |stage| {
        assert!(stage.fake().bootstrap().starts_with("[::1]:"));
        let writer = stage.writer().await;
        let ticket = writer.append(&row![0_i64, "six"]).await.expect("it fits");
        stage.acked(0, ticket).await;
    });
}

fn guarded<H: Harness>(case: impl AsyncFnOnce(&Stage<H>) + Send + 'static) {
    let users = vec![("ada".to_owned(), "lovelace".to_owned())];
    let cluster = ClusterOptions { users, ..ClusterOptions::default() };
    Stage::<H>::run_with(cluster, LoopbackOptions::default(), case);
}

/// The right password opens every server.
pub fn the_right_password_is_let_in<H: Harness>() {
    guarded::<H>(async |stage| {
        let config = stage.config().credentials("ada", "lovelace");
        let writer = stage.writer_with(config, |b| b).await;
        let ticket = writer.append(&row![0_i64, "let in"]).await.expect("it fits");
        stage.acked(0, ticket).await;
    });
}

/// A wrong one is an error at once that names the user and keeps the password to itself.
pub fn a_wrong_password_is_told_at_once<H: Harness>() {
    guarded::<H>(async |stage| {
        let fluss = stage.client_with(stage.config().credentials("ada", "byron"));
        for _ in 0..2 {
            let error = fluss.ready().await.expect_err("the password is wrong");
            let text = error.to_string();
            assert_eq!(error.code().map(|code| code.0), Some(46), "{text}");
            assert!(text.contains("ada") && !text.contains("byron"), "{text}");
        }
        stage.with(|cluster| cluster.set_users(vec![("ada".to_owned(), "byron".to_owned())]));
        fluss.table(LOG).await.expect("usable once the servers know the password");
    });
}

/// A listener that wants credentials, and a client without.
pub fn a_listener_that_wants_credentials_says_so<H: Harness>() {
    guarded::<H>(async |stage| {
        let fluss = stage.client_with(stage.config().command_deadline(SOON * 4));
        let error = fluss.table(LOG).await.expect_err("nobody is let in without");
        let text = error.to_string();
        assert!(text.contains("credentials"), "{text}");
        assert!(!matches!(error, Error::Peer { .. }), "{text}");
        // Servers that ask no more were started anew.
        stage.with(|cluster| {
            cluster.set_users(Vec::new());
            cluster.cut_connections(None);
        });
        fluss.table(LOG).await.expect("usable once nobody is asked who they are");
    });
}
