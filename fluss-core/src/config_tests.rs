use super::*;

#[test]
fn addresses_are_read_and_all_bad_ones_named() {
    let config = Config::new("a:1, [::1]:9123,").expect("valid");
    assert_eq!(config.bootstrap[1].to_string(), "[::1]:9123");
    let Err(Error::Config(problems)) = Config::new("a,b:0,::1:5") else {
        panic!("three bad addresses were accepted")
    };
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(Config::new("").is_err());
}

fn problems(writer: &WriterConfig, client: &Config) -> Vec<String> {
    match writer.validate(client) {
        Ok(()) => Vec::new(),
        Err(Error::Config(problems)) => problems.to_vec(),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn every_violation_is_reported_at_once_with_its_reason_and_the_way_out() {
    let client = Config::new("a:1").expect("valid");
    let none: [String; 0] = [];
    assert_eq!(problems(&WriterConfig::default(), &client), none);
    let bad = WriterConfig {
        acks: Acks::Leader,
        max_in_flight: 6,
        retries: 0,
        linger: Duration::from_secs(2),
        delivery_timeout: Duration::from_secs(41),
        ..WriterConfig::default()
    };
    let said = problems(&bad, &client);
    let expected = [
        ("acks 1 ", "set acks to all or turn idempotence off"),
        ("retries 0 ", "at least 1 or turn idempotence off"),
        ("delivery_timeout 41s is below linger + request_deadline (2s + 40s)", "least 42s"),
        ("max_in_flight 6 ", "above the limit of 5"),
    ];
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (said, (what, way_out)) in said.iter().zip(expected) {
        assert!(said.starts_with(what) && said.contains(way_out), "{said}");
    }
    let error = bad.validate(&client).expect_err("four reasons").to_string();
    assert!(expected.iter().all(|(what, _)| error.contains(what)), "{error}");
}

#[test]
fn pauses_of_no_time_and_of_all_time_are_refused() {
    let client = Config::new("a:1").expect("valid");
    let none = BackoffConfig::new(Duration::ZERO, Duration::from_secs(1));
    let writer =
        WriterConfig { retry_backoff: none, max_throttle: Duration::MAX, ..Default::default() };
    let said = problems(&writer, &client);
    assert_eq!(said.len(), 2, "{said:#?}");
    for (said, what) in said.iter().zip(["max_throttle", "retry_backoff.initial 0"]) {
        assert!(said.starts_with(what), "{said}");
    }
    let client =
        Config { reconnect_backoff: none, metadata_min_interval: Duration::ZERO, ..client };
    let said = client.validate().expect_err("no pause").to_string();
    for what in ["reconnect_backoff.initial 0", "metadata_min_interval 0"] {
        assert!(said.contains(what), "{said}");
    }
}

#[test]
fn pauses_of_less_than_a_microsecond_are_none() {
    for (wait, refused) in [(0, true), (1, true), (999, true), (1000, false)] {
        let wait = Duration::from_nanos(wait);
        let pause = BackoffConfig::new(wait, wait);
        let client = Config::new("a:1").expect("valid");
        let writer =
            WriterConfig { retry_backoff: pause, max_throttle: wait, ..Default::default() };
        let said = writer.validate(&client).map_err(|error| error.to_string());
        for what in ["max_throttle 0", "retry_backoff.initial 0"] {
            let told = said.as_ref().is_err_and(|said| said.contains(what));
            assert_eq!(told, refused, "{wait:?}: {said:?}");
        }
        let client = Config { reconnect_backoff: pause, metadata_min_interval: wait, ..client };
        assert_eq!(client.validate().is_err(), refused, "{wait:?}");
    }
}

#[test]
fn acks_0_and_1_and_no_retries_are_refused_only_with_idempotence() {
    let client = Config::new("a:1").expect("valid");
    for acks in [Acks::None, Acks::Leader] {
        let mut writer = WriterConfig { acks, retries: 0, ..WriterConfig::default() };
        assert_eq!(problems(&writer, &client).len(), 2, "{acks:?}");
        writer.idempotence = false;
        assert_eq!(problems(&writer, &client).len(), 0, "{acks:?}");
    }
}

#[test]
fn more_than_5_in_flight_are_refused_with_idempotence_and_more_than_1000_and_0_always() {
    let client = Config::new("a:1").expect("valid");
    let counts = [
        (0, 1, 1),
        (1, 0, 0),
        (5, 0, 0),
        (6, 1, 0),
        (1000, 1, 0),
        (1001, 1, 1),
        (usize::MAX, 1, 1),
    ];
    for (max_in_flight, on, off) in counts {
        let mut writer = WriterConfig { max_in_flight, ..WriterConfig::default() };
        assert_eq!(problems(&writer, &client).len(), on, "{max_in_flight}");
        writer.idempotence = false;
        assert_eq!(problems(&writer, &client).len(), off, "{max_in_flight}");
    }
}

#[test]
fn a_delivery_timeout_has_room_for_linger_and_one_request_and_ends_within_a_day() {
    let client = Config::new("a:1").expect("valid");
    let hours = |h: u64| Duration::from_secs(h * 3600);
    let least = Duration::from_millis(40_100);
    for (delivery_timeout, refused) in [
        (least - Duration::from_micros(1), 1),
        (least, 0),
        (hours(24), 0),
        (hours(24) + Duration::from_micros(1), 1),
    ] {
        let writer = WriterConfig { delivery_timeout, ..WriterConfig::default() };
        assert_eq!(problems(&writer, &client).len(), refused, "{delivery_timeout:?}");
    }
}

#[test]
fn idle_sessions_are_renewed_after_some_time_and_within_three_days() {
    let client = Config::new("a:1").expect("valid");
    let (moment, days) = (Duration::from_micros(1), Duration::from_secs(3 * 24 * 3600));
    for (idle_rotate, refused) in
        [(Duration::ZERO, true), (moment, false), (days, false), (days + moment, true)]
    {
        let writer = WriterConfig { idle_rotate, ..WriterConfig::default() };
        let said = problems(&writer, &client);
        assert_eq!(said.len(), usize::from(refused), "{said:?}");
        assert!(said.iter().all(|said| said.starts_with("idle_rotate ")), "{said:?}");
    }
}

#[test]
fn a_request_deadline_must_be_longer_than_the_servers_ack_timeout() {
    let client = Config::new("a:1").expect("valid");
    for (seconds, fits) in [(39, true), (40, false), (50, false)] {
        let client = client.clone().ack_timeout(Duration::from_secs(seconds));
        let said = client.validate();
        assert_eq!(said.is_ok(), fits, "{said:?}");
        assert!(fits || said.expect_err("too long").to_string().contains("lower ack_timeout"));
    }
}

#[test]
fn the_password_never_shows_in_debug_output() {
    let config = Config::new("a:1").expect("valid").credentials("ada", "secret");
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn limits_of_lookups_under_which_none_could_go_are_refused_both_at_once() {
    let client = Config::new("a:1").expect("valid").lookup_limit(0).lookup_memory_limit(1023);
    let Err(Error::Config(said)) = client.validate() else { panic!("no lookup could ever go") };
    assert_eq!(said.len(), 2, "{said:#?}");
    for (said, what) in said.iter().zip(["lookup_limit 0", "lookup_memory_limit"]) {
        assert!(said.starts_with(what) && said.contains("at least"), "{said}");
    }
    assert_eq!(client.lookup_limit(1).lookup_memory_limit(1024).validate(), Ok(()));
}

#[test]
fn batches_that_fill_a_request_fit_into_it_with_all_that_stands_beside_them() {
    use fluss_proto::message::{PbPutKvReqForBucket, PutKvRequest};
    use prost::Message as _;
    let mut client = Config::new("a:1").expect("valid");
    client.max_request_bytes = 1 << 20;
    for (batches, targets) in [(1, 0), (1, 4096), (7, 4096), (64, 100), (1000, 1000)] {
        let room = client.room_for(batches, targets);
        let entry = |bucket| PbPutKvReqForBucket {
            partition_id: Some(i64::MAX),
            bucket_id: bucket,
            records: vec![0; room / batches + 1].into(),
            original_partition_name: Some("p".repeat(128)),
            ..PbPutKvReqForBucket::default()
        };
        let request = PutKvRequest {
            acks: -1,
            table_id: i64::MAX,
            timeout_ms: i32::MAX,
            target_columns: vec![i32::MAX; targets],
            buckets_req: (0..batches as i32).map(|bucket| entry(i32::MAX - bucket)).collect(),
            agg_mode: Some(1),
        };
        let length = request.encoded_len();
        assert!(length <= client.max_request_bytes, "{batches}, {targets}: {length}");
    }
}
