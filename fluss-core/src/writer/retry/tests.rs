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

/// The cells of each row of a documented table, by the names of its columns.
fn rows(header: &str) -> Vec<Vec<&'static str>> {
    let lines = include_str!("verdicts.md").lines().skip_while(|line| *line != header).skip(2);
    let table = lines.take_while(|line| line.starts_with('|'));
    table.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn the_documentation_shows_the_verdicts_that_are_checked_here() {
    let of = |name: &str| -> Vec<Class> {
        let class = |word: &str| match word {
            "committed" => Class::Committed,
            "sequence" => Class::RejectSeq,
            "transient" => Class::RejectTransient,
            "throttled" => Class::RejectThrottled,
            "limited" => Class::RejectLimited(3),
            "fatal" => Class::RejectFatal,
            "ambiguous" => Class::Ambiguous,
            "not sent" => Class::NotSent,
            other => panic!("{other} is no class"),
        };
        match name {
            "any other" => CLASSES.to_vec(),
            "fatal, limited without tries" => FINAL.to_vec(),
            names => names.split(", ").map(class).collect(),
        }
    };
    let matches = |condition: &str, class: Class, v: View| {
        // A limited refusal with tries left is not for good.
        let spent = !matches!(class, Class::RejectLimited(_)) || !v.tries_left;
        match condition {
            "any" | "any other" => true,
            "doomed already" => v.doomed,
            "copy was a probe" => v.probe,
            "lowest open one, sent when it was that already" => v.floor && v.sent_at_floor,
            "no ambiguous copy" => spent && !v.ambiguous,
            "ambiguous copy, confirmations left" => spent && v.ambiguous && v.confirms_left,
            "ambiguous copy, none left" => spent && v.ambiguous && !v.confirms_left,
            "retries left" => v.retries_left,
            "none left" => !v.retries_left,
            other => panic!("{other} is no condition"),
        }
    };
    let table = rows("| class | batch | verdict |");
    assert_eq!(table.len(), 11);
    for class in CLASSES {
        for bits in 0..256 {
            let state = view(bits);
            let row = table
                .iter()
                .find(|row| of(row[0]).contains(&class) && matches(row[1], class, state))
                .unwrap_or_else(|| panic!("no row for {class:?} with {}", text(bits)));
            let given = format!("`{:?}`", verdict(class, state));
            assert_eq!(given, row[2], "{class:?} with {}", text(bits));
        }
    }
}

#[test]
fn the_documentation_shows_the_class_of_each_code() {
    let mut left: Vec<i32> = (-1..200).collect();
    for row in rows("| class | codes | this copy |") {
        let class = |code: i32| match (row[0], classify(ErrorCode(code))) {
            ("committed", class) => class == Class::Committed,
            ("sequence", class) => class == Class::RejectSeq,
            ("transient", class) => class == Class::RejectTransient,
            ("throttled", class) => class == Class::RejectThrottled,
            ("limited", class) => matches!(class, Class::RejectLimited(_)),
            ("fatal", class) => class == Class::RejectFatal,
            ("ambiguous", class) => class == Class::Ambiguous,
            (other, _) => panic!("{other} is no class of codes"),
        };
        if row[0] == "not sent" {
            continue;
        }
        if row[0] == "ambiguous" {
            assert!(left.iter().all(|code| class(*code)), "{left:?}");
            continue;
        }
        // Success is code 0; in brackets stands how many answers of a kind a batch may get.
        let text = row[1].replace("success", "0").replace("(3 answers)", "");
        let text = text.replace("(5, with a refresh)", "");
        for code in text.split(',').map(|c| c.trim().parse::<i32>().expect("a code")) {
            assert!(class(code), "{code} is not {}", row[0]);
            left.retain(|other| *other != code);
        }
    }
}
