use super::*;

/// The columns of a batch's state, in the order of the bits of its number.
const COLUMNS: [&str; 8] = [
    "doomed",
    "ambiguous",
    "floor",
    "sent at floor",
    "probe",
    "confirms left",
    "tries left",
    "retries left",
];

fn view(bits: u16) -> View {
    let bit = |i: u16| bits >> i & 1 == 1;
    View {
        doomed: bit(0),
        ambiguous: bit(1),
        floor: bit(2),
        sent_at_floor: bit(3),
        probe: bit(4),
        confirms_left: bit(5),
        tries_left: bit(6),
        retries_left: bit(7),
    }
}

fn text(bits: u16) -> String {
    let set: Vec<&str> =
        (0..8u16).filter(|i| bits >> i & 1 == 1).map(|i| COLUMNS[usize::from(i)]).collect();
    if set.is_empty() { "nothing".into() } else { set.join(", ") }
}

const CLASSES: [Class; 8] = [
    Class::Committed,
    Class::RejectSeq,
    Class::RejectTransient,
    Class::RejectThrottled,
    Class::RejectLimited(3),
    Class::RejectFatal,
    Class::Ambiguous,
    Class::NotSent,
];

/// The rows of the documented table, in its order: who they are for, when they match, and what
/// they say. Written down again, column by column, so that the function is checked by another form.
type Row = (&'static [Class], fn(View) -> bool, Verdict);

const FINAL: &[Class] = &[Class::RejectFatal, Class::RejectLimited(3)];
const WAITS: &[Class] =
    &[Class::RejectTransient, Class::RejectThrottled, Class::RejectLimited(3), Class::Ambiguous];

const ROWS: &[Row] = &[
    (&[Class::Committed], |_| true, Verdict::Commit),
    (&CLASSES, |v| v.doomed, Verdict::Close),
    (&[Class::RejectSeq], |v| v.probe, Verdict::ProbeRejected),
    (&[Class::RejectSeq], |v| v.floor && v.sent_at_floor, Verdict::Genuine),
    (&[Class::RejectSeq], |_| true, Verdict::Resend),
    (&[Class::RejectFatal], |v| !v.ambiguous, Verdict::Fail),
    (&[Class::RejectFatal], |v| v.confirms_left, Verdict::Confirm),
    (&[Class::RejectFatal], |_| true, Verdict::Fail),
    (FINAL, |v| !v.tries_left && !v.ambiguous, Verdict::Fail),
    (FINAL, |v| !v.tries_left && v.confirms_left, Verdict::Confirm),
    (FINAL, |v| !v.tries_left, Verdict::Fail),
    (&[Class::NotSent], |_| true, Verdict::Retry),
    (WAITS, |v| v.retries_left, Verdict::Retry),
    (WAITS, |_| true, Verdict::GiveUp),
];

#[test]
fn every_answer_in_every_state_has_the_documented_verdict() {
    let mut seen = std::collections::BTreeSet::new();
    for class in CLASSES {
        for bits in 0..256 {
            let state = view(bits);
            let row = ROWS
                .iter()
                .find(|(classes, matches, _)| classes.contains(&class) && matches(state))
                .unwrap_or_else(|| panic!("no row for {class:?} with {}", text(bits)));
            let given = verdict(class, state);
            assert_eq!(given, row.2, "{class:?} with {}", text(bits));
            seen.insert(given);
        }
    }
    assert_eq!(seen.len(), 9, "a verdict that is never given: {seen:?}");
}

#[test]
fn no_answer_but_a_success_commits_and_no_open_outcome_fails_before_it_is_confirmed() {
    for class in CLASSES {
        for bits in 0..256 {
            let state = view(bits);
            let given = verdict(class, state);
            assert_eq!(given == Verdict::Commit, class == Class::Committed);
            if given == Verdict::Fail && state.ambiguous {
                assert!(!state.confirms_left, "{class:?} with {}", text(bits));
            }
            if state.doomed {
                assert!(matches!(given, Verdict::Commit | Verdict::Close));
            }
        }
    }
}

#[test]
fn every_code_has_the_class_of_what_the_server_did_before_it_sent_it() {
    let expected = |code: i32| match code {
        0 | 32 => Class::Committed,
        31 | 33 => Class::RejectSeq,
        29 | 70 => Class::RejectTransient,
        72 => Class::RejectThrottled,
        3 | 14 => Class::RejectLimited(3),
        9 => Class::RejectLimited(5),
        2 | 13 | 18 | 20 | 35 | 46 | 48 | 57 | 74 => Class::RejectFatal,
        // 1, 7, 10, 11, 12, 21, 25, 26, 28, 36, 44, -1 can all follow an append; of codes that are
        // not known here nothing can be said.
        _ => Class::Ambiguous,
    };
    let refreshed = [1, 7, 9, 12, 21, 26, 36, 44];
    for code in (-2..100).chain([i32::MIN, i32::MAX]) {
        assert_eq!(classify(ErrorCode(code)), expected(code), "code {code}");
        assert_eq!(refresh_after(ErrorCode(code)).is_some(), refreshed.contains(&code), "{code}");
    }
    // What the server says after it appended must never count as a rejection.
    for code in [12, 21, 26, 10, 11, 25, 28, 1, -1, 4711] {
        assert_eq!(classify(ErrorCode(code)), Class::Ambiguous, "code {code}");
    }
}

#[test]
fn the_documentation_shows_the_table_that_is_checked_here() {
    let source = include_str!("../retry.rs");
    let rows = [
        "committed | any | `Commit`",
        "any other | doomed already | `Close`",
        "sequence | copy was a probe | `ProbeRejected`",
        "sequence | lowest open one, sent when it was that already | `Genuine`",
        "sequence | any other | `Resend`",
        "fatal, limited without tries | no ambiguous copy | `Fail`",
        "fatal, limited without tries | ambiguous copy, confirmations left | `Confirm`",
        "fatal, limited without tries | ambiguous copy, none left | `Fail`",
        "not sent | any | `Retry`",
        "transient, throttled, limited, ambiguous | retries left | `Retry`",
        "transient, throttled, limited, ambiguous | none left | `GiveUp`",
    ];
    for row in rows {
        assert!(source.contains(&format!("//! | {row} |")), "missing: {row}");
    }
}
