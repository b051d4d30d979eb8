//! Test kit: a fake Fluss cluster that speaks real bytes, keeps real state and fails on demand.
//!
//! [`cluster::FakeCluster`] is a machine without sockets: connections are numbers, time is an
//! argument, chance comes from a seed. [`loopback::Loopback`] puts it behind real TCP ports.
//! [`conformance`] is what every adapter has to pass against it, and [`shop`] what examples are
//! run against. [`sim`] runs the client against it in virtual time, with everything going wrong.

pub mod cluster;
pub mod conformance;
mod framing;
pub mod loopback;
pub mod shop;
pub mod sim;
