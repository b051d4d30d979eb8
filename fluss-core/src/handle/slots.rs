//! A lane's places: one for each bucket it has written to, and the way from a row to its place.
//!
//! In a table without partitions a bucket's place is its number. In one with partitions a name
//! leads to a route, and the route to the places of the partition's buckets. Both are found without
//! an allocation, and rows that follow each other into one partition without a search.

use std::collections::HashMap;
use std::sync::Arc;

use super::cell::BatchCell;
use crate::ids::{BatchId, BucketKey, PartitionKey};
use crate::writer::PartitionPlace;

/// A route without a place for this bucket.
const NONE: u32 = u32::MAX;

/// Where a row may go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// This bucket.
    Bucket(BucketKey),
    /// Any bucket of an unpartitioned table: one after the other, each for a batch.
    Any {
        /// Their number.
        buckets: i32,
        /// The one with number 0.
        first: BucketKey,
    },
    /// This bucket of a partition, by the number of its route; any of its buckets for None.
    Partition {
        /// The route's number.
        route: usize,
        /// The bucket its key belongs into.
        bucket: Option<i32>,
    },
}

/// The bucket of a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Home {
    Bucket(BucketKey),
    /// With the number of the route.
    Partition(PartitionPlace, usize),
}

pub(super) struct OpenBatch<B> {
    pub(super) id: BatchId,
    pub(super) cell: Arc<BatchCell>,
    pub(super) reserved: usize,
    pub(super) builder: B,
}

/// A bucket's place in a lane.
pub(super) struct Slot<B> {
    pub(super) home: Home,
    pub(super) open: Option<OpenBatch<B>>,
    /// The cell of the batch sealed last: the batch may be sealed by the row that asks for it.
    pub(super) sealed: Option<Arc<BatchCell>>,
    /// What the run that put rows here last calls their batch.
    pub(super) hint: u32,
}

impl<B> Slot<B> {
    fn new(home: Home) -> Self {
        Self { home, open: None, sealed: None, hint: 0 }
    }
}

/// A partition that the lane has written to.
#[derive(Debug)]
struct Route {
    partition: PartitionKey,
    name: Arc<str>,
    /// It is of no use any more.
    gone: bool,
    buckets: i32,
    /// The place of each bucket.
    places: Box<[u32]>,
    /// The bucket whose batch takes rows that may go to any.
    sticky: usize,
}

/// The places, and the routes to them.
pub(super) struct Places<B> {
    pub(super) slots: Vec<Slot<B>>,
    /// The place whose batch takes rows that may go to any bucket, until it is full.
    sticky: usize,
    /// Whether each row that may go to any bucket goes to the next.
    spread: bool,
    /// Where lanes begin, so that few rows spread too.
    start: usize,
    routes: Vec<Route>,
    by_name: HashMap<Arc<str>, usize>,
    /// The route taken last.
    last: usize,
    /// The number of routes at which those of no use now are forgotten.
    sweep_at: usize,
}

/// Routes kept without a look at whether they are of use.
const KEPT_ROUTES: usize = 1024;

impl<B> Places<B> {
    pub(super) fn new(start: usize, spread: bool) -> Self {
        Self {
            slots: Vec::new(),
            sticky: start,
            spread,
            start,
            routes: Vec::new(),
            by_name: HashMap::new(),
            last: usize::MAX,
            sweep_at: KEPT_ROUTES,
        }
    }

    /// The route to the partition with this name, and its number of buckets.
    #[inline]
    pub(super) fn route(&mut self, name: &str) -> Option<(usize, i32)> {
        let at = match self.routes.get(self.last) {
            Some(route) if *route.name == *name => self.last,
            _ => *self.by_name.get(name)?,
        };
        self.last = at;
        Some((at, self.routes[at].buckets))
    }

    /// Whether there are so many routes that [`Places::sweep`] is due.
    pub(super) fn is_crowded(&self) -> bool {
        self.routes.len() >= self.sweep_at
    }

    /// Forgets the routes without an open batch, and their places. The answer has for each place
    /// where it is now, if it is still there.
    #[cold]
    pub(super) fn sweep(&mut self) -> Vec<Option<usize>> {
        let mut in_use = vec![false; self.routes.len()];
        for slot in &self.slots {
            if let (Home::Partition(_, route), Some(_)) = (slot.home, &slot.open) {
                in_use[route] = true;
            }
        }
        let mut route_now = vec![None; self.routes.len()];
        let kept = in_use.iter().enumerate().filter(|(_, used)| **used);
        for (now, (at, _)) in kept.enumerate() {
            route_now[at] = Some(now);
        }
        let mut place_now = Vec::with_capacity(self.slots.len());
        let mut places = 0;
        self.slots.retain_mut(|slot| {
            let kept = match &mut slot.home {
                Home::Bucket(_) => true,
                Home::Partition(_, route) => match route_now[*route] {
                    Some(now) => {
                        *route = now;
                        true
                    }
                    None => false,
                },
            };
            place_now.push(kept.then_some(places));
            places += usize::from(kept);
            kept
        });
        let mut used = in_use.iter();
        self.routes.retain(|_| used.next().is_some_and(|used| *used));
        self.by_name.clear();
        for (at, route) in self.routes.iter_mut().enumerate() {
            if !route.gone {
                self.by_name.insert(Arc::clone(&route.name), at);
            }
            for place in route.places.iter_mut().filter(|place| **place != NONE) {
                let now = place_now.get(*place as usize).copied().flatten();
                *place = now.map_or(NONE, |now| now as u32);
            }
        }
        self.last = usize::MAX;
        self.sweep_at = KEPT_ROUTES.max(2 * self.routes.len());
        place_now
    }

    /// Forgets the way to a partition whose key is of no use any more. What is open stays.
    #[cold]
    pub(super) fn drop_route(&mut self, route: usize) {
        let name = Arc::clone(&self.routes[route].name);
        self.by_name.remove(&name);
        self.routes[route].gone = true;
        self.last = usize::MAX;
    }

    /// The name of the partition of a place.
    pub(super) fn partition_at(&self, at: usize) -> Option<Arc<str>> {
        let Home::Partition(_, route) = self.slots.get(at)?.home else { return None };
        self.routes.get(route).map(|route| Arc::clone(&route.name))
    }

    #[cfg(test)]
    pub(super) fn routes(&self) -> usize {
        self.routes.len()
    }

    #[cold]
    pub(super) fn add_route(&mut self, name: &str, partition: PartitionKey, buckets: i32) {
        let at = self.routes.len();
        let name: Arc<str> = name.into();
        let places = vec![NONE; buckets.max(1) as usize].into();
        let sticky = self.start.wrapping_add(at);
        self.by_name.insert(Arc::clone(&name), at);
        let (buckets, gone) = (buckets.max(1), false);
        self.routes.push(Route { partition, name, gone, buckets, places, sticky });
    }

    /// The partition turned out to have this number of buckets. What is open in the old ones stays
    /// until it is sealed.
    #[cold]
    pub(super) fn rebucket(&mut self, route: usize, buckets: i32) {
        let route = &mut self.routes[route];
        route.buckets = buckets.max(1);
        route.places = vec![NONE; route.buckets as usize].into();
    }

    /// The place of the open batch for rows that may go to any bucket of an unpartitioned table, if
    /// it takes the next one too.
    #[inline]
    pub(super) fn open_for_any(&self) -> Option<usize> {
        let open = self.slots.get(self.sticky).is_some_and(|slot| slot.open.is_some());
        (open && !self.spread).then_some(self.sticky)
    }

    /// The place of the batch for a row.
    #[inline]
    pub(super) fn place(&mut self, target: Target, granted: bool) -> usize {
        match target {
            Target::Bucket(bucket) => {
                let guess = bucket.bucket as usize;
                match self.slots.get(guess) {
                    // All of them are of one table, so their numbers tell them apart.
                    Some(Slot { home: Home::Bucket(found), .. })
                        if found.bucket == bucket.bucket =>
                    {
                        debug_assert_eq!(*found, bucket);
                        guess
                    }
                    _ => self.find(bucket),
                }
            }
            Target::Any { buckets, first } => {
                match self.slots.get(self.sticky) {
                    Some(slot) if slot.open.is_some() && !self.spread => {}
                    // A grant was asked for the bucket whose turn it is.
                    Some(_) if granted => {}
                    _ => self.turn(buckets.unsigned_abs() as usize, first),
                }
                self.sticky
            }
            Target::Partition { route, bucket } => self.in_partition(route, bucket, granted),
        }
    }

    #[inline]
    fn in_partition(&mut self, route: usize, bucket: Option<i32>, granted: bool) -> usize {
        let (keyed, spread) = (bucket.is_some(), self.spread);
        let entry = &mut self.routes[route];
        let count = entry.places.len();
        let number = match bucket {
            Some(bucket) => bucket as usize % count,
            None => {
                let now = entry.sticky % count;
                let place = entry.places[now];
                let stays = match self.slots.get(place as usize) {
                    Some(slot) => slot.open.is_some() && !spread || granted,
                    None => false,
                };
                if !stays {
                    entry.sticky = (now + 1) % count;
                }
                entry.sticky % count
            }
        };
        if entry.places[number] == NONE {
            entry.places[number] = self.slots.len() as u32;
            let (partition, bucket, of) = (entry.partition, number as i32, entry.buckets);
            let place = PartitionPlace { partition, bucket, of, keyed };
            self.slots.push(Slot::new(Home::Partition(place, route)));
        }
        entry.places[number] as usize
    }

    #[cold]
    fn find(&mut self, bucket: BucketKey) -> usize {
        // Buckets of an unpartitioned table stand at their own number: those below make room first.
        for number in self.slots.len()..=bucket.bucket as usize {
            let bucket = BucketKey { bucket: number as i32, ..bucket };
            self.slots.push(Slot::new(Home::Bucket(bucket)));
        }
        let home = Home::Bucket(bucket);
        if let Some(at) = self.slots.iter().position(|slot| slot.home == home) {
            return at;
        }
        self.slots.push(Slot::new(home));
        self.slots.len() - 1
    }

    /// Makes the next bucket the sticky one.
    #[cold]
    fn turn(&mut self, buckets: usize, first: BucketKey) {
        let next = self.sticky.wrapping_add(1) % buckets.max(1);
        self.sticky = self.find(BucketKey { bucket: next as i32, ..first });
    }
}
