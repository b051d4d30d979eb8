//! What a random reader reads, in which trouble, and how.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::wanted::Wanted;
use crate::handle::Pending;
use crate::handle::signal::lock;
use crate::ids::BucketKey;
use crate::rng::Rng;
use crate::row::{DataType, Schema, TableDescriptor};
use crate::testing::cluster::{Fault, Faults, On};
use crate::time::Duration;
use crate::{LogScanner, OnOutOfRange, ScanEvent, Table};

pub(super) fn faults(seed: u64, n: u64) -> Faults {
    let time = Duration::from_millis(700);
    let mut faults = Faults::new(seed);
    for fault in [
        Fault::LoseAnswer,
        Fault::CutRequest,
        Fault::ErrorBefore(12),
        Fault::ErrorBefore(-1),
        Fault::ErrorAfter(26),
        Fault::DelayAnswer(time),
        Fault::DelayRequest(time),
        Fault::CutAnswer,
    ] {
        faults = faults.one_in(n, On::Fetch, fault);
    }
    faults
        .one_in(n, On::Any, Fault::DelayAnswer(time))
        .one_in(2 * n, On::Any, Fault::CutAnswer)
        .one_in(2 * n, On::Fetch, Fault::SwallowAnswer)
        .one_in(2 * n, On::Any, Fault::DropRequest)
        .one_in(2 * n, On::Any, Fault::DuplicateAnswer)
        .one_in(4 * n, On::Any, Fault::GarbageFrame)
        .one_in(4 * n, On::Any, Fault::GarbageBody)
        .one_in(4 * n, On::Fetch, Fault::RestartClean)
        .one_in(4 * n, On::Fetch, Fault::RestartUnclean)
        .one_in(4 * n, On::Any, Fault::Silence)
}

pub(super) fn descriptor(rng: &mut Rng, wanted: Wanted) -> TableDescriptor {
    let schema = Schema::builder()
        .column("id", DataType::BIGINT)
        .column("text", DataType::STRING)
        .build()
        .expect("a sound schema");
    let mut table = TableDescriptor::new(schema);
    table.bucket_count = Some(1 + rng.below(4) as u32);
    let format = ["ARROW", "ARROW", "INDEXED", "COMPACTED"][rng.below(4) as usize];
    table.properties.insert("table.log.format".to_owned(), format.to_owned());
    if format == "ARROW" {
        let name = ["NONE", "LZ4_FRAME", "ZSTD"][rng.below(3) as usize];
        let property = "table.log.arrow.compression.type".to_owned();
        table.properties.insert(property, name.to_owned());
        if !wanted.is_all() && rng.one_in(2) {
            table.properties.insert("table.statistics.columns".to_owned(), "id".to_owned());
        }
    }
    table
}

pub(super) fn scanner(
    table: &Table,
    next: &BTreeMap<BucketKey, i64>,
    (columns, wanted): (&[&'static str], Wanted),
    policy: OnOutOfRange,
    events: &Arc<Mutex<Vec<ScanEvent>>>,
    rng: &mut Rng,
) -> Pending<LogScanner> {
    let events = Arc::clone(events);
    let per_bucket = 256 << rng.below(4);
    let builder = table.scanner().from_offsets(next.clone()).on_out_of_range(policy);
    let builder = builder.on_event(move |event| lock(&events).push(event.clone()));
    let builder = match wanted.filter() {
        Some(filter) => builder.filter(filter),
        None => builder,
    };
    let builder = builder.columns(columns.iter().copied()).max_bytes_per_bucket(per_bucket);
    builder.max_bytes(per_bucket * 2).buffer_limit(4096 << rng.below(4)).build()
}
