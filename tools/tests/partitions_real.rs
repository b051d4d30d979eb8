//! The `fluss` binary and partitioned tables of a real cluster: rows of several partitions, which
//! the writers create, come back with the partition they were put into.

mod command;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;

use command::Ran;
use fluss_tools::cluster::{
    ClusterError, ClusterOptions, RealCluster, TableLosses, real_cluster_or_skip,
};
use serde_json::{Value, json};

const ROWS: i64 = 3_000;
static LOSSES: TableLosses = TableLosses::new();

struct Cli {
    bootstrap: String,
}

impl Cli {
    fn run(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fluss"));
        command.args(arguments).args(["--bootstrap", &self.bootstrap]);
        Ran::of(&mut command, input)
    }

    fn ok(&self, arguments: &[&str], input: &str) -> Vec<Value> {
        let Ran { code, stdout, stderr } = self.run(arguments, input);
        let errors: Vec<&str> = stdout.lines().filter(|line| line.contains("\"error\"")).collect();
        assert_eq!(code, Some(0), "{arguments:?}: {stderr} {errors:?}");
        stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Makes a table partitioned by `dt` and `region`; answers its path. It is known to work when a
    /// partition of it has leaders, which is dropped again.
    fn create(&self, cluster: &RealCluster, name: &str, more: &[&str]) -> String {
        let create = |name: &str| {
            let path = format!("fluss.{name}");
            let mut arguments = vec!["create", &path, "--buckets=2", "--partition-by=dt,region"];
            arguments.extend([
                "--column=dt STRING NOT NULL",
                "--column=region INT NOT NULL",
                "--column=id BIGINT NOT NULL",
                "--column=text STRING",
            ]);
            arguments.extend(more);
            self.ok(&arguments, "");
            self.run(&["create-partition", &path, "dt=probe/region=0"], "");
            Ok::<_, ClusterError>(())
        };
        let led = |name: &str, (): &()| {
            // The partition may not be there yet, or never will be.
            Ok(cluster.has_leaders("fluss", name, Some("probe$0")).unwrap_or(false))
        };
        let (name, ()) = LOSSES.make(cluster, name, create, led).expect("a table with leaders");
        let path = format!("fluss.{name}");
        self.ok(&["drop-partition", &path, "dt=probe/region=0"], "");
        path
    }
}

fn partition_of(id: i64) -> (String, i64) {
    (format!("2026-11-{:02}", 20 + id % 3), id % 2 - 1)
}

fn partition_json(id: i64) -> Value {
    let (dt, region) = partition_of(id);
    json!({"dt": dt, "region": region.to_string()})
}

fn row(id: i64) -> Value {
    let (dt, region) = partition_of(id);
    json!({"dt": dt, "region": region, "id": id, "text": format!("row {id}")})
}

fn lines(rows: impl Iterator<Item = Value>) -> String {
    let mut text = String::new();
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{row}");
    }
    text
}

/// Where each row is: the partition, the bucket and, for logs, the offset.
type Places = BTreeMap<i64, (Value, i64)>;

fn reported(report: &[Value]) -> Places {
    let place = |line: &Value| {
        assert_eq!(line["outcome"], "ok", "{line}");
        let id = line["row"].as_i64().expect("a number") - 1;
        (id, (line["partition"].clone(), line["bucket"].as_i64().expect("a bucket")))
    };
    report.iter().map(place).collect()
}

fn consumed(records: &[Value], change: &str) -> Places {
    let mut places = Places::new();
    let mut offsets = BTreeSet::new();
    for record in records {
        assert_eq!(record["change"], change, "{record}");
        let id = record["row"]["id"].as_i64().expect("a key");
        assert_eq!(record["row"], row(id), "{record}");
        let bucket = record["bucket"].as_i64().expect("a bucket");
        let offset = record["offset"].as_i64().expect("an offset");
        let place = (record["partition"].to_string(), bucket, offset);
        assert!(offsets.insert(place), "two rows at one offset: {record}");
        let before = places.insert(id, (record["partition"].clone(), bucket));
        assert_eq!(before, None, "row {id} is there twice");
    }
    places
}

#[test]
fn rows_of_several_partitions_come_back_from_where_they_were_put() {
    if !real_cluster_or_skip("rows_of_several_partitions_come_back_from_where_they_were_put") {
        return;
    }
    let cluster = RealCluster::start(ClusterOptions::default()).expect("a cluster");
    let cli = Cli { bootstrap: cluster.bootstrap().join(",") };
    let input = lines((0..ROWS).map(row));
    for (name, change, more) in
        [("days_log", "+A", &[][..]), ("days_pk", "+I", &["--primary-key=dt,region,id"])]
    {
        let path = cli.create(&cluster, name, more);
        let told = reported(&cli.ok(&["produce", &path, "--report"], &input));
        assert_eq!(told.len(), ROWS as usize);
        for (id, (partition, _)) in &told {
            assert_eq!(*partition, partition_json(*id), "{path}: row {id}");
        }
        let found = consumed(&cli.ok(&["consume", &path], ""), change);
        assert!(found == told, "{path}: rows are not where they were reported");
        let one = cli.ok(&["consume", &path, "--partition", "dt=2026-11-21/region=0"], "");
        assert_eq!(one.len(), (0..ROWS).filter(|id| id % 3 == 1 && id % 2 == 1).count());
        if change == "+I" {
            let key = |id: i64| {
                let mut key = row(id);
                key.as_object_mut().expect("an object").remove("text");
                key
            };
            let found = cli.ok(&["lookup", &path], &lines((0..ROWS).map(key)));
            for (id, found) in (0..).zip(found) {
                assert_eq!(found, row(id));
            }
            let nobody = json!({"dt": "1999-01-01", "region": 7, "id": 1});
            assert_eq!(cli.ok(&["lookup", &path], &lines([nobody].into_iter())), [Value::Null]);
            nothing_is_inserted_where_servers_do_it_wrongly(&cli, &path);
        }
        // A partition that is not there, and may not be created.
        let stray = lines([json!({"dt": "no", "region": 1, "id": 1})].into_iter());
        let setting = "client.writer.dynamic-create-partition.enabled=false";
        let ran = cli.run(&["produce", &path, "--report", "-c", setting], &stray);
        let line: Value = serde_json::from_str(ran.stdout.trim()).expect("a report");
        assert_eq!(line["error"]["code"], json!(36), "{ran:?}");
        assert_ne!(ran.code, Some(0), "{ran:?}");
    }
    partitions_are_listed_and_prefixes_looked_up(&cli, &cluster);
}

/// The server would answer this key with code -1, or keep a row with other values.
fn nothing_is_inserted_where_servers_do_it_wrongly(cli: &Cli, path: &str) {
    let key = &lines([json!({"dt": "2026-11-20", "region": -1, "id": -7})].into_iter());
    let ran = cli.run(&["lookup", path, "--insert-if-not-exists"], key);
    let line: Value = serde_json::from_str(ran.stdout.trim()).expect("an error");
    let message = line["error"]["message"].as_str().unwrap_or_default();
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert!(message.contains("partitioned (by dt, region)"), "{ran:?}");
    assert_eq!(cli.ok(&["lookup", path], key), [Value::Null]);
}

fn partitions_are_listed_and_prefixes_looked_up(cli: &Cli, cluster: &RealCluster) {
    let path = &cli.create(
        cluster,
        "days_prefix",
        &["--primary-key=dt,region,id,text", "--bucket-key=id"],
    );
    let listed = || {
        let ran = cli.run(&["partitions", path], "");
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout.lines().map(str::to_owned).collect::<BTreeSet<String>>()
    };
    assert_eq!(listed(), BTreeSet::new());
    let names = ["dt=2026-11-20/region=-1", "dt=2026-11-20/region=8"].map(str::to_owned);
    for name in &names {
        assert_eq!(cli.ok(&["create-partition", path, name], ""), [] as [Value; 0]);
    }
    assert_eq!(listed(), BTreeSet::from(names.clone()));
    assert_eq!(cli.ok(&["drop-partition", path, &names[1]], ""), [] as [Value; 0]);
    assert_eq!(listed(), BTreeSet::from([names[0].clone()]));

    let of =
        |id: i64, text: &str| json!({"dt": "2026-11-20", "region": -1, "id": id, "text": text});
    let rows = [of(0, "a"), of(0, "b"), of(6, "a")];
    cli.ok(&["produce", path], &lines(rows.clone().into_iter()));
    let prefix = |id: i64| json!({"dt": "2026-11-20", "region": -1, "id": id});
    let prefixes = lines([prefix(0), prefix(3), prefix(6)].into_iter());
    let found = cli.ok(&["lookup", path, "--prefix"], &prefixes);
    let [a, b, c] = rows;
    assert_eq!(found, [json!([a, b]), json!([]), json!([c])], "{path}");
    let offsets = cli.ok(&["offsets", path, "--partition", &names[0], "--at", "0"], "");
    assert_eq!(offsets.len(), 2, "{offsets:?}");
    for line in offsets {
        let partition = json!({"dt": "2026-11-20", "region": "-1"});
        assert_eq!((&line["partition"], &line["offset"]), (&partition, &json!(0)), "{line}");
    }
}
