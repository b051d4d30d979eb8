//! Windows and duplicates, and whatever else a write can be refused for.

use super::super::Script;
use super::super::step::{Damage, LOG, Step, Table, Write, fetch, plain, produce};
use super::script;

/// Sequences of one writer, each a batch of two rows.
const SEQUENCES: &[(&str, &[i32])] = &[
    ("in-order", &[0, 1, 2, 3, 4, 5, 6]),
    ("starts-late", &[1, 5, 0, 1]),
    ("gap", &[0, 1, 3, 2, 3]),
    ("duplicate-of-the-last", &[0, 0, 1, 1, 1, 2]),
    ("duplicates-in-the-window", &[0, 1, 2, 3, 4, 0, 4, 2, 1, 3]),
    ("behind-the-window", &[0, 1, 2, 3, 4, 5, 0, 1, 5]),
    ("eight-then-all-again", &[0, 1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4, 3, 2, 1, 0, 8]),
    ("negative", &[-1, 0, -1, 1, -7]),
    ("far-ahead", &[0, 2_147_483_647, 1, 1000, 2]),
    ("smallest-number", &[-2_147_483_648, 0, -2_147_483_648, 1]),
    ("zero-again-later", &[0, 1, 2, 3, 4, 5, 6, 0, 7]),
    ("alternating", &[0, 0, 1, 0, 2, 1, 3, 2, 4, 3]),
];

pub(super) fn scripts() -> Vec<Script> {
    let mut all: Vec<Script> = SEQUENCES
        .iter()
        .map(|(name, sequences)| {
            let writes = sequences.iter().map(|&sequence| produce(0, sequence));
            log(name, writes.collect())
        })
        .collect();
    for count in [1, 3, 100] {
        let writes = [0, 1, 0, 2, 1].map(|sequence| produce(0, sequence).count(count));
        all.push(log(&format!("duplicates-of-{count}-rows"), writes.to_vec()));
    }
    for acks in [0, 1, -1] {
        let writes = [0, 1, 1, 3, 2].map(|sequence| produce(0, sequence).acks(acks));
        all.push(log(&format!("acks-{acks}"), writes.to_vec()));
    }
    all.extend(more());
    all.extend(damaged());
    all
}

fn more() -> Vec<Script> {
    let p = produce;
    let all = [
        ("other-content", vec![p(0, 0), p(0, 0).count(5), p(0, 1).count(5), p(0, 1)]),
        ("two-writers", vec![p(0, 0), p(1, 0), p(0, 1), p(1, 2), p(1, 1), p(0, 0), p(1, 0)]),
        ("stamped-and-plain", vec![p(0, 0), plain(3), p(0, 1), plain(1), p(0, 0), plain(2)]),
        ("plain-only", vec![plain(1), plain(2), plain(3), plain(1)]),
        ("wrong-acks", vec![p(0, 0).acks(2), p(0, 0).acks(-2), p(0, 0), p(0, 1).acks(7)]),
        ("unknown-table", vec![p(0, 0).stranger(), p(0, 0), plain(1).stranger(), p(0, 1)]),
        ("unknown-bucket", vec![p(0, 0).bucket(1), p(0, 0), p(0, 1).bucket(-1), p(0, 1)]),
        ("superfluous-partition", vec![p(0, 0).partition(3), p(0, 0), p(0, 1).partition(0)]),
        ("bucket-twice", vec![p(0, 0).and(p(0, 1)), p(0, 0).and(p(1, 0)), p(0, 0), p(1, 0)]),
        ("no-bucket", vec![nothing(), p(0, 0), nothing().acks(1), p(0, 1)]),
    ];
    let mut scripts: Vec<Script> =
        all.into_iter().map(|(name, writes)| log(name, writes)).collect();
    let both = |sequences: (i32, i32)| p(0, sequences.0).and(p(0, sequences.1).bucket(1));
    let pairs = [(0, 0), (1, 0), (1, 1), (3, 2), (2, 1), (2, 4), (3, 3)];
    let two = Table { buckets: 2, ..LOG };
    scripts.push(in_table("two-buckets", &two, pairs.map(both).to_vec()));
    let three = Table { buckets: 3, ..LOG };
    let spread = |sequence: i32| p(0, sequence).bucket(2).and(p(1, sequence).bucket(0));
    scripts.push(in_table("three-buckets", &three, [0, 1, 1, 3, 2].map(spread).to_vec()));
    scripts
}

fn damaged() -> Vec<Script> {
    let kinds = [
        ("payload", Damage::Payload),
        ("magic", Damage::Magic),
        ("statistics", Damage::Statistics),
        ("length", Damage::Length),
        ("cut", Damage::Cut),
        ("empty", Damage::Empty),
        ("short", Damage::Short),
        ("schema", Damage::Schema(7)),
    ];
    let damaged = |(name, damage): (&str, Damage)| {
        let writes = vec![
            produce(0, 0).damage(damage),
            produce(0, 0),
            produce(0, 1).damage(damage),
            produce(0, 1),
            produce(0, 2),
        ];
        log(&format!("damaged-{name}"), writes)
    };
    kinds.map(damaged).to_vec()
}

fn nothing() -> Write {
    let mut write = produce(0, 0);
    write.batches.clear();
    write
}

fn log(name: &str, writes: Vec<Write>) -> Script {
    in_table(name, &LOG, writes)
}

fn in_table(name: &str, table: &Table, writes: Vec<Write>) -> Script {
    let mut steps = vec![Step::Create(table.clone()), Step::Init, Step::Init];
    steps.extend(writes.into_iter().map(Step::Produce));
    let buckets = (0..table.buckets).collect();
    steps.push(Step::Offsets(1, buckets, None));
    let all = (1..table.buckets).fold(fetch(0), |fetch, bucket| fetch.and(bucket, 0));
    steps.push(Step::Fetch(all));
    script("windows", name, steps)
}
