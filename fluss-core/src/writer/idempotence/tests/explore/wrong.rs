//! The clients that are known to be wrong, and the proposal they come from taken to the letter: in
//! a world with room for little else, each breaks what the specification (§6, §7) says it breaks.
//!
//! What breaks first is often a step before that: a batch is called not written although it is in
//! the log, or the stamp of a batch in the log goes to another one. Then both are searched for.
//! What is found is listed in `broken.md`.

use super::client::Ours;
use super::legacy::{
    AtAppend, EarlyJava, FlussRs, Java, JavaOnce, Legacy, Scenario2, Scenario3, Scenario4,
};
use super::mutants::{REFUSED, caught};
use super::search::explore;
use super::{Faults, NO_FAULTS, Setup};

// Worlds of what one of the two clients cured.
const REFUSED_ONCE: Faults = Faults { transient: 1, ..NO_FAULTS };
const FORGOTTEN_THEN_FATAL: Faults = Faults { expiry: 1, fatal: 1, ..NO_FAULTS };
const MARKED: Faults = Faults { close: 1, shrink: 1, fatal: 1, ..NO_FAULTS };
const CLOSE: Faults = Faults { close: 1, ..NO_FAULTS };

fn world(sizes: (u8, usize, u8), faults: Faults) -> Setup {
    Setup::new("", sizes, faults)
}

/// A world within a session.
fn within(sequence: i32, sizes: (u8, usize, u8), faults: Faults) -> Setup {
    Setup { first_sequence: Some(sequence), ..world(sizes, faults) }
}

/// Explores a world with one of the clients, as [`caught`] does.
type Explore = fn((&str, &str), &Setup, &str, &[&'static str]) -> Vec<String>;

/// One wrong client in one world: where it is told, the invariant that breaks first, what follows.
struct Row {
    who: &'static str,
    told: &'static str,
    setup: Setup,
    first: &'static str,
    then: &'static [&'static str],
    explore: Explore,
}

/// What the Java client and fluss-rs share.
fn both(told: &'static str, setup: &Setup, first: &'static str, then: &'static [&str]) -> [Row; 2] {
    let row = |who, explore| Row { who, told, setup: setup.clone(), first, then, explore };
    [row("Java", caught::<Legacy<Java>>), row("fluss-rs", caught::<Legacy<FlussRs>>)]
}

fn rows() -> Vec<Row> {
    let f = NO_FAULTS;
    let mut rows = Vec::new();
    let fatal = Faults { fatal: 1, ..CLOSE };
    // One in flight: no copy is left behind that could be appended later.
    rows.extend(both("V1", &world((2, 1, 1), fatal), "I3", &["I2"]));
    let refused = Setup { begin: &REFUSED, ..world((2, 2, 2), fatal) };
    rows.extend(both("V2", &refused, "I1", &[]));
    let elsewhere = Faults { elsewhere: 1, ..REFUSED_ONCE };
    rows.extend(both("V3", &world((4, 2, 2), elsewhere), "I13", &["I2"]));
    rows.extend(both("V4", &within(i32::MAX, (2, 1, 1), f), "I20", &["I2"]));
    rows.extend(both("V5", &world((3, 2, 2), Faults { shrink: 1, ..CLOSE }), "I3", &[]));
    let elsewhere = Faults { elsewhere: 1, ..CLOSE };
    rows.extend(both("V7", &world((2, 2, 2), elsewhere), "I3", &["I4"]));
    let two = |setup| Setup { buckets: 2, ..setup };
    let forgotten = Faults { expiry: 1, ..f };
    rows.extend(both("V8", &two(world((4, 2, 2), forgotten)), "I19", &[]));
    let forgotten = Faults { expiry: 1, ..CLOSE };
    rows.extend(both("V8", &two(within(1, (2, 1, 1), forgotten)), "I19", &["I3"]));
    let row =
        |who, told, setup, first, then, explore| Row { who, told, setup, first, then, explore };
    let (java, rs) = (caught::<Legacy<Java>>, caught::<Legacy<FlussRs>>);
    let (early, once) = (caught::<Legacy<EarlyJava>>, caught::<Legacy<JavaOnce>>);
    let (s2, s3) = (caught::<Legacy<Scenario2>>, caught::<Legacy<Scenario3>>);
    let (s4, at_append) = (caught::<Legacy<Scenario4>>, caught::<Legacy<AtAppend>>);
    let late = Faults { give_up: 1, ..f };
    let unconfirmed = Faults { after: 2, ..f };
    let dropped = Faults { drop: 1, ..CLOSE };
    let fatal = Faults { fatal: 1, ..f };
    rows.extend([
        row("Java", "V6", world((3, 2, 2), REFUSED_ONCE), "I15", &[], java),
        row("fluss-rs", "V11", within(1, (2, 2, 2), FORGOTTEN_THEN_FATAL), "I16", &[], rs),
        row("fluss-rs, from a lost answer on", "V11", world((2, 2, 2), MARKED), "I3", &["I16"], rs),
        row("Java once, scenario 1", "V12", world((4, 2, 2), CLOSE), "I16", &[], early),
        row("Java, told to retry once", "S3b", world((2, 2, 2), unconfirmed), "I3", &[], once),
        row("sequences at append", "§4.4", world((2, 1, 1), late), "I7", &["I16"], at_append),
        row("scenario 2, literally", "S2b", world((3, 3, 5), dropped), "I8", &["I2", "I1"], s2),
        row("scenario 3, literally", "S3", world((2, 2, 2), fatal), "I16", &[], s3),
        row("scenario 4, literally", "S4", two(within(1, (2, 1, 1), forgotten)), "I3", &[], s4),
    ]);
    rows
}

#[test]
fn each_client_that_is_known_to_be_wrong_breaks_what_it_is_known_for() {
    let mut missed = Vec::new();
    for Row { who, told, setup, first, then, explore } in rows() {
        missed.extend(explore((who, told), &setup, first, then));
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn ours_keeps_the_rules_in_every_world_of_a_wrong_client() {
    for Row { told, setup, .. } in rows() {
        let report = explore::<Ours>(&setup, 3_000_000);
        assert!(report.found.is_none(), "{told}: {:?}", report.found.map(|f| f.trace));
    }
}

/// Each of the two clients is cured of what the other one has, in the same world: what is found is
/// the one rule in which they differ.
#[test]
fn what_one_of_the_clients_cured_is_not_found_in_it() {
    let once = explore::<Legacy<FlussRs>>(&world((3, 2, 2), REFUSED_ONCE), 3_000_000);
    assert!(once.found.is_none(), "{:?}", once.found.map(|f| f.trace));
    let setup = within(1, (2, 2, 2), FORGOTTEN_THEN_FATAL);
    let marked = explore::<Legacy<Java>>(&setup, 3_000_000);
    assert!(marked.found.is_none(), "{:?}", marked.found.map(|f| f.trace));
    let setup = Setup { only: Some("I16"), ..world((2, 2, 2), MARKED) };
    let marked = explore::<Legacy<Java>>(&setup, 3_000_000);
    assert!(marked.found.is_none(), "{:?}", marked.found.map(|f| f.trace));
}

/// Scenario 2 of the idempotent-writes proposal, taken literally: a failure that may pass takes a
/// batch out and the later ones move up into its sequence.
#[test]
fn the_second_scenario_taken_literally_loses_a_batch_and_doubles_another() {
    // The first batch is acknowledged, the answer to the second is lost, the third never arrives.
    let world = world((3, 3, 5), Faults { drop: 1, ..CLOSE });
    let led_to = |rule, words| {
        let setup = Setup { only: Some(rule), ..world.clone() };
        let found = explore::<Legacy<Scenario2>>(&setup, 3_000_000).found.expect("broken");
        assert!(found.broken.text.ends_with(words), "{}", found.trace);
    };
    led_to("I2", "is called written and is not in the log");
    led_to("I1", "is in the log a second time");
}
