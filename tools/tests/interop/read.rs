//! What this client reads of a table: all columns or some, as rows and as Arrow.

use std::collections::BTreeMap;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use fluss_core::ids::PartitionId;
use fluss_core::row::{OwnedDatum, OwnedRow};
use fluss_core::{MetadataColumn, ScanBatch, Table};

use super::compare::Record;
use super::runtime::Runtime;
use super::{arrow, text};

/// Which columns, and how they are chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    /// Their places.
    pub(crate) places: Vec<usize>,
    /// Whether this client chooses them, of batches that it has verified; else the server does,
    /// where it can.
    pub(crate) here: bool,
}

/// A scan to the end of the table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Read {
    /// Its records, from rows.
    pub(crate) rows: Vec<Record>,
    /// The same with the entries of maps in the order of their texts.
    pub(crate) sorted: Vec<Record>,
    /// The records of the record batches, with change types and offsets from there, likewise.
    pub(crate) arrow: Vec<Record>,
}

/// Reads the table, whose partitions have these names; all its columns unless told otherwise.
pub(crate) fn read(
    runtime: &Runtime,
    table: &Table,
    names: &BTreeMap<PartitionId, String>,
    columns: Option<&Columns>,
) -> Read {
    let mut scan = table.scanner().from_earliest().bounded();
    if let Some(columns) = columns {
        let all = table.info().schema().columns();
        let names = columns.places.iter().map(|at| all[*at].name.as_str());
        scan = scan.columns(names).verify_always(columns.here);
    }
    let scan = scan.with_metadata_columns([MetadataColumn::ChangeType, MetadataColumn::Offset]);
    let mut scanner = runtime.pending(scan.build()).expect("a scanner");
    let mut read = Read::default();
    while let Some(batch) = runtime.next(&mut scanner) {
        let partition = batch.bucket().partition.map_or("-", |id| &names[&id]);
        read.add(&batch, partition);
    }
    read
}

impl Read {
    fn add(&mut self, batch: &ScanBatch, partition: &str) {
        let bucket = batch.bucket().bucket;
        let record = |offset, change: &str, row| Record {
            partition: partition.to_owned(),
            bucket,
            offset,
            change: change.to_owned(),
            row,
        };
        for view in batch.rows().expect("rows that decode").iter() {
            let columns = 0..view.schema().columns().len();
            let value = |at| OwnedDatum::from(view.value(at).expect("a column"));
            let row: OwnedRow = columns.map(value).collect();
            let change = view.change_type().to_string();
            self.rows.push(record(view.offset(), &change, text::row(&row, false)));
            self.sorted.push(record(view.offset(), &change, text::row(&row, true)));
        }
        let arrow = batch.record_batch();
        let columns = batch.schema().columns().len();
        assert_eq!(arrow.num_columns(), columns + 2, "change types and offsets are asked for");
        let changes = arrow.column(columns).as_string::<i32>();
        let offsets = arrow.column(columns + 1).as_primitive::<Int64Type>();
        for at in 0..arrow.num_rows() {
            assert!(!changes.is_null(at) && !offsets.is_null(at), "row {at} of {arrow:?}");
            let row = arrow::row(&arrow, columns, at);
            self.arrow.push(record(offsets.value(at), changes.value(at), row));
        }
    }
}

/// These columns of the records.
pub(crate) fn choose(records: &[Record], places: &[usize]) -> Vec<Record> {
    let chosen = |record: &Record| {
        let cells: Vec<&str> = record.row.split(' ').collect();
        let row: Vec<&str> = places.iter().map(|at| cells[*at]).collect();
        Record { row: row.join(" "), ..record.clone() }
    };
    records.iter().map(chosen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_chosen_in_their_order_and_all_else_stays() {
        let record = Record::parse("-U eu 3 17 1 s61 {f:~,t:(1,2)}");
        let chosen = choose(&[record], &[2, 0]);
        assert_eq!(chosen, [Record::parse("-U eu 3 17 {f:~,t:(1,2)} 1")]);
    }
}
