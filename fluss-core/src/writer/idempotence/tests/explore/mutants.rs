//! The checks can fail: each rule broken on purpose, and each client that is known to be wrong, is
//! caught by an invariant of the specification, with the shortest way there.

use super::client::{Client, Ours};
use super::legacy::{EarlyJava, FlussRs, Java, Legacy, Proposal};
use super::search::{Report, explore};
use super::{Faults, NO_FAULTS, Setup};
use crate::writer::idempotence::Mutation;

const SMALL: (u8, usize, u8) = (3, 2, 2);
const WIDE: (u8, usize, u8) = (4, 3, 3);
const CLOSE: Faults = Faults { close: 1, ..NO_FAULTS };
const FATAL: Faults = Faults { fatal: 1, ..NO_FAULTS };

/// A mutation, its rule, and the world that shows what it does.
fn mutations() -> Vec<(Mutation, &'static str, Setup)> {
    use Mutation as M;
    let world = Setup::new;
    let transient = Faults { transient: 1, ..NO_FAULTS };
    let after_fatal = Faults { after: 1, fatal: 1, ..NO_FAULTS };
    let shrunk = Faults { close: 2, shrink: 1, ..NO_FAULTS };
    let expiry = Faults { expiry: 1, ..NO_FAULTS };
    let moved = Faults { moves: 1, fatal: 1, ..NO_FAULTS };
    let moves = Faults { moves: 1, ..NO_FAULTS };
    let moved_back = Faults { moves: 2, close: 1, shrink: 1, ..NO_FAULTS };
    let late = Faults { give_up: 1, close: 1, ..NO_FAULTS };
    let abort = Faults { abort: 1, ..NO_FAULTS };
    let fence = Faults { close: 1, fatal: 1, ..NO_FAULTS };
    let after = Faults { after: 1, ..NO_FAULTS };
    vec![
        (M::UnlimitedWindow, "R3", world("", SMALL, NO_FAULTS)),
        (M::StampBeforeResend, "R3", world("", SMALL, transient)),
        (M::CommitAll, "R4", world("", SMALL, NO_FAULTS)),
        (M::AnswerByBatch, "R5", world("", WIDE, moved)),
        (M::TimeoutIsRefusal, "R6", world("", SMALL, after_fatal)),
        (M::NotLeaderIsRefusal, "R6", world("", SMALL, moved)),
        (M::ResendInAnyOrder, "R7", world("", SMALL, CLOSE)),
        (M::ShiftOnRetry, "R7", world("", SMALL, after)),
        (M::NoGenerationGate, "R8", world("", SMALL, transient)),
        (M::StaleIsGenuine, "R9", world("", SMALL, transient)),
        (M::NoProbe, "R10", world("", SMALL, shrunk)),
        (M::AcceptOldProbeAnswers, "R10", world("", (4, 4, 1), Faults { transient: 1, ..CLOSE })),
        (M::KeepBrokenId, "R11", world("", SMALL, expiry)),
        (M::RestampAmbiguous, "R12", world("", SMALL, fence)),
        (M::InPlaceWithoutWaiting, "R13", world("", SMALL, FATAL)),
        (M::NoFence, "R13", world("", SMALL, fence)),
        (M::HoleStays, "R13", world("", SMALL, FATAL)),
        (M::FatalIsNotWritten, "R14", world("", SMALL, after_fatal)),
        (M::UpwardIsNotAwaited, "R14", world("", SMALL, after_fatal)),
        (M::LateIsNotWritten, "R15", world("", SMALL, late)),
        (M::SecondConnection, "R16", world("", SMALL, moves)),
        (M::ReuseId, "R17", world("", SMALL, expiry)),
        (
            M::PastTheLastSequence,
            "R19",
            Setup { first_sequence: Some(i32::MAX - 1), ..world("", SMALL, NO_FAULTS) },
        ),
        (M::FormerLeaderIsEvidence, "R22", world("", SMALL, moved_back)),
        (M::AbortIsNotWritten, "R25", world("", SMALL, abort)),
        (M::ForgetLate, "R27", Setup { track_offsets: true, ..world("", SMALL, NO_FAULTS) }),
    ]
}

fn line(name: &str, rule: &str, report: &Report) -> Result<String, String> {
    let Some(found) = &report.found else {
        return Err(format!("{name} ({rule}) is not caught in {} states", report.states));
    };
    if !found.broken.rule.starts_with('I') {
        return Err(format!("{name} ({rule}) is caught by {}\n{}", found.broken, found.trace));
    }
    println!(
        "{name:<44} {rule:<4} {:<4} {:>2} steps {:>7} states",
        found.broken.rule, found.steps, report.states
    );
    if std::env::var("FLUSS_EXPLORE").is_ok_and(|v| v == "traces") {
        println!("{}", found.trace);
    }
    Ok(found.broken.rule.into())
}

#[test]
fn each_rule_broken_on_purpose_is_caught_by_an_invariant() {
    let mut missed = Vec::new();
    for (mutation, rule, setup) in mutations() {
        let setup = Setup { mutation: Some(mutation), ..setup };
        let report = explore::<Ours>(&setup, 3_000_000);
        missed.extend(line(&format!("{mutation:?}"), rule, &report).err());
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn each_client_that_is_known_to_be_wrong_is_caught_by_an_invariant() {
    fn try_it<C: Client>(name: &str, wrong: &str, setup: &Setup, missed: &mut Vec<String>) {
        missed.extend(line(name, wrong, &explore::<C>(setup, 3_000_000)).err());
    }
    let world = Setup::new;
    let mut missed = Vec::new();
    let m = &mut missed;
    let lost_then_fatal = Faults { close: 1, fatal: 1, ..NO_FAULTS };
    let lost_then_restart = Faults { close: 1, shrink: 1, ..NO_FAULTS };
    let transient = Faults { transient: 1, ..NO_FAULTS };
    let marked = Faults { close: 1, shrink: 1, fatal: 1, ..NO_FAULTS };
    // A batch called failed is no news here; that another bucket notices is.
    let other = Faults { transient: 1, give_up: 1, ..NO_FAULTS };
    let two = Setup { buckets: 2, ..world("", (4, 2, 2), other) };
    try_it::<Legacy<Java>>("Java, lost then fatal", "V1", &world("", SMALL, lost_then_fatal), m);
    try_it::<Legacy<Java>>("Java, fatal", "V2", &world("", SMALL, FATAL), m);
    try_it::<Legacy<Java>>(
        "Java, lost then restart",
        "V5",
        &world("", SMALL, lost_then_restart),
        m,
    );
    try_it::<Legacy<Java>>("Java, transient", "V6", &world("", SMALL, transient), m);
    try_it::<Legacy<Java>>("Java, reset by another bucket", "V8", &two, m);
    try_it::<Legacy<FlussRs>>(
        "fluss-rs, lost then fatal",
        "V1",
        &world("", SMALL, lost_then_fatal),
        m,
    );
    try_it::<Legacy<FlussRs>>(
        "fluss-rs, lost then restart",
        "V5",
        &world("", SMALL, lost_then_restart),
        m,
    );
    let expired = Faults { expiry: 1, ..NO_FAULTS };
    let two = Setup { buckets: 2, ..world("", (4, 2, 2), expired) };
    try_it::<Legacy<FlussRs>>("fluss-rs, reset by another bucket", "V8", &two, m);
    try_it::<Legacy<FlussRs>>("fluss-rs, marked for ever", "V11", &world("", SMALL, marked), m);
    try_it::<Legacy<EarlyJava>>(
        "Java before it looked back",
        "V12",
        &world("", (4, 2, 2), CLOSE),
        m,
    );
    try_it::<Legacy<Proposal>>("the proposal, literally", "S2b", &world("", SMALL, CLOSE), m);
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// Scenario 2 of the idempotent-writes proposal, taken literally: a failure that may pass takes a
/// batch out and the later ones move up into its sequence.
#[test]
fn the_second_scenario_taken_literally_loses_a_batch_and_doubles_another() {
    // The first batch is acknowledged, the answer to the second is lost, the third never arrives.
    let world = Setup::new("", (3, 3, 5), Faults { drop: 1, ..CLOSE });
    let led_to = |rule: &str, words| {
        let setup = Setup { only: Some(words), ..world.clone() };
        let report = explore::<Legacy<Proposal>>(&setup, 3_000_000);
        assert_eq!(line("the proposal, literally", "S2b", &report), Ok(rule.into()));
    };
    led_to("I2", "is called written and is not in the log");
    led_to("I1", "is in the log a second time");
    // The same worlds hold for ours, so it is the client that loses and doubles.
    assert!(explore::<Ours>(&world, 3_000_000).found.is_none());
}
