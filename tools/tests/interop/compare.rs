//! What was read against what was written.

use std::collections::BTreeMap;

/// A record of a log or changelog, as one of the two clients read it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    /// The name; "-" where the table has no partitions.
    pub(crate) partition: String,
    pub(crate) bucket: i32,
    pub(crate) offset: i64,
    /// As in `+A`.
    pub(crate) change: String,
    /// The text of the row.
    pub(crate) row: String,
}

impl Record {
    /// A line of `TableInterop.java`.
    pub(crate) fn parse(line: &str) -> Self {
        let mut words = line.splitn(5, ' ');
        let mut word = || words.next().unwrap_or_else(|| panic!("a part is missing: {line}"));
        let change = word().to_owned();
        let partition = word().to_owned();
        let bucket = word().parse().expect("a bucket");
        let offset = word().parse().expect("an offset");
        Self { partition, bucket, offset, change, row: word().to_owned() }
    }
}

/// One change of a row: what it was and the row's text.
pub(crate) type Change = (&'static str, String);

/// What must be in a table, by the text of the column `id`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// The changes of each row in their order, with the partition that they belong to.
    pub(crate) changes: BTreeMap<String, (String, Vec<Change>)>,
    /// The place of `id` among the columns.
    pub(crate) id: usize,
    /// Whether the bucket follows from the row, so that all changes of a row are in one.
    pub(crate) keyed: bool,
}

/// Whether two rows are the same; if not, where they differ.
pub(crate) fn rows(found: &str, expected: &str) -> Result<(), String> {
    let (left, right): (Vec<&str>, Vec<&str>) =
        (found.split(' ').collect(), expected.split(' ').collect());
    if left.len() != right.len() {
        return Err(format!("{} columns instead of {}", left.len(), right.len()));
    }
    match left.iter().zip(&right).position(|(left, right)| left != right) {
        None => Ok(()),
        Some(at) => Err(format!("column {at}: {} instead of {}", left[at], right[at])),
    }
}

/// Whether the records are those expected, each at a place of its own.
pub(crate) fn records(found: &[Record], expected: &Expected) -> Result<(), String> {
    let mut sorted: Vec<&Record> = found.iter().collect();
    sorted.sort_unstable_by_key(|record| (&record.partition, record.bucket, record.offset));
    let place = |record: &Record| (record.partition.clone(), record.bucket, record.offset);
    if let Some(pair) = sorted.windows(2).find(|pair| place(pair[0]) == place(pair[1])) {
        return Err(format!("two records at one place: {pair:?}"));
    }
    let mut by_id: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in sorted {
        let id = record.row.split(' ').nth(expected.id).ok_or("a row without an id")?;
        by_id.entry(id).or_default().push(record);
    }
    if let Some(id) = by_id.keys().find(|id| !expected.changes.contains_key(**id)) {
        return Err(format!("nobody wrote a row {id}"));
    }
    for (id, (partition, changes)) in &expected.changes {
        let found = by_id.get(id.as_str()).map_or(&[][..], |found| found);
        if found.len() != changes.len() {
            let kinds: Vec<&str> = found.iter().map(|record| &*record.change).collect();
            let wanted: Vec<&str> = changes.iter().map(|(change, _)| *change).collect();
            return Err(format!("row {id}: {kinds:?} instead of {wanted:?}"));
        }
        for (record, (change, row)) in found.iter().zip(changes) {
            if record.change != *change || record.partition != *partition {
                let (was, is) = (&record.change, &record.partition);
                return Err(format!("row {id}: {was} in {is}, not {change} in {partition}"));
            }
            rows(&record.row, row).map_err(|why| format!("row {id}, {change}: {why}"))?;
        }
        let elsewhere = found.iter().find(|record| record.bucket != found[0].bucket);
        if let Some(other) = elsewhere.filter(|_| expected.keyed) {
            let (one, two) = (found[0].bucket, other.bucket);
            return Err(format!("row {id} is in the buckets {one} and {two}"));
        }
    }
    Ok(())
}

/// Whether each bucket holds the rows of two writers, each one's in the order of `id`.
pub(crate) fn order(found: &[Record], id: usize) -> Result<(), String> {
    let mut buckets: BTreeMap<(&str, i32), Vec<(i64, i64)>> = BTreeMap::new();
    for record in found {
        let id = record.row.split(' ').nth(id).and_then(|id| id.parse().ok());
        let id = id.ok_or("a row without an id")?;
        buckets.entry((&record.partition, record.bucket)).or_default().push((record.offset, id));
    }
    for (bucket, mut rows) in buckets {
        rows.sort_unstable();
        let back = rows.windows(2).filter(|pair| pair[1].1 <= pair[0].1).count();
        if back > 1 {
            return Err(format!("the rows of {bucket:?} are in another order: {rows:?}"));
        }
    }
    Ok(())
}

/// Whether the same was read twice, in whatever order buckets were.
pub(crate) fn equal(found: &[Record], expected: &[Record]) -> Result<(), String> {
    let sorted = |records: &[Record]| {
        let mut records = records.to_vec();
        records.sort_unstable();
        records
    };
    let (found, expected) = (sorted(found), sorted(expected));
    match found.iter().zip(&expected).find(|(found, expected)| found != expected) {
        Some((found, expected)) => Err(format!("{found:?} instead of {expected:?}")),
        None if found.len() == expected.len() => Ok(()),
        None => Err(format!("{} records instead of {}", found.len(), expected.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> (Vec<Record>, Expected) {
        let lines = [
            "+I us 0 0 1 s61 3/1",
            "-U us 0 1 1 s61 3/1",
            "+U us 0 2 1 s62 3/1",
            "+I eu 1 0 2 ~ [1,(f,x00)]",
        ];
        let changes = |list: &[(&'static str, &str)]| {
            list.iter().map(|(change, row)| (*change, (*row).to_owned())).collect::<Vec<_>>()
        };
        let one = changes(&[("+I", "1 s61 3/1"), ("-U", "1 s61 3/1"), ("+U", "1 s62 3/1")]);
        let two = changes(&[("+I", "2 ~ [1,(f,x00)]")]);
        let all = [("1", ("us", one)), ("2", ("eu", two))];
        let changes =
            all.map(|(id, (partition, list))| (id.to_owned(), (partition.to_owned(), list))).into();
        let expected = Expected { changes, id: 0, keyed: true };
        (lines.iter().map(|line| Record::parse(line)).collect(), expected)
    }

    #[test]
    fn equal_tables_are_equal_in_whatever_order_buckets_were_read() {
        let (mut found, expected) = sound();
        assert_eq!(records(&found, &expected), Ok(()));
        found.rotate_left(3);
        assert_eq!(records(&found, &expected), Ok(()));
        assert_eq!(equal(&found, &sound().0), Ok(()));
    }

    #[test]
    fn rows_of_a_writer_in_another_order_are_noticed() {
        let records = |ids: &[i64]| -> Vec<Record> {
            let line = |(offset, id)| Record::parse(&format!("+A - 0 {offset} ~ {id}"));
            (0..).zip(ids).map(line).collect()
        };
        assert_eq!(order(&records(&[1, 2, 5, 1, 3, 5]), 1), Ok(()));
        assert!(order(&records(&[1, 5, 2, 1, 3, 5]), 1).is_err());
        assert!(order(&records(&[1, 1, 1]), 1).is_err());
    }

    #[test]
    fn every_changed_part_of_every_record_is_noticed() {
        let (sound, expected) = sound();
        for at in 0..sound.len() {
            let cells = sound[at].row.split(' ').count();
            for cell in 0..cells {
                let mut found = sound.clone();
                let mut parts: Vec<&str> = sound[at].row.split(' ').collect();
                parts[cell] = "7";
                found[at].row = parts.join(" ");
                assert!(records(&found, &expected).is_err(), "{:?}", found[at]);
                assert!(equal(&found, &sound).is_err(), "{:?}", found[at]);
            }
            let change = |edit: fn(&mut Record)| {
                let mut found = sound.clone();
                edit(&mut found[at]);
                found
            };
            let changed = [
                change(|record| record.change = "-D".to_owned()),
                change(|record| record.partition = "asia".to_owned()),
                change(|record| record.row.push_str(" ~")),
            ];
            for found in changed {
                assert!(records(&found, &expected).is_err(), "{:?}", found[at]);
                assert!(equal(&found, &sound).is_err(), "{:?}", found[at]);
            }
        }
    }

    #[test]
    fn records_that_lack_or_are_there_twice_or_stray_are_noticed() {
        let (sound, expected) = sound();
        for at in 0..sound.len() {
            let mut found = sound.clone();
            let record = found.remove(at);
            assert!(records(&found, &expected).is_err(), "without {record:?}");
            assert!(equal(&found, &sound).is_err(), "without {record:?}");
            let mut found = sound.clone();
            found.push(Record { offset: 9, ..found[at].clone() });
            assert!(records(&found, &expected).is_err(), "twice {record:?}");
            found[sound.len()].offset = found[at].offset;
            let text = records(&found, &expected).expect_err("twice at one place");
            assert!(text.contains("two records at one place"), "{text}");
        }
        let mut found = sound.clone();
        found[2].bucket = 1;
        let text = records(&found, &expected).expect_err("another bucket");
        assert!(text.contains("buckets 0 and 1"), "{text}");
        let stray = Record::parse("+I us 0 8 5 ~ ~");
        let text = records(&[sound, vec![stray]].concat(), &expected).expect_err("a stray row");
        assert!(text.contains("nobody wrote a row 5"), "{text}");
    }
}
