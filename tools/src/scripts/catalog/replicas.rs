//! What followers answer, what a leader answers whose followers are missing, and what the next
//! leader knows.

use super::super::Script;
use super::super::step::{
    Damage, Event, KV, LOG, Step, Table, Write, delete, fetch, plain, produce, put, set,
};
use super::script;

/// What happens to all tables of the second group. The scripts say what they ask before the first
/// event and after each.
const EVENTS: [Event; 7] = [
    Event::PauseFollowers,
    Event::ResumeFollowers,
    Event::KillFollowers,
    Event::MissFollowers,
    Event::StartFollowers,
    Event::KillLeader,
    Event::StartFormer,
];

pub(super) fn groups() -> Vec<Vec<Script>> {
    let faults =
        vec![log(), kv(), unstamped(), two_buckets(), timeouts(), waiting_fetches(), acks_1()];
    vec![vec![asked_follower(), asked_follower_kv()], faults]
}

/// So short that followers which are frozen or dead are not missed before it is over.
fn brief(write: Write) -> Write {
    write.timeout_ms(50)
}

fn asked_follower() -> Script {
    let ask = |write| Step::Produce(write).to_follower();
    let steps = vec![
        Step::Create(LOG),
        Step::Init,
        Step::Produce(produce(0, 0)),
        ask(produce(0, 0)),
        ask(produce(0, 1)),
        ask(produce(0, 1).acks(1)),
        ask(produce(0, 1).acks(0)),
        ask(produce(0, 1).acks(5)),
        ask(produce(0, 1).damage(Damage::Payload)),
        ask(plain(1)),
        ask(produce(0, 1).bucket(3)),
        Step::Fetch(fetch(0)).to_follower(),
        Step::Fetch(fetch(0).wait(1, 100)).to_follower(),
        Step::Scan(0, 3).to_follower(),
        Step::Offsets(0, vec![0], None).to_follower(),
        Step::Init.to_follower(),
        Step::Produce(produce(0, 1)),
        Step::Produce(produce(1, 0)),
        Step::Fetch(fetch(0)),
        Step::Metadata.to_follower(),
    ];
    script("replicas", "asked-follower", steps)
}

fn asked_follower_kv() -> Script {
    let ask = |write| Step::Put(write).to_follower();
    let steps = vec![
        Step::Create(KV),
        Step::Init,
        Step::Put(put(0, 0, &[set(1, "a", 1)])),
        ask(put(0, 1, &[set(1, "b", 2)])),
        ask(put(0, 1, &[set(1, "b", 2)]).acks(1)),
        ask(put(0, 1, &[set(1, "b", 2)]).targets(&[1])),
        Step::Lookup(0, vec![(1, "")]).to_follower(),
        Step::Prefix(0, vec![1]).to_follower(),
        Step::Scan(0, 3).to_follower(),
        Step::Lookup(0, vec![(1, "")]),
        Step::Put(put(0, 1, &[set(1, "c", 3)])),
        Step::Lookup(0, vec![(1, "")]),
    ];
    script("replicas", "asked-follower-kv", steps)
}

/// A script with one phase more than there are events.
fn phases(name: &str, table: Table, phases: [Vec<Step>; EVENTS.len() + 1]) -> Script {
    let mut steps = vec![Step::Create(table), Step::Init, Step::Init];
    for (number, phase) in phases.into_iter().enumerate() {
        if number > 0 {
            steps.push(Step::Event(EVENTS[number - 1]));
        }
        steps.extend(phase);
    }
    script("replicas", name, steps)
}

fn writes<const N: usize>(writes: [Write; N]) -> impl Iterator<Item = Step> {
    writes.into_iter().map(Step::Produce)
}

fn log() -> Script {
    let p = |sequence| produce(0, sequence);
    let all = || Step::Fetch(fetch(0));
    let ends = [Step::Offsets(1, vec![0], None), Step::EndOffset(0)];
    let read = || [&[all()], &ends[..]].concat();
    let paused = [brief(p(2)), brief(p(2)), p(3).acks(1), p(2).acks(1), p(5), brief(p(3))];
    let gone = [
        p(5),
        p(7),
        p(7).acks(1),
        p(5).acks(1),
        p(9),
        p(9).acks(1),
        p(8).damage(Damage::Payload),
        p(8).damage(Damage::Payload).acks(1),
        p(8).acks(0),
    ];
    let after_failover = [p(9), p(5), p(4), p(11), p(10)];
    phases(
        "log",
        LOG,
        [
            writes([p(0), p(1), p(1)]).collect(),
            writes(paused).chain(read()).chain([Step::Scan(0, 10)]).collect(),
            writes([p(2), p(3), p(4)]).chain(read()).collect(),
            writes([brief(p(5)), brief(p(5)), p(6).acks(0)]).chain(read()).collect(),
            writes(gone).chain(read()).collect(),
            writes([p(5), p(8), p(9)]).chain([all(), Step::Metadata]).collect(),
            writes(after_failover)
                .chain([all(), Step::Fetch(fetch(10)), Step::Metadata])
                .chain([Step::Offsets(3, vec![0], None), Step::EndOffset(0)])
                .collect(),
            [
                Step::Produce(p(11)).to_former(),
                Step::Fetch(fetch(0)).to_former(),
                Step::Produce(p(10)),
                Step::Produce(p(11)),
                Step::Fetch(fetch(20)),
                Step::Metadata,
            ]
            .into(),
        ],
    )
}

fn kv() -> Script {
    let keys = || [Step::Lookup(0, vec![(1, ""), (2, ""), (3, "")]), Step::Scan(0, 9)];
    let p = |sequence, rows: &[_]| put(0, sequence, rows);
    let [one, two] = [set(1, "one", 1), set(2, "two", 2)];
    let puts = |puts: Vec<Write>| puts.into_iter().map(Step::Put);
    let paused = vec![
        brief(p(1, &[set(1, "uno", 11), set(3, "tre", 3)])),
        brief(p(1, &[set(1, "no", 0)])),
        p(2, &[delete(2)]).acks(1),
        p(4, &[two]),
        p(3, &[set(1, "eins", 12)]).acks(1),
    ];
    let resumed = vec![p(1, &[one]), p(3, &[one]), p(4, &[two])];
    let killed = vec![brief(p(5, &[set(2, "zwei", 22)]))];
    let gone = vec![
        p(5, &[set(2, "zwei", 22)]),
        p(6, &[set(3, "drei", 33)]).acks(1),
        p(5, &[set(2, "deux", 0)]).acks(1),
        p(7, &[two]),
        p(7, &[two]).targets(&[1]),
    ];
    let started = vec![p(5, &[two]), p(6, &[two]), p(7, &[delete(1)])];
    let moved = vec![p(7, &[one]), p(3, &[one]), p(2, &[one]), p(8, &[one])];
    phases(
        "kv",
        KV,
        [
            puts(vec![p(0, &[one, two])]).chain(keys()).collect(),
            puts(paused).chain(keys()).chain([Step::Fetch(fetch(0))]).collect(),
            puts(resumed).chain(keys()).collect(),
            puts(killed).chain(keys()).collect(),
            puts(gone).chain(keys()).chain([Step::Fetch(fetch(0))]).collect(),
            puts(started).chain(keys()).collect(),
            puts(moved).chain(keys()).chain([Step::Fetch(fetch(0))]).collect(),
            vec![
                Step::Put(p(9, &[two])).to_former(),
                Step::Lookup(0, vec![(1, "")]).to_former(),
                Step::Prefix(0, vec![1]).to_former(),
                Step::Put(p(9, &[two])),
            ],
        ],
    )
}

fn unstamped() -> Script {
    let all = || Step::Fetch(fetch(0));
    let gone = [plain(2), plain(2).acks(1), plain(2)];
    phases(
        "unstamped",
        LOG,
        [
            writes([plain(1), plain(2)]).collect(),
            // Nobody knows that the second one is the first one again.
            writes([brief(plain(1)), brief(plain(1)), plain(1).acks(1)]).chain([all()]).collect(),
            writes([plain(3)]).chain([all()]).collect(),
            writes([brief(plain(1))]).collect(),
            writes(gone).collect(),
            writes([plain(1)]).chain([all()]).collect(),
            writes([plain(1)]).chain([all(), Step::Offsets(1, vec![0], None)]).collect(),
            vec![Step::Produce(plain(1)).to_former(), Step::Produce(plain(1))],
        ],
    )
}

/// Bucket 1 is led by somebody else as long as nobody has died.
fn two_buckets() -> Script {
    let both = |sequence| produce(0, sequence).and(produce(0, sequence).bucket(1));
    phases(
        "two-buckets",
        Table { buckets: 2, ..LOG },
        [
            writes([both(0), both(1).acks(1), both(1).acks(0)]).collect(),
            writes([brief(both(2)), both(4), both(3).acks(1)]).collect(),
            writes([both(2), both(3), produce(0, 4)]).collect(),
            writes([brief(produce(0, 5))]).collect(),
            writes([produce(0, 5)]).collect(),
            writes([produce(0, 5)]).collect(),
            vec![Step::Produce(produce(0, 6))],
            vec![Step::Fetch(fetch(0))],
        ],
    )
}

fn timeouts() -> Script {
    let p = |sequence| produce(0, sequence);
    phases(
        "timeouts",
        LOG,
        [
            writes([p(0).timeout_ms(60_000), p(1).timeout_ms(i32::MAX)]).collect(),
            writes([
                p(2).timeout_ms(1),
                p(2).timeout_ms(0),
                p(3).timeout_ms(0),
                p(4).timeout_ms(-1),
                p(4).timeout_ms(i32::MIN),
                p(5).timeout_ms(0).acks(1),
            ])
            .collect(),
            writes([p(2), p(3), p(5), p(6)]).chain([Step::Fetch(fetch(4))]).collect(),
            writes([p(7).timeout_ms(1)]).collect(),
            writes([p(7).timeout_ms(0)]).collect(),
            writes([p(7)]).collect(),
            writes([p(7)]).collect(),
            vec![],
        ],
    )
}

fn waiting_fetches() -> Script {
    let p = |sequence| produce(0, sequence);
    let wait = |offset| Step::Fetch(fetch(offset).wait(1, 50));
    let at = |offset| Step::Fetch(fetch(offset));
    phases(
        "waiting-fetches",
        LOG,
        [
            vec![Step::Produce(p(0)), wait(0), wait(2)],
            vec![Step::Produce(p(1).acks(1)), wait(0), wait(2), at(2), at(3), at(4), at(5)],
            vec![Step::Produce(p(1)), wait(2), at(3)],
            vec![Step::Produce(p(2).acks(1)), wait(4), Step::Offsets(2, vec![0], Some(-3_600_000))],
            vec![wait(4), at(4), at(6), at(7), Step::Scan(0, 1)],
            vec![Step::Produce(p(2)), wait(4)],
            vec![wait(4), Step::Scan(0, 1)],
            vec![wait(4).to_former(), at(1)],
        ],
    )
}

fn acks_1() -> Script {
    let p = |sequence: i32| produce(0, sequence).acks(1);
    let other = |sequence: i32| produce(1, sequence).acks(0);
    let all = || Step::Fetch(fetch(0));
    phases(
        "acks-1",
        LOG,
        [
            writes([p(0), other(0), p(1), other(0), produce(0, 1)]).collect(),
            writes([p(2), other(1), p(2), other(3), p(3)]).chain([all()]).collect(),
            // What waits for the replicas sees to it that all before it is there.
            writes([produce(0, 3), p(4), other(2), produce(0, 4), produce(1, 2)]).collect(),
            writes([p(5), other(3), p(5)]).collect(),
            writes([p(6), other(4), p(7), p(9), other(9), other(5)]).collect(),
            writes([produce(0, 7), produce(1, 5), produce(0, 8)]).chain([all()]).collect(),
            writes([p(8), p(3), other(5), other(1), produce(0, 9)]).chain([all()]).collect(),
            vec![Step::Produce(p(10)).to_former(), Step::Produce(other(6)).to_former()],
        ],
    )
}
