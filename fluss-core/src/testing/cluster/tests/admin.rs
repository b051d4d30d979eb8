use super::*;

const C: ServerId = ServerId::Coordinator;
const T: ServerId = ServerId::Tablet(0);

#[test]
fn databases_come_and_go_with_the_right_codes() {
    let mut talk = Talk::new(ClusterOptions::default());
    let create = |name: &str, ignore_if_exists| CreateDatabaseRequest {
        database_name: name.into(),
        ignore_if_exists,
        database_json: None,
    };
    let _: CreateDatabaseResponse = talk.ask(C, key::CREATE_DATABASE, &create("d", false));
    assert_eq!(talk.refused(C, key::CREATE_DATABASE, &create("d", false)), 6);
    let _: CreateDatabaseResponse = talk.ask(C, key::CREATE_DATABASE, &create("d", true));
    assert_eq!(talk.refused(C, key::CREATE_DATABASE, &create("__d", false)), 16);
    assert_eq!(talk.refused(C, key::CREATE_DATABASE, &create("a.b", false)), 16);
    let list: ListDatabasesResponse =
        talk.ask(T, key::LIST_DATABASES, &ListDatabasesRequest::default());
    assert_eq!(list.database_name, ["d", "fluss"]);
    talk.log_table();
    let drop = |name: &str, ignore_if_not_exists, cascade| DropDatabaseRequest {
        database_name: name.into(),
        ignore_if_not_exists,
        cascade,
    };
    assert_eq!(talk.refused(C, key::DROP_DATABASE, &drop("fluss", false, false)), 5);
    assert_eq!(talk.refused(C, key::DROP_DATABASE, &drop("x", false, true)), 4);
    let _: DropDatabaseResponse = talk.ask(C, key::DROP_DATABASE, &drop("x", true, true));
    let _: DropDatabaseResponse = talk.ask(C, key::DROP_DATABASE, &drop("fluss", false, true));
    let exists = DatabaseExistsRequest { database_name: "fluss".into() };
    let exists: DatabaseExistsResponse = talk.ask(T, key::DATABASE_EXISTS, &exists);
    assert!(!exists.exists);
    assert_eq!(talk.cluster.table_id(&TablePath::new("fluss", "t")), None, "cascade");
}

#[test]
fn a_table_is_described_as_the_server_stores_it() {
    let mut talk = Talk::new(ClusterOptions::default());
    let id = talk.create("t", &descriptor(&["a"], 4, "{}"));
    let info: GetTableInfoResponse =
        talk.ask(T, key::GET_TABLE_INFO, &GetTableInfoRequest { table_path: path("t") });
    assert_eq!((info.table_id, info.schema_id), (id.0, 1));
    let json: serde_json::Value = serde_json::from_slice(&info.table_json).expect("JSON");
    assert_eq!(json["bucket_key"], serde_json::json!(["a"]));
    assert_eq!(json["bucket_count"], 4);
    assert_eq!(json["properties"]["table.kv.format-version"], "2");
    assert_eq!(json["properties"]["table.replication.factor"], "1");
    assert_eq!(json["schema"]["columns"][0]["data_type"]["nullable"], false);
    let wanted = MetadataRequest { table_path: vec![path("t")], ..Default::default() };
    let metadata: MetadataResponse = talk.ask(T, key::GET_METADATA, &wanted);
    assert_eq!(metadata.coordinator_server.map(|node| node.node_id), Some(0));
    assert_eq!(metadata.tablet_servers.len(), 3);
    let buckets = &metadata.table_metadata[0].bucket_metadata;
    let leaders: BTreeSet<_> = buckets.iter().map(|bucket| bucket.leader_id).collect();
    assert_eq!((buckets.len(), leaders.len()), (4, 3), "spread over the servers");
    let schema: GetTableSchemaResponse = talk.ask(
        T,
        key::GET_TABLE_SCHEMA,
        &GetTableSchemaRequest { table_path: path("t"), schema_id: None },
    );
    assert_eq!(schema.schema_id, 1);
    let other = GetTableSchemaRequest { table_path: path("t"), schema_id: Some(2) };
    assert_eq!(talk.refused(T, key::GET_TABLE_SCHEMA, &other), 9);
}

#[test]
fn a_missing_table_has_a_code_everywhere_but_in_metadata() {
    let mut talk = Talk::new(ClusterOptions::default());
    let wanted = MetadataRequest { table_path: vec![path("x")], ..Default::default() };
    assert_eq!(talk.refused(T, key::GET_METADATA, &wanted), -1);
    let wanted = MetadataRequest { partitions_id: vec![7], ..Default::default() };
    assert_eq!(talk.refused(T, key::GET_METADATA, &wanted), 36);
    assert_eq!(
        talk.refused(T, key::GET_TABLE_INFO, &GetTableInfoRequest { table_path: path("x") }),
        7
    );
    let drop = |ignore| DropTableRequest { table_path: path("x"), ignore_if_not_exists: ignore };
    assert_eq!(talk.refused(C, key::DROP_TABLE, &drop(false)), 7);
    let _: DropTableResponse = talk.ask(C, key::DROP_TABLE, &drop(true));
}

#[test]
fn bad_descriptors_are_refused() {
    let mut talk = Talk::new(ClusterOptions::default());
    let mut create = |name: &str, json: &str| {
        let request = CreateTableRequest {
            table_path: path(name),
            table_json: json.to_owned().into(),
            ignore_if_exists: false,
        };
        talk.refused(C, key::CREATE_TABLE, &request)
    };
    assert_eq!(create("t", "{"), 15);
    assert_eq!(create("t", "{}"), 15);
    assert_eq!(create("__t", &descriptor(&[], 1, "{}")), 15);
    assert_eq!(create("t", &descriptor(&[], 0, "{}")), -1);
    assert_eq!(create("t", &descriptor(&[], 128_001, "{}")), 49);
    assert_eq!(create("t", &descriptor(&["x"], 1, "{}")), 15);
    assert_eq!(create("t", &descriptor(&[], 1, r#"{"owner":"me"}"#)), 39);
    assert_eq!(create("t", &descriptor(&[], 1, r#"{"table.replication.factor":"4"}"#)), 17);
}

#[test]
fn partitions_have_ids_buckets_and_codes() {
    let mut talk = Talk::new(ClusterOptions::default());
    let json = descriptor(&["a", "b"], 2, "{}").replace(
        r#""partition_key":[],"bucket_key":[]"#,
        r#""partition_key":["b"],"bucket_key":["a"]"#,
    );
    let table = talk.create("p", &json);
    let spec = |key: &str, value: &str| PbPartitionSpec {
        partition_key_values: vec![PbKeyValue { key: key.into(), value: value.into() }],
    };
    let create = |spec, ignore_if_not_exists| CreatePartitionRequest {
        table_path: path("p"),
        partition_spec: spec,
        ignore_if_not_exists,
    };
    assert_eq!(talk.cluster.buckets(table).count(), 0);
    let _: CreatePartitionResponse =
        talk.ask(C, key::CREATE_PARTITION, &create(spec("b", "x"), false));
    assert_eq!(talk.cluster.buckets(table).count(), 2);
    assert_eq!(talk.refused(C, key::CREATE_PARTITION, &create(spec("b", "x"), false)), 42);
    assert_eq!(talk.refused(C, key::CREATE_PARTITION, &create(spec("a", "x"), false)), 43);
    assert_eq!(talk.refused(C, key::CREATE_PARTITION, &create(spec("b", "x/y"), false)), 43);
    let list = ListPartitionInfosRequest { table_path: path("p"), ..Default::default() };
    let list: ListPartitionInfosResponse = talk.ask(T, key::LIST_PARTITION_INFOS, &list);
    assert_eq!(list.partitions_info[0].partition_spec, spec("b", "x"));
    let id = list.partitions_info[0].partition_id;
    let wanted = MetadataRequest { partitions_id: vec![id], ..Default::default() };
    let metadata: MetadataResponse = talk.ask(T, key::GET_METADATA, &wanted);
    assert_eq!(metadata.partition_metadata[0].partition_name, "x");
    assert_eq!(metadata.partition_metadata[0].bucket_metadata.len(), 2);
    let drop = DropPartitionRequest {
        table_path: path("p"),
        partition_spec: spec("b", "x"),
        ignore_if_not_exists: false,
    };
    let _: DropPartitionResponse = talk.ask(C, key::DROP_PARTITION, &drop);
    assert_eq!(talk.refused(C, key::DROP_PARTITION, &drop), 36);
    assert_eq!(talk.cluster.buckets(table).count(), 0);
    talk.log_table();
    let list = ListPartitionInfosRequest { table_path: path("t"), ..Default::default() };
    assert_eq!(talk.refused(T, key::LIST_PARTITION_INFOS, &list), 37);
}
