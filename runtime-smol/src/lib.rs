//! Placeholder heading, replaced by the first change to this crate.
