//! Sans-IO core of an Apache Fluss client.

pub mod batch;
pub mod row;
