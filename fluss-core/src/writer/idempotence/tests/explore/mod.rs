//! All interleavings of small worlds: the real manager, or a client known to be wrong, against the
//! server model of §9, with every order of answers, copies of broken connections that are executed
//! later, lost windows, expiry, truncation, failover, and errors before and after the append.
//!
//! Time is left out: a wait is over whenever the search decides to send, a deadline passes when it
//! decides so, and a writer id is there when it is asked for.

mod checks;
mod client;
mod legacy;
mod mutants;
mod network;
mod rows;
mod search;
mod state;
mod wrong;

use self::client::Ours;
use self::network::{BatchNo, BucketNo};
use self::search::{Report, explore};
use self::state::Event;
use crate::time::Duration;
use crate::writer::idempotence::Mutation;

/// How many of each fault a search may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Faults {
    close: u8,
    unsent: u8,
    drop: u8,
    shrink: u8,
    transient: u8,
    after: u8,
    moves: u8,
    crash: u8,
    fatal: u8,
    give_up: u8,
    truncate: u8,
    expiry: u8,
    idle: u8,
    abort: u8,
    elsewhere: u8,
}

const NO_FAULTS: Faults = Faults {
    close: 0,
    unsent: 0,
    drop: 0,
    shrink: 0,
    transient: 0,
    after: 0,
    moves: 0,
    crash: 0,
    fatal: 0,
    give_up: 0,
    truncate: 0,
    expiry: 0,
    idle: 0,
    abort: 0,
    elsewhere: 0,
};

impl Faults {
    /// Only faults after which each batch must succeed (I15).
    const fn are_benign(&self) -> bool {
        self.fatal == 0 && self.are_told()
    }

    /// Only faults after which each batch has a known outcome, unless a fatal answer met a copy in
    /// doubt (§8.6).
    const fn are_told(&self) -> bool {
        let ends = self.give_up + self.abort;
        ends + self.truncate + self.expiry + self.elsewhere == 0
    }
}

/// A small world.
#[derive(Clone, Debug)]
struct Setup {
    name: &'static str,
    batches: u8,
    buckets: usize,
    in_flight: usize,
    /// Batches of a writer that the server remembers.
    window: u8,
    faults: Faults,
    fatal_confirm: u32,
    track_offsets: bool,
    /// Hand the last batch in at any time, not at the start.
    last_late: bool,
    /// Begin within a session that stands at this sequence.
    first_sequence: Option<i32>,
    mutation: Option<Mutation>,
    /// What happens first, so that the search begins within a story.
    begin: &'static [Event],
    /// Look only for this invariant, beyond states where others are broken.
    only: Option<&'static str>,
}

impl Setup {
    const fn new(name: &'static str, sizes: (u8, usize, u8), faults: Faults) -> Self {
        Self {
            name,
            batches: sizes.0,
            buckets: 1,
            in_flight: sizes.1,
            window: sizes.2,
            faults,
            fatal_confirm: 0,
            track_offsets: false,
            last_late: false,
            first_sequence: None,
            mutation: None,
            begin: &[],
            only: None,
        }
    }

    /// Batches go to the buckets in turn.
    fn bucket_of(&self, batch: BatchNo) -> BucketNo {
        usize::from(batch) % self.buckets
    }
}

fn show(setup: &Setup, report: &Report, took: Duration) {
    println!(
        "{:<58} {:>9} states {:>9} steps {:>6} ends, depth {:>2}, {:>6.1} s {}",
        setup.name,
        report.states,
        report.steps,
        report.ends,
        report.depth,
        took.as_secs_f64(),
        report.found.as_ref().map_or("holds".into(), |f| format!("{}\n{}", f.broken, f.trace)),
    );
}

fn explore_all(setups: &[Setup]) {
    let mut broken = Vec::new();
    for setup in setups {
        let start = std::time::Instant::now();
        let report = explore::<Ours>(setup, LIMIT);
        show(setup, &report, start.elapsed());
        broken.extend(report.found.map(|f| format!("{}: {}", setup.name, f.broken)));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// About 6 GiB at the most.
const LIMIT: usize = 12_000_000;

#[test]
fn every_interleaving_of_the_specified_worlds_keeps_the_rules() {
    explore_all(&rows::SPECIFIED);
}

#[test]
fn every_interleaving_of_other_small_worlds_keeps_the_rules() {
    explore_all(&rows::quick());
}

/// Only where `FLUSS_EXPLORE=full` asks for it: minutes.
#[test]
fn every_interleaving_of_the_large_worlds_keeps_the_rules() {
    if std::env::var("FLUSS_EXPLORE").is_ok_and(|v| v == "full") {
        explore_all(&rows::large());
    } else {
        println!("not asked for: FLUSS_EXPLORE=full");
    }
}
