//! The demo succeeds, and would not if it should not.

use super::*;
use fluss_core::row::{OwnedDatum, OwnedRow};
use fluss_proto::record::ChangeType;
use rows::Content;
use write::Outcome;

fn small(lie: Option<Lie>) -> Summary {
    let options = Options { rows: 5_000, seed: 11, lie, quiet: true };
    match run(&options, &AtomicBool::new(false)) {
        Ok(summary) => summary,
        Err(error) => panic!("seed {}: {error}", options.seed),
    }
}

#[test]
fn every_row_is_there_once_though_much_went_wrong() {
    let summary = small(None);
    assert!(summary.passed(), "{}", summary.to_text());
    let json = summary.to_json();
    assert!(json.starts_with("{\"rows\":5000,\"acked\":5000,\"not_written\":0,"), "{json}");
    assert!(json.contains("\"lost\":0,\"doubled\":0,\"retries\":"), "{json}");
}

#[test]
fn a_server_that_loses_an_acknowledged_row_is_found_out() {
    let summary = small(Some(Lie::Lose));
    assert!(!summary.passed() && summary.findings.lost > 0, "{}", summary.to_text());
}

#[test]
fn a_server_that_doubles_a_row_is_found_out() {
    let summary = small(Some(Lie::Double));
    assert!(!summary.passed() && summary.findings.doubled > 0, "{}", summary.to_text());
}

#[test]
fn an_interrupted_run_ends() {
    let options = Options { rows: 1_000_000, ..Options::default() };
    let result = run(&options, &AtomicBool::new(true));
    assert!(matches!(result, Err(DemoError::Interrupted)));
}

#[test]
fn an_interrupt_ends_a_run_that_reads_back_and_one_that_is_about_to_report() {
    let (calm, raised) = (AtomicBool::new(false), AtomicBool::new(true));
    let run = Run::start(Options { rows: 2_000, seed: 11, lie: None, quiet: true });
    let run = run.expect("a cluster with tables");
    let (done, marks) = run.write(&calm).expect("outcomes");
    let findings = run.compare(&done, &calm).expect("everything is read");
    assert!(findings.is_clean(), "{findings:?}");

    for (kind, table) in Kind::BOTH.into_iter().zip(&run.tables) {
        let mut check = Check::new(Rows::new(kind, run.rows, run.seed), &done);
        let read = read::through_client(&mut check, table, &raised);
        assert!(matches!(read, Err(Early::Interrupted)), "{kind:?}: {read:?}");
    }
    let mut check = Check::new(Rows::new(Kind::Keyed, run.rows, run.seed), &done);
    let looked_up = read::look_up(&mut check, &run.tables[1], &raised);
    assert!(matches!(looked_up, Err(Early::Interrupted)), "{looked_up:?}");
    let compared = run.compare(&done, &raised);
    assert!(matches!(compared, Err(DemoError::Interrupted)), "{compared:?}");
    let told = run.summary(findings, done, &marks, Duration::ZERO, &raised);
    assert!(matches!(told, Err(DemoError::Interrupted)), "{told:?}");
}

#[test]
fn every_row_is_recognised_by_its_content_alone() {
    for of in [1, 2, 3, 7, 100, 1001] {
        for kind in Kind::BOTH {
            let rows = Rows::new(kind, of, 5);
            let written: Vec<u64> =
                (0..WRITERS).flat_map(|writer| rows.of_writer(writer)).collect();
            assert_eq!(written, (0..rows.count).collect::<Vec<_>>(), "{kind:?} of {of}");
            for row in written {
                let content = rows.content(row);
                assert_eq!(rows.number(&content), Some(row), "{kind:?} of {of}: {content:?}");
                let other = Content { x: content.x + 1.0, ..content };
                assert_eq!(rows.number(&other), None);
            }
        }
    }
}

/// A check of the log table with four rows in bucket 0, all acknowledged at their numbers.
fn log_check(change: impl FnOnce(&mut Vec<Outcome>)) -> (Rows, Check) {
    let rows = Rows::new(Kind::Log, 8, 3);
    let ok = |at| Outcome::Ok { bucket: 0, offset: Some(at) };
    let mut outcomes: Vec<Outcome> = (0..4).map(ok).collect();
    change(&mut outcomes);
    let done = Done { rows, first: 0, outcomes, errors: Vec::new() };
    (rows, Check::new(rows, &[done]))
}

fn append(check: &mut Check, rows: Rows, offset: i64, row: u64) {
    check.record(0, offset, ChangeType::Append, Some(&rows.content(row)));
}

#[test]
fn rows_in_their_places_are_no_finding() {
    let (rows, mut check) = log_check(|outcomes| {
        outcomes[1] = Outcome::Ok { bucket: 0, offset: None };
        outcomes[2] = Outcome::NotWritten;
        outcomes[3] = Outcome::Unknown;
    });
    for (at, row) in [(0, 0), (1, 1), (2, 3)] {
        append(&mut check, rows, at, row);
    }
    let findings = check.finish();
    assert!(findings.is_clean(), "{findings:?}");
    assert_eq!((findings.acked, findings.not_written, findings.unknown), (2, 1, 1));
}

#[test]
fn each_broken_promise_is_counted_as_what_it_is() {
    let tell = |outcome: Option<Outcome>, seen: &[(i64, u64)]| {
        let (rows, mut check) = log_check(|outcomes| {
            if let Some(outcome) = outcome {
                outcomes[3] = outcome;
            }
        });
        for &(at, row) in [(0, 0), (1, 1), (2, 2)].iter().chain(seen) {
            append(&mut check, rows, at, row);
        }
        let findings = check.finish();
        assert_eq!(findings.complaints.is_empty(), findings.is_clean());
        (findings.lost, findings.doubled, findings.wrong)
    };
    assert_eq!(tell(None, &[(3, 3)]), (0, 0, 0));
    assert_eq!(tell(None, &[]), (1, 0, 0), "lost");
    assert_eq!(tell(None, &[(3, 3), (4, 3)]), (0, 1, 0), "doubled");
    assert_eq!(tell(None, &[(4, 3)]), (0, 0, 1), "elsewhere");
    assert_eq!(tell(Some(Outcome::NotWritten), &[(3, 3)]), (0, 0, 1), "there all the same");
    assert_eq!(tell(Some(Outcome::Unknown), &[(3, 3), (4, 3)]), (0, 1, 0), "doubled");
    assert_eq!(tell(Some(Outcome::Open), &[]), (0, 0, 1), "no outcome");
    assert_eq!(tell(None, &[(3, 3), (4, 99)]), (0, 0, 1), "foreign");
}

#[test]
fn a_changelog_must_follow_from_itself() {
    let rows = Rows::new(Kind::Keyed, 48, 3);
    let own = rows.of_writer(0);
    // The first key of the first writer is written twice.
    let second = own.clone().skip(1).find(|row| rows.content(*row).id == 0).expect("a tenth");
    let tell = |records: &[(ChangeType, u64)], looked_up: Option<u64>| {
        let mut outcomes = vec![Outcome::Unknown; rows.count as usize];
        outcomes[0] = Outcome::Ok { bucket: 0, offset: Some(1) };
        let done = Done { rows, first: 0, outcomes, errors: Vec::new() };
        let mut check = Check::new(rows, &[done]);
        for (offset, (change, row)) in (0..).zip(records) {
            check.record(0, offset, *change, Some(&rows.content(*row)));
        }
        let found = looked_up.map(|row| {
            let Content { id, name, n, x } = rows.content(row);
            [
                OwnedDatum::Int64(id),
                OwnedDatum::Str(name),
                OwnedDatum::Int32(n),
                OwnedDatum::Float64(x),
            ]
            .into_iter()
            .collect::<OwnedRow>()
        });
        check.looked_up(0, found.as_ref());
        let findings = check.finish();
        (findings.lost, findings.doubled, findings.wrong)
    };
    use ChangeType::{Insert, UpdateAfter, UpdateBefore};
    let update = [(Insert, 0), (UpdateBefore, 0), (UpdateAfter, second)];
    assert_eq!(tell(&update, Some(second)), (0, 0, 0));
    assert_eq!(tell(&update[..1], Some(0)), (0, 0, 0));
    assert_eq!(tell(&update, Some(0)), (0, 0, 1), "an old value is looked up");
    assert_eq!(tell(&update, None), (0, 0, 1), "nothing is looked up");
    assert_eq!(tell(&[(Insert, 0), (Insert, second)], Some(second)), (0, 0, 1), "+I twice");
    assert_eq!(tell(&[(Insert, 0), (UpdateAfter, second)], Some(second)), (0, 0, 1), "no -U");
    assert_eq!(tell(&[(Insert, 5), (Insert, 0)], Some(0)), (0, 0, 1), "beyond the end it was told");
    assert_eq!(tell(&[], None), (1, 0, 0), "lost");
}

#[test]
fn a_seed_fixes_what_goes_wrong() {
    let steps = plan::plan(7, 1_000_000, plan::FULL);
    assert_eq!(steps, plan::plan(7, 1_000_000, plan::FULL));
    assert_ne!(steps, plan::plan(8, 1_000_000, plan::FULL));
    assert!(steps.len() > 300 && steps.is_sorted_by_key(|step| step.at));
    assert!(plan::plan(7, 1000, 100).len() < steps.len() / 10);
}

#[test]
fn a_run_that_was_too_quiet_proves_nothing() {
    let count = |part: u64| Count {
        cuts: part * 6,
        lost_answers: part * 6,
        leader_moves: part,
        retries: part * 10,
    };
    let marks: Vec<Count> = (1..=PARTS).map(count).collect();
    assert_eq!(Count::missing(&marks, plan::FULL), Vec::<String>::new());
    // All of it in the first half.
    let uneven: Vec<Count> = (1..=PARTS).map(|part| count((part * 2).min(PARTS))).collect();
    let missing = Count::missing(&uneven, plan::FULL);
    assert!(missing.iter().any(|text| text.contains("part 6 of 10")), "{missing:?}");
    type Change = fn(&mut Count);
    let few: [(Change, &str); 4] = [
        (|count| count.cuts /= 2, "30 cuts in the run, at least 50"),
        (|count| count.lost_answers /= 2, "in the run, at least 50"),
        (|count| count.leader_moves -= 1, "9 leader moves in the run, at least 10"),
        (|count| count.retries -= 1, "99 retries in the run, at least 100"),
    ];
    // A run by default is held to all of this.
    assert_eq!((1_000_000 / BATCH_ROWS).clamp(1, plan::FULL), plan::FULL);
    for (lower, says) in few {
        let mut marks = marks.clone();
        marks.iter_mut().for_each(lower);
        let missing = Count::missing(&marks, plan::FULL);
        assert!(missing.iter().any(|text| text.contains(says)), "{says}: {missing:?}");
    }
}

#[test]
fn threads_run_no_further_ahead_than_they_may() {
    let shared = Shared::default();
    shared.pace.allow(10);
    assert!(shared.pace.take(6) && shared.pace.take(4));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| shared.pace.take(5));
        shared.pace.allow(3);
        shared.pace.allow(15);
        assert!(waiting.join().expect("no panic"), "there was room for 5 more");
        let waiting = scope.spawn(|| shared.pace.take(1));
        shared.pace.stop();
        assert!(!waiting.join().expect("no panic"), "the work has ended");
    });
}
