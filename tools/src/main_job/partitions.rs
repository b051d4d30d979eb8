//! The job for partitioned tables: two threads, each with a writer of its own, write into three
//! partitions of two buckets that nobody made, and each row is there once, in its partition.

use std::collections::{BTreeMap, HashMap};

use fluss_core::ids::{BucketKey, PartitionId};
use fluss_core::row::TableDescriptor;
use fluss_core::{ChangeType, Fluss, Table};

use super::{RowOf, Told, Waits, check, hand_in, must, nothing_held, on_threads, schema};
use crate::cluster::{RealCluster, TableLosses};

const PARTITIONS: i32 = 3;
const THREADS: i64 = 2;
/// Partition columns by their place in the schema: `a INT`.
const PARTITION_KEY: [usize; 1] = [2];
/// Shows that partitions of a table get leaders at all, and is dropped then.
const PROBE: &str = "99";

fn row(id: i64) -> RowOf {
    RowOf { id, version: (id % i64::from(PARTITIONS)) as i32 }
}

/// Does the job on a log table and on a primary-key table, and checks its result.
///
/// # Panics
/// Whenever something is not as it should be.
pub fn run(cluster: &RealCluster, fluss: &Fluss, waits: &impl Waits, name: &str, rows: i64) {
    let losses = TableLosses::new();
    for keyed in [false, true] {
        let path = format!("fluss.{name}_days_{}", if keyed { "pk" } else { "log" });
        let table = make(cluster, fluss, waits, &losses, &path, keyed);
        let told = write(&table, waits, keyed, rows);
        verify(&table, fluss, waits, keyed, &told, rows);
    }
    let counters = fluss.counters();
    assert_eq!(counters.invariant_violations, 0, "{counters:?}");
    nothing_held(fluss);
}

fn make(
    cluster: &RealCluster,
    fluss: &Fluss,
    waits: &impl Waits,
    losses: &TableLosses,
    path: &str,
    keyed: bool,
) -> Table {
    let columns = schema(&["id", "a"][..if keyed { 2 } else { 0 }]);
    let mut description = TableDescriptor::new(columns);
    description.partition_key = PARTITION_KEY.to_vec();
    description.bucket_count = Some(2);
    let probe = ("a", PROBE);
    let made = losses.open(cluster, fluss, path, &description, Some(probe));
    let table = must("making a table", made);
    let path = table.info().path.to_string();
    must("a drop", waits.pending(fluss.admin().drop_partition(&path, &[probe], false)));
    table
}

fn write(table: &Table, waits: &impl Waits, keyed: bool, rows: i64) -> Vec<Told> {
    on_threads(THREADS, |thread| {
        let mine = (0..rows).filter(|id| id % THREADS == thread).map(row);
        if keyed {
            let writer = must("an upsert writer", table.upserter().build());
            hand_in(waits, mine, |row| waits.upsert(&writer, row))
        } else {
            let writer = must("an append writer", table.appender().build());
            hand_in(waits, mine, |row| waits.append(&writer, row))
        }
    })
}

fn verify(table: &Table, fluss: &Fluss, waits: &impl Waits, keyed: bool, told: &[Told], rows: i64) {
    let path = table.info().path.to_string();
    let listed = must("a list", waits.pending(fluss.admin().list_partitions(&path)));
    let names: BTreeMap<PartitionId, String> =
        listed.into_iter().map(|p| (p.id, p.name.to_string())).collect();
    let found_names: Vec<&str> = names.values().map(String::as_str).collect();
    assert_eq!(names.len() as i32, PARTITIONS, "{path} has the partitions {found_names:?}");

    let expected = if keyed { ChangeType::Insert } else { ChangeType::Append };
    let mut found: HashMap<i64, (BucketKey, i64)> = HashMap::new();
    check::read(table, waits, |bucket, offset, change, read| {
        assert_eq!((change, read), (expected, row(read.id)));
        let partition = bucket.partition.and_then(|id| names.get(&id));
        assert_eq!(partition, Some(&read.version.to_string()), "{read:?} is in {bucket}");
        let before = found.insert(read.id, (bucket, offset));
        assert_eq!(before, None, "{read:?} is in {path} twice");
    });
    assert_eq!(found.len() as i64, rows, "rows in {path}");
    assert_eq!(told.len() as i64, rows, "acknowledgements");
    for (row, ack) in told {
        let (bucket, offset) = found[&row.id];
        let place = (bucket.partition, bucket.bucket);
        assert_eq!((ack.partition, ack.bucket), place, "{row:?} was acknowledged as {ack:?}");
        assert!(ack.offset.is_none_or(|told| told == offset), "{row:?}: {ack:?}");
        assert!(ack.log_end_offset.is_none_or(|end| end > offset), "{row:?}: {ack:?}");
    }
    let buckets: std::collections::BTreeSet<BucketKey> = found.values().map(|f| f.0).collect();
    // Rows without a key stay with a bucket until its batch is sealed.
    let least = if keyed { PARTITIONS * 2 } else { PARTITIONS };
    assert!(buckets.len() as i32 >= least, "rows are in few buckets of {path}: {buckets:?}");
}
