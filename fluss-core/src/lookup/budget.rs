//! The budget of lookups: how many keys are on their way at once, and how many bytes they and the
//! answers that nobody has taken have. Beyond it keys stand in line.
//!
//! The first in line goes before anybody behind it, also before newcomers whose shorter key would
//! fit, so nobody starves. Where answers fill the budget and no key is on its way, the next one
//! goes all the same: somebody may wait for it before taking those answers.

use std::collections::BTreeSet;

use super::{Ask, Lookups};
use crate::config::Config;
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::ids::CommandId;
use crate::metrics::Metrics;

/// What a request needs besides the bytes of a key, at most.
const OVERHEAD: usize = 256;

/// Who is on the way, and who stands in line.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Keys on their way.
    keys: usize,
    /// Their bytes.
    key_bytes: u64,
    /// Bytes of answers that nobody has taken.
    answers: u64,
    /// Keys that wait for their partition to be found, and their bytes.
    seeking: (usize, u64),
    /// Keys that stand in line, in the order in which they came, which is that of their ids.
    line: BTreeSet<CommandId>,
}

impl Budget {
    fn used(&self) -> u64 {
        self.key_bytes.saturating_add(self.answers)
    }

    fn has_room(&self, config: &Config, length: usize) -> bool {
        self.keys < config.lookup_limit
            && self.used().saturating_add(length as u64) <= config.lookup_memory_limit
    }

    /// Whether the first in line, or a newcomer where there is no line, goes.
    fn admits(&self, config: &Config, length: usize) -> bool {
        self.keys == 0 || self.has_room(config, length)
    }

    /// Whether a newcomer has to stand in line.
    pub(super) fn would_wait(&self, config: &Config, length: usize) -> bool {
        !self.line.is_empty() || !self.admits(config, length)
    }

    pub(super) fn stand_in_line(&mut self, id: CommandId) {
        self.line.insert(id);
    }

    pub(super) fn take(&mut self, length: usize) {
        self.keys += 1;
        self.key_bytes += length as u64;
    }

    /// A key has ended. True: it stood in line.
    pub(super) fn leave(&mut self, id: CommandId, length: usize) -> bool {
        if !self.line.is_empty() && self.line.remove(&id) {
            return true;
        }
        debug_assert!(self.keys > 0 && self.key_bytes >= length as u64, "{self:?} without {id}");
        self.keys = self.keys.saturating_sub(1);
        self.key_bytes = self.key_bytes.saturating_sub(length as u64);
        false
    }

    pub(super) fn is_in_line(&self, id: CommandId) -> bool {
        self.line.contains(&id)
    }

    pub(super) fn line(&self) -> impl Iterator<Item = CommandId> + '_ {
        self.line.iter().copied()
    }

    pub(super) fn taken(&self) -> Taken {
        let (keys, bytes) = self.seeking;
        Taken { keys: self.keys + keys, bytes: self.used().saturating_add(bytes) }
    }
}

/// What is taken of the budget at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    keys: usize,
    bytes: u64,
}

impl Taken {
    /// Why a key of this length does not go.
    pub(super) fn full(self, config: &Config, length: usize) -> Error {
        Error::LookupsFull {
            lookups: self.keys,
            max_lookups: config.lookup_limit,
            needed: length as u64,
            used: self.bytes,
            limit: config.lookup_memory_limit,
        }
    }
}

/// Bytes of a key at most.
pub(super) fn longest_key(config: &Config) -> usize {
    let budget = usize::try_from(config.lookup_memory_limit).unwrap_or(usize::MAX);
    budget.min(config.max_request_bytes.saturating_sub(OVERHEAD))
}

impl Lookups {
    /// Whether a key of this length can ever go.
    pub(super) fn check(&self, config: &Config, what: &str, length: usize) -> Result<()> {
        if let Some(error) = &self.closed {
            return Err(error.clone());
        }
        let longest = longest_key(config);
        if length <= longest {
            return Ok(());
        }
        let why = if longest as u64 == config.lookup_memory_limit {
            format!("lookup_memory_limit allows {longest} bytes for all lookups; raise it")
        } else {
            format!("a request holds {longest} at most")
        };
        Err(Error::misuse(format!("{what}: the key has {length} bytes, {why}")))
    }

    /// Whether a key of this length can go now.
    pub(crate) fn check_room(&self, config: &Config, what: &str, length: usize) -> Result<()> {
        self.check(config, what, length)?;
        let (keys, bytes) = self.budget.seeking;
        let seekers = usize::try_from(bytes).unwrap_or(usize::MAX);
        let room = self.budget.line.is_empty()
            && self.budget.has_room(config, length.saturating_add(seekers))
            && self.budget.keys.saturating_add(keys) < config.lookup_limit;
        if room { Ok(()) } else { Err(self.budget.taken().full(config, length)) }
    }

    /// A key of this length waits for its partition: it counts for those that do not wait.
    #[cfg(feature = "handle")]
    pub(crate) fn seek(&mut self, length: usize) {
        let (keys, bytes) = &mut self.budget.seeking;
        (*keys, *bytes) = (*keys + 1, bytes.saturating_add(length as u64));
    }

    /// The opposite of [`Lookups::seek`].
    #[cfg(feature = "handle")]
    pub(crate) fn end_seeking(&mut self, length: usize) {
        let (keys, bytes) = &mut self.budget.seeking;
        (*keys, *bytes) = (keys.saturating_sub(1), bytes.saturating_sub(length as u64));
    }

    /// Whether anybody stands in line.
    #[cfg(feature = "handle")]
    pub(crate) fn has_line(&self) -> bool {
        !self.budget.line.is_empty()
    }

    /// Whether this key would have to stand in line.
    #[cfg(feature = "handle")]
    pub(crate) fn would_wait(&self, config: &Config, ask: &Ask<'_>) -> bool {
        self.budget.would_wait(config, ask.key.len())
    }

    /// Whether the first in line can go.
    pub(crate) fn is_due(&self, config: &Config) -> bool {
        let first = self.budget.line.first();
        let key = first.and_then(|id| self.keys.get(*id));
        key.is_some_and(|key| self.budget.admits(config, key.bytes.len()))
    }

    /// Lets those go for whom there is room.
    pub(super) fn serve(&mut self, cx: &Cx<'_>) {
        while self.is_due(cx.config) {
            let Some(id) = self.budget.line.pop_first() else { return };
            let Some(key) = self.keys.get(id) else { continue };
            let (lane, length) = (key.lane, key.bytes.len());
            self.admit(cx, id, lane, length, false);
        }
    }

    /// An answer is kept for its caller.
    #[cfg(feature = "handle")]
    pub(crate) fn keep_answer(&mut self, bytes: u64) {
        self.budget.answers = self.budget.answers.saturating_add(bytes);
    }

    /// An answer that was kept is so no more.
    #[cfg(feature = "handle")]
    pub(crate) fn take_answer(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.budget.answers, "{bytes} taken of {:?}", self.budget);
        self.budget.answers = self.budget.answers.saturating_sub(bytes);
    }

    pub(crate) fn measure(&self, config: &Config, metrics: &mut Metrics) {
        metrics.lookups = self.budget.keys;
        metrics.lookup_limit = config.lookup_limit;
        metrics.lookup_memory_used = self.budget.used();
        metrics.lookup_memory_limit = config.lookup_memory_limit;
        metrics.lookup_waiters = self.budget.line.len();
    }
}
