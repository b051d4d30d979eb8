//! Values by ids that are given in ascending order.

use std::collections::VecDeque;

use crate::ids::CommandId;

/// How many holes there may be beyond the number of values where another value is put in. Where
/// values only go, holes are left alone: answers end the keys of one bucket after the other, and
/// what is a hole then is at the front soon.
const SLACK: usize = 64;

/// A map from commands. Their ids ascend and they mostly end in their order, so a value lies as far
/// behind the first one as its id does, or a little less where ids went to others.
#[derive(Debug)]
pub(crate) struct ById<V> {
    /// In the order of the ids; the first one has a value.
    entries: VecDeque<(CommandId, Option<V>)>,
    len: usize,
}

impl<V> Default for ById<V> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), len: 0 }
    }
}

impl<V> ById<V> {
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The place of an id, or where it would have to be.
    #[inline]
    fn find(&self, id: CommandId) -> Result<usize, usize> {
        let first = self.entries.front().map_or(0, |(first, _)| first.0);
        let guess = id.0.wrapping_sub(first) as usize;
        match self.entries.get(guess) {
            Some((there, _)) if *there == id => Ok(guess),
            _ => self.search(id),
        }
    }

    /// The same where ids are left out.
    fn search(&self, id: CommandId) -> Result<usize, usize> {
        let (Some((first, _)), Some((last, _))) = (self.entries.front(), self.entries.back())
        else {
            return Err(0);
        };
        if id < *first {
            return Err(0);
        }
        if id > *last {
            return Err(self.entries.len());
        }
        let distance = |from: &CommandId, to: &CommandId| (to.0 - from.0) as usize;
        let guess = distance(first, &id);
        // Each id that went to another brings those behind it one place nearer.
        let missing = distance(first, last) + 1 - self.entries.len();
        let (mut low, mut high) =
            (guess.saturating_sub(missing), self.entries.len().min(guess + 1));
        while low < high {
            let middle = low.midpoint(high);
            match self.entries[middle].0.cmp(&id) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Puts a value in; one with this id that was there before is replaced.
    #[inline]
    pub(crate) fn insert(&mut self, id: CommandId, value: V) {
        if self.entries.len() > 2 * self.len + SLACK {
            self.entries.retain(|(_, value)| value.is_some());
        }
        if self.entries.back().is_none_or(|(last, _)| *last < id) {
            self.entries.push_back((id, Some(value)));
            self.len += 1;
            return;
        }
        let before = match self.find(id) {
            Ok(at) => self.entries[at].1.replace(value),
            Err(at) => {
                self.entries.insert(at, (id, Some(value)));
                None
            }
        };
        self.len += usize::from(before.is_none());
    }

    pub(crate) fn get(&self, id: CommandId) -> Option<&V> {
        self.find(id).ok().and_then(|at| self.entries.get(at)?.1.as_ref())
    }

    pub(crate) fn value_mut(&mut self, id: CommandId) -> Option<&mut V> {
        self.find(id).ok().and_then(|at| self.entries.get_mut(at)?.1.as_mut())
    }

    pub(crate) fn contains(&self, id: CommandId) -> bool {
        self.get(id).is_some()
    }

    pub(crate) fn remove(&mut self, id: CommandId) -> Option<V> {
        let at = self.find(id).ok()?;
        let value = self.entries.get_mut(at)?.1.take()?;
        self.removed();
        Some(value)
    }

    /// Drops a value where it is, after a look at it.
    pub(crate) fn remove_with<R>(
        &mut self,
        id: CommandId,
        look: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        let at = self.find(id).ok()?;
        let slot = &mut self.entries.get_mut(at)?.1;
        let seen = slot.as_ref().map(look)?;
        *slot = None;
        self.removed();
        Some(seen)
    }

    fn removed(&mut self) {
        self.len -= 1;
        while self.entries.front().is_some_and(|(_, value)| value.is_none()) {
            self.entries.pop_front();
        }
    }

    pub(crate) fn first(&self) -> Option<CommandId> {
        self.entries.front().map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rng::Rng;

    #[test]
    fn it_answers_as_a_map_does_whatever_ids_are_left_out_and_in_whatever_order_they_go() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let (mut map, mut model) = (ById::default(), BTreeMap::new());
            let (mut next, mut most) = (rng.below(1000), 0);
            for step in 0..600 {
                let id = match rng.below(8) {
                    // Rarely one that lies behind others.
                    0 => rng.below(next + 10),
                    1 | 2 => model.keys().next().map_or(0, |id: &CommandId| id.0),
                    3 => next.saturating_sub(rng.below(100)),
                    _ => {
                        next += 1 + rng.below(20) / 18 * rng.below(50);
                        next
                    }
                };
                let id = CommandId(id);
                if rng.below(16) < 9 {
                    map.insert(id, step);
                    model.insert(id, step);
                } else if rng.below(2) == 0 {
                    let seen = map.remove_with(id, |value| *value);
                    assert_eq!(seen, model.remove(&id), "seed {seed} step {step}");
                } else {
                    assert_eq!(map.remove(id), model.remove(&id), "seed {seed} step {step}");
                }
                assert_eq!(map.get(id), model.get(&id), "seed {seed} step {step}");
                assert_eq!(map.value_mut(id).copied(), model.get(&id).copied());
                assert_eq!(map.first(), model.keys().next().copied(), "seed {seed} step {step}");
                assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
                most = most.max(map.len());
                assert!(map.entries.len() <= 2 * most + SLACK + 1, "seed {seed}: holes");
            }
            for id in 0..=next + 1 {
                assert_eq!(map.contains(CommandId(id)), model.contains_key(&CommandId(id)));
            }
        }
    }
}
