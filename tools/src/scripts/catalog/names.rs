//! Databases, and paths of tables that cannot be.

use super::super::Script;
use super::super::step::{LOG, Name, Step};
use super::script;
use Name::{Own, Plain};

/// As long as a name may be.
const LONGEST: &str = ascii(&[b'x'; 200]);
const TOO_LONG: &str = ascii(&[b'x'; 201]);

const fn ascii(bytes: &'static [u8]) -> &'static str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => "",
    }
}

/// Names that servers refuse. Some are no place in ZooKeeper either, which shows where servers do
/// not look at them.
const WRONG: [&str; 17] = [
    "", ".", "..", "a.b", "a b", "a$b", "a/b", "/a", "a/", "a//b", "é", "水", "🌊", "\u{1}", "__",
    "__x", "__ x",
];

pub(super) fn scripts() -> Vec<Script> {
    vec![databases(), names(), unknown(), of_tables(), of_databases(), nowhere(), columns()]
}

fn about(database: Name, table: Name, step: Step) -> Step {
    Step::About(database, table, Box::new(step))
}

fn databases() -> Script {
    let (own, table) = (Own("_d"), Plain("t"));
    let steps = vec![
        Step::Create(LOG),
        Step::DatabaseExists(own),
        Step::DatabaseInfo(own),
        Step::Tables(own),
        about(own, table, Step::CreateAgain(LOG, true)),
        Step::DropDatabase(own, false, true),
        Step::DropDatabase(own, true, true),
        Step::CreateDatabase(own, false),
        Step::CreateDatabase(own, false),
        Step::CreateDatabase(own, true),
        Step::DatabaseExists(own),
        Step::DatabaseInfo(own),
        Step::Tables(own),
        about(own, table, Step::CreateAgain(LOG, false)),
        about(own, table, Step::CreateAgain(LOG, false)),
        about(own, table, Step::CreateAgain(LOG, true)),
        about(own, table, Step::Info),
        Step::Tables(own),
        Step::DropDatabase(own, false, false),
        Step::DropDatabase(own, true, false),
        about(own, table, Step::Drop),
        Step::DropDatabase(own, false, false),
        Step::DatabaseExists(own),
        Step::CreateDatabase(own, true),
        about(own, table, Step::CreateAgain(LOG, false)),
        Step::DropDatabase(own, false, true),
        about(own, table, Step::Exists),
        Step::DropDatabase(own, false, true),
    ];
    script("databases", "come-and-go", steps)
}

fn names() -> Script {
    let mut steps = Vec::new();
    for name in WRONG.into_iter().chain([TOO_LONG]) {
        steps.push(Step::CreateDatabase(Plain(name), false));
    }
    steps.push(Step::CreateDatabase(Plain("a b"), true));
    for name in [Own("-"), Own("_"), Own("A0"), Plain(LONGEST)] {
        steps.extend([Step::CreateDatabase(name, false), Step::DropDatabase(name, false, false)]);
    }
    script("databases", "names", steps)
}

fn unknown() -> Script {
    let mut steps = Vec::new();
    for name in WRONG.map(Plain).into_iter().chain([Own("_none")]) {
        steps.extend([
            Step::DatabaseExists(name),
            Step::DatabaseInfo(name),
            Step::Tables(name),
            Step::DropDatabase(name, false, false),
            Step::DropDatabase(name, true, true),
        ]);
    }
    script("databases", "unknown", steps)
}

fn of_tables() -> Script {
    let create = |name| about(Plain("fluss"), name, Step::CreateAgain(LOG, false));
    let mut steps = vec![Step::Create(LOG)];
    steps.extend(WRONG.into_iter().chain([TOO_LONG]).map(|name| create(Plain(name))));
    steps.push(about(Plain("fluss"), Plain("a b"), Step::CreateAgain(LOG, true)));
    for name in [Own("-"), Own("_"), Own("A0"), Plain(LONGEST)] {
        steps.extend([create(name), about(Plain("fluss"), name, Step::Drop)]);
    }
    script("paths", "tables", steps)
}

fn of_databases() -> Script {
    let create = |name| about(name, Plain("t"), Step::CreateAgain(LOG, false));
    let mut steps = vec![Step::Create(LOG)];
    steps.extend(WRONG.into_iter().chain([TOO_LONG]).map(|name| create(Plain(name))));
    steps.extend([
        create(Own("_none")),
        about(Own("_none"), Plain("t"), Step::CreateAgain(LOG, true)),
        about(Own("_none"), Plain("a b"), Step::CreateAgain(LOG, false)),
        about(Plain("__"), Plain("a b"), Step::CreateAgain(LOG, false)),
        about(Plain("a b"), Plain("__"), Step::CreateAgain(LOG, false)),
    ]);
    script("paths", "databases", steps)
}

/// Everything else one can ask of a table.
fn nowhere() -> Script {
    let (fluss, t) = (Plain("fluss"), Plain("t"));
    let mut steps = vec![Step::Create(LOG)];
    for (database, table) in [
        (fluss, Own("_none")),
        (Own("_none"), t),
        (fluss, Plain("a b")),
        (fluss, Plain("__x")),
        (fluss, Plain("")),
        (fluss, Plain("..")),
        (Plain(""), t),
        (Plain("."), t),
        (Plain("a/"), t),
        (Plain("a b"), Plain("\u{1}")),
    ] {
        let pairs = &[("b", "x")];
        let asked = [
            Step::Exists,
            Step::Info,
            Step::Schema(None),
            Step::Schema(Some(1)),
            Step::Partitions(&[]),
            Step::CreatePartition(pairs, true),
            Step::DropPartition(pairs, true),
            Step::Drop,
            Step::DropIfThere,
            Step::AddColumn("d", "INT", true),
            Step::Metadata,
            Step::PartitionMetadata(Some("x")),
            Step::PartitionMetadata(None),
        ];
        steps.extend(asked.map(|step| about(database, table, step)));
    }
    script("paths", "nowhere", steps)
}

fn columns() -> Script {
    let steps = vec![
        Step::Create(LOG),
        Step::AddColumn("d", "INT", false),
        Step::AddColumn("b", "STRING", true),
        Step::AddColumn("b", "INT", true),
        Step::AddColumn("d", "INT", true),
        Step::Schema(None),
        Step::AddColumn("d", "INT", true),
        Step::Schema(Some(1)),
        Step::Schema(Some(3)),
        Step::AddColumn("D", "ARRAY<STRING>", true),
        Step::Schema(Some(3)),
    ];
    script("tables", "columns", steps)
}
