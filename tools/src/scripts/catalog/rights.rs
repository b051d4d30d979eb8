//! What users may do whom nobody knows, to whom nothing was granted, and to whom something was.

use super::super::Script;
use super::super::step::{KV, LOG, Name, Right, Step, Table, fetch, plain, produce, put, set};
use super::script;

pub(super) fn scripts() -> Vec<Script> {
    let nothing: Vec<Script> =
        [("nobody", "mallory"), ("nothing", "alice"), ("everything", "root")]
            .into_iter()
            .flat_map(|(name, user)| {
                let present = || vec![Step::As(user)];
                [in_log(name, present()), in_kv(&format!("{name}-kv"), present())]
            })
            .collect();
    let rights =
        [Right::Describe, Right::Read, Right::Write, Right::Alter, Right::All].map(|right| {
            let name = format!("{right:?}").to_lowercase();
            let granted = || vec![Step::As("alice"), Step::Grant(right)];
            [in_log(&name, granted()), in_kv(&format!("{name}-kv"), granted())]
        });
    let mut all = nothing;
    all.extend(rights.into_iter().flatten());
    all.extend([taken_back(), of_two()]);
    all.extend(
        [("nobody", "mallory"), ("nothing", "alice")].map(|(name, user)| catalog(name, user)),
    );
    all
}

/// Everything one can ask of a table.
fn asked(table: &Table) -> Vec<Step> {
    vec![
        Step::Metadata,
        Step::MetadataStranger,
        Step::Info,
        Step::Schema(None),
        Step::Exists,
        Step::Offsets(1, vec![0], None),
        Step::Init,
        Step::InitNothing,
        Step::Fetch(fetch(0)),
        Step::Fetch(fetch(0).and(4, 0)),
        Step::Fetch(fetch(0).stranger()),
        Step::Fetch(fetch(100).wait(1, 100)),
        Step::Scan(0, 3),
        Step::Scan(5, 3),
        Step::ScanStranger,
        Step::CreateAgain(table.clone(), false),
        Step::CreateAgain(table.clone(), true),
    ]
}

fn in_log(name: &str, before: Vec<Step>) -> Script {
    let mut steps = vec![Step::Create(LOG), Step::Init, Step::Produce(produce(0, 0))];
    steps.extend(before.iter().cloned());
    steps.extend(asked(&LOG));
    let writes = [
        produce(0, 0),
        produce(0, 1),
        produce(0, 3),
        plain(1).acks(0),
        plain(1).acks(1),
        plain(1).acks(7),
        plain(1).bucket(6),
        plain(1).stranger(),
        plain(1).stranger().acks(7),
        plain(1).partition(2),
    ];
    steps.extend(writes.map(Step::Produce));
    steps.extend([Step::As("root"), Step::Fetch(fetch(0))]);
    // For a moment the leader still serves a table that has been dropped.
    steps.extend(before.into_iter().take(1).chain([Step::Drop, Step::Exists]));
    script("rights", name, steps)
}

fn in_kv(name: &str, before: Vec<Step>) -> Script {
    let row = [set(1, "one", 1)];
    let mut steps = vec![Step::Create(KV), Step::Init, Step::Put(put(0, 0, &row))];
    steps.extend(before);
    let writes = [
        put(0, 0, &row),
        put(0, 1, &row),
        put(0, 3, &row),
        put(0, 2, &row).acks(7),
        put(0, 2, &row).targets(&[1]),
        put(0, 2, &row).bucket(3),
        put(0, 2, &row).stranger(),
    ];
    steps.extend(writes.map(Step::Put));
    steps.extend([
        Step::Lookup(0, vec![(1, ""), (2, "")]),
        Step::Lookup(2, vec![(1, "")]),
        Step::LookupStranger,
        Step::Prefix(0, vec![1]),
        Step::Scan(0, 3),
        Step::Fetch(fetch(0)),
    ]);
    steps.extend([Step::As("root"), Step::Lookup(0, vec![(1, "")])]);
    script("rights", name, steps)
}

fn taken_back() -> Script {
    let steps = vec![
        Step::Create(LOG),
        Step::As("bob"),
        Step::Init,
        Step::Grant(Right::Write),
        Step::Init,
        Step::Produce(produce(0, 0)),
        Step::Revoke(Right::Write),
        Step::Produce(produce(0, 0)),
        Step::Produce(produce(0, 1)),
        Step::Init,
        Step::Metadata,
        Step::Grant(Right::Write),
        Step::Produce(produce(0, 0)),
        Step::Produce(produce(0, 1)),
    ];
    script("rights", "taken-back", steps)
}

/// Rights of one user are not those of another one.
fn of_two() -> Script {
    let steps = vec![
        Step::Create(LOG),
        Step::As("alice"),
        Step::Grant(Right::Write),
        Step::As("bob"),
        Step::Grant(Right::Read),
        Step::Produce(plain(1)),
        Step::Fetch(fetch(0)),
        Step::As("alice"),
        Step::Produce(plain(2)),
        Step::Fetch(fetch(0)),
        Step::As("bob"),
        Step::Fetch(fetch(0)),
        Step::As("mallory"),
        Step::Produce(plain(1)),
        Step::Fetch(fetch(0)),
        Step::As("root"),
        Step::Produce(plain(1)),
        Step::Fetch(fetch(0)),
    ];
    script("rights", "of-two", steps)
}

/// Databases, partitions and columns, of which one may have none.
fn catalog(name: &str, user: &'static str) -> Script {
    let (own, fluss) = (Name::Own("_d"), Name::Plain("fluss"));
    let (wrong, none) = (Name::Plain("a b"), Name::Own("_none"));
    let mut steps = vec![Step::Create(LOG), Step::CreateDatabase(own, false), Step::As(user)];
    for database in [own, none, wrong] {
        steps.extend([
            Step::CreateDatabase(database, true),
            Step::DropDatabase(database, true, false),
            Step::DatabaseExists(database),
            Step::DatabaseInfo(database),
            Step::Tables(database),
        ]);
    }
    let about = |table: Name, step: Step| Step::About(fluss, table, Box::new(step));
    for table in [Name::Own(""), none, wrong] {
        steps.extend([
            about(table, Step::CreatePartition(&[("b", "x")], false)),
            about(table, Step::DropPartition(&[("b", "x")], true)),
            about(table, Step::Partitions(&[])),
            about(table, Step::PartitionMetadata(Some("x"))),
            about(table, Step::AddColumn("d", "INT", true)),
            about(table, Step::DropIfThere),
        ]);
    }
    steps.extend([
        Step::PartitionMetadataStranger,
        Step::About(none, Name::Plain("t"), Box::new(Step::CreateAgain(LOG, false))),
        Step::About(fluss, wrong, Box::new(Step::CreateAgain(LOG, false))),
        Step::About(wrong, Name::Plain("t"), Box::new(Step::CreateAgain(LOG, false))),
        Step::As("root"),
        Step::DropDatabase(own, false, false),
        Step::Exists,
    ]);
    script("rights", format!("{name}-catalog"), steps)
}
