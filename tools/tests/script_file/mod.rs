//! The recorded answers.

use std::path::PathBuf;

use fluss_tools::scripts::{Played, parse};

pub(crate) fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/scripts.txt")
}

pub(crate) fn read() -> Vec<Played> {
    parse(&std::fs::read_to_string(path()).unwrap_or_default())
}
