//! Scans whose segments are in storage of somebody else, with tokens of the servers: that expire,
//! are taken back, are refused, or never come.

use super::testkit::{Stage, events};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::testing::cluster::{ClusterOptions, Fault, On};
use crate::time::Duration;
use crate::{LogScanner, Table};

const S: Duration = Duration::from_secs(1);
const BUCKETS: i32 = 3;
const ROWS: i64 = 120;
/// Bytes of a bucket that are read at once, a few rows.
const PART: usize = 1 << 10;

/// A client, and a table whose rows are in remote storage but for the last ones.
fn stage(settings: impl FnOnce(Config) -> Config) -> (Stage, Table) {
    let mut stage = Stage::configured(ClusterOptions::default(), settings);
    let table = events(&mut stage, BUCKETS.cast_unsigned());
    let writer = table.appender().build().expect("a writer");
    let text = "x".repeat(100);
    for id in 0..ROWS {
        let ticket = stage.run(writer.append(&(id, &*text))).expect("room");
        // Each row is a batch of its own.
        stage.run(ticket).expect("written");
    }
    stage.cluster(|c| {
        c.set_remote_root("s3://lake/fluss");
        let buckets: Vec<_> = c.buckets(table.info().id).collect();
        for bucket in buckets {
            let end = c.truth(bucket).expect("it is there").log_end;
            for end in [end / 3, end / 2, end - 4] {
                c.move_to_remote(bucket, end);
            }
        }
    });
    (stage, table)
}

fn scanner(stage: &mut Stage, table: &Table) -> LogScanner {
    let builder = table.scanner().bounded().max_bytes_per_bucket(PART).buffer_limit(8 << 10);
    stage.run(builder.build()).expect("a scanner")
}

/// Reads to the end; after each batch, that many seconds pass. Every row once, in its order.
fn read_all(stage: &mut Stage, table: &Table, pause: Duration) -> Result<()> {
    let mut scanner = scanner(stage, table);
    let mut rows = 0;
    let mut next = std::collections::BTreeMap::new();
    while let Some(batch) = stage.run(scanner.next_batch())? {
        let at: &mut i64 = next.entry(batch.bucket()).or_default();
        assert_eq!(batch.base_offset(), *at, "{}", batch.bucket());
        *at += batch.num_rows() as i64;
        rows += batch.num_rows() as i64;
        stage.pass(pause);
    }
    assert_eq!(rows, ROWS);
    Ok(())
}

fn asked(stage: &Stage) -> u64 {
    stage.cluster(|c| c.requests().get(&1025).copied().unwrap_or_default())
}

#[test]
fn a_token_is_asked_for_once_by_all_scanners_of_a_client() {
    let (mut stage, table) = stage(|config| config);
    stage.cluster(|c| c.give_keys(Some(S * 3600)));
    for _ in 0..3 {
        read_all(&mut stage, &table, Duration::ZERO).expect("readable");
    }
    assert_eq!(asked(&stage), 1);
}

#[test]
fn tokens_that_expire_in_a_scan_are_renewed_before_the_storage_denies_them() {
    let (mut stage, table) = stage(|config| config);
    stage.cluster(|c| c.give_keys(Some(S * 20)));
    read_all(&mut stage, &table, S).expect("readable");
    // Two minutes, a token each 15 seconds, as long as there is something to read.
    assert!((4..=10).contains(&asked(&stage)), "{}", asked(&stage));
    assert_eq!(stage.cluster(|c| c.denied_reads()), 0);
}

#[test]
fn tokens_that_are_taken_back_are_asked_for_anew() {
    let (mut stage, table) = stage(|config| config);
    stage.cluster(|c| c.give_keys(None));
    let mut scanner = scanner(&mut stage, &table);
    let mut rows = 0;
    while let Some(batch) = stage.run(scanner.next_batch()).expect("readable") {
        rows += batch.num_rows() as i64;
        if rows % 10 == 0 {
            stage.cluster(|c| c.revoke_keys());
        }
        stage.pass(S);
    }
    assert_eq!(rows, ROWS);
    let denied = stage.cluster(|c| c.denied_reads());
    assert!(denied > 0 && asked(&stage) > 1 && asked(&stage) <= denied + 1, "{denied}");
}

#[test]
fn a_token_that_is_refused_for_a_while_delays_the_scan() {
    let (mut stage, table) = stage(|config| config);
    stage.cluster(|c| c.give_keys(Some(S * 20)));
    for skip in 0..6 {
        stage.cluster(|c| c.inject(On::Api(1025), skip, Fault::ErrorBefore(30)));
    }
    read_all(&mut stage, &table, S).expect("readable");
    assert!(asked(&stage) > 6);
}

#[test]
fn a_bounded_scan_without_a_token_ends_in_time_and_says_why() {
    for (code, text) in [(30, "GET_FILESYSTEM_SECURITY_TOKEN"), (48, "injected")] {
        let (mut stage, table) = stage(|config| config.command_deadline(S * 20));
        (0..100).for_each(|_| {
            stage.cluster(|c| c.inject(On::Api(1025), 0, Fault::ErrorBefore(code)));
        });
        let began = stage.now();
        let error = read_all(&mut stage, &table, Duration::ZERO).expect_err("there is no token");
        assert!(matches!(error, Error::Scan(_)), "{error}");
        assert!(error.to_string().contains(text), "{error}");
        assert!(stage.now() - began <= S * 21, "{:?}", stage.now() - began);
        assert!((3..=10).contains(&asked(&stage)), "{}", asked(&stage));
    }
}

#[test]
fn answers_about_tokens_that_are_no_answers_delay_the_scan() {
    let (mut stage, table) = stage(|config| config);
    stage.cluster(|c| c.give_keys(Some(S * 20)));
    for (skip, fault) in (0..).zip([
        Fault::GarbageBody,
        Fault::LoseAnswer,
        Fault::DropRequest,
        Fault::GarbageFrame,
        Fault::DuplicateAnswer,
        Fault::CutAnswer,
    ]) {
        stage.cluster(|c| c.inject(On::Api(1025), skip, fault));
    }
    read_all(&mut stage, &table, S).expect("readable");
    assert!(asked(&stage) > 6, "{}", asked(&stage));
}
