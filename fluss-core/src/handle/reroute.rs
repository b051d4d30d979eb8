//! Rows that were placed among another number of buckets than their partition turned out to have:
//! as long as they wait for the partition they are taken out of their batch and placed anew.

use std::collections::BTreeMap;

use bytes::Bytes;
use fluss_proto::record::{SealedBatch, Stamp};

use super::lane::{Format, Lane};
use super::shared::Wake;
use crate::batch::{BodyPool, Push};
use crate::error::{Error, Result};
use crate::ids::BatchId;
use crate::row::RowError;

/// A batch dealt out anew.
#[derive(Debug, Default)]
pub struct Rerouted {
    /// Buckets and their batches.
    parts: Vec<(i32, SealedBatch)>,
    /// The number of rows of each part.
    rows: Vec<u32>,
    /// For each row of the whole its part, and its index there.
    places: Vec<(u32, u32)>,
}

/// Deals rows out to buckets.
pub(super) struct Dealer<'a, F: Format> {
    format: &'a F,
    builders: BTreeMap<i32, F::Builder>,
    dealt: Vec<(i32, u32)>,
}

impl<'a, F: Format> Dealer<'a, F> {
    pub(super) fn new(format: &'a F) -> Self {
        Self { format, builders: BTreeMap::new(), dealt: Vec::new() }
    }

    /// Puts the next row into a bucket.
    pub(super) fn put(
        &mut self,
        bucket: i32,
        push: impl FnOnce(&mut F::Builder) -> std::result::Result<Push, RowError>,
    ) -> Result<()> {
        let builder = match self.builders.entry(bucket) {
            std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(self.format.builder()?)
            }
        };
        match push(builder)? {
            Push::Pushed(index) => self.dealt.push((bucket, index)),
            // A part is no larger than the whole, which was no larger than a batch may be.
            Push::Full => return Err(Error::misuse("a part is larger than its batch")),
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Rerouted> {
        let mut rerouted = Rerouted::default();
        let mut numbers = BTreeMap::new();
        let mut none = BodyPool::new(0, 0);
        for (bucket, mut builder) in self.builders {
            numbers.insert(bucket, rerouted.parts.len() as u32);
            rerouted.rows.push(F::rows(&builder));
            rerouted.parts.push((bucket, self.format.seal(&mut builder, &mut none)?));
        }
        let place = |(bucket, index)| Some((*numbers.get(&bucket)?, index));
        rerouted.places = self.dealt.into_iter().filter_map(place).collect();
        Ok(rerouted)
    }
}

/// The bytes of a batch as a server would get them.
pub(super) fn whole(sealed: &SealedBatch) -> Bytes {
    [&sealed.stamp(Stamp::NONE)[..], &sealed.payload()[..]].concat().into()
}

impl<F: Format> Lane<F> {
    /// Deals the rows of a sealed batch out anew. Without the rows in hand, as they cannot be read
    /// or placed, they are not written.
    pub(super) fn deal_out(&self, batch: BatchId, buckets: i32) {
        let found = self.shared.with(|core, _| core.client.batch_to_reroute(batch));
        let Some((sealed, partition)) = found else { return };
        let dealt = self.format.reroute(&sealed, &partition, buckets);
        let (parts, rows, places) = match dealt {
            Ok(Rerouted { parts, rows, places }) => (Some(parts), rows, places),
            Err(error) => {
                log::warn!(
                    target: "fluss",
                    "rows for partition {partition} cannot be placed anew: {error}"
                );
                (None, Vec::new(), Vec::new())
            }
        };
        // The rows of each part come back if that part fails.
        let keep = |(_, sealed): &(i32, SealedBatch)| {
            self.letters.keep(&self.format, sealed, Some(std::sync::Arc::clone(&partition)))
        };
        let kept: Vec<_> = parts.iter().flatten().map(keep).collect();
        let mut wake = Wake::default();
        let moved = self.shared.with_later(&mut wake, |core, now| {
            let ids = core.client.reroute_batch(batch, buckets, parts, now);
            let whole = core.take_cell_if(batch, !ids.is_empty())?;
            let (first, last) = whole.between();
            let mut cells = Vec::with_capacity(ids.len());
            for ((id, rows), kept) in ids.into_iter().zip(rows).zip(kept) {
                let cell = std::sync::Arc::new(self.new_cell(first));
                cell.set_rows(rows, last);
                cell.keep(kept);
                core.watch_batch(id, std::sync::Arc::clone(&cell));
                cells.push(cell);
            }
            Some((whole, cells))
        });
        if let Some((whole, cells)) = moved {
            whole.move_rows(cells, places.into(), &mut wake.wakers);
        }
        self.shared.fire(wake);
    }
}
