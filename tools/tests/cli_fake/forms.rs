//! Forms of the command line, each as a process of its own, with what it prints to the letter.

use fluss_core::testing::cluster::ClusterOptions;
use serde_json::Value;

use super::{Fake, Ran, objects};

/// Arguments, standard input, exit code and the whole standard output.
type Form<'a> = (&'a [&'a str], &'a str, i32, &'a str);

/// Runs one after the other; each must print what stands beside it, and nothing else.
fn play(fake: &Fake, forms: &[Form<'_>]) {
    for (arguments, input, code, expected) in forms {
        let ran = fake.run(arguments, input);
        assert_eq!(ran.code, Some(*code), "{arguments:?}: {ran:?}");
        assert_eq!(ran.stdout, *expected, "{arguments:?}: {}", ran.stderr);
    }
}

/// Lines of text, each with its end.
macro_rules! lines {
    ($($line:literal),* $(,)?) => { concat!($($line, "\n"),*) };
}

const EU: &str = "dt=2026-11-20/region=eu";
const US: &str = "dt=2026-11-20/region=us";

/// How objects begin that tell of a bucket.
fn bucket_of(region: &str) -> String {
    format!(r#""partition":{{"dt":"2026-11-20","region":"{region}"}},"bucket":0,"#)
}

/// A table `shop.sales` without partitions yet.
fn sales() -> Fake {
    let fake = Fake::start();
    fake.ok(&["create-database", "shop"], "");
    let columns = ["--column=dt STRING", "--column=region STRING", "--column=id INT"];
    let more = ["--partition-by=dt,region", "--buckets=1"];
    fake.ok(&[&["create", "shop.sales"][..], &columns, &more].concat(), "");
    fake
}

#[test]
fn a_partition_is_listed_from_its_creation_to_its_drop() {
    let fake = sales();
    let (list, line) = (["partitions", "shop.sales"], |name: &str| format!("{name}\n"));
    play(
        &fake,
        &[
            (&list, "", 0, ""),
            (&["create-partition", "shop.sales", EU], "", 0, ""),
            (&list, "", 0, &line(EU)),
            (&["create-partition", "shop.sales", EU], "", 1, ""),
            // The order of the values is free, that of the listing the table's.
            (&["create-partition", "shop.sales", "region=us/dt=2026-11-20"], "", 0, ""),
        ],
    );
    let mut both: Vec<String> = fake.ok(&list, "").lines().map(str::to_owned).collect();
    both.sort();
    assert_eq!(both, [EU, US]);
    play(
        &fake,
        &[
            (&["drop-partition", "shop.sales", US], "", 0, ""),
            (&list, "", 0, &line(EU)),
            (&["drop-partition", "shop.sales", US], "", 1, ""),
            (&["drop-partition", "shop.sales", "dt"], "", 2, ""),
            (&list, "", 0, &line(EU)),
        ],
    );
}

#[test]
fn rows_of_one_partition_are_reported_counted_and_read() {
    let fake = sales();
    let rows = lines!(
        r#"{"dt":"2026-11-20","region":"eu","id":1}"#,
        r#"{"dt":"2026-11-20","region":"us","id":2}"#,
        r#"{"dt":"2026-11-20","region":"eu","id":3}"#,
    );
    let (eu, us) = (bucket_of("eu"), bucket_of("us"));
    let report = format!(
        "{{\"row\":1,\"outcome\":\"ok\",{eu}\"offset\":0}}\n\
         {{\"row\":2,\"outcome\":\"ok\",{us}\"offset\":0}}\n\
         {{\"row\":3,\"outcome\":\"ok\",{eu}\"offset\":1}}\n"
    );
    let offset = |offset| format!("{{{eu}\"offset\":{offset}}}\n");
    let offsets = ["offsets", "shop.sales", "--partition", EU];
    let at = |when| [&offsets[..], &[when]].concat();
    play(
        &fake,
        &[
            (&["create-partition", "shop.sales", EU], "", 0, ""),
            (&["create-partition", "shop.sales", US], "", 0, ""),
            (&["produce", "shop.sales", "--report"], rows, 0, &report),
            (&offsets, "", 0, &offset(2)),
            (&at("--at=latest"), "", 0, &offset(2)),
            (&at("--at=earliest"), "", 0, &offset(0)),
            (&["offsets", "shop.sales", "--partition=dt=1/region=eu"], "", 1, ""),
        ],
    );
    assert_eq!(fake.ok(&["offsets", "shop.sales"], "").lines().count(), 2);
    let record = fake.ok(&["consume", "shop.sales", "--partition", US], "");
    let head = format!("{{{us}\"offset\":0,\"timestamp\":");
    let row = r#","change":"+A","row":{"dt":"2026-11-20","region":"us","id":2}}"#;
    let time = record.strip_prefix(&head).and_then(|rest| rest.strip_suffix(&format!("{row}\n")));
    assert!(time.is_some_and(|time| time.parse::<i64>().is_ok()), "{record}");
}

#[test]
fn a_partial_delete_empties_its_columns_and_takes_the_row_with_the_last_of_them() {
    let fake = Fake::with_tables();
    let rows = |score: &str| {
        [1, 2].map(|id| format!("{{\"id\":{id},\"name\":\"ada\",\"score\":{score}}}\n")).concat()
    };
    fake.ok(&["produce", "shop.users"], &rows("0.5"));
    let (keys, left) = (lines![r#"{"id":1}"#, r#"{"id":2}"#], rows("null"));
    let lookup = ["lookup", "shop.users"];
    let delete = |columns, more: &[&'static str]| {
        [&["produce", "shop.users", "--delete", columns][..], more].concat()
    };
    let (score, name) = ("--columns=id,score", "--columns=name,id");
    play(
        &fake,
        &[
            // Further fields are ignored, those of the columns as well.
            (&delete(score, &[]), r#"{"id":1,"score":7}"#, 0, ""),
            (&delete(score, &["--arrow=4"]), r#"{"id":2,"score":7}"#, 0, ""),
            (&lookup, keys, 0, &left),
            (&delete(name, &["--arrow=4"]), r#"{"id":1}"#, 0, ""),
            (&delete(name, &[]), r#"{"id":2}"#, 0, ""),
            (&lookup, keys, 0, lines!["null", "null"]),
        ],
    );
    let records = objects(&fake.ok(&["consume", "shop.users"], ""));
    let changes: Vec<&str> = records.iter().filter_map(|r| r["change"].as_str()).collect();
    assert_eq!(changes, ["+I", "+I", "-U", "+U", "-U", "+U", "-D", "-D"]);
}

#[test]
fn lookups_by_a_prefix_print_an_array_for_each_key() {
    let fake = Fake::start();
    let create = [
        "create",
        "shop.lines",
        "--column=customer STRING",
        "--column=line INT",
        "--column=item STRING",
        "--primary-key=customer,line",
        "--bucket-key=customer",
        "--buckets=3",
    ];
    let rows = lines!(
        r#"{"customer":"ada","line":1,"item":"tea"}"#,
        r#"{"customer":"ada","line":2}"#,
        r#"{"customer":"bob","line":1,"item":"jam"}"#,
    );
    let prefixes =
        lines!(r#"{"customer":"ada"}"#, r#"{"customer":"nobody"}"#, r#"{"customer":"bob"}"#,);
    let found = lines!(
        r#"[{"customer":"ada","line":1,"item":"tea"},{"customer":"ada","line":2,"item":null}]"#,
        "[]",
        r#"[{"customer":"bob","line":1,"item":"jam"}]"#,
    );
    play(
        &fake,
        &[
            (&["create-database", "shop"], "", 0, ""),
            (&create, "", 0, ""),
            (&["produce", "shop.lines"], rows, 0, ""),
            (&["lookup", "shop.lines", "--prefix"], prefixes, 0, found),
            (&["lookup", "shop.lines", "--prefix", "--insert-if-not-exists"], prefixes, 2, ""),
        ],
    );
    // In the place of a prefix that failed stands its error.
    let input = "{\"customer\":\"bob\",\"line\":1}\n{\"customer\":\"bob\"}\n";
    let ran = fake.run(&["lookup", "shop.lines", "--prefix"], input);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let answers = objects(&ran.stdout);
    assert_eq!(answers[0]["error"]["name"], "ROW_DOES_NOT_FIT", "{ran:?}");
    assert_eq!(answers[1].as_array().map(Vec::len), Some(1), "{ran:?}");
}

#[test]
fn lookups_that_insert_print_the_row_that_is_there_then() {
    let fake = Fake::with_tables();
    fake.ok(&["produce", "shop.users"], "{\"id\":1,\"name\":\"ada\"}\n");
    let keys = "{\"id\":1}\n\n{\"id\":2}\n";
    let rows = concat!(
        "{\"id\":1,\"name\":\"ada\",\"score\":null}\n",
        "{\"id\":2,\"name\":null,\"score\":null}\n"
    );
    assert_eq!(fake.ok(&["lookup", "shop.users", "--insert-if-not-exists"], keys), rows);
    assert_eq!(fake.ok(&["lookup", "shop.users"], keys), rows);
    let first = "--property=table.merge-engine=first_row";
    let columns = ["--column", "id INT NOT NULL", "--primary-key", "id"];
    fake.ok(&[&["create", "shop.firsts", first][..], &columns].concat(), "");
    let ran = fake.run(&["lookup", "shop.firsts", "--insert-if-not-exists"], keys);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let answers = objects(&ran.stdout);
    assert_eq!(answers.len(), 2, "{ran:?}");
    for answer in answers {
        let message = answer["error"]["message"].as_str();
        assert!(message.is_some_and(|text| text.contains("first_row")), "{ran:?}");
    }
}

#[test]
fn logs_are_read_from_a_time_and_offsets_told_at_one() {
    let fake = Fake::with_tables();
    let time = |record: &Value| record["timestamp"].as_i64().expect("a time");
    let mut records = Vec::new();
    // Until the clock of the servers has moved on between two rows.
    while records.first().map(time) == records.last().map(time) {
        let row = format!("{{\"id\":{}}}\n", records.len());
        fake.ok(&["produce", "shop.events"], &row);
        records = objects(&fake.ok(&["consume", "shop.events"], ""));
    }
    let (first, last) = (time(&records[0]), time(&records[records.len() - 1]));
    let count = records.len();
    for (from, skipped) in [(0, 0), (first, 0), (last, count - 1), (last + 1, count)] {
        let from_time = format!("--from={from}");
        let read = objects(&fake.ok(&["consume", "shop.events", &from_time], ""));
        assert_eq!(read, records[skipped..], "{from_time}");
        let at = format!("--at={from}");
        let told = fake.ok(&["offsets", "shop.events", &at], "");
        let expected = format!("{{\"partition\":null,\"bucket\":0,\"offset\":{skipped}}}\n");
        assert_eq!(told, expected, "{at}");
    }
    for wrong in ["--from=soon", "--from=-1"] {
        assert_eq!(fake.run(&["consume", "shop.events", wrong], "").code, Some(2), "{wrong}");
    }
    assert_eq!(fake.run(&["offsets", "shop.events", "--at=soon"], "").code, Some(2));
}

#[test]
fn user_and_password_come_from_options_settings_or_the_environment() {
    let users = vec![("ada".to_owned(), "secret".to_owned())];
    let fake = Fake::with(ClusterOptions { users, ..ClusterOptions::default() });
    let settings = [
        "-cclient.security.protocol=sasl",
        "-cclient.security.sasl.username=ada",
        "-cclient.security.sasl.password=secret",
    ];
    let user = Some("ada");
    for (options, user, password, code) in [
        (&["--user=ada", "--password=secret"][..], None, None, 0),
        (&["--user=ada", "--password=hunter2"], None, None, 1),
        (&settings, None, None, 0),
        (&[], None, None, 1),
        (&[], user, Some("secret"), 0),
        (&[], user, Some("hunter2"), 1),
        // What is said on the command line goes before what stands in the environment.
        (&["--password=secret"], user, Some("hunter2"), 0),
        (&["--password=hunter2"], user, Some("secret"), 1),
        (&[], user, None, 2),
        (&[], None, Some("hunter2"), 2),
        (&settings, user, Some("secret"), 2),
        (&settings[..1], user, Some("secret"), 0),
    ] {
        let mut command = fake.command(&["databases"]);
        command.args(options);
        let variables = [("FLUSS_USER", user), ("FLUSS_PASSWORD", password)];
        command.envs(variables.into_iter().filter_map(|(name, value)| Some((name, value?))));
        let ran = Ran::of(&mut command, "");
        let case = format!("{options:?} {variables:?}: {ran:?}");
        assert_eq!(ran.code, Some(code), "{case}");
        assert_eq!(ran.stdout.is_empty(), code != 0, "{case}");
        let shown = ["secret", "hunter2"].iter().any(|word| ran.stderr.contains(word));
        assert!(!shown, "a password is told to nobody: {case}");
    }
}
