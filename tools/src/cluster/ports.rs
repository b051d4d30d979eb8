//! Free loopback ports.
//!
//! A server advertises the port it was configured with, so a port has to be chosen before its
//! server exists. It is taken below the ranges from which systems give ports to outgoing
//! connections, and held by a listener of our own until the server is about to start.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::TcpListener;
use std::ops::Range;

use super::config::HOST;

const RANGE: Range<u16> = 12_000..31_000;

/// A port nobody else can take while this value lives.
#[derive(Debug)]
pub(super) struct ReservedPort {
    number: u16,
    _listener: Option<TcpListener>,
}

impl ReservedPort {
    pub(super) fn number(&self) -> u16 {
        self.number
    }

    /// A port that was chosen but is not held, as if somebody had been faster.
    #[cfg(test)]
    pub(super) fn lost(number: u16) -> Self {
        Self { number, _listener: None }
    }
}

/// Reserves `count` different ports.
pub(super) fn reserve(count: usize) -> io::Result<Vec<ReservedPort>> {
    // Launchers that start at the same moment must not walk through the same ports: the map
    // hasher's keys are the standard library's source of chance.
    let chance = RandomState::new().build_hasher().finish();
    let size = u64::from(RANGE.end - RANGE.start);
    let first = chance % size;
    let mut reserved = Vec::with_capacity(count);
    for step in 0..size {
        if reserved.len() == count {
            return Ok(reserved);
        }
        // The remainder is below the range's size, which is a u16.
        let number = RANGE.start + ((first + step) % size) as u16;
        if let Ok(listener) = TcpListener::bind((HOST, number)) {
            reserved.push(ReservedPort { number, _listener: Some(listener) });
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, format!("fewer than {count} ports are free")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_differ_and_are_held_until_dropped() {
        let ports = reserve(8).unwrap();
        let mut numbers: Vec<_> = ports.iter().map(ReservedPort::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 8);
        assert!(numbers.iter().all(|n| RANGE.contains(n)));
        assert!(TcpListener::bind((HOST, numbers[0])).is_err());
        drop(ports);
        assert!(TcpListener::bind((HOST, numbers[0])).is_ok());
    }
}
