//! The checks can fail: each rule broken on purpose is caught by an invariant of the specification,
//! with the shortest way there. What is found is listed in `broken.md`.

use super::client::{Client, Ours};
use super::search::explore;
use super::state::{Event, Inject};
use super::{Faults, NO_FAULTS, Setup};
use crate::writer::idempotence::Mutation;

const SMALL: (u8, usize, u8) = (3, 2, 2);
const WIDE: (u8, usize, u8) = (4, 3, 3);
const CLOSE: Faults = Faults { close: 1, ..NO_FAULTS };
const FATAL: Faults = Faults { fatal: 1, ..NO_FAULTS };

/// The first of two batches is refused for good; the second is still in the server's queue.
pub(super) const REFUSED: [Event; 4] =
    [Event::Send(1), Event::Send(1), Event::Execute(0, Inject::Fatal(0)), Event::Deliver(0)];

/// A mutation, its rule, the invariant that breaks first, and the world that shows it.
fn mutations() -> Vec<(Mutation, &'static str, &'static str, Setup)> {
    use Mutation as M;
    let world = Setup::new;
    let transient = Faults { transient: 1, ..NO_FAULTS };
    let after_fatal = Faults { after: 1, fatal: 1, ..NO_FAULTS };
    let shrunk = Faults { close: 2, shrink: 1, ..NO_FAULTS };
    let expiry = Faults { expiry: 1, ..NO_FAULTS };
    let moved = Faults { moves: 1, fatal: 1, ..NO_FAULTS };
    let died = Faults { crash: 1, close: 1, shrink: 1, ..NO_FAULTS };
    let moves = Faults { moves: 1, ..NO_FAULTS };
    let moved_back = Faults { moves: 2, close: 1, shrink: 1, ..NO_FAULTS };
    let late = Faults { give_up: 1, close: 1, ..NO_FAULTS };
    let abort = Faults { abort: 1, ..NO_FAULTS };
    let fence = Faults { close: 1, fatal: 1, ..NO_FAULTS };
    let after = Faults { after: 1, ..NO_FAULTS };
    let refused = Setup { begin: &REFUSED, ..world("", (2, 2, 2), fence) };
    vec![
        (M::UnlimitedWindow, "R3", "I6", world("", SMALL, NO_FAULTS)),
        (M::StampBeforeResend, "R3", "I21", world("", SMALL, transient)),
        (M::CommitAll, "R4", "I2", world("", SMALL, NO_FAULTS)),
        (M::AnswerByBatch, "R5", "I17", world("", WIDE, moved)),
        (M::TimeoutIsRefusal, "R6", "I3", world("", SMALL, after_fatal)),
        (M::NotLeaderIsRefusal, "R6", "I3", world("", SMALL, moved)),
        (M::ResendInAnyOrder, "R7", "I21", world("", SMALL, CLOSE)),
        (M::ShiftOnRetry, "R7", "I9", world("", SMALL, after)),
        (M::NoGenerationGate, "R8", "I16", world("", SMALL, transient)),
        (M::StaleIsGenuine, "R9", "I25", world("", SMALL, transient)),
        (M::NoProbe, "R10", "I15", world("", SMALL, shrunk)),
        (
            M::AcceptOldProbeAnswers,
            "R10",
            "I15",
            world("", (4, 4, 1), Faults { transient: 1, ..CLOSE }),
        ),
        (M::FormerConnectionIsEvidence, "R11", "I15", world("", SMALL, died)),
        (M::KeepBrokenId, "R11", "I8", world("", SMALL, expiry)),
        (M::RestampAmbiguous, "R12", "I1", refused.clone()),
        (M::InPlaceWithoutWaiting, "R13", "I11", refused),
        (M::NoFence, "R13", "I8", world("", SMALL, fence)),
        (M::HoleStays, "R13", "I12", world("", SMALL, FATAL)),
        (M::FatalIsNotWritten, "R14", "I3", world("", SMALL, after_fatal)),
        (M::UpwardIsNotAwaited, "R14", "I11", world("", SMALL, after_fatal)),
        (M::LateIsNotWritten, "R15", "I3", world("", SMALL, late)),
        (M::SecondConnection, "R16", "I21", world("", SMALL, moves)),
        (M::ReuseId, "R17", "I8", world("", SMALL, expiry)),
        (
            M::PastTheLastSequence,
            "R19",
            "I8",
            Setup { first_sequence: Some(i32::MAX - 1), ..world("", SMALL, NO_FAULTS) },
        ),
        (M::FormerLeaderIsEvidence, "R22", "I15", world("", SMALL, moved_back)),
        (M::AbortIsNotWritten, "R25", "I3", world("", SMALL, abort)),
        (M::ForgetLate, "R27", "I5", Setup { track_offsets: true, ..world("", SMALL, NO_FAULTS) }),
    ]
}

/// Explores a world in which something is wrong: `first` is the invariant that breaks first, and
/// each one in `then` is broken by what follows.
pub(super) fn caught<C: Client>(
    (name, wrong): (&str, &str),
    setup: &Setup,
    first: &str,
    then: &[&'static str],
) -> Vec<String> {
    let searches = [(None, first)].into_iter().chain(then.iter().map(|rule| (Some(*rule), *rule)));
    let mut missed = Vec::new();
    for (only, rule) in searches {
        let setup = Setup { only, ..setup.clone() };
        let report = explore::<C>(&setup, 3_000_000);
        let Some(found) = &report.found else {
            missed.push(format!("{name} ({wrong}): {rule} holds in {} states", report.states));
            continue;
        };
        if found.broken.rule != rule {
            let (found, trace) = (&found.broken, &found.trace);
            missed.push(format!("{name} ({wrong}): not {rule}, but {found}\n{trace}"));
        }
        println!(
            "{name:<44} {wrong:<4} {:<10} {:>2} steps {:>7} states",
            if only.is_some() { format!("then {rule}") } else { rule.into() },
            found.steps,
            report.states
        );
        if std::env::var("FLUSS_EXPLORE").is_ok_and(|v| v == "traces") {
            println!("{}", found.trace);
        }
    }
    missed
}

#[test]
fn each_rule_broken_on_purpose_is_caught_by_an_invariant() {
    let mut missed = Vec::new();
    for (mutation, rule, first, setup) in mutations() {
        let setup = Setup { mutation: Some(mutation), ..setup };
        // What the specification says of this one comes a step later.
        let in_place = mutation == Mutation::InPlaceWithoutWaiting;
        let then: &[_] = if in_place { &["I1"] } else { &[] };
        missed.extend(caught::<Ours>((&format!("{mutation:?}"), rule), &setup, first, then));
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// Where a fatal answer may come, a batch is of unknown outcome only when one did, in doubt.
#[test]
fn an_unknown_outcome_that_no_fatal_answer_led_to_is_caught() {
    let faults = Faults { close: 2, shrink: 1, fatal: 1, ..NO_FAULTS };
    let mutation = Some(Mutation::NoProbe);
    let setup = Setup { mutation, only: Some("I15"), ..Setup::new("", SMALL, faults) };
    let found = explore::<Ours>(&setup, 3_000_000).found.expect("caught");
    assert_eq!(found.broken.rule, "I15", "{}", found.trace);
    assert!(found.broken.text.contains("is unknown though nothing in doubt"), "{}", found.trace);
}
