//! What the command line says to whoever slips.

use super::{Fake, objects};

/// A run that is refused with this exit code and with all of these words.
fn refused(fake: &Fake, arguments: &[&str], code: i32, words: &[&str]) {
    let ran = fake.run(arguments, "");
    assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
    let missing: Vec<_> = words.iter().filter(|word| !ran.stderr.contains(**word)).collect();
    assert!(missing.is_empty(), "{arguments:?}, without {missing:?}: {ran:?}");
}

#[test]
fn a_setting_is_named_as_it_was_typed() {
    let fake = Fake::start();
    for (setting, words) in [
        ("foo.bar=1", &["`foo.bar`", "the nearest is `client."][..]),
        ("client.writer.ack=all", &["did you mean `client.writer.acks`?"]),
        ("client.frame.max-bytes=0", &["max_frame_bytes must", "client.frame.max-bytes"]),
        ("client.request-timeout=1h", &["client.request-timeout", "client.request-deadline"]),
        ("client.writer.retries=0", &["client.writer.retries", "client.writer.enable-"]),
    ] {
        refused(&fake, &["databases", "-c", setting], 2, words);
    }
}

#[test]
fn a_setting_of_readers_is_named_as_it_was_typed() {
    let fake = Fake::with_tables();
    let setting = "client.scanner.log.fetch.max-bytes=0";
    let words = ["max_bytes must be", "client.scanner.log.fetch.max-bytes"];
    refused(&fake, &["consume", "shop.events", "-c", setting], 2, &words);
}

#[test]
fn a_port_that_cannot_be_is_told_from_an_address_without_one() {
    let fake = Fake::start();
    for (address, words) in [
        ("127.0.0.1:99999", "a port out of range: ports are 1 to 65535"),
        ("127.0.0.1:0", "a port out of range"),
        ("[::1]:65536", "a port out of range"),
        ("127.0.0.1", "is not host:port"),
        ("127.0.0.1:https", "is not host:port"),
        (":9123", "is not host:port"),
    ] {
        refused(&fake, &["databases", "--bootstrap", address], 2, &[words, address]);
    }
}

#[test]
fn a_lookup_by_a_column_that_is_not_of_the_key_says_so() {
    let fake = Fake::with_tables();
    let ran = fake.run(&["lookup", "shop.users"], "{\"id\":1,\"name\":\"a\"}");
    let error = &objects(&ran.stdout)[0]["error"];
    let message = error["message"].as_str().expect("a text");
    assert_eq!(message, "the column `name` is none of the key: those are id");
}

#[test]
fn a_table_without_partitions_takes_none_and_says_so() {
    let fake = Fake::with_tables();
    for command in ["create-partition", "drop-partition"] {
        let words = ["shop.events", "the table has no partitions"];
        refused(&fake, &[command, "shop.events", "dt=1"], 1, &words);
    }
}

#[test]
fn a_binary_value_of_another_length_is_refused_alone() {
    let fake = Fake::start();
    fake.ok(&["create-database", "shop"], "");
    let columns = ["--column=id INT", "--column=b BINARY(2)", "--primary-key=id"];
    fake.ok(&[&["create", "shop.codes"][..], &columns[..]].concat(), "");
    let input = "{\"id\":1}\n{\"id\":2,\"b\":\"AA==\"}\n{\"id\":3,\"b\":\"AAA=\"}";
    let ran = fake.run(&["produce", "shop.codes", "--report"], input);
    let report = objects(&ran.stdout);
    let outcomes: Vec<_> = report.iter().filter_map(|line| line["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["ok", "not_written", "ok"], "{ran:?}");
    let message = report[1]["error"]["message"].as_str().expect("a text");
    assert!(message.contains("BINARY(2)") && message.contains("`b`"), "{message}");
}

#[test]
fn an_option_that_a_measurement_has_no_use_for_is_named() {
    let fake = Fake::with_tables();
    let all = ["threads", "bulk", "arrow", "keys", "in-flight", "string-bytes", "seed"];
    for (what, table, idle) in [
        ("produce", "shop.users", &["in-flight"][..]),
        ("lookup", "shop.users", &["bulk", "arrow"]),
        ("consume", "shop.users", &all),
    ] {
        for option in all {
            let given = format!("--{option}=1");
            let ran = fake.run(&["perf", what, table, "--rows=10", &given], "");
            assert_eq!(ran.code, Some(0), "{ran:?}");
            assert_eq!(objects(&ran.stdout)[0]["rows"], 10, "{ran:?}");
            let told = format!("--{option} is accepted and has no effect on `fluss perf {what}`");
            assert_eq!(ran.stderr.contains(&told), idle.contains(&option), "{option}: {ran:?}");
        }
    }
}

#[test]
fn a_measurement_with_long_texts_is_made_or_refused_with_its_bound() {
    let fake = Fake::start();
    fake.ok(&["create-database", "shop"], "");
    for (table, column) in [("shop.texts", "id STRING"), ("shop.wide", "id CHAR(16777217)")] {
        let column = format!("--column={column}");
        fake.ok(&["create", table, &column, "--primary-key=id", "--buckets=1"], "");
    }
    let rows = |what, more: &[&'static str]| {
        [&["perf", what, "shop.texts", "--rows=3", "--warmup=1"][..], more].concat()
    };
    for what in ["produce", "lookup"] {
        let measured = &objects(&fake.ok(&rows(what, &["--string-bytes=70000"]), ""))[0];
        assert_eq!(measured["bytes"], 3 * 70_000, "{what}: {measured}");
        assert_eq!((&measured["rows"], &measured["errors"]), (&3.into(), &0.into()), "{what}");
    }
    for bytes in ["--string-bytes=16777217", "--string-bytes=18446744073709551615"] {
        refused(&fake, &rows("produce", &[bytes]), 2, &["--string-bytes is 16777216 at most"]);
    }
    for what in ["produce", "consume", "lookup"] {
        let most = "--rows=18446744073709551615";
        let arguments = ["perf", what, "shop.texts", most, "--warmup=1"];
        refused(&fake, &arguments, 2, &["--rows and --warmup"]);
    }
    let wide = ["perf", "produce", "shop.wide", "--rows=1"];
    refused(&fake, &wide, 1, &["`id` wants 16777217 bytes", "16777216 at most"]);
}
