//! What does not exist, what does not exist any more, and what only seems so.

use bytes::Bytes;
use fluss_proto::message::{
    GetTableInfoResponse, ListPartitionInfosResponse, MetadataResponse, PbKeyValue,
    PbPartitionInfo, PbPartitionSpec,
};
use fluss_proto::{ApiKey, ErrorCode};

use super::testkit::*;
use super::*;

#[test]
fn a_refused_request_is_split_until_the_missing_table_stands_alone() {
    let mut b = Bench::started();
    for name in ["a", "b", "gone", "c", "d"] {
        b.want(name);
    }
    let (mut described, mut requests) = (Vec::new(), 0);
    while let Some(q) = b.ask() {
        requests += 1;
        match q.api {
            ApiKey::GetTableInfo => b.reject(&q, 7),
            _ if q.tables.contains(&"shop.gone".to_owned()) => b.reject(&q, -1),
            _ => {
                let tables = q.tables.iter().enumerate().flat_map(|(i, name)| {
                    let id = described.len() as i64 + i as i64;
                    table(&name[5..], id, PLAIN, vec![]).table_metadata
                });
                let response =
                    MetadataResponse { table_metadata: tables.collect(), ..cluster(&[1, 2]) };
                described.extend(q.tables.clone());
                b.answer(&q, &response);
            }
        }
    }
    described.sort();
    assert_eq!(described, ["shop.a", "shop.b", "shop.c", "shop.d"]);
    assert!(requests <= 8, "{requests} requests");
    let failed: Vec<MetadataEvent> =
        b.events().into_iter().filter(|e| *e != MetadataEvent::Updated).collect();
    let [MetadataEvent::TableFailed { path: p, error }] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!((p, error.code()), (&path("gone"), Some(ErrorCode::TABLE_NOT_EXIST)));
    assert!(error.to_string().contains("table shop.gone"), "{error}");
}

#[test]
fn a_known_table_is_gone_only_after_a_server_said_so() {
    let mut b = Bench::started();
    b.want("events");
    let q = b.asked();
    b.answer(&q, &table("events", 7, PLAIN, vec![bucket(0, 1, None)]));
    b.events();
    b.now = Instant::from_millis(5000);
    b.want("events");
    let q = b.asked();
    b.reject(&q, -1);
    assert!(b.m.cluster().table(&path("events")).is_some() && b.events().is_empty());
    let check = b.asked();
    assert_eq!(check.api, ApiKey::GetTableInfo);
    b.answer(&check, &GetTableInfoResponse { table_id: 7, ..Default::default() });
    assert!(b.events().is_empty(), "it exists: the server is in trouble, ask again");
    b.wait();
    let q = b.asked();
    b.reject(&q, -1);
    let check = b.asked();
    b.reject(&check, 7);
    let events = b.events();
    let [MetadataEvent::Updated, MetadataEvent::TableGone { id, path: gone, .. }] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*id, gone), (TableId(7), &Some(path("events"))));
    assert!(b.m.cluster().table_by_id(TableId(7)).is_none());
    assert!(b.m.cluster().leader(key(7, 0)).is_none());
    b.run(|m, cx| m.want_leader(cx, key(7, 0), None));
    assert!(matches!(&b.events()[..], [MetadataEvent::TableGone { path: None, .. }]));
}

#[test]
fn a_server_that_keeps_contradicting_itself_is_reported_in_the_end() {
    let mut b = Bench::started();
    b.want("events");
    let mut rounds = 0;
    let error = loop {
        let Some(q) = b.ask() else {
            b.wait();
            continue;
        };
        match q.api {
            ApiKey::GetTableInfo => b.answer(&q, &GetTableInfoResponse::default()),
            _ => b.reject(&q, -1),
        }
        rounds += 1;
        if let Some(MetadataEvent::TableFailed { error, .. }) = b.events().pop() {
            break error;
        }
        assert!(rounds < 50);
    };
    assert_eq!(error.code(), Some(ErrorCode::UNKNOWN_SERVER_ERROR));
    assert!(b.ask().is_none(), "the wish is over");
}

#[test]
fn a_table_left_out_of_the_answer_is_looked_into() {
    let mut b = Bench::started();
    b.want("secret");
    let q = b.asked();
    b.answer(&q, &cluster(&[1, 2]));
    let check = b.asked();
    assert_eq!(check.api, ApiKey::GetTableInfo);
    b.reject(&check, 48);
    let events = b.events();
    let Some(MetadataEvent::TableFailed { error, .. }) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(error.code(), Some(ErrorCode(48)));
}

#[test]
fn a_table_made_again_replaces_the_old_one_and_an_older_answer_does_not_bring_it_back() {
    let mut b = Bench::started();
    let next = |b: &mut Bench, id, leader| {
        b.now = b.now + Duration::from_secs(5);
        b.want("events");
        let q = b.asked();
        b.answer(&q, &table("events", id, PLAIN, vec![bucket(0, leader, None)]));
        b.events()
    };
    next(&mut b, 7, 1);
    let events = next(&mut b, 9, 2);
    let [
        MetadataEvent::TableGone { id, error, .. },
        MetadataEvent::TableReplaced { old, new, .. },
        MetadataEvent::Updated,
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*id, *old, *new), (TableId(7), TableId(7), TableId(9)));
    assert!(error.to_string().contains("was 7 and is 9"), "{error}");
    assert_eq!(b.m.cluster().bucket(key(7, 0)), None);
    assert_eq!(next(&mut b, 7, 1), [MetadataEvent::Updated]);
    assert_eq!(b.m.cluster().table(&path("events")).map(|t| t.id), Some(TableId(9)));
    assert_eq!(b.m.cluster().leader(key(9, 0)), Some(ServerId::Tablet(2)));
}

#[test]
fn partitions_are_asked_with_their_table_and_found_by_name_and_id() {
    let mut b = Bench::started();
    let events = path("events");
    b.run(|m, cx| m.want_partition(cx, &events, "2026"));
    let q = b.asked();
    assert_eq!((q.tables.len(), q.names.as_slice()), (1, &["2026".to_owned()][..]));
    let response = MetadataResponse {
        partition_metadata: partition(7, "2026", 70, 1).partition_metadata,
        ..table("events", 7, PARTITIONED, vec![])
    };
    b.answer(&q, &response);
    let cluster = b.m.cluster().clone();
    let found = cluster.partition_by_name(TableId(7), "2026").expect("known");
    assert_eq!(found.id, PartitionId(70));
    assert_eq!(cluster.bucket_count(TableId(7), Some(PartitionId(70))), Some(8), "its own");
    assert_eq!(cluster.bucket_count(TableId(7), None), Some(4));
    assert!(cluster.table(&events).expect("known").partitioned);

    b.now = Instant::from_millis(5000);
    let bucket = BucketKey { partition: Some(PartitionId(70)), ..key(7, 0) };
    assert_eq!(cluster.leader(bucket), Some(ServerId::Tablet(1)));
    b.run(|m, cx| m.want_leader(cx, bucket, Some(1)));
    let q = b.asked();
    assert_eq!((q.tables.as_slice(), q.ids), (&["shop.events".to_owned()][..], vec![70]));
}

#[test]
fn a_partition_is_gone_only_when_its_table_does_not_list_it() {
    let pair = |value: &str| PbKeyValue { key: "k".into(), value: value.into() };
    let listed = |names: &[(&str, &str, i64)]| ListPartitionInfosResponse {
        partitions_info: names
            .iter()
            .map(|(a, b, id)| PbPartitionInfo {
                partition_id: *id,
                partition_spec: PbPartitionSpec { partition_key_values: vec![pair(a), pair(b)] },
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let mut b = Bench::started();
    let events = path("events");
    b.run(|m, cx| m.want_partition(cx, &events, "eu$2026"));
    let q = b.asked();
    let response = MetadataResponse {
        partition_metadata: partition(7, "eu$2026", 70, 1).partition_metadata,
        ..table("events", 7, PARTITIONED, vec![])
    };
    b.answer(&q, &response);
    b.events();
    b.now = Instant::from_millis(5000);
    b.run(|m, cx| m.want(cx, Target::PartitionId(TableId(7), PartitionId(70))));
    b.run(|m, cx| m.want_partition(cx, &events, "us$2026"));
    let q = b.asked();
    b.reject(&q, 36);
    let mut lists = 0;
    while let Some(q) = b.ask() {
        match q.api {
            ApiKey::ListPartitionInfos => {
                lists += 1;
                b.answer(&q, &listed(&[("us", "2026", 71)]));
            }
            _ => b.reject(&q, 36),
        }
    }
    assert_eq!(lists, 2);
    let events = b.events();
    // The other one is listed, so it is asked for again.
    let [MetadataEvent::Updated, MetadataEvent::PartitionGone { id, name, error, .. }] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert!(error.to_string().contains("id 70 of table shop.events"), "{error}");
    assert_eq!((*id, &**name), (PartitionId(70), "eu$2026"));
    assert!(b.m.cluster().partition(PartitionId(70)).is_none());
    b.wait();
    assert_eq!(b.asked().names, ["us$2026"]);
}

#[test]
fn a_partition_made_again_reports_the_old_one_gone() {
    let mut b = Bench::started();
    let events = path("events");
    for (id, gone) in [(70, 0), (75, 1), (70, 0)] {
        b.now = b.now + Duration::from_secs(5);
        b.run(|m, cx| m.want_partition(cx, &events, "2026"));
        let q = b.asked();
        b.answer(&q, &partition(7, "2026", id, 1));
        let events = b.events();
        let count = events
            .iter()
            .filter(|e| matches!(e, MetadataEvent::PartitionGone { id, .. } if id.0 == 70))
            .count();
        assert_eq!(count, gone, "{events:?}");
    }
    let partition = b.m.cluster().partition_by_name(TableId(7), "2026").expect("known");
    assert_eq!(partition.id, PartitionId(75), "ids only grow");
}

#[test]
fn answers_that_make_no_sense_send_the_question_elsewhere_or_fail_their_table() {
    let mut b = Bench::new("a:1,b:2");
    b.want("events");
    let q = b.asked();
    b.run(|m, cx| m.handle_reply(cx, q.token, Ok(Bytes::from_static(b"\xff\xff"))));
    let error = b.m.last_error.clone().expect("an error");
    assert!(matches!(error, Error::Peer { .. }));
    assert!(error.to_string().contains("bootstrap server a:1"), "{error}");
    for (json, text) in [(&b"{"[..], "no JSON"), (br#"{"bucket_count":-3}"#, "-3 buckets")] {
        b.want("events");
        // Once it failed, it is not asked for again without a pause.
        b.now = b.now + Duration::from_secs(1);
        let q = b.asked();
        assert_eq!(q.tables, ["shop.events"]);
        b.answer(&q, &table("events", 7, json, vec![]));
        let events = b.events();
        let Some(MetadataEvent::TableFailed { error, .. }) = events.first() else {
            panic!("{events:?}")
        };
        let error = error.to_string();
        assert!(error.contains(text) && error.contains("shop.events"), "{error}");
    }
}
