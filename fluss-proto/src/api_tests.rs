use super::*;
use crate::message::PbApiVersion;

fn answer(entries: &[(i32, i32, i32)]) -> ApiVersionsResponse {
    let api_versions = entries
        .iter()
        .map(|&(api_key, min_version, max_version)| PbApiVersion {
            api_key,
            min_version,
            max_version,
        })
        .collect();
    ApiVersionsResponse { api_versions, server_type: Some(1) }
}

#[test]
fn every_api_is_found_by_its_number_and_sits_at_its_own_row() {
    assert_eq!(ApiKey::all().len(), 54);
    for (position, row) in TABLE.iter().enumerate() {
        assert_eq!(row.api as usize, position);
        assert_eq!(ApiKey::from_number(row.number), Some(row.api));
        assert_eq!(row.api.number(), row.number);
        assert!(row.versions.min <= row.versions.max);
    }
    assert!(TABLE.windows(2).all(|pair| pair[0].number < pair[1].number));
}

#[test]
fn numbers_between_servers_and_out_of_range_are_no_apis_of_a_client() {
    for number in [i16::MIN, -1, 0, 999, 1013, 1018, 1052, 1067, i16::MAX] {
        assert_eq!(ApiKey::from_number(number), None);
    }
}

#[test]
fn numbers_names_and_targets_are_those_of_the_protocol() {
    assert_eq!(ApiKey::InitWriter.to_string(), "INIT_WRITER (1026)");
    assert_eq!(ApiKey::InitWriter.target(), Target::AnyTabletServer);
    assert_eq!(ApiKey::GetMetadata.number(), 1012);
    assert_eq!(ApiKey::PutKv.versions(), VersionRange { min: 0, max: 2 });
    assert_eq!(ApiKey::Lookup.versions().to_string(), "0 to 1");
    assert_eq!(ApiKey::CreateTable.served_by(), ServedBy::Coordinator);
    assert!(ApiKey::FetchLog.served_by().includes(ServerType::TabletServer));
    assert!(!ApiKey::FetchLog.served_by().includes(ServerType::Coordinator));
    assert_eq!(ApiKey::FetchLog.target(), Target::Leader);
}

#[test]
fn no_request_goes_to_a_server_that_drops_it() {
    for api in ApiKey::all() {
        let reachable = match api.target() {
            Target::AnyServer => api.served_by() == ServedBy::Both,
            Target::AnyTabletServer | Target::Leader => {
                api.served_by().includes(ServerType::TabletServer)
            }
            Target::Coordinator => api.served_by().includes(ServerType::Coordinator),
        };
        assert!(reachable, "{api}");
    }
}

#[test]
fn the_highest_common_version_wins() {
    let versions = NegotiatedVersions::negotiate(&answer(&[
        (1016, 0, 1),
        (1017, 0, 9),
        (1014, 0, 1),
        (4000, 0, 0),
        (-1, 0, 0),
        (65536 + 1015, 0, 0),
    ]));
    assert_eq!(versions.version(ApiKey::PutKv), Ok(1));
    assert_eq!(versions.version(ApiKey::Lookup), Ok(1));
    assert_eq!(versions.version(ApiKey::ProduceLog), Ok(0));
    assert_eq!(
        versions.version(ApiKey::FetchLog),
        Err(UnsupportedApi::NotOffered { api: ApiKey::FetchLog })
    );
    assert!(versions.offers(ApiKey::PutKv) && !versions.offers(ApiKey::FetchLog));
    assert_eq!(versions.server_type(), Some(ServerType::Coordinator));
}

#[test]
fn without_a_common_version_the_error_names_both_ranges() {
    for (min, max) in [(3, 7), (1, 0), (i32::MAX, i32::MAX), (i32::MIN, -1), (5, i32::MIN)] {
        let versions = NegotiatedVersions::negotiate(&answer(&[(1016, min, max)]));
        let client = ApiKey::PutKv.versions();
        let error = versions.version(ApiKey::PutKv).unwrap_err();
        assert_eq!(error, UnsupportedApi::NoCommonVersion { api: ApiKey::PutKv, client, min, max });
        assert_eq!(error.api(), ApiKey::PutKv);
        let text = format!("the client speaks 0 to 2, the server {min} to {max}");
        assert!(error.to_string().contains(&text), "{error}");
    }
}

#[test]
fn the_widest_range_of_a_server_is_narrowed_to_the_client() {
    let versions = NegotiatedVersions::negotiate(&answer(&[(1016, i32::MIN, i32::MAX)]));
    assert_eq!(versions.version(ApiKey::PutKv), Ok(2));
}

#[test]
fn before_the_handshake_only_api_versions_may_be_sent() {
    let versions = NegotiatedVersions::before_handshake();
    for api in ApiKey::all() {
        assert_eq!(versions.version(api).is_ok(), api == ApiKey::ApiVersions);
    }
    assert_eq!(versions.server_type(), None);
}
