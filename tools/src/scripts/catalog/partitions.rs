//! Partitions that cannot be made, or dropped, or looked at.

use super::super::Script;
use super::super::step::{LOG, Name, Pairs, Step, Table};
use super::script;

const BY_B: Table = Table { partition_by: &["b"], ..LOG };
const BY_B_AND_C: Table = Table { partition_by: &["b", "c"], ..LOG };
const KEYED: Table = Table { key: &["a", "b"], bucket_key: &["a"], partition_by: &["b"], ..LOG };
const TOO_LONG: &str = match std::str::from_utf8(&[b'x'; 201]) {
    Ok(text) => text,
    Err(_) => "",
};

pub(super) fn scripts() -> Vec<Script> {
    vec![of_none(), in_time(), values(), keys(), tables()]
}

/// A step about another table of the script, the one with this number.
fn about(table: &'static str, step: Step) -> Step {
    Step::About(Name::Plain("fluss"), Name::Own(table), Box::new(step))
}

fn of_none() -> Script {
    let x: Pairs = &[("b", "x")];
    let steps = vec![
        Step::Create(LOG),
        Step::Partitions(&[]),
        Step::Partitions(x),
        Step::CreatePartition(x, false),
        Step::CreatePartition(x, true),
        Step::CreatePartition(&[], false),
        Step::DropPartition(x, false),
        Step::DropPartition(x, true),
        Step::PartitionMetadata(Some("x")),
        Step::PartitionMetadataStranger,
    ];
    script("partitions", "of-none", steps)
}

fn in_time() -> Script {
    let mut steps = vec![Step::Create(LOG)];
    for (number, (name, table)) in (0..).zip([("_0", BY_B), ("_1", KEYED)]) {
        let [x, y]: [Pairs; 2] = [&[("b", "x")], &[("b", "y")]];
        steps.push(Step::CreateOther(number, table));
        let asked = [
            Step::Partitions(&[]),
            Step::DropPartition(x, false),
            Step::DropPartition(x, true),
            Step::CreatePartition(x, false),
            Step::CreatePartition(x, false),
            Step::CreatePartition(x, true),
            Step::CreatePartition(y, true),
            Step::Partitions(&[]),
            Step::Partitions(x),
            Step::PartitionMetadata(Some("z")),
            Step::PartitionMetadata(None),
            Step::DropPartition(x, false),
            Step::DropPartition(x, false),
            Step::Partitions(&[]),
            Step::Partitions(x),
            Step::CreatePartition(x, false),
            Step::Drop,
            Step::Partitions(&[]),
            Step::CreatePartition(x, false),
        ];
        steps.extend(asked.map(|step| about(name, step)));
    }
    script("partitions", "in-time", steps)
}

fn values() -> Script {
    let all: [Pairs; 13] = [
        &[("b", "")],
        &[("b", ".")],
        &[("b", "..")],
        &[("b", "a.b")],
        &[("b", "a b")],
        &[("b", "a$b")],
        &[("b", "a/b")],
        &[("b", "a=b")],
        &[("b", "é")],
        &[("b", "__x")],
        &[("b", "__ x")],
        &[("b", TOO_LONG)],
        &[("b", "A_-0")],
    ];
    let mut steps = vec![Step::Create(LOG), Step::CreateOther(0, BY_B)];
    steps.extend(all.map(|pairs| about("_0", Step::CreatePartition(pairs, true))));
    steps.extend(all.map(|pairs| about("_0", Step::Partitions(pairs))));
    steps.extend(all.map(|pairs| about("_0", Step::DropPartition(pairs, false))));
    script("partitions", "values", steps)
}

fn keys() -> Script {
    let all: [Pairs; 16] = [
        &[],
        &[("b", "x")],
        &[("c", "1")],
        &[("b", "x"), ("c", "1")],
        &[("c", "1"), ("b", "x")],
        &[("b", "y"), ("c", "one")],
        &[("b", "x"), ("c", "1"), ("a", "2")],
        &[("b", "x"), ("b", "y")],
        &[("b", "x"), ("c", "1"), ("b", "y")],
        &[("b", "x"), ("C", "1")],
        &[("a", "2"), ("b", "x")],
        &[("zeta", "2"), ("p", "x")],
        &[("d", "2"), ("c", "1")],
        &[("b", "a b"), ("c", "")],
        &[("b", "__"), ("c", "a b")],
        &[("b", "a b"), ("c", "__")],
    ];
    let mut steps = vec![Step::Create(LOG), Step::CreateOther(0, BY_B_AND_C)];
    steps.extend(all.map(|pairs| about("_0", Step::Partitions(pairs))));
    steps.extend(all.map(|pairs| about("_0", Step::CreatePartition(pairs, false))));
    steps.extend(all.map(|pairs| about("_0", Step::Partitions(pairs))));
    steps.extend(all.map(|pairs| about("_0", Step::DropPartition(pairs, false))));
    script("partitions", "keys", steps)
}

/// What tables cannot be partitioned by.
fn tables() -> Script {
    let by = |partition_by| Table { partition_by, ..LOG };
    let keyed = |partition_by| Table { partition_by, ..KEYED };
    let tables = [
        by(&["z"]),
        by(&["b", "z"]),
        Table { bucket_key: &["b"], ..by(&["b"]) },
        keyed(&["c"]),
        Table { key: &["b"], bucket_key: &[], ..keyed(&["b"]) },
        Table { bucket_key: &["b"], ..keyed(&["b"]) },
        Table { bucket_key: &["c"], ..keyed(&["b"]) },
    ];
    let mut steps = vec![Step::Create(LOG)];
    steps.extend((0..).zip(tables).map(|(number, table)| Step::CreateOther(number, table)));
    script("partitions", "tables", steps)
}
