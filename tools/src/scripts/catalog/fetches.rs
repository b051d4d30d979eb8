//! Fetches, offsets and descriptions of log tables.

use super::super::Script;
use super::super::step::{Fetch, KV, LOG, Step, Table, fetch, plain, produce, put, set};
use super::script;

pub(super) fn scripts() -> Vec<Script> {
    let mut all: Vec<Script> =
        fetches().into_iter().map(|(name, fetches)| of_log(name, fetches)).collect();
    all.extend([two_buckets(), of_changelog(), offsets(), described(), dropped(), oddities()]);
    all
}

fn fetches() -> Vec<(&'static str, Vec<Fetch>)> {
    let at = |offsets: &[i64]| offsets.iter().map(|&offset| fetch(offset)).collect();
    let sized = |sizes: &[(i32, i32)]| {
        sizes.iter().map(|&(max, bucket)| fetch(0).bytes(max, bucket)).collect()
    };
    let columns =
        |lists: &[&[i32]]| lists.iter().map(|columns| fetch(1).project(columns)).collect();
    vec![
        ("from-each-offset", at(&[0, 1, 2, 3, 4, 5, 6, 7])),
        ("inside-a-batch", at(&[6, 8, 12, 17])),
        ("at-the-end", at(&[18, 17, 18])),
        ("behind-the-end", at(&[19, 20, 1000, 9_223_372_036_854_775_807])),
        ("before-the-start", at(&[-1, -2, -3, -100])),
        ("small-answers", sized(&[(1, 1), (100, 100), (300, 300), (301, 1000)])),
        ("no-bytes", sized(&[(0, 0), (0, 1000), (1000, 0)])),
        ("bucket-limit-is-less", sized(&[(1 << 20, 100), (1 << 20, 700), (1 << 20, 1000)])),
        ("answer-limit-is-less", sized(&[(100, 1 << 20), (700, 1 << 20), (1000, 1 << 20)])),
        ("project-one", columns(&[&[0], &[1], &[2]])),
        ("project-two", columns(&[&[0, 1], &[0, 2], &[1, 2]])),
        ("project-all", columns(&[&[0, 1, 2], &[0, 1], &[0, 1, 2]])),
        ("project-badly", columns(&[&[1, 0], &[0, 0], &[3], &[-1], &[]])),
        ("project-small", [1, 200, 400, 600].map(|n| fetch(0).project(&[0]).bytes(n, n)).to_vec()),
        (
            "least-bytes",
            vec![fetch(0).wait(1, 500), fetch(18).wait(1, 100), fetch(5).wait(100_000, 100)],
        ),
        ("no-wait", vec![fetch(18).wait(0, 0), fetch(18).wait(1, 0), fetch(0).wait(1, 0)]),
        ("unknown-table", vec![fetch(0).stranger(), fetch(1), fetch(-5).stranger()]),
        ("unknown-bucket", vec![bucket(5), bucket(-1), fetch(0).and(7, 0)]),
    ]
}

fn bucket(id: i32) -> Fetch {
    let mut fetch = fetch(0);
    fetch.from[0].0 = id;
    fetch
}

/// Batches of 2, 2, 1, 3, 10 rows: offsets 0 to 17.
fn of_log(name: &str, fetches: Vec<Fetch>) -> Script {
    let mut steps = vec![Step::Create(LOG), Step::Init];
    let writes = [produce(0, 0), produce(0, 1), plain(1), produce(0, 2).count(3), plain(10)];
    steps.extend(writes.map(Step::Produce));
    steps.extend(fetches.into_iter().map(Step::Fetch));
    script("fetches", name, steps)
}

fn two_buckets() -> Script {
    let mut steps = vec![Step::Create(Table { buckets: 3, ..LOG }), Step::Init];
    for (sequence, bucket) in [(0, 0), (0, 1), (1, 1), (1, 0)] {
        steps.push(Step::Produce(produce(0, sequence).bucket(bucket)));
    }
    let fetches = [
        fetch(0).and(1, 0).and(2, 0),
        fetch(2).and(1, 1),
        // Which bucket comes first when there is room for one is not defined.
        fetch(0).and(1, 0).bytes(1 << 20, 400),
        fetch(9).and(1, 0),
        fetch(0).and(1, 99),
    ];
    steps.extend(fetches.map(Step::Fetch));
    script("fetches", "three-buckets", steps)
}

fn of_changelog() -> Script {
    let mut steps = vec![Step::Create(KV), Step::Init];
    let rows = [[set(1, "x", 1)], [set(1, "y", 2)], [set(2, "z", 3)]];
    for (sequence, rows) in (0..).zip(rows) {
        steps.push(Step::Put(put(0, sequence, &rows)));
    }
    let fetches = [fetch(0), fetch(1), fetch(2), fetch(4), fetch(5), fetch(0).project(&[1])];
    steps.extend(fetches.map(Step::Fetch));
    script("fetches", "changelog", steps)
}

fn offsets() -> Script {
    let mut steps = vec![
        Step::Create(Table { buckets: 2, ..LOG }),
        Step::Init,
        Step::Offsets(0, vec![0, 1], None),
        Step::Offsets(1, vec![1, 0, 1], None),
        Step::Offsets(2, vec![0], Some(-60_000)),
        Step::Produce(produce(0, 0)),
        Step::Produce(plain(3)),
    ];
    let asks = [
        (0, vec![0, 1], None),
        (1, vec![0, 1], None),
        (1, vec![2, -1, 0], None),
        (2, vec![0], Some(-3_600_000)),
        (2, vec![0, 1], Some(3_600_000)),
        (2, vec![0], None),
        (3, vec![0, 1], None),
        (4, vec![0], None),
        (-1, vec![0], None),
        (1, vec![], None),
    ];
    steps.extend(asks.map(|(kind, buckets, ago)| Step::Offsets(kind, buckets, ago)));
    script("fetches", "offsets", steps)
}

fn described() -> Script {
    let steps = vec![
        Step::Create(LOG),
        Step::CreateAgain(LOG, false),
        Step::CreateAgain(LOG, true),
        Step::Metadata,
        Step::MetadataStranger,
        Step::Info,
        Step::Schema(None),
        Step::Schema(Some(1)),
        Step::Schema(Some(2)),
        Step::Exists,
    ];
    script("metadata", "log-table", steps)
}

fn dropped() -> Script {
    let steps = vec![
        Step::Create(Table { buckets: 2, ..KV }),
        Step::Metadata,
        Step::Info,
        Step::Schema(None),
        Step::Exists,
        Step::Drop,
        Step::Exists,
        Step::Info,
        Step::Drop,
    ];
    script("metadata", "dropped", steps)
}

fn oddities() -> Script {
    let steps = vec![
        Step::Create(LOG),
        Step::Scan(0, 5),
        Step::Produce(plain(3)),
        Step::Produce(plain(4)),
        Step::Scan(0, 1),
        Step::Scan(0, 5),
        Step::Scan(0, 100),
        Step::Scan(0, 0),
        Step::Scan(0, -1),
        Step::Scan(9, 1),
        Step::BadLength(-1, 0),
        Step::BadLength(7, 7),
        Step::BadLength(7, 6),
        Step::BadLength(7, 0),
        Step::BadLength(0, 0),
        Step::BadLength(i32::MAX, 0),
        Step::Scan(0, 7),
    ];
    script("scans", "log-table", steps)
}
