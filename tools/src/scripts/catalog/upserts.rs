//! Writes to primary-key tables.

use super::super::Script;
use super::super::step::{
    Damage, KV, LOG, Row, Step, Table, Write, delete, fetch, plain, produce, put, set,
};
use super::script;

const DISABLED: &[(&str, &str)] = &[("table.delete.behavior", "DISABLE")];
const IGNORED: &[(&str, &str)] = &[("table.delete.behavior", "IGNORE")];
const FIRST: &[(&str, &str)] = &[("table.merge-engine", "FIRST_ROW")];
const VERSIONED: &[(&str, &str)] =
    &[("table.merge-engine", "VERSIONED"), ("table.merge-engine.versioned.ver-column", "c")];
/// Scripts speak version 0, in which clients put the keys of some lake tables together in a way
/// that later servers refuse.
const LAKE: &[(&str, &str)] = &[("table.datalake.format", "PAIMON")];
const LAKE_OF_OLD: &[(&str, &str)] =
    &[("table.datalake.format", "PAIMON"), ("table.kv.format-version", "1")];
const WAL: &[(&str, &str)] = &[("table.changelog.image", "WAL")];

const A: Row = set(1, "a", 10);
const B: Row = set(2, "b", 20);
const A2: Row = set(1, "aa", 11);
const A3: Row = set(1, "aaa", 9);
const NULL: Row = Row::Set(3, None, None);

pub(super) fn scripts() -> Vec<Script> {
    [plain_tables(), refused(), of_lakes(), engines(), partial()].concat()
}

fn plain_tables() -> Vec<Script> {
    let all: Vec<(&str, Vec<Write>)> = vec![
        ("insert-update", vec![put(0, 0, &[A, B]), put(0, 1, &[A2]), put(0, 2, &[A2])]),
        ("delete", vec![put(0, 0, &[A, B]), put(0, 1, &[delete(1)]), put(0, 2, &[delete(2)])]),
        ("delete-of-nothing", vec![put(0, 0, &[delete(1)]), put(0, 1, &[A]), put(0, 2, &[B])]),
        ("in-one-batch", vec![put(0, 0, &[A, A2, delete(1), A, B, delete(2)]), put(0, 1, &[A3])]),
        ("delete-insert", vec![put(0, 0, &[A]), put(0, 1, &[delete(1), A2]), put(0, 2, &[A])]),
        ("nulls", vec![put(0, 0, &[NULL]), put(0, 1, &[NULL]), put(0, 2, &[delete(3)])]),
        ("duplicates", vec![put(0, 0, &[A]), put(0, 1, &[A2]), put(0, 0, &[B]), put(0, 1, &[A])]),
        ("gap", vec![put(0, 0, &[A]), put(0, 2, &[A2]), put(0, 1, &[B]), put(0, 2, &[A3])]),
        ("behind-the-window", (0..7).chain([0, 1, 2, 6]).map(|s| put(0, s, &[A, B])).collect()),
        ("two-writers", vec![put(0, 0, &[A]), put(1, 0, &[A2]), put(0, 1, &[A3]), put(1, 0, &[B])]),
        ("acks-0", vec![put(0, 0, &[A]).acks(0), put(0, 1, &[A2]).acks(0), put(0, 2, &[B])]),
        ("acks-1", vec![put(0, 0, &[A]).acks(1), put(0, 1, &[A2]).acks(1), put(0, 2, &[B])]),
        ("unstamped", vec![unstamped(&[A]), unstamped(&[A2, B]), unstamped(&[delete(2)])]),
        ("no-records", vec![put(0, 0, &[]), put(0, 1, &[A]), put(0, 2, &[]), put(0, 3, &[B])]),
    ];
    all.into_iter().map(|(name, writes)| in_table(name, &KV, writes)).collect()
}

fn refused() -> Vec<Script> {
    let ok = || put(0, 0, &[A]);
    let damaged = |damage| vec![ok().damage(damage), ok(), put(0, 1, &[A2]).damage(damage), ok()];
    let mut all: Vec<Script> = [
        ("wrong-acks", vec![ok().acks(3), ok(), put(0, 1, &[B]).acks(-3), put(0, 1, &[B])]),
        ("unknown-table", vec![ok().stranger(), ok(), put(0, 1, &[B]).stranger()]),
        ("unknown-bucket", vec![ok().bucket(4), ok(), put(0, 1, &[B]).bucket(-1)]),
        ("superfluous-partition", vec![ok().partition(1), ok(), put(0, 1, &[B]).partition(2)]),
        ("damaged-length", damaged(Damage::Length)),
        ("unknown-schema", damaged(Damage::Schema(5))),
        ("negative-schema", damaged(Damage::Schema(-1))),
        ("damaged-magic", damaged(Damage::Magic)),
    ]
    .into_iter()
    .map(|(name, writes)| in_table(name, &KV, writes))
    .collect();
    let disabled = Table { properties: DISABLED, ..KV };
    let writes = vec![ok(), put(0, 1, &[delete(1)]), put(0, 1, &[A2]), put(0, 1, &[delete(9)])];
    all.push(in_table("deletes-disabled", &disabled, writes));
    let ignored = Table { properties: IGNORED, ..KV };
    let writes = vec![ok(), put(0, 1, &[delete(1)]), put(0, 2, &[A2, delete(1), B])];
    all.push(in_table("deletes-ignored", &ignored, writes));
    let mut steps = vec![Step::Create(LOG), Step::Init, Step::Put(ok())];
    steps.extend([Step::Produce(produce(0, 0)), Step::Put(put(0, 1, &[B])), Step::Fetch(fetch(0))]);
    all.push(script("upserts", "into-a-log-table", steps));
    all
}

fn of_lakes() -> Vec<Script> {
    let writes = || vec![put(0, 0, &[A, B]), put(0, 0, &[A, B]), put(0, 1, &[delete(1)])];
    let pair = Table { key: &["a", "b"], bucket_key: &["a"], properties: LAKE, ..LOG };
    let odd = vec![
        put(0, 0, &[A]).acks(3),
        put(0, 0, &[A]).bucket(1),
        put(0, 0, &[A]).and(put(0, 0, &[B]).bucket(1)),
        put(0, 0, &[A]).damage(Damage::Schema(5)),
        put(0, 0, &[A]).targets(&[1]),
    ];
    let whole = Table { bucket_key: &["a", "b"], ..pair.clone() };
    let of_old = Table { properties: LAKE_OF_OLD, ..pair.clone() };
    vec![
        in_table("lake-by-a-part-of-the-key", &pair, [writes(), odd].concat()),
        in_table("lake-by-the-whole-key", &whole, writes()),
        in_table("lake-by-a-part-of-an-old-key", &of_old, writes()),
    ]
}

fn engines() -> Vec<Script> {
    let writes = || {
        vec![put(0, 0, &[A, B]), put(0, 1, &[A2]), put(0, 2, &[A3, delete(2)]), put(0, 3, &[A3])]
    };
    let of = |name: &str, properties| in_table(name, &Table { properties, ..KV }, writes());
    let mut all =
        vec![of("first-row", FIRST), of("versioned", VERSIONED), of("changelog-wal", WAL)];
    for (name, properties) in [
        ("first-row", FIRST),
        ("versioned", VERSIONED),
        ("no-deletes", DISABLED),
        ("ignored-deletes", IGNORED),
        ("no-engine", &[][..]),
    ] {
        let writes = vec![
            put(0, 0, &[A, B]).mode(1),
            put(0, 1, &[A3]).mode(1),
            put(0, 2, &[delete(2), delete(9)]).mode(1),
            put(0, 3, &[A2]).mode(0),
            put(0, 4, &[A]).mode(2),
            put(0, 5, &[A3]).mode(1).targets(&[0, 2]),
            put(0, 6, &[B]),
        ];
        let table = Table { properties, ..KV };
        all.push(in_table(&format!("overwrite-{name}"), &table, writes));
    }
    let equal = vec![
        put(0, 0, &[A]),
        put(0, 1, &[set(1, "same", 10)]),
        put(0, 2, &[Row::Set(1, Some("no version"), None)]),
        put(0, 3, &[Row::Set(5, Some("no version"), None), set(5, "one", -1)]),
    ];
    all.push(in_table("versioned-edges", &Table { properties: VERSIONED, ..KV }, equal));
    let two = Table { buckets: 2, ..KV };
    let both = |s: i32, row: Row| put(0, s, &[A]).and(put(0, s, &[row]).bucket(1));
    let writes = vec![both(0, B), both(0, A2), both(1, delete(2)), both(1, B)];
    all.push(in_table("two-buckets", &two, writes));
    all
}

fn partial() -> Vec<Script> {
    let p = |sequence, rows: &[Row], targets: &[i32]| put(0, sequence, rows).targets(targets);
    let b = |a: i32, text| Row::Set(a, Some(text), None);
    let c = |a: i32, number| Row::Set(a, None, Some(number));
    let all: Vec<(&str, Vec<Write>)> = vec![
        ("partial", vec![p(0, &[b(1, "x")], &[0, 1]), p(1, &[c(1, 5)], &[0, 2]), p(2, &[A2], &[])]),
        (
            "partial-delete",
            vec![
                p(0, &[A, B], &[]),
                p(1, &[delete(1)], &[0, 1]),
                p(2, &[delete(1)], &[0, 2]),
                p(3, &[delete(9)], &[0, 2]),
            ],
        ),
        (
            "partial-without-key",
            vec![p(0, &[A], &[1, 2]), p(0, &[A], &[1]), p(0, &[A], &[0, 1]), p(1, &[A], &[2])],
        ),
        (
            "partial-strange-columns",
            vec![p(0, &[A], &[0, 9]), p(0, &[A], &[-1]), p(0, &[A], &[0, 0, 1]), p(1, &[B], &[0])],
        ),
        (
            "partial-doubled-columns",
            vec![p(0, &[A], &[0, 0, 1]), p(1, &[A2], &[2, 0]), p(2, &[B], &[1, 1, 0, 7, 8])],
        ),
        ("partial-of-all", vec![p(0, &[A], &[0, 1, 2]), p(1, &[A2], &[2, 1, 0])]),
    ];
    let mut scripts: Vec<Script> =
        all.into_iter().map(|(name, writes)| in_table(name, &KV, writes)).collect();
    let strict = Table { strict: true, ..KV };
    let writes = vec![p(0, &[A], &[0, 2]), p(0, &[A], &[]), p(1, &[A2], &[0, 1]), p(1, &[B], &[])];
    scripts.push(in_table("partial-with-not-null", &strict, writes));
    let first = Table { properties: FIRST, ..KV };
    let writes = vec![p(0, &[A], &[0, 1]), p(0, &[A], &[]), p(1, &[A], &[0, 2])];
    scripts.push(in_table("partial-first-row", &first, writes));
    scripts
}

fn unstamped(rows: &[Row]) -> Write {
    let mut write = plain(0);
    write.batches[0].rows = rows.to_vec();
    write
}

fn in_table(name: &str, table: &Table, writes: Vec<Write>) -> Script {
    let mut steps = vec![Step::Create(table.clone()), Step::Init, Step::Init];
    steps.extend(writes.into_iter().map(Step::Put));
    let keys = vec![(1, ""), (2, ""), (3, ""), (5, ""), (9, "")];
    steps.push(Step::Lookup(0, keys.clone()));
    let all = (1..table.buckets).fold(fetch(0), |fetch, bucket| fetch.and(bucket, 0));
    steps.push(Step::Fetch(all));
    steps.push(Step::Offsets(1, (0..table.buckets).collect(), None));
    script("upserts", name, steps)
}
