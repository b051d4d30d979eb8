use super::*;

const ALICE: &str = "alice";

/// A server that asks who one is, with a table `t` that root made.
fn secured() -> Talk {
    let user = |name: &str| (name.to_owned(), "pw".to_owned());
    let options = ClusterOptions {
        users: vec![user("root"), user(ALICE)],
        super_users: Some(vec!["root".to_owned()]),
        ..Default::default()
    };
    let mut talk = Talk::new(options);
    log_in(&mut talk, "root");
    talk.log_table();
    talk
}

/// New connections, of this user.
fn log_in(talk: &mut Talk, user: &str) {
    let servers: Vec<ServerId> = talk.cluster.servers().collect();
    for server in servers {
        let conn = talk.cluster.open(server).expect("up");
        talk.conns.insert(server, conn);
        let token = format!("\0{user}\0pw").into();
        let request = AuthenticateRequest { protocol: "PLAIN".into(), token };
        let _: AuthenticateResponse = talk.ask(server, key::AUTHENTICATE, &request);
    }
}

fn entry(kind: i32, resource: &str, operation: i32) -> PbAclInfo {
    PbAclInfo {
        resource_name: resource.into(),
        resource_type: kind,
        principal_name: ALICE.into(),
        principal_type: "User".into(),
        host: "*".into(),
        operation_type: operation,
        permission_type: 2,
    }
}

/// As root, then alice again. The code of the entry.
fn grant(talk: &mut Talk, acl: PbAclInfo) -> Option<i32> {
    log_in(talk, "root");
    let request = CreateAclsRequest { acl: vec![acl] };
    let answer: CreateAclsResponse = talk.ask(ServerId::Coordinator, key::CREATE_ACLS, &request);
    log_in(talk, ALICE);
    answer.acl_res[0].error_code
}

/// What alice may do to the table: see it, write it, read it, drop it.
fn rights(talk: &mut Talk) -> [bool; 4] {
    let server = ServerId::Tablet(0);
    let tables = ListTablesRequest { database_name: "fluss".into() };
    let listed: ListTablesResponse = talk.ask(server, key::LIST_TABLES, &tables);
    let request = MetadataRequest { table_path: vec![path("t")], ..Default::default() };
    let metadata: MetadataResponse = talk.ask(server, key::GET_METADATA, &request);
    assert_eq!(listed.table_name.len(), metadata.table_metadata.len());
    let mut allowed = |server, api, body: Vec<u8>| {
        talk.send(server, api, 0, &body);
        match talk.take(server) {
            Some(Got::Error(_, error)) => {
                assert_eq!(error.error_code, 48);
                false
            }
            other => other.is_some(),
        }
    };
    let init = InitWriterRequest { table_path: vec![path("t"), path("unknown")] };
    let scan = LimitScanRequest { table_id: 0, bucket_id: 0, limit: 1, ..Default::default() };
    let drop = DropTableRequest { table_path: path("t"), ignore_if_not_exists: false };
    [
        !listed.table_name.is_empty(),
        allowed(server, key::INIT_WRITER, init.encode_to_vec()),
        allowed(server, key::LIMIT_SCAN, scan.encode_to_vec()),
        allowed(ServerId::Coordinator, key::DROP_TABLE, drop.encode_to_vec()),
    ]
}

#[test]
fn a_right_covers_what_its_resource_contains_and_implies_seeing_it() {
    use super::super::acls::operation::*;
    let cases = [
        (None, [false; 4]),
        (Some((4, "fluss.t", DESCRIBE)), [true, false, false, false]),
        (Some((4, "fluss.t", WRITE)), [true, true, false, false]),
        (Some((4, "fluss.t", READ)), [true, false, true, false]),
        (Some((4, "fluss.u", ALL)), [false; 4]),
        (Some((4, "*", ALTER)), [true, false, false, false]),
        (Some((3, "fluss", WRITE)), [true, true, false, false]),
        (Some((3, "other", ALL)), [false; 4]),
        (Some((2, "fluss-cluster", DROP)), [true, false, false, true]),
        (Some((3, "fluss", ALL)), [true; 4]),
    ];
    for (right, expected) in cases {
        let mut talk = secured();
        if let Some((kind, resource, operation)) = right {
            assert_eq!(grant(&mut talk, entry(kind, resource, operation)), Some(0));
        }
        log_in(&mut talk, ALICE);
        assert_eq!(rights(&mut talk), expected, "{right:?}");
    }
}

#[test]
fn only_who_may_alter_a_resource_grants_and_takes_rights_to_it() {
    let mut talk = secured();
    log_in(&mut talk, ALICE);
    let acl = entry(4, "fluss.t", 4);
    let request = CreateAclsRequest { acl: vec![acl.clone()] };
    let refused: CreateAclsResponse = talk.ask(ServerId::Coordinator, key::CREATE_ACLS, &request);
    assert_eq!(refused.acl_res[0].error_code, Some(48));
    assert_eq!(grant(&mut talk, entry(4, "fluss.t", 7)), Some(0));
    let granted: CreateAclsResponse = talk.ask(ServerId::Coordinator, key::CREATE_ACLS, &request);
    assert_eq!(granted.acl_res[0].error_code, Some(0));
    assert!(rights(&mut talk)[1]);
    let filter = PbAclFilter {
        resource_type: 4,
        operation_type: 1,
        permission_type: 1,
        ..Default::default()
    };
    let request = DropAclsRequest { acl_filter: vec![filter] };
    let dropped: DropAclsResponse = talk.ask(ServerId::Coordinator, key::DROP_ACLS, &request);
    let codes: Vec<_> =
        dropped.filter_results[0].matching_acls.iter().map(|acl| acl.error_code).collect();
    assert_eq!(codes, [None, Some(48)], "the first one was the right to do it");
    assert!(rights(&mut talk)[1], "the second one is still there");
}

#[test]
fn without_an_authorizer_there_are_no_rights_to_change() {
    let mut talk = Talk::new(ClusterOptions::default());
    let server = ServerId::Coordinator;
    let request = CreateAclsRequest { acl: vec![entry(4, "fluss.t", 4)] };
    assert_eq!(talk.refused(server, key::CREATE_ACLS, &request), 47);
    assert_eq!(talk.refused(server, key::DROP_ACLS, &DropAclsRequest::default()), 47);
    let nobody = InitWriterRequest::default();
    let _: InitWriterResponse = talk.ask(ServerId::Tablet(0), key::INIT_WRITER, &nobody);
}
