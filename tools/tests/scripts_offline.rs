//! The fake cluster against the recorded answers of the real server 0.9.1.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod script_file;

use std::collections::BTreeSet;
use std::time::Duration;

use fluss_core::testing::cluster::{ClusterOptions, FakeCluster, Rule};
use fluss_tools::scripts::step::Event;
use fluss_tools::scripts::{
    At, FakeWire, Got, Kind, Played, USERS, Wire, difference, groups, play,
};

fn fake(kind: Kind, off: Option<Rule>) -> FakeWire {
    let options = match kind {
        Kind::Single => ClusterOptions { tablet_servers: 1, ..ClusterOptions::default() },
        Kind::Replicated => ClusterOptions {
            replication: 3,
            min_in_sync: 2,
            replica_timeout: Some(Duration::from_secs(4)),
            ..ClusterOptions::default()
        },
        Kind::Secured => ClusterOptions {
            tablet_servers: 1,
            super_users: Some(vec![USERS[0].0.to_owned()]),
            users: USERS.map(|(user, password)| (user.to_owned(), password.to_owned())).to_vec(),
            ..ClusterOptions::default()
        },
        Kind::Forgetful => ClusterOptions {
            tablet_servers: 1,
            writer_expiry: Duration::from_secs(10),
            ..ClusterOptions::default()
        },
    };
    let mut cluster = FakeCluster::new(options);
    if let Some(rule) = off {
        cluster.switch_off(rule);
    }
    FakeWire::new(cluster)
}

fn play_all(off: Option<Rule>) -> Vec<Played> {
    play_to(|kind| fake(kind, off))
}

fn play_to<W: Wire>(start: impl Fn(Kind) -> W) -> Vec<Played> {
    let mut all = Vec::new();
    let mut running: Option<(Kind, W)> = None;
    for (number, group) in groups().iter().enumerate() {
        if running.as_ref().is_none_or(|(kind, _)| *kind != group.cluster) {
            running = Some((group.cluster, start(group.cluster)));
        }
        let wire = &mut running.as_mut().unwrap().1;
        all.extend(play(group, &number.to_string(), wire));
    }
    all
}

#[test]
fn the_fake_answers_as_the_real_server_did() {
    let different = difference(&script_file::read(), &play_all(None));
    assert!(different.is_empty(), "{different}");
}

#[test]
fn each_rule_that_is_switched_off_is_caught() {
    let recorded = script_file::read();
    let mut caught = BTreeSet::new();
    for rule in Rule::ALL {
        let different = difference(&recorded, &play_all(Some(rule)));
        assert!(!different.is_empty(), "nobody notices that {} is off", rule.name());
        caught.insert(rule);
    }
    assert!(caught.len() >= 5, "only {caught:?} were switched off");
}

/// A cluster that says a word of the same length in place of another one.
struct OtherWord {
    wire: FakeWire,
    word: &'static str,
}

impl OtherWord {
    fn change(&self, mut got: Got) -> Got {
        let other = "*".repeat(self.word.len());
        match &mut got {
            Got::Answer(body) => {
                let (word, mut bytes) = (self.word.as_bytes(), body.to_vec());
                let found: Vec<usize> =
                    (0..bytes.len()).filter(|&at| bytes[at..].starts_with(word)).collect();
                for at in found {
                    bytes[at..at + word.len()].copy_from_slice(other.as_bytes());
                }
                *body = bytes.into();
            }
            Got::Refused(error) | Got::Failure(error) => {
                error.error_message =
                    error.error_message.take().map(|text| text.replace(self.word, &other));
            }
            Got::Closed | Got::Silence => {}
        }
        got
    }
}

impl Wire for OtherWord {
    fn act_as(&mut self, user: &'static str) {
        self.wire.act_as(user);
    }

    fn send(&mut self, at: At, bytes: &[u8]) -> Got {
        let got = self.wire.send(at, bytes);
        self.change(got)
    }

    fn begin(&mut self, at: At, bytes: &[u8]) -> Option<Got> {
        let got = self.wire.begin(at, bytes);
        got.map(|got| self.change(got))
    }

    fn addresses(&self) -> Vec<(String, i32)> {
        self.wire.addresses()
    }

    fn now_ms(&self) -> i64 {
        self.wire.now_ms()
    }

    fn event(&mut self, event: Event, leader: usize) {
        self.wire.event(event, leader);
    }

    fn pause(&mut self) {
        self.wire.pause();
    }

    fn made(&mut self) {
        self.wire.made();
    }

    fn repair(&mut self) -> bool {
        self.wire.repair()
    }
}

#[test]
fn each_word_that_is_another_one_is_caught() {
    let recorded = script_file::read();
    for (word, codes) in [
        ("log segments", &[19][..]),
        ("key encoding", &[2]),
        ("tabletServer", &[12]),
        ("incoming", &[31]),
        ("corrupt", &[14]),
        ("Unknown table", &[21]),
        ("ISR", &[29]),
        ("target write", &[35]),
        ("disabled for this", &[57]),
        ("authorization to operate", &[48]),
        ("recognized Fluss", &[39]),
        ("NumberFormatException", &[-1]),
        ("readerIndex", &[-1]),
        ("timestamp", &[38, -1]),
        ("is not empty", &[5]),
        ("Database", &[4, 6]),
        ("ASCII", &[15, 16, 43]),
        ("reserved for internal", &[15, 16, 43]),
        ("does not contain partition key", &[43]),
        ("Only partitioned", &[37]),
        ("Partition '", &[36, 42]),
        ("must be nullable", &[-1]),
        ("Column ", &[56]),
        ("Invalid path", &[-1]),
        ("username or password", &[46]),
        ("expected 3 tokens", &[46]),
        ("SASL server enables", &[46]),
        ("protocol of server", &[46]),
    ] {
        let different =
            difference(&recorded, &play_to(|kind| OtherWord { wire: fake(kind, None), word }));
        for code in codes {
            let real = different.lines().filter(|line| line.starts_with("  real: "));
            let of_code = real.filter(|line| line.contains(&format!("error_code: {code},")));
            assert!(of_code.count() > 0, "nobody notices another word than {word} with {code}");
        }
    }
}

/// After a clean stop a writer's last sequence alone is remembered; after a kill, which has the log
/// read again, the last five.
#[test]
fn the_window_is_one_after_a_clean_restart() {
    let recorded = script_file::read();
    for (name, of_five) in [
        ("restarts/stop-last-of-seven", ["12", "31", "31", "31"]),
        ("restarts/kill-last-of-seven", ["12", "10", "4", "31"]),
    ] {
        let script = recorded.iter().find(|script| script.name == name).unwrap();
        let restart = script.lines.iter().position(|(step, _)| step.starts_with("Event(")).unwrap();
        let answers = script.lines[restart + 1..].iter().map(|(_, answer)| answer);
        for (answer, expected) in answers.zip(of_five) {
            assert!(answer.contains(&format!(": {expected}")), "{name}: {answer}");
        }
    }
}

#[test]
fn there_are_enough_scripts_and_they_are_long_enough() {
    let recorded = script_file::read();
    assert!(recorded.len() >= 100, "{}", recorded.len());
    for script in &recorded {
        let requests = script.lines.iter().filter(|(_, answer)| !answer.is_empty()).count();
        assert!(requests >= 5, "{} has {requests} requests", script.name);
    }
    for (kind, least) in [
        ("windows", 15),
        ("restarts", 15),
        ("upserts", 15),
        ("fetches", 15),
        ("lookups", 15),
        ("tables", 5),
        ("databases", 3),
        ("paths", 3),
        ("partitions", 5),
        ("logins", 4),
        ("replicas", 5),
        ("rights", 5),
        ("expiry", 2),
    ] {
        let prefix = format!("{kind}/");
        let count = recorded.iter().filter(|script| script.name.starts_with(&prefix)).count();
        assert!(count >= least, "{kind}: {count}");
    }
    let asks = |(step, answer): &(String, String)| step.contains("Metadata") && !answer.is_empty();
    let asking = recorded.iter().filter(|script| script.lines.iter().any(asks)).count();
    assert!(asking >= 15, "metadata: {asking}");
    let text = std::fs::read_to_string(script_file::path()).unwrap();
    assert!(!text.contains("\n  never\n"), "something that was waited for did not come");
    // Servers say 0 by leaving the code out.
    let success = "{buckets_resp: [{bucket_id: 0, base_offset: 0}]}";
    assert!(text.contains(success), "no write with code 0");
    for code in [12, 14, 18, 21, 25, 29, 31, 35, 48, 57] {
        assert!(text.contains(&format!("error_code: {code},")), "no answer with {code}");
    }
}

/// The codes of the table's rows, split by whether they are said to occur.
fn codes_of_the_docs() -> [BTreeSet<i32>; 2] {
    let mut codes = [BTreeSet::new(), BTreeSet::new()];
    let docs = include_str!("../src/scripts/mod.rs");
    for line in docs.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let (numbers, reason) = line.split_once(" | ").unwrap();
        let absent = reason.starts_with("does not occur") || reason.starts_with("do not occur");
        let numbers = numbers.split(", ").map(|number| number.replace('−', "-").parse::<i32>());
        codes[usize::from(absent)].extend(numbers.filter_map(Result::ok));
    }
    codes
}

/// All of what a copy of a batch can be answered with, and what else the scripts have met.
#[test]
fn each_code_is_recorded_or_explained() {
    let text = std::fs::read_to_string(script_file::path()).unwrap();
    let code =
        |rest: &str| rest.split([',', '}', '"', ' ']).next().and_then(|number| number.parse().ok());
    let mut met: BTreeSet<i32> = text.split("code: ").skip(1).filter_map(code).collect();
    met.insert(0);
    let [occur, absent] = codes_of_the_docs();
    assert_eq!(occur, met, "the table of codes is not that of the recording");
    assert!(occur.is_disjoint(&absent), "{occur:?} {absent:?}");
    let answers = [
        -1, 0, 1, 2, 3, 7, 9, 10, 11, 12, 13, 14, 18, 20, 21, 25, 26, 28, 29, 31, 32, 33, 35, 36,
        44, 46, 48, 57, 70, 72, 74,
    ];
    for code in answers {
        assert!(occur.contains(&code) || absent.contains(&code), "nothing is said of code {code}");
    }
}
