//! Outcomes and records that fit each other pass; each lie about them is noticed.

use super::*;

const BUCKETS: i64 = 3;

fn upsert(id: i64, version: i32) -> Op {
    Op { row: RowOf { id, version }, delete: false }
}

fn delete(id: i64, version: i32) -> Op {
    Op { row: RowOf { id, version }, delete: true }
}

fn line(writes: Vec<(Op, Told)>) -> Line {
    let (ops, told) = writes.into_iter().unzip();
    Line { ops, told, slowest: Duration::ZERO, errors: Vec::new() }
}

/// Two threads that appended ten rows each, to three buckets in turn.
fn appended() -> (Vec<Line>, Vec<Record>) {
    let mut lines = Vec::new();
    let mut records = Vec::new();
    for thread in 0..2 {
        let mut writes = Vec::new();
        for n in 0..10 {
            let id = thread * STRIDE + n;
            let bucket = (n % BUCKETS) as i32;
            let offset = n / BUCKETS * 2 + thread;
            writes.push((upsert(id, 0), told(bucket, Some(offset))));
            let row = Some(RowOf { id, version: 0 });
            records.push(Record { bucket, offset, change: ChangeType::Append, row });
        }
        lines.push(line(writes));
    }
    (lines, records)
}

/// When all rows were acknowledged.
const BY: u64 = 77;

fn told(bucket: i32, offset: Option<i64>) -> Told {
    Told::Ok { bucket, offset, by: BY }
}

#[test]
fn a_log_that_is_as_it_was_told_passes() {
    let (lines, records) = appended();
    let findings = log(&lines, &records);
    assert!(findings.is_clean(), "{findings:?}");
    assert_eq!((findings.ok, findings.rows()), (20, 20));
}

#[test]
fn a_lost_row_is_noticed() {
    let (lines, mut records) = appended();
    let gone = records.remove(4);
    let findings = log(&lines, &records);
    let lost = Lost { bucket: gone.bucket, offset: Some(gone.offset), by: BY };
    assert_eq!((findings.lost.as_slice(), findings.faults()), (&[lost][..], 0), "{findings:?}");
    assert!(!findings.is_clean());
}

#[test]
fn a_doubled_row_is_noticed_whatever_its_outcome() {
    for outcome in [told(1, Some(2)), Told::Unknown] {
        let (mut lines, mut records) = appended();
        lines[0].told[4] = outcome;
        records.push(Record { offset: 90, ..records[4] });
        let findings = log(&lines, &records);
        assert_eq!(findings.doubled, 1, "{findings:?}");
    }
}

#[test]
fn rows_that_changed_places_are_noticed_with_and_without_their_offsets() {
    let (mut lines, mut records) = appended();
    let (first, second) = (records[1].row, records[4].row);
    (records[1].row, records[4].row) = (second, first);
    let findings = log(&lines, &records);
    assert_eq!((findings.misplaced, findings.disordered), (2, 1), "{findings:?}");
    for told in lines.iter_mut().flat_map(|line| &mut line.told) {
        if let Told::Ok { offset, .. } = told {
            *offset = None;
        }
    }
    let findings = log(&lines, &records);
    assert_eq!((findings.misplaced, findings.disordered), (0, 1), "{findings:?}");
}

#[test]
fn a_wrong_offset_and_a_wrong_bucket_are_noticed() {
    for outcome in [told(1, Some(3)), told(2, Some(2)), told(2, None)] {
        let (mut lines, records) = appended();
        lines[0].told[4] = outcome;
        let findings = log(&lines, &records);
        assert_eq!((findings.misplaced, findings.faults()), (1, 1), "{outcome:?}: {findings:?}");
    }
}

#[test]
fn a_row_that_is_there_though_not_written_is_noticed() {
    let (mut lines, mut records) = appended();
    lines[1].told[9] = Told::NotWritten;
    let findings = log(&lines, &records);
    assert_eq!((findings.untrue, findings.faults()), (1, 1), "{findings:?}");
    records.retain(|record| record.row.is_none_or(|row| row.id != STRIDE + 9));
    assert!(log(&lines, &records).is_clean());
}

#[test]
fn an_unknown_row_may_be_there_or_not_and_anywhere() {
    let (mut lines, mut records) = appended();
    lines[0].told[4] = Told::Unknown;
    assert!(log(&lines, &records).is_clean());
    records[4].offset = 90;
    assert!(log(&lines, &records).is_clean());
    records.remove(4);
    let findings = log(&lines, &records);
    assert!(findings.is_clean(), "{findings:?}");
    assert_eq!(findings.unknown, 1);
}

#[test]
fn foreign_rows_missing_outcomes_and_wrong_changes_are_noticed() {
    let (lines, mut records) = appended();
    records[0].row = None;
    records[2].row = Some(RowOf { id: 77, version: 0 });
    records[3].change = ChangeType::Insert;
    let findings = log(&lines, &records);
    assert_eq!((findings.wrong, findings.lost.len()), (3, 3), "{findings:?}");
    let (mut lines, records) = appended();
    lines[0].told[0] = Told::Open;
    assert_eq!(log(&lines, &records).wrong, 1);
}

/// A key that is inserted, updated, deleted and inserted again, and one that is inserted only.
fn changed() -> (Vec<Line>, Vec<Record>) {
    let writes = vec![
        (upsert(1, 0), told(0, Some(1))),
        (upsert(1, 1), told(0, Some(3))),
        (upsert(2, 0), told(1, Some(9))),
        (delete(1, 2), told(0, Some(4))),
        (upsert(1, 3), told(0, None)),
    ];
    let record = |bucket, offset, change, id, version| {
        let row = Some(RowOf { id, version });
        Record { bucket, offset, change, row }
    };
    let records = vec![
        record(0, 0, ChangeType::Insert, 1, 0),
        record(0, 1, ChangeType::UpdateBefore, 1, 0),
        record(1, 8, ChangeType::Insert, 2, 0),
        record(0, 2, ChangeType::UpdateAfter, 1, 1),
        record(0, 3, ChangeType::Delete, 1, 1),
        record(0, 4, ChangeType::Insert, 1, 3),
    ];
    (vec![line(writes)], records)
}

fn found() -> Vec<(i64, Option<RowOf>)> {
    let row = |id, version| Some(RowOf { id, version });
    vec![(1, row(1, 3)), (2, row(2, 0)), (-1, None)]
}

#[test]
fn a_changelog_that_is_as_it_was_told_passes() {
    let (lines, records) = changed();
    let findings = keyed(&lines, &records, &found());
    assert!(findings.is_clean(), "{findings:?}");
    assert_eq!(findings.ok, 5);
}

#[test]
fn every_record_that_is_missing_from_a_changelog_is_noticed() {
    let (lines, records) = changed();
    for at in 0..records.len() {
        let mut records = records.clone();
        let gone = records.remove(at);
        assert!(!keyed(&lines, &records, &found()).is_clean(), "{gone:?}");
    }
}

#[test]
fn two_records_of_a_changelog_that_changed_places_are_noticed() {
    let (lines, records) = changed();
    for (a, b) in (0..records.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
        let mut swapped = records.clone();
        (swapped[a].row, swapped[b].row) = (records[b].row, records[a].row);
        // The two halves of an update by the same row as before are the same.
        if swapped != records {
            assert!(!keyed(&lines, &swapped, &found()).is_clean(), "{a} and {b}");
        }
    }
}

#[test]
fn a_lost_upsert_was_at_most_right_below_its_log_end_offset() {
    let (lines, mut records) = changed();
    records.remove(2);
    let findings = keyed(&lines, &records, &found());
    assert_eq!(findings.lost, [Lost { bucket: 1, offset: Some(8), by: BY }], "{findings:?}");
}

#[test]
fn a_doubled_upsert_is_noticed_whatever_its_outcome() {
    for outcome in [told(1, Some(9)), Told::Unknown] {
        let (mut lines, mut records) = changed();
        lines[0].told[2] = outcome;
        let row = Some(RowOf { id: 2, version: 0 });
        for (offset, change) in [(9, ChangeType::UpdateBefore), (10, ChangeType::UpdateAfter)] {
            records.push(Record { bucket: 1, offset, change, row });
        }
        let findings = keyed(&lines, &records, &found());
        assert_eq!(findings.doubled, 1, "{findings:?}");
    }
}

#[test]
fn an_upsert_at_or_behind_its_log_end_offset_or_in_another_bucket_is_noticed() {
    for outcome in [told(1, Some(8)), told(0, Some(9)), told(0, None)] {
        let (mut lines, records) = changed();
        lines[0].told[2] = outcome;
        let findings = keyed(&lines, &records, &found());
        assert_eq!((findings.misplaced, findings.faults()), (1, 1), "{outcome:?}: {findings:?}");
    }
}

#[test]
fn an_upsert_that_is_there_though_not_written_is_noticed() {
    let (mut lines, records) = changed();
    lines[0].told[2] = Told::NotWritten;
    assert_eq!(keyed(&lines, &records, &found()).untrue, 1);
}

#[test]
fn a_lookup_that_contradicts_the_changelog_is_noticed() {
    let (lines, records) = changed();
    let row = |id, version| Some(RowOf { id, version });
    for wrong in [(1, row(1, 1)), (1, None), (2, row(1, 3)), (-1, row(2, 0))] {
        let findings = keyed(&lines, &records, &[wrong]);
        assert_eq!(findings.wrong, 1, "{wrong:?}: {findings:?}");
    }
}

#[test]
fn unknown_writes_of_a_key_may_be_applied_or_not_but_the_others_stay_fixed() {
    let (mut lines, records) = changed();
    for (at, told) in [(1, Told::Unknown), (3, Told::Unknown)] {
        let mut lines = lines.clone();
        lines[0].told[at] = told;
        let findings = keyed(&lines, &records, &found());
        assert!(findings.is_clean(), "{at}: {findings:?}");
    }
    // The second write was not applied, and the deletion took the first one away.
    lines[0].told[1] = Told::Unknown;
    let mut records: Vec<Record> = records
        .into_iter()
        .enumerate()
        .filter(|(at, _)| ![1, 3].contains(at))
        .map(|(_, record)| record)
        .collect();
    records[2].row = Some(RowOf { id: 1, version: 0 });
    let findings = keyed(&lines, &records, &found());
    assert!(findings.is_clean(), "{findings:?}");
    // The deletion is sure, and so is the upsert before it: it must be in the changelog.
    let (mut lines, mut records) = changed();
    lines[0].told[4] = Told::Unknown;
    records.truncate(4);
    let findings = keyed(&lines, &records, &[]);
    assert_eq!(findings.wrong, 1, "{findings:?}");
}
