//! Tools around the Fluss client: the launcher of a real cluster for tests.

pub mod cluster;
pub mod main_job;
