//! Who one is: what servers say to those who do not tell, or tell something else.

use super::super::Script;
use super::super::step::{LOG, Step};
use super::script;

const RIGHT: Step = Step::Login("PLAIN", "\0root\0rootpw");

/// Connections differ by users, so each script acts as one of its own.
pub(super) fn scripts() -> Vec<Script> {
    let tokens: [(&'static str, &[&'static str]); 2] = [
        (
            "passwords",
            &[
                "\0root\0wrong",
                "\0root\0rootp",
                "\0root\0ROOTPW",
                "\0ROOT\0rootpw",
                "\0nobody\0rootpw",
                "\0alice\0rootpw",
                "\0é\0rootpw",
                "root\0root\0wrong",
                "alice\0root\0rootpw",
                "alice\0root\0wrong",
            ],
        ),
        (
            "tokens",
            &[
                "",
                "\0",
                "\0\0",
                "\0root\0",
                "\0\0rootpw",
                "root\0rootpw",
                "root\0\0",
                "\0root\0rootpw\0",
                "\0root\0rootpw\0\0\0",
            ],
        ),
    ];
    let mut all: Vec<Script> = Vec::new();
    for (name, tokens) in tokens {
        let tries = tokens.iter().map(|token| Step::Login("PLAIN", token));
        all.push(tried(name, tries.collect()));
    }
    let mechanisms = ["plain", "Plain", "GSSAPI", "PLAINTEXT", "sasl", ""];
    let tries = mechanisms.map(|mechanism| Step::Login(mechanism, "\0root\0rootpw"));
    all.push(tried("mechanisms", tries.to_vec()));
    all
}

/// All of them before anybody has logged in, then on a connection where somebody has.
fn tried(name: &'static str, tries: Vec<Step>) -> Script {
    let mut steps = vec![Step::Create(LOG), Step::As(name), Step::Info, Step::Metadata];
    for step in &tries {
        steps.extend([step.clone(), Step::Metadata]);
    }
    steps.extend([RIGHT, Step::Metadata]);
    steps.extend(tries);
    steps.extend([RIGHT, Step::Metadata]);
    script("logins", name, steps)
}

/// A server that lets everybody in.
pub(super) fn not_asked() -> Vec<Script> {
    let mechanisms = ["PLAIN", "GSSAPI", "sasl", "", "PLAINTEXT", "plaintext"];
    let mut steps = vec![Step::Create(LOG)];
    for mechanism in mechanisms {
        steps.extend([Step::Login(mechanism, "\0root\0wrong"), Step::Metadata]);
    }
    vec![script("logins", "not-asked", steps)]
}
