//! What a tablet server remembers after it was stopped or killed.

use super::super::Script;
use super::super::step::{Event, KV, LOG, Step, Stop, fetch, plain, produce, put, set};
use super::script;

/// Sequences before a restart and after it.
const SEQUENCES: &[(&str, &[i32], &[i32])] = &[
    ("one-known", &[0], &[0, 1, 0]),
    ("last-of-three", &[0, 1, 2], &[2, 1, 0, 3]),
    ("last-of-seven", &[0, 1, 2, 3, 4, 5, 6], &[6, 5, 2, 1, 7, 6]),
    ("goes-on", &[0, 1, 2, 3], &[4, 5, 6]),
    ("gap", &[0, 1], &[3, 2, 3]),
    ("from-zero", &[0, 1, 2, 3, 4, 5], &[0, 6]),
    ("refills", &[0, 1, 2], &[3, 4, 5, 6, 2, 3, 6]),
    ("with-duplicates", &[0, 0, 1, 1], &[1, 0, 2]),
    ("nothing-before", &[], &[1, 0, 1, 0]),
];

/// The groups: those that are stopped, killed, and both one after the other.
pub(super) fn groups() -> Vec<Vec<Script>> {
    vec![group("stop", &[Stop::Clean]), group("kill", &[Stop::Kill])]
}

fn group(name: &str, stops: &[Stop]) -> Vec<Script> {
    let mut scripts = Vec::new();
    for (about, before, after) in SEQUENCES {
        scripts.push(log(&format!("{name}-{about}"), stops, before, after));
    }
    for (about, before, after) in &SEQUENCES[1..4] {
        scripts.push(kv(&format!("{name}-kv-{about}"), stops, before, after));
    }
    scripts.push(content(&format!("{name}-content"), stops));
    scripts
}

fn log(name: &str, stops: &[Stop], before: &[i32], after: &[i32]) -> Script {
    let mut steps = vec![Step::Create(LOG), Step::Init];
    steps.extend(before.iter().map(|&sequence| Step::Produce(produce(0, sequence))));
    for stop in stops {
        steps.push(Step::Event(Event::Restart(*stop)));
        steps.extend(after.iter().map(|&sequence| Step::Produce(produce(0, sequence))));
    }
    steps.extend([Step::Offsets(1, vec![0], None), Step::Fetch(fetch(0))]);
    script("restarts", name, steps)
}

fn kv(name: &str, stops: &[Stop], before: &[i32], after: &[i32]) -> Script {
    let row = |sequence: i32| set(sequence % 2, "row", i64::from(sequence));
    let write = |&sequence: &i32| Step::Put(put(0, sequence, &[row(sequence), set(7, "x", 0)]));
    let mut steps = vec![Step::Create(KV), Step::Init];
    steps.extend(before.iter().map(write));
    for stop in stops {
        steps.push(Step::Event(Event::Restart(*stop)));
        steps.push(Step::Lookup(0, vec![(0, ""), (1, ""), (7, "")]));
        steps.extend(after.iter().map(write));
    }
    steps.extend([Step::Lookup(0, vec![(0, ""), (1, ""), (7, "")]), Step::Fetch(fetch(0))]);
    script("restarts", name, steps)
}

fn content(name: &str, stops: &[Stop]) -> Script {
    let mut steps = vec![
        Step::Create(LOG),
        Step::Init,
        Step::Produce(plain(3)),
        Step::Produce(produce(0, 0)),
        Step::Fetch(fetch(0)),
    ];
    for stop in stops {
        steps.push(Step::Event(Event::Restart(*stop)));
        steps.extend([Step::Fetch(fetch(0)), Step::Offsets(1, vec![0], None), Step::Metadata]);
        steps.push(Step::Offsets(3, vec![0], None));
        steps.extend([Step::Produce(plain(1)), Step::Fetch(fetch(4)), Step::Scan(0, 2)]);
    }
    script("restarts", name, steps)
}
