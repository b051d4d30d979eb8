use std::collections::BTreeMap;

use super::super::offsets::OffsetSpec;
use super::super::testkit::Stage;
use crate::config::Config;
use crate::error::Error;
use crate::ids::{PartitionId, ServerId};
use crate::row::{DataType, Schema, TableDescriptor};
use crate::testing::cluster::ClusterOptions;
use crate::time::{Duration, Instant};
use crate::{ErrorCode, ids::Address};

fn events() -> TableDescriptor {
    let schema = Schema::builder()
        .column("id", DataType::BIGINT)
        .column("dt", DataType::STRING)
        .build()
        .expect("a sound schema");
    let mut table = TableDescriptor::new(schema);
    table.bucket_count = Some(2);
    table
}

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorCode {
    result.expect_err("a refusal").code().expect("a server's code")
}

#[test]
fn databases_and_tables_are_made_listed_and_dropped() {
    let mut stage = Stage::new();
    let admin = stage.fluss.admin();
    assert_eq!(stage.run(admin.database_exists("shop")), Ok(false));
    stage.run(admin.create_database("shop", false)).expect("made");
    assert_eq!(code(stage.run(admin.create_database("shop", false))), ErrorCode(6));
    assert_eq!(stage.run(admin.create_database("shop", true)), Ok(()));
    assert_eq!(stage.run(admin.database_exists("shop")), Ok(true));
    assert!(stage.run(admin.list_databases()).expect("names").contains(&"shop".to_owned()));

    assert_eq!(stage.run(admin.table_exists("shop.events")), Ok(false));
    stage.run(admin.create_table("shop.events", &events(), false)).expect("made");
    stage.run(admin.create_table("shop.a", &events(), false)).expect("made");
    assert_eq!(code(stage.run(admin.create_table("shop.a", &events(), false))), ErrorCode(8));
    assert_eq!(stage.run(admin.create_table("shop.a", &events(), true)), Ok(()));
    assert_eq!(stage.run(admin.list_tables("shop")), Ok(vec!["a".into(), "events".into()]));
    let info = stage.run(admin.table_info("shop.events")).expect("described");
    assert_eq!(info.descriptor.bucket_count, Some(2));
    assert_eq!(info.schema().columns().len(), 2);

    assert_eq!(code(stage.run(admin.drop_database("shop", false, false))), ErrorCode(5));
    stage.run(admin.drop_table("shop.a", false)).expect("dropped");
    assert_eq!(code(stage.run(admin.drop_table("shop.a", false))), ErrorCode(7));
    assert_eq!(stage.run(admin.drop_table("shop.a", true)), Ok(()));
    assert_eq!(code(stage.run(admin.table_info("shop.a"))), ErrorCode(7));
    assert_eq!(stage.run(admin.drop_database("shop", false, true)), Ok(()));
    assert_eq!(code(stage.run(admin.drop_database("shop", false, true))), ErrorCode(4));
    assert_eq!(stage.run(admin.drop_database("shop", true, true)), Ok(()));
}

#[test]
fn misuse_needs_no_server() {
    let mut stage = Stage::new();
    let admin = stage.fluss.admin();
    let misuse = |result: Result<(), Error>| matches!(result, Err(Error::Misuse(_)));
    assert!(misuse(stage.run(admin.create_table("events", &events(), false))));
    let mut table = events();
    table.bucket_count = Some(0);
    assert!(misuse(stage.run(admin.create_table("shop.events", &table, false))));
    assert!(misuse(stage.run(admin.drop_table("a.b.c", false))));
    assert!(stage.cluster(|c| c.requests().is_empty()));
}

#[test]
fn partitions_are_made_listed_and_dropped() {
    let mut stage = Stage::new();
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", false)).expect("made");
    stage.run(admin.create_table("shop.plain", &events(), false)).expect("made");
    assert_eq!(code(stage.run(admin.list_partitions("shop.plain"))), ErrorCode(37));
    let mut table = events();
    table.partition_key = vec![1];
    stage.run(admin.create_table("shop.events", &table, false)).expect("made");
    assert_eq!(stage.run(admin.list_partitions("shop.events")), Ok(Vec::new()));

    let day = [("dt", "2025-05-27")];
    stage.run(admin.create_partition("shop.events", &day, false)).expect("made");
    assert_eq!(code(stage.run(admin.create_partition("shop.events", &day, false))), ErrorCode(42));
    assert_eq!(stage.run(admin.create_partition("shop.events", &day, true)), Ok(()));
    let listed = stage.run(admin.list_partitions("shop.events")).expect("listed");
    assert_eq!(listed.len(), 1);
    assert_eq!(&*listed[0].name, "2025-05-27");
    assert_eq!(listed[0].values, [("dt".to_owned(), "2025-05-27".to_owned())]);
    let info = stage.run(admin.table_info("shop.events")).expect("described");
    let offsets = admin.list_offsets(&info, Some(listed[0].id), &[], OffsetSpec::Latest);
    assert_eq!(stage.run(offsets), Ok(BTreeMap::from([(0, 0), (1, 0)])));

    let wrong = stage.run(admin.create_partition("shop.events", &[("id", "1")], false));
    assert!(matches!(&wrong, Err(Error::Misuse(text)) if text.contains("(dt)")), "{wrong:?}");
    let asked = |stage: &Stage| stage.cluster(|c| c.requests().get(&1036).copied());
    let before = asked(&stage);
    for value in ["", "a b", "__mine", "..", &"x".repeat(201)] {
        let wrong = stage.run(admin.create_partition("shop.events", &[("dt", value)], false));
        let named = |text: &str| text.contains(&format!("`dt` cannot be {value:?}"));
        assert!(matches!(&wrong, Err(Error::Misuse(text)) if named(text)), "{wrong:?}");
    }
    assert_eq!(asked(&stage), before, "nothing was sent");
    stage.run(admin.drop_partition("shop.events", &day, false)).expect("dropped");
    assert_eq!(code(stage.run(admin.drop_partition("shop.events", &day, false))), ErrorCode(36));
    assert_eq!(stage.run(admin.drop_partition("shop.events", &day, true)), Ok(()));
}

#[test]
fn a_partition_that_servers_could_not_keep_is_not_made() {
    let mut stage = Stage::new();
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", false)).expect("made");
    let columns = [("id", DataType::BIGINT), ("dt", DataType::STRING), ("hour", DataType::STRING)];
    let schema = columns.into_iter().fold(Schema::builder(), |b, (name, t)| b.column(name, t));
    let mut table = TableDescriptor::new(schema.build().expect("a schema"));
    table.partition_key = vec![1, 2];
    stage.run(admin.create_table("shop.hours", &table, false)).expect("made");
    let [long, fits, beyond] = [200, 51, 52].map(|length| "x".repeat(length));
    let spec = |hour| [("dt", long.as_str()), ("hour", hour)];
    let told = stage.run(admin.create_partition("shop.hours", &spec(&beyond), false));
    assert!(matches!(&told, Err(Error::Misuse(text)) if text.contains("252")), "{told:?}");
    stage.run(admin.create_partition("shop.hours", &spec(&fits), false)).expect("made");
    let dropped = admin.drop_partition("shop.hours", &spec(&beyond), false);
    assert_eq!(code(stage.run(dropped)), ErrorCode(36), "another client may have made it");
}

#[test]
fn offsets_come_from_the_leaders_of_their_buckets() {
    let mut stage = Stage::new();
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", false)).expect("made");
    stage.run(admin.create_table("shop.events", &events(), false)).expect("made");
    let info = stage.run(admin.table_info("shop.events")).expect("described");
    let latest = admin.list_offsets(&info, None, &[], OffsetSpec::Latest);
    assert_eq!(stage.run(latest), Ok(BTreeMap::from([(0, 0), (1, 0)])));

    let opening = stage.fluss.table("shop.events");
    let table = stage.run(opening).expect("it is there");
    let writer = table.appender().build().expect("a writer");
    for id in 0..10_i64 {
        let ticket = stage.run(writer.append(&(id, "2025-05-27"))).expect("room");
        stage.run(ticket).expect("written");
    }
    stage.cluster(|c| c.move_leaders_away(0));
    let at = |spec| admin.list_offsets(&info, None, &[1, 0, 1], spec);
    let latest = stage.run(at(OffsetSpec::Latest)).expect("offsets");
    assert_eq!(latest.keys().copied().collect::<Vec<i32>>(), [0, 1]);
    assert_eq!(latest.values().sum::<i64>(), 10);
    let earliest = stage.run(at(OffsetSpec::Earliest)).expect("offsets");
    assert_eq!(earliest, BTreeMap::from([(0, 0), (1, 0)]));
    assert_eq!(stage.run(at(OffsetSpec::Timestamp(0))), Ok(earliest));
    assert_eq!(stage.run(at(OffsetSpec::Timestamp(i64::MAX))), Ok(latest));
    let nowhere = admin.list_offsets(&info, Some(PartitionId(77)), &[0], OffsetSpec::Latest);
    assert!(stage.run(nowhere).is_err());
}

#[test]
fn every_server_answers_a_ping() {
    let mut stage = Stage::new();
    let admin = stage.fluss.admin();
    let pings = stage.run(admin.ping()).expect("servers");
    let names: Vec<ServerId> = pings.iter().map(|ping| ping.info.server).collect();
    let tablets = (0..3).map(ServerId::Tablet);
    assert_eq!(names, std::iter::once(ServerId::Coordinator).chain(tablets).collect::<Vec<_>>());
    for ping in &pings {
        let apis = ping.apis.as_ref().expect("an answer");
        let versions = apis.iter().find(|api| api.number == 1000).expect("all have it");
        assert_eq!(
            (versions.name, versions.min, versions.used),
            (Some("API_VERSIONS"), 0, Some(0))
        );
        let creates = apis.iter().any(|api| api.number == 1005);
        assert_eq!(creates, ping.info.server == ServerId::Coordinator);
    }
    let listed: Vec<Address> = pings.into_iter().map(|ping| ping.info.address).collect();
    let known = stage.cluster(|c| {
        let servers: Vec<ServerId> = c.servers().collect();
        servers.into_iter().filter_map(|server| c.address(server).cloned()).collect::<Vec<_>>()
    });
    assert_eq!(listed, known);
    let servers = stage.run(admin.servers()).expect("servers");
    assert_eq!(servers.len(), 4);
}

#[test]
fn a_change_that_may_have_been_made_is_not_repeated_unless_that_is_ignored() {
    use crate::testing::cluster::{Fault, On};
    let mut stage = Stage::new();
    let admin = stage.fluss.admin();
    stage.run(admin.servers()).expect("servers");
    stage.cluster(|c| c.inject(On::Other, 0, Fault::LoseAnswer));
    let lost = stage.run(admin.create_database("shop", false)).expect_err("an open outcome");
    assert!(matches!(&lost, Error::Disconnected { sent: true, .. }), "{lost}");
    stage.cluster(|c| c.inject(On::Other, 0, Fault::LoseAnswer));
    assert_eq!(stage.run(admin.create_database("shop", true)), Ok(()));
}

#[test]
fn offsets_of_a_dropped_table_end_with_its_code() {
    let mut stage = Stage::new();
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", false)).expect("made");
    stage.run(admin.create_table("shop.events", &events(), false)).expect("made");
    let info = stage.run(admin.table_info("shop.events")).expect("described");
    stage.run(admin.drop_table("shop.events", false)).expect("dropped");
    let offsets = admin.list_offsets(&info, None, &[0], OffsetSpec::Latest);
    assert_eq!(code(stage.run(offsets)), ErrorCode(7));
}

#[test]
fn a_server_out_of_reach_tells_why_it_answers_no_ping() {
    let mut stage = Stage::new();
    let nowhere = Address { host: "nowhere.invalid".into(), port: 1 };
    stage.cluster(|c| c.set_address(ServerId::Tablet(2), nowhere.clone()));
    let later = stage.run(stage.fluss.admin().ping()).expect("servers");
    let lost = later.into_iter().find(|ping| ping.info.address == nowhere).expect("it is listed");
    let error = lost.apis.expect_err("nobody is there");
    assert!(matches!(&error, Error::Unavailable { last: Some(_), .. }), "{error}");
}

#[test]
fn a_bootstrap_server_of_another_age_is_passed_over_for_the_next() {
    let two = |config: Config| Config { bootstrap: addresses(2), ..config };
    let mut stage = Stage::configured(ClusterOptions::default(), two);
    stage.cluster(|c| c.offer_only_at(ServerId::Coordinator, vec![(API_VERSIONS, 0)]));
    assert_eq!(stage.run(stage.fluss.ready()), Ok(()));

    // Only where all of them are, the call ends, at once, and tells what each of them said.
    let mut stage = Stage::configured(ClusterOptions::default(), two);
    stage.cluster(|c| c.offer_only(vec![(API_VERSIONS, 0)]));
    let error = stage.run(stage.fluss.ready()).expect_err("no version in common");
    let text = error.to_string();
    assert_eq!((error.code(), error.name()), (None, "NO_VERSION_IN_COMMON"), "{text}");
    for address in addresses(2) {
        assert!(text.contains(&address.to_string()), "{address}: {text}");
    }
    assert!(stage.now() < Instant::ZERO + Duration::from_secs(2), "{:?}", stage.now());
    let error = stage.run(stage.fluss.admin().list_databases()).expect_err("as before");
    assert_eq!(error.name(), "NO_VERSION_IN_COMMON", "{error}");

    // One that is not there is tried all the same, and told.
    let mut stage = Stage::configured(ClusterOptions::default(), |config| {
        let mut bootstrap = addresses(1);
        bootstrap.push(Address { host: "nowhere.invalid".into(), port: 1 });
        Config { bootstrap, ..config }
    });
    stage.cluster(|c| c.offer_only(vec![(API_VERSIONS, 0)]));
    let admin = stage.fluss.admin();
    for error in [stage.run(stage.fluss.ready()).err(), stage.run(admin.list_databases()).err()] {
        let error = error.expect("there is no server of use");
        let text = error.to_string();
        assert_eq!(error.name(), "NO_SERVER", "{text}");
        assert!(text.contains("nowhere.invalid") && text.contains("version in common"), "{text}");
    }
    assert!(stage.now() < Instant::ZERO + Duration::from_secs(2), "{:?}", stage.now());
}

const API_VERSIONS: i16 = 1000;

/// The addresses of the coordinator and of the first tablet servers of every fake cluster.
fn addresses(count: usize) -> Vec<Address> {
    let cluster = crate::testing::cluster::FakeCluster::new(Default::default());
    cluster.servers().take(count).filter_map(|s| cluster.address(s).cloned()).collect()
}

#[test]
fn a_call_that_nobody_answers_names_the_server_that_was_asked() {
    use crate::testing::cluster::{Fault, On};
    let hurried = |config: Config| config.command_deadline(Duration::from_secs(5));
    let mut stage = Stage::configured(ClusterOptions::default(), hurried);
    let admin = stage.fluss.admin();
    stage.run(admin.servers()).expect("servers");
    stage.cluster(|c| c.inject(On::Other, 0, Fault::DropRequest));
    let error = stage.run(admin.list_databases()).expect_err("no answer");
    let text = error.to_string();
    assert!(matches!(error, Error::Unavailable { .. }), "{text}");
    assert!(text.contains("LIST_DATABASES at ") && text.contains(" within 5000 ms"), "{text}");
}
