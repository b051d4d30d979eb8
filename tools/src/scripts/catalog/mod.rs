//! The scripts.

mod expiry;
mod fetches;
mod logins;
mod lookups;
mod names;
mod partitions;
mod replicas;
mod restarts;
mod rights;
mod tables;
mod upserts;
mod windows;

use super::step::Step;
use super::{Group, Script};

/// A cluster that scripts need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One tablet server.
    Single,
    /// Three tablet servers with a replica each, of which two have to be in sync.
    Replicated,
    /// One tablet server that asks who one is, with the authorizer on.
    Secured,
    /// One tablet server that forgets a writer after ten seconds of silence.
    Forgetful,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Single, Self::Replicated, Self::Secured, Self::Forgetful];

    /// The tablet server that has to lead bucket 0 of all tables, if it matters.
    pub(super) fn leader(self) -> Option<i32> {
        (self == Self::Replicated).then_some(0)
    }
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
    // What is refused nowhere stays, so nothing comes behind it.
    let scripts =
        [tables::scripts(), names::scripts(), partitions::scripts(), logins::not_asked()].concat();
    groups.push(Group { cluster: Kind::Single, scripts });
    for scripts in replicas::groups() {
        groups.push(Group { cluster: Kind::Replicated, scripts });
    }
    let scripts = [rights::scripts(), logins::scripts()].concat();
    groups.push(Group { cluster: Kind::Secured, scripts });
    groups.push(Group { cluster: Kind::Forgetful, scripts: expiry::scripts() });
    groups
}

fn script(kind: &str, name: impl AsRef<str>, steps: Vec<Step>) -> Script {
    Script { name: format!("{kind}/{}", name.as_ref()), steps }
}
