//! The rows of both sides: BIGINT, STRING of 16 bytes, INT, DOUBLE.

use crate::Failure;
use crate::plan::{Plan, Settings, Variant};

/// How many different names there are.
const NAMES: usize = 1024;
/// Where a tenth of the keys comes twice, the last of so many rows has the key of the first.
const AGAIN: u64 = 11;

/// Makes rows. Names are made beforehand; all other values cost nothing.
pub struct Rows {
    names: Vec<String>,
    /// Whether a tenth of the keys comes twice.
    again: bool,
}

/// The values of one row.
#[derive(Clone, Copy)]
pub struct Values<'a> {
    pub id: i64,
    pub name: &'a str,
    pub a: i32,
    pub b: f64,
}

impl Rows {
    pub fn new() -> Self {
        let names = (0..NAMES).map(|i| format!("name-{:011}", i * 7919)).collect();
        Self { names, again: false }
    }

    /// The rows of a plan: keys come twice in the main job.
    pub fn of(plan: &Plan) -> Self {
        let again = plan.settings == Settings::Own && plan.variant == Variant::Upsert;
        Self { again, ..Self::new() }
    }

    #[inline]
    pub fn row(&self, index: u64) -> Values<'_> {
        let name = &self.names[index as usize % NAMES];
        let id = if self.again && is_again(index) { index - (AGAIN - 1) } else { index };
        Values { id: id as i64, name, a: index as i32, b: index as f64 * 0.5 }
    }
}

/// Whether the row there has the key of an earlier one, if there are such.
#[inline]
fn is_again(index: u64) -> bool {
    index % AGAIN == AGAIN - 1
}

/// How many of the first rows have the key of an earlier one, if there are such.
pub fn rows_again(rows: u64) -> u64 {
    rows / AGAIN
}

/// What was read, summed up, so that no side gets away with less than all of it.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub rows: u64,
    ids: i64,
    bytes: usize,
    a: i32,
    b: f64,
}

impl Found {
    /// A row.
    #[inline]
    pub fn add(&mut self, id: i64, name: &str, a: i32, b: f64) {
        self.rows += 1;
        self.ids = self.ids.wrapping_add(id);
        self.bytes += name.len();
        self.a = self.a.wrapping_add(a);
        self.b += b;
    }

    /// A column of ids.
    pub fn add_all(&mut self, ids: &[i64]) {
        self.rows += ids.len() as u64;
        self.ids = ids.iter().fold(self.ids, |sum, id| sum.wrapping_add(*id));
    }

    /// What another found, too.
    pub fn join(&mut self, other: &Self) {
        self.rows += other.rows;
        self.ids = self.ids.wrapping_add(other.ids);
        self.bytes += other.bytes;
        self.a = self.a.wrapping_add(other.a);
        self.b += other.b;
    }

    /// An error unless these are the first `rows` rows, each once as far as sums tell; for lookups,
    /// all rows of the table as often as it takes, and then the first ones for what is left.
    pub fn check(&self, variant: Variant, rows: u64) -> Result<(), Failure> {
        let sum = |rows: u64| rows * rows.saturating_sub(1) / 2;
        let stored = variant.stored(rows).max(1);
        let ids = rows / stored * sum(stored) + sum(rows % stored);
        let whole = variant == Variant::ScanArrow || self.bytes as u64 == 16 * rows;
        if self.rows == rows && self.ids.cast_unsigned() == ids && whole {
            return Ok(());
        }
        Err(format!("of {rows} rows these were read: {self:?}").into())
    }
}

/// An Arrow record batch of the first rows, with the Arrow release of these crates. It is made
/// before the clock starts and handed in again and again.
macro_rules! record_batch {
    ($rows:expr, $array:ident, $schema:ident) => {{
        use std::sync::Arc;
        use $array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
        let rows = $rows;
        let values = || (0..$crate::plan::ARROW_ROWS as u64).map(|index| rows.row(index));
        let columns: [(&str, ArrayRef); 4] = [
            ("id", Arc::new(Int64Array::from_iter_values(values().map(|v| v.id)))),
            ("name", Arc::new(StringArray::from_iter_values(values().map(|v| v.name)))),
            ("a", Arc::new(Int32Array::from_iter_values(values().map(|v| v.a)))),
            ("b", Arc::new(Float64Array::from_iter_values(values().map(|v| v.b)))),
        ];
        let field = |(name, array): &(&str, ArrayRef)| {
            $schema::Field::new(*name, array.data_type().clone(), true)
        };
        let fields: Vec<_> = columns.iter().map(field).collect();
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        RecordBatch::try_new(Arc::new($schema::Schema::new(fields)), arrays)
    }};
}

pub(crate) use record_batch;
