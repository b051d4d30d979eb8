//! Tools around the Fluss client: the `fluss` command line, and the launcher of a real cluster for
//! tests.

pub mod cli;
pub mod cluster;
pub mod demo;
pub mod main_job;
