//! The simulator itself: that it holds, that it replays, that it can fail.

use super::*;
use crate::writer::idempotence::Mutation;

fn seeds(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Runs these seeds; a broken rule is told with the trace's last lines and how to replay it.
fn all(first: u64, count: u64, profile: Profile) -> Totals {
    let options = Options { profile, ..Options::default() };
    let mut totals = Totals::new(profile);
    for seed in first..first + count {
        let run = run(seed, &options);
        totals.add(&run.seed);
        if let Some(violation) = run.violation {
            let trace = super::run(seed, &Options { trace: true, ..options.clone() }).trace;
            let last = trace[trace.len().saturating_sub(50)..].join("\n");
            let replay = replay_command(seed, profile);
            panic!("seed {seed}: {violation:?}\n{replay}\nthe last of what happened:\n{last}");
        }
    }
    totals
}

#[test]
fn no_short_run_breaks_a_rule_and_every_rule_and_fault_comes_up() {
    let totals = all(0, seeds("FLUSS_SIM_SHORT", 20_000), Profile::Short);
    println!("{totals}");
    assert_eq!(totals.shortcomings(), Vec::<String>::new());
}

#[test]
fn no_long_run_breaks_a_rule() {
    let totals = all(0, seeds("FLUSS_SIM_LONG", 200), Profile::Long);
    println!("{totals}");
    assert_eq!(totals.shortcomings(), Vec::<String>::new());
}

#[test]
fn the_same_seed_replays_byte_for_byte() {
    for profile in [Profile::Short, Profile::Long] {
        let count = if profile == Profile::Long { 5 } else { 200 };
        let options = Options { profile, digest: true, ..Options::default() };
        let traced = Options { trace: true, ..options.clone() };
        let mut digests = std::collections::BTreeSet::new();
        for seed in 0..count {
            let (one, two) = (run(seed, &options), run(seed, &traced));
            assert_eq!((one.digest, &one.seed), (two.digest, &two.seed), "seed {seed}");
            assert!(one.trace.is_empty() && !two.trace.is_empty());
            digests.insert(one.digest);
        }
        assert_eq!(digests.len(), count as usize, "seeds differ");
    }
}

/// The invariants that this bug or mutation breaks first, over some seeds.
fn broken(options: &Options, seeds: u64) -> Vec<&'static str> {
    let found = (0..seeds).filter_map(|seed| run(seed, options).violation);
    let mut found: Vec<&str> = found.map(|violation| violation.invariant).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn servers_that_lie_are_found_out() {
    for (bug, named) in [(Bug::LoseAcknowledged, "I2"), (Bug::DoubleAppend, "I1")] {
        let options = Options { bug: Some((4, bug)), ..Options::default() };
        let found = broken(&options, 50);
        assert!(found.contains(&named), "{bug:?}: {found:?}");
    }
}

#[test]
fn a_client_with_a_broken_rule_is_found_out() {
    for (mutation, named) in [
        (Mutation::RestampAmbiguous, "I11"),
        (Mutation::InPlaceWithoutWaiting, "I11"),
        (Mutation::NoGenerationGate, "I16"),
        (Mutation::NoIdFailsAll, "I3"),
        (Mutation::GoneIsNotWritten, "I3"),
    ] {
        let options = Options { mutation: Some(mutation), ..Options::default() };
        let found = broken(&options, 2000);
        assert!(found.contains(&named), "{mutation:?}: {found:?}");
    }
}
