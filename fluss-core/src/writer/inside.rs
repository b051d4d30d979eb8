//! What simulations see of the writers, and what they skip. Nothing here decides anything.

use super::Writers;
use super::idempotence::{Fired, Window};
use crate::client::Client;
use crate::ids::{BucketKey, WriterKey};

impl Client {
    /// Shows the sessions of all idempotent writers, with the most batches one may have under way.
    pub(crate) fn look_inside(&self, see: impl FnMut(WriterKey, usize, Window)) {
        self.writers().look_inside(see);
    }

    /// Bit `n` is set when rule `n` of the writers decided something.
    pub(crate) fn fired_rules(&self) -> u32 {
        self.writers().fired().bits()
    }

    /// Lets the next batch of an idle bucket have this sequence; false if it is not idle.
    pub(crate) fn skip_sequences(&mut self, key: WriterKey, bucket: BucketKey, next: i32) -> bool {
        self.writers_mut().skip_sequences(key, bucket, next)
    }

    /// Names of partitions that the writers remember.
    #[cfg(test)]
    pub(crate) fn partitions_remembered(&self) -> usize {
        self.writers().partitions.remembered()
    }

    /// Breaks a rule on purpose.
    #[cfg(test)]
    pub(crate) fn mutate(&mut self, key: WriterKey, mutation: super::idempotence::Mutation) {
        if mutation == super::idempotence::Mutation::OlderLeader {
            self.metadata_mut().believe_older();
        }
        if mutation == super::idempotence::Mutation::CountLine {
            self.writers_mut().accumulator.count_line();
        }
        if mutation == super::idempotence::Mutation::ForgetWaiter {
            self.writers_mut().accumulator.forget_waiter();
        }
        if let Some(writer) = self.writers_mut().writers.get_mut(&key) {
            writer.sender.manager.mutate(mutation);
        }
    }
}

impl Writers {
    fn look_inside(&self, mut see: impl FnMut(WriterKey, usize, Window)) {
        for (key, writer) in &self.writers {
            let manager = &writer.sender.manager;
            if let Some(limit) = manager.window_limit() {
                manager.windows().for_each(|window| see(*key, limit, window));
            }
        }
    }

    fn fired(&self) -> Fired {
        let mut all = self.ended_fired;
        for writer in self.writers.values() {
            all.join(writer.sender.manager.counters().fired);
        }
        all
    }

    fn skip_sequences(&mut self, key: WriterKey, bucket: BucketKey, next: i32) -> bool {
        let writer = self.writers.get_mut(&key);
        writer.is_some_and(|w| w.sender.manager.skip_sequences(bucket, next))
    }
}
