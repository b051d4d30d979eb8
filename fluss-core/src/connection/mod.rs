//! Connections to servers.

pub(crate) mod request;
