//! Sans-IO core of an Apache Fluss client.

pub mod row;
