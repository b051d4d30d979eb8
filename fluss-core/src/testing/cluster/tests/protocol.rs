use super::*;

fn hello() -> ApiVersionsRequest {
    ApiVersionsRequest { client_software_name: "t".into(), client_software_version: "1".into() }
}

#[test]
fn each_server_lists_the_apis_of_its_kind() {
    let mut talk = Talk::new(ClusterOptions::default());
    let keys = |answer: &ApiVersionsResponse| {
        answer.api_versions.iter().map(|api| api.api_key).collect::<BTreeSet<_>>()
    };
    let tablet: ApiVersionsResponse = talk.ask(ServerId::Tablet(0), key::API_VERSIONS, &hello());
    assert_eq!(tablet.server_type, Some(2));
    assert!(keys(&tablet).contains(&1014) && !keys(&tablet).contains(&1001));
    let own: ApiVersionsResponse = talk.ask(ServerId::Coordinator, key::API_VERSIONS, &hello());
    assert_eq!(own.server_type, Some(1));
    assert!(keys(&own).contains(&1001) && !keys(&own).contains(&1014));
    let all: BTreeSet<i32> = keys(&tablet).union(&keys(&own)).copied().collect();
    assert_eq!(all, (1000..=1059).collect(), "0.9 has exactly these keys");
}

#[test]
fn what_a_server_does_not_understand_it_drops_without_closing() {
    let mut talk = Talk::new(ClusterOptions::default());
    let server = ServerId::Tablet(0);
    for (api, body) in [
        (-1, &[][..]),
        (999, &[][..]),
        (key::CREATE_TABLE, &[][..]),
        (key::PRODUCE_LOG, &[][..]),
        (key::TABLE_EXISTS, &[0x0a, 0x05, 0x01][..]),
        (key::GET_METADATA, &[0x0b, 0x0c][..]),
    ] {
        talk.send(server, api, 0, body);
        assert_eq!(talk.take(server), None, "api {api}");
    }
    let _: ApiVersionsResponse = talk.ask(server, key::API_VERSIONS, &hello());
    talk.send(server, key::API_VERSIONS, 9, &hello().encode_to_vec());
    assert!(matches!(talk.take(server), Some(Got::Answer(..))), "versions are not checked");
}

#[test]
fn a_length_below_the_header_or_above_the_limit_ends_the_connection() {
    for length in [-1, 0, 7, (100 << 20) - 3] {
        let mut talk = Talk::new(ClusterOptions::default());
        let conn = talk.conn(ServerId::Tablet(1));
        talk.cluster.handle_bytes(conn, &i32::to_be_bytes(length), talk.now);
        // What is too short for a header has to be there first.
        let body = if length < 8 { length.max(0) } else { 0 };
        for sent in 0..body {
            assert_eq!(talk.take(ServerId::Tablet(1)), None, "after {sent} bytes of {length}");
            talk.cluster.handle_bytes(conn, &[0], talk.now);
        }
        let Some(Got::Failure(failure)) = talk.take(ServerId::Tablet(1)) else {
            panic!("no failure frame for {length}");
        };
        assert_eq!(failure.error_code, -1);
        assert!(talk.cluster.is_closed(conn), "length {length}");
    }
}

#[test]
fn a_request_may_come_byte_by_byte_or_with_others() {
    let mut talk = Talk::new(ClusterOptions::default());
    let conn = talk.conn(ServerId::Tablet(0));
    let one = b"\0\0\0\x0f\x03\xe8\0\0\0\0\0\x07\x0a\x02fl\x12\x011";
    for byte in one {
        talk.cluster.handle_bytes(conn, &[*byte], talk.now);
    }
    talk.cluster.handle_bytes(conn, &[&one[..], &one[..]].concat(), talk.now);
    for _ in 0..3 {
        assert!(matches!(talk.take(ServerId::Tablet(0)), Some(Got::Answer(7, _))));
    }
}

#[test]
fn a_listener_with_users_wants_plain_and_the_right_password() {
    let users = vec![("u".to_owned(), "p".to_owned())];
    let mut talk = Talk::new(ClusterOptions { users, ..ClusterOptions::default() });
    let server = ServerId::Tablet(0);
    let _: ApiVersionsResponse = talk.ask(server, key::API_VERSIONS, &hello());
    assert_eq!(talk.refused(server, key::GET_METADATA, &MetadataRequest::default()), 46);
    talk.send(server, 999, 0, &[]);
    assert_eq!(talk.take(server), None, "unknown keys are dropped here too");
    let token = |protocol: &str, token: &'static [u8]| AuthenticateRequest {
        protocol: protocol.into(),
        token: Bytes::from_static(token),
    };
    for (protocol, bytes, code) in [
        ("PLAIN", &b"\0u\0x"[..], 46),
        ("PLAIN", b"u\0p", 46),
        ("PLAIN", b"other\0u\0p", 46),
        ("plain", b"\0u\0p", -1),
        ("GSSAPI", b"\0u\0p", 46),
    ] {
        assert_eq!(talk.refused(server, key::AUTHENTICATE, &token(protocol, bytes)), code);
    }
    let right = token("PLAIN", b"\0u\0p");
    let first: AuthenticateResponse = talk.ask(server, key::AUTHENTICATE, &right);
    assert_eq!(first.challenge, Some(Bytes::new()), "present and empty");
    let again: AuthenticateResponse = talk.ask(server, key::AUTHENTICATE, &right);
    assert_eq!(again.challenge, None);
    let _: MetadataResponse = talk.ask(server, key::GET_METADATA, &MetadataRequest::default());
}
