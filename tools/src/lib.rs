//! Tools around the Fluss client: the `fluss` command line, and the launcher of a real cluster for
//! tests.

pub mod alone;
#[cfg(feature = "chaos")]
pub mod chaos;
pub mod cli;
pub mod cluster;
pub mod demo;
pub mod main_job;
pub mod scripts;

/// The examples of the README are doc tests of this crate, which may depend on all adapters.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
