//! Tools around the Fluss client: the launcher of a real cluster for tests.

pub mod cluster;
