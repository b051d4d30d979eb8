//! When keys end, and their bytes.

use std::collections::{BTreeSet, VecDeque};

use super::Key;
use crate::by_id::ById;
use crate::ids::CommandId;
use crate::time::Instant;

/// Ends of keys without an answer.
///
/// Most keys of a client have the same time, so their ends come in the order of the keys, and one
/// is forgotten when those before it are.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    in_order: VecDeque<(Instant, CommandId)>,
    /// Those that end before one that came earlier does.
    early: BTreeSet<(Instant, CommandId)>,
}

impl Deadlines {
    pub(super) fn insert(&mut self, at: Instant, id: CommandId) {
        if self.in_order.back().is_none_or(|(last, _)| *last <= at) {
            self.in_order.push_back((at, id));
        } else {
            self.early.insert((at, id));
        }
    }

    /// A key has ended and is not among `keys` any more.
    pub(super) fn remove(&mut self, at: Instant, id: CommandId, keys: &ById<Key>) {
        self.remove_early(at, id);
        self.tidy(keys);
    }

    /// The part of [`Deadlines::remove`] that each key needs for itself; [`Deadlines::tidy`] is for
    /// many of them.
    pub(super) fn remove_early(&mut self, at: Instant, id: CommandId) {
        if !self.early.is_empty() {
            self.early.remove(&(at, id));
        }
    }

    pub(super) fn tidy(&mut self, keys: &ById<Key>) {
        while self.in_order.front().is_some_and(|(_, id)| !keys.contains(*id)) {
            self.in_order.pop_front();
        }
        if self.in_order.len() > 2 * keys.len() + 64 {
            self.in_order.retain(|(_, id)| keys.contains(*id));
        }
    }

    pub(super) fn first(&self) -> Option<(Instant, CommandId)> {
        let early = self.early.first();
        self.in_order.front().into_iter().chain(early).min().copied()
    }
}

/// Bytes up to this number need no memory of their own.
const SHORT: usize = 30;

/// The bytes of a key.
#[derive(Clone, Debug)]
pub(super) enum KeyBytes {
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

impl KeyBytes {
    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Short(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for KeyBytes {
    fn from(key: &[u8]) -> Self {
        match u8::try_from(key.len()) {
            Ok(len) if key.len() <= SHORT => {
                let mut bytes = [0; SHORT];
                bytes[..key.len()].copy_from_slice(key);
                Self::Short(len, bytes)
            }
            _ => Self::Long(key.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_it_was_made_of() {
        for length in [0, 1, SHORT - 1, SHORT, SHORT + 1, 300] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let key = KeyBytes::from(&bytes[..]);
            assert_eq!((key.as_slice(), key.len()), (&bytes[..], length));
        }
    }
}
