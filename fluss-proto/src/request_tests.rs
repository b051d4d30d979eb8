use super::*;
use crate::error_code::ErrorCode;
use crate::header::RequestHeader;
use crate::message::*;
use crate::server;

fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| {
            u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).expect("two hex digits")
        })
        .collect()
}

/// A frame of the hex text, after a check of its length field.
fn frame(text: &str) -> Bytes {
    let mut wire = hex(text);
    assert_eq!(usize::try_from(wire.get_i32()).unwrap(), wire.len());
    wire
}

#[test]
fn every_api_has_its_request_type() {
    assert!(ApiKey::all().eq(ALL.iter().copied()));
}

#[test]
fn requests_are_encoded_as_in_the_byte_examples_of_the_protocol() {
    let plain =
        AuthenticateRequest { protocol: "PLAIN".into(), token: Bytes::from_static(b"\0u\0p") };
    assert_eq!(
        encode_request(1, 0, &plain).unwrap(),
        hex("00 00 00 15 04 0E 00 00 00 00 00 01 0A 05 50 4C 41 49 4E 12 04 00 75 00 70")
    );
    assert_eq!(
        encode_request(2, 0, &MetadataRequest::default()).unwrap(),
        hex("00 00 00 08 03 F4 00 00 00 00 00 02")
    );
    let latest = ListOffsetsRequest {
        follower_server_id: -1,
        offset_type: 1,
        table_id: 7,
        bucket_id: vec![0, 1],
        ..Default::default()
    };
    assert_eq!(
        encode_request(3, 0, &latest).unwrap(),
        hex("00 00 00 1B 03 FD 00 00 00 00 00 03 08 FF FF FF FF FF FF FF FF FF 01 10 01 18 07 \
             2A 02 00 01")
    );
}

#[test]
fn the_answer_to_api_versions_is_decoded() {
    let wire = frame(
        "00 00 00 19 00 00 00 00 00 0A 07 08 E8 07 10 00 18 00 0A 07 08 F8 07 10 00 18 01 10 02",
    );
    let response = decode_response::<ApiVersionsRequest>(wire).unwrap();
    assert_eq!(response.header, ResponseHeader::Success { request_id: 0 });
    let body = response.result.unwrap();
    assert_eq!(body.server_type, Some(2));
    let keys: Vec<_> = body.api_versions.iter().map(|api| (api.api_key, api.max_version)).collect();
    assert_eq!(keys, [(1000, 0), (1016, 1)]);
}

#[test]
fn a_challenge_that_is_present_but_empty_is_told_from_an_absent_one() {
    let wire = frame("00 00 00 07 00 00 00 00 01 0A 00");
    let body = decode_response::<AuthenticateRequest>(wire).unwrap().result.unwrap();
    assert_eq!(body.challenge, Some(Bytes::new()));
    let wire = frame("00 00 00 05 00 00 00 00 01");
    let body = decode_response::<AuthenticateRequest>(wire).unwrap().result.unwrap();
    assert_eq!(body.challenge, None);
}

#[test]
fn an_error_answers_one_request_and_a_failure_the_connection() {
    let wire = frame("00 00 00 07 01 00 00 00 01 08 2E");
    let response = decode_response::<AuthenticateRequest>(wire).unwrap();
    assert_eq!(response.header, ResponseHeader::Error { request_id: 1 });
    assert_eq!(response.result.unwrap_err().code, ErrorCode::AUTHENTICATE_EXCEPTION);

    let wire = frame("00 00 00 0C 02 08 FF FF FF FF FF FF FF FF FF 01");
    let response = decode_response::<AuthenticateRequest>(wire).unwrap();
    assert_eq!(response.header.request_id(), None);
    assert_eq!(response.result.unwrap_err().code, ErrorCode::UNKNOWN_SERVER_ERROR);
}

#[test]
fn negative_codes_are_understood_in_five_bytes_too() {
    let error = decode_error(hex("08 FF FF FF FF 0F")).unwrap();
    assert_eq!(error, ServerError { code: ErrorCode(-1), message: None });
}

#[test]
fn numbers_may_be_packed_or_not_and_a_packed_field_may_be_empty() {
    for (text, expected) in [
        ("08 01 18 01 18 02", vec![1, 2]),
        ("08 01 1A 02 01 02", vec![1, 2]),
        ("08 01 1A 01 01 18 02", vec![1, 2]),
        ("08 01 1A 00", vec![]),
    ] {
        let bucket: PbBucketMetadata = decode_message(hex(text)).unwrap();
        assert_eq!(bucket.replica_id, expected, "{text}");
    }
}

#[test]
fn unknown_fields_are_skipped() {
    let body = hex("08 05 50 01 5A 01 00 61 00 00 00 00 00 00 00 00 6D 00 00 00 00");
    let response: InitWriterResponse = decode_message(body).unwrap();
    assert_eq!(response.writer_id, 5);
}

#[test]
fn records_are_a_slice_of_the_frame() {
    let bucket = PbFetchLogRespForBucket {
        bucket_id: 1,
        records: Some(Bytes::from(vec![7; 1000])),
        ..Default::default()
    };
    let table = PbFetchLogRespForTable { table_id: 3, buckets_resp: vec![bucket] };
    let answer = FetchLogResponse { tables_resp: vec![table] };
    let wire = server::encode_response::<FetchLogRequest>(9, &answer).unwrap().slice(4..);
    let decoded = decode_response::<FetchLogRequest>(wire.clone()).unwrap().result.unwrap();
    assert_eq!(decoded, answer);
    let records = decoded.tables_resp[0].buckets_resp[0].records.clone().unwrap();
    let range = wire.as_ptr_range();
    assert!(range.contains(&records.as_ptr()), "the records were copied");
}

#[test]
fn garbage_and_cut_bodies_fail_only_their_request() {
    let answer = MetadataResponse {
        tablet_servers: vec![PbServerNode { host: "h".into(), ..Default::default() }; 3],
        ..Default::default()
    };
    let wire = server::encode_response::<MetadataRequest>(4, &answer).unwrap().slice(4..);
    let mut refused = 0;
    for end in 5..wire.len() {
        if let Err(error) = decode_response::<MetadataRequest>(wire.slice(..end)) {
            assert!(!error.is_fatal_for_connection());
            assert_eq!(error.to_string(), "the body is no valid MetadataResponse");
            refused += 1;
        }
    }
    assert!(refused > wire.len() / 2);
    for body in ["FF", "0B", "0A FF FF FF FF 07", "0A 02 12 FF", "80 80 80 80 80 80 80 80 80 80"] {
        let error = decode_message::<MetadataResponse>(hex(body)).unwrap_err();
        assert!(matches!(error, DecodeError::Body { .. }), "{body}");
    }
}

#[test]
fn nesting_without_end_is_refused() {
    let mut predicate = PbPredicate::default();
    for _ in 0..200 {
        let compound = PbCompoundPredicate { function: 0, children: vec![predicate] };
        predicate = PbPredicate { r#type: 1, leaf: None, compound: Some(compound) };
    }
    let body = Bytes::from(predicate.encode_to_vec());
    assert!(decode_message::<PbPredicate>(body).is_err());
}

#[test]
fn a_fake_server_reads_what_a_client_wrote_and_the_other_way_round() {
    let request = LookupRequest {
        table_id: -1,
        buckets_req: vec![PbLookupReqForBucket {
            bucket_id: 2,
            keys: vec![Bytes::from_static(b"k"), Bytes::new()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut wire = encode_request(i32::MIN, 1, &request).unwrap();
    assert_eq!(usize::try_from(wire.get_i32()).unwrap(), wire.len());
    let (header, body) = RequestHeader::split(wire).unwrap();
    assert_eq!(header, RequestHeader { api_key: 1017, api_version: 1, request_id: i32::MIN });
    assert_eq!(server::decode_request::<LookupRequest>(body), Ok(request));

    let error = ServerError { code: ErrorCode(-1), message: Some("trace".into()) };
    for (wire, header) in [
        (server::encode_error(6, error.clone()), ResponseHeader::Error { request_id: 6 }),
        (server::encode_server_failure(error.clone()), ResponseHeader::ServerFailure),
    ] {
        let response = decode_response::<LookupRequest>(wire.unwrap().slice(4..)).unwrap();
        assert_eq!(response, Response { header, result: Err(error.clone()) });
    }
}
