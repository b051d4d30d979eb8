//! Lookups, prefix lookups and scans of primary-key tables.

use super::super::Script;
use super::super::step::{KV, LOG, Row, Step, Table, delete, fetch, plain, produce, put, set};
use super::script;

/// Keys of two columns, of which the first picks the bucket.
const PAIR: Table = Table { key: &["a", "b"], bucket_key: &["a"], ..LOG };

const KEYS: &[(&str, &[&[i32]])] = &[
    ("one-by-one", &[&[1], &[2], &[3], &[4]]),
    ("together", &[&[1, 2, 3], &[3, 2, 1], &[1, 2, 3, 4, 5]]),
    ("the-same-twice", &[&[1, 1], &[2, 1, 2], &[9, 9]]),
    ("missing", &[&[9], &[8, 9], &[0]]),
    ("some-missing", &[&[1, 9], &[9, 1], &[9, 1, 8, 2]]),
    ("deleted", &[&[4], &[4, 1], &[1, 4, 2]]),
    ("negative", &[&[-1], &[-5, 1], &[-2_147_483_648, 2_147_483_647]]),
    ("none", &[&[], &[1], &[]]),
];

const PREFIXES: &[(&str, &[&[i32]])] = &[
    ("prefix-one", &[&[1], &[2], &[3]]),
    ("prefix-some", &[&[1, 2], &[2, 1], &[1, 9, 2]]),
    ("prefix-missing", &[&[9], &[8, 9], &[-1]]),
    ("prefix-twice", &[&[1, 1], &[2, 2, 2], &[9, 9]]),
    ("prefix-none", &[&[], &[1], &[]]),
];

const LIMITS: &[(&str, &[i32])] =
    &[("scan-few", &[1, 2, 3]), ("scan-all", &[4, 5, 1000]), ("scan-nothing", &[0, -1, -100])];

pub(super) fn scripts() -> Vec<Script> {
    let mut all = Vec::new();
    for (name, lists) in KEYS {
        let lookups =
            lists.iter().map(|keys| Step::Lookup(0, keys.iter().map(|&key| (key, "")).collect()));
        all.push(filled(name, lookups.collect()));
    }
    for (name, lists) in PREFIXES {
        let lookups = lists.iter().map(|keys| Step::Prefix(0, keys.to_vec()));
        all.push(paired(name, lookups.collect()));
    }
    for (name, limits) in LIMITS {
        all.push(filled(name, limits.iter().map(|&limit| Step::Scan(0, limit)).collect()));
    }
    let odd = vec![
        Step::LookupBytes(0, b""),
        Step::LookupBytes(0, b"\xff\xff\xff\xff\xff\xff\xff"),
        Step::LookupStranger,
        Step::Lookup(3, vec![(1, "")]),
        Step::Lookup(-1, vec![(1, "")]),
        Step::Scan(3, 1),
        Step::ScanStranger,
    ];
    all.push(filled("unknown-things", odd));
    let pairs = vec![
        Step::Lookup(0, vec![(1, "x"), (1, "y")]),
        Step::Lookup(0, vec![(1, ""), (2, "xyz")]),
        Step::Lookup(0, vec![(1, "nobody")]),
        Step::Scan(0, 10),
    ];
    all.push(paired("pairs", pairs));
    all.push(pairs_of_a_lake());
    all.push(log_table());
    all.push(between_writes());
    all.push(prefix_of_plain_key());
    all.extend(inserts());
    all
}

/// Lookups that insert what they do not find, and writes of tables whose server makes numbers.
fn inserts() -> Vec<Script> {
    let insert =
        |keys: &[i32]| Step::Insert(0, keys.iter().map(|&key| (key, "")).collect(), Some(-1));
    let all = || Step::Fetch(fetch(0));
    let some = vec![insert(&[1]), insert(&[9, 2, 4]), insert(&[9, 9, 8]), insert(&[]), all()];
    let acks = [(None, 10), (Some(0), 10), (Some(1), 11), (Some(2), 12), (Some(-2), 13)];
    let odd = acks.map(|(acks, key)| Step::Insert(0, vec![(key, "")], acks)).into_iter();
    let odd = odd.chain([
        Step::InsertStranger,
        Step::InsertBytes(0, b""),
        Step::InsertBytes(0, b"\xff"),
        Step::Insert(3, vec![(1, "")], Some(-1)),
        Step::Insert(-1, vec![(1, "")], Some(-1)),
        all(),
    ]);
    let strict = Table { strict: true, ..KV };
    let first = Table { properties: &[("table.merge-engine", "FIRST_ROW")], ..KV };
    let numbered = Table { auto_increment: &["c"], ..KV };
    let wal = Table { properties: &[("table.changelog.image", "WAL")], ..numbered };
    let row = |key| Row::Set(key, Some("x"), None);
    let numbers = |table| {
        vec![
            Step::Create(table),
            Step::Init,
            insert(&[1]),
            Step::Put(put(0, 0, &[row(2), row(1)]).targets(&[0, 1])),
            insert(&[3, 2, 1]),
            Step::Put(put(0, 1, &[row(4)])),
            Step::Put(put(0, 1, &[row(4)]).targets(&[0, 1, 2])),
            Step::Put(put(0, 1, &[delete(2)]).targets(&[0, 1])),
            Step::Put(put(0, 2, &[row(5)]).targets(&[0, 1])),
            Step::Put(put(0, 2, &[row(6)]).targets(&[0, 1])),
            insert(&[2, 6, 7]),
            Step::Scan(0, 10),
            all(),
        ]
    };
    let made = |table| {
        let (some, more) = (insert(&[1]), insert(&[2, 3]));
        vec![Step::Create(table), Step::Init, some, insert(&[]), more, Step::Scan(0, 9), all()]
    };
    vec![
        filled("insert", some),
        filled("insert-odd", odd.collect()),
        paired("insert-pairs", vec![Step::Insert(0, vec![(1, "x"), (7, "new")], Some(-1)), all()]),
        script("lookups", "insert-not-null", made(strict)),
        script("lookups", "insert-first-row", made(first)),
        script("lookups", "insert-in-a-log-table", made(LOG)),
        script("lookups", "numbers", numbers(numbered)),
        script("lookups", "numbers-wal", numbers(wal)),
    ]
}

/// Keys 1, 2, 3; 4 is deleted.
fn filled(name: &str, more: Vec<Step>) -> Script {
    let rows = [set(3, "three", 3), set(1, "one", 1), set(4, "four", 4), set(2, "two", 2)];
    let mut steps = vec![
        Step::Create(KV),
        Step::Init,
        Step::Put(put(0, 0, &rows)),
        Step::Put(put(0, 1, &[delete(4), Row::Set(2, None, Some(-2))])),
    ];
    steps.extend(more);
    script("lookups", name, steps)
}

fn paired(name: &str, more: Vec<Step>) -> Script {
    let rows = [set(1, "y", 1), set(2, "xyz", 2), set(1, "x", 3), set(1, "", 4), set(3, "z", 5)];
    let mut steps = vec![
        Step::Create(PAIR),
        Step::Init,
        Step::Put(put(0, 0, &rows)),
        Step::Put(put(0, 1, &[Row::Delete(3, "z"), set(1, "y", 100)])),
    ];
    steps.extend(more);
    script("lookups", name, steps)
}

/// Scripts speak version 0, in which clients put the keys of such a table together in another way.
fn pairs_of_a_lake() -> Script {
    let properties = &[("table.datalake.format", "ICEBERG")];
    let steps = vec![
        Step::Create(Table { properties, ..PAIR }),
        Step::Lookup(0, vec![(1, "x")]),
        Step::Lookup(1, vec![(1, "x")]),
        Step::LookupStranger,
        Step::Prefix(0, vec![1, 2]),
        Step::Prefix(1, vec![1]),
        Step::Scan(0, 10),
    ];
    script("lookups", "pairs-of-a-lake", steps)
}

fn log_table() -> Script {
    let steps = vec![
        Step::Create(LOG),
        Step::Produce(plain(3)),
        Step::LookupBytes(0, b"\x01"),
        Step::LookupBytes(0, b""),
        Step::LookupBytes(1, b"\x01"),
        Step::LookupStranger,
    ];
    script("lookups", "in-a-log-table", steps)
}

fn between_writes() -> Script {
    let keys = || Step::Lookup(0, vec![(1, ""), (2, "")]);
    let steps = vec![
        Step::Create(KV),
        Step::Init,
        keys(),
        Step::Put(put(0, 0, &[set(1, "a", 1)])),
        keys(),
        Step::Put(put(0, 1, &[set(1, "b", 2), set(2, "c", 3)])),
        keys(),
        Step::Put(put(0, 1, &[set(1, "not written", 9)])),
        keys(),
        Step::Put(put(0, 2, &[delete(1)])),
        keys(),
        Step::Scan(0, 9),
    ];
    script("lookups", "between-writes", steps)
}

fn prefix_of_plain_key() -> Script {
    let steps = vec![
        Step::Create(KV),
        Step::Init,
        Step::Put(put(0, 0, &[set(1, "a", 1), set(2, "b", 1)])),
        Step::Prefix(0, vec![1]),
        Step::Prefix(0, vec![1, 2, 3]),
        Step::Prefix(7, vec![1]),
        Step::Produce(produce(0, 1)),
    ];
    // The append lands in the changelog and leaves the rows alone, as servers do it.
    script("lookups", "prefix-is-the-key", steps)
}
