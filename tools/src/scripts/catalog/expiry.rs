//! Writers that were silent for so long that the server has forgotten them.

use super::super::Script;
use super::super::step::{LOG, Step, fetch, produce};
use super::script;

pub(super) fn scripts() -> Vec<Script> {
    let p = |writer, sequence| Step::Produce(produce(writer, sequence));
    let known = || vec![Step::Create(LOG), Step::Init, p(0, 0), p(0, 1), p(0, 2)];
    let all = [
        // What follows is refused as from an unknown writer, what begins is not.
        ("goes-on", vec![p(0, 3), p(0, 2), p(0, 0), p(0, 1), p(0, 0), p(0, 3)]),
        ("another-begins", vec![Step::Init, p(1, 0), p(0, 3), p(1, 1), p(0, 1), p(1, 0)]),
    ];
    let scripts = all.into_iter().map(|(name, after)| {
        let mut steps = known();
        steps.push(Step::Forget(0, 2));
        steps.extend(after);
        steps.extend([Step::Offsets(1, vec![0], None), Step::Fetch(fetch(0))]);
        script("expiry", name, steps)
    });
    scripts.collect()
}
