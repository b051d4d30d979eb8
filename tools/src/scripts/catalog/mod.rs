//! The scripts.

mod fetches;
mod lookups;
mod restarts;
mod upserts;
mod windows;

use super::step::Step;
use super::{Group, Script};

/// A cluster that scripts need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One tablet server.
    Single,
}

/// All groups, those for one cluster one after the other.
#[must_use]
pub fn groups() -> Vec<Group> {
    let mut groups = vec![Group {
        cluster: Kind::Single,
        scripts: [windows::scripts(), upserts::scripts(), fetches::scripts(), lookups::scripts()]
            .concat(),
    }];
    for scripts in restarts::groups() {
        groups.push(Group { cluster: Kind::Single, scripts });
    }
    groups
}

fn script(kind: &str, name: impl AsRef<str>, steps: Vec<Step>) -> Script {
    Script { name: format!("{kind}/{}", name.as_ref()), steps }
}
