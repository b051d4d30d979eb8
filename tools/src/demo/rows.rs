//! Which rows the demo writes, and how one that was read back is recognised.
//!
//! Both tables have the columns `id BIGINT, name STRING, n INT, x DOUBLE`. A row's content follows
//! from the seed and its number in its table, so that nothing needs to be remembered to check it.
//! In the log table `id` is the number. In the primary-key table each writer upserts nine tenths of
//! its rows under keys of their own and then comes to the first keys again; `n` counts the versions
//! of a key.

use fluss_core::row::{DataType, Datum, Schema, SchemaError, TableDescriptor};
use std::ops::Range;

/// Threads that write into each table.
pub(super) const WRITERS: u64 = 2;
/// Buckets of each table.
pub(super) const BUCKETS: u32 = 4;

/// The two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Rows are appended.
    Log,
    /// Rows are upserted.
    Keyed,
}

impl Kind {
    pub(super) const BOTH: [Self; 2] = [Self::Log, Self::Keyed];

    pub(super) const fn table(self) -> &'static str {
        match self {
            Self::Log => "fluss.demo_events",
            Self::Keyed => "fluss.demo_state",
        }
    }

    pub(super) fn descriptor(self) -> Result<TableDescriptor, SchemaError> {
        let builder = Schema::builder()
            .column("id", DataType::BIGINT.not_null())
            .column("name", DataType::STRING)
            .column("n", DataType::INT)
            .column("x", DataType::DOUBLE);
        let schema = match self {
            Self::Log => builder.build()?,
            Self::Keyed => builder.primary_key(["id"]).build()?,
        };
        let mut descriptor = TableDescriptor::new(schema);
        descriptor.bucket_count = Some(BUCKETS);
        Ok(descriptor)
    }
}

/// A row's values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Content {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) n: i32,
    pub(super) x: f64,
}

impl Content {
    /// Reads a row that came back, from its columns; `None` if it cannot be one of ours.
    pub(super) fn read<'a>(value: impl Fn(usize) -> Option<Datum<'a>>) -> Option<Self> {
        let [id, name, n, x] = [0, 1, 2, 3].map(value);
        match (id?, name?, n?, x?) {
            (Datum::Int64(id), Datum::Str(name), Datum::Int32(n), Datum::Float64(x)) => {
                Some(Self { id, name: name.to_owned(), n, x })
            }
            _ => None,
        }
    }

    pub(super) fn row(&self) -> (i64, &str, i32, f64) {
        (self.id, &self.name, self.n, self.x)
    }
}

/// All rows of one table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) kind: Kind,
    pub(super) count: u64,
    seed: u64,
}

impl Rows {
    /// The rows of the log table are the smaller half of an odd number.
    pub(super) fn new(kind: Kind, of: u64, seed: u64) -> Self {
        let count = match kind {
            Kind::Log => of / 2,
            Kind::Keyed => of - of / 2,
        };
        Self { kind, count, seed }
    }

    /// The numbers of the rows that a thread writes, in this order.
    pub(super) fn of_writer(&self, writer: u64) -> Range<u64> {
        let start = |writer: u64| self.count / WRITERS * writer;
        let end = if writer + 1 == WRITERS { self.count } else { start(writer + 1) };
        start(writer)..end
    }

    /// How many keys a writer of the primary-key table has; a tenth of them is written twice.
    fn keys(&self, writer: &Range<u64>) -> u64 {
        let rows = writer.end - writer.start;
        rows - rows / 11
    }

    /// What row number `row` says.
    pub(super) fn content(&self, row: u64) -> Content {
        let (id, n) = match self.kind {
            Kind::Log => (row, (mix(row) % 1000) as i32),
            Kind::Keyed => {
                let own = self.of_writer(self.writer_of(row));
                let keys = self.keys(&own);
                let at = row - own.start;
                (own.start + at % keys, (at / keys) as i32)
            }
        };
        let name = format!("{:016x}", mix(self.seed ^ mix(row) ^ self.count));
        Content { id: id as i64, name, n, x: row as f64 / 8.0 }
    }

    /// The number of a row with this content; `None` if no row of this run has it.
    pub(super) fn number(&self, content: &Content) -> Option<u64> {
        let id = u64::try_from(content.id).ok().filter(|id| *id < self.count)?;
        let row = match self.kind {
            Kind::Log => id,
            Kind::Keyed => {
                let own = self.of_writer(self.writer_of(id));
                let version = u64::try_from(content.n).ok()?;
                id.checked_add(version.checked_mul(self.keys(&own))?)
                    .filter(|row| own.contains(row))?
            }
        };
        (self.content(row) == *content).then_some(row)
    }

    fn writer_of(&self, row: u64) -> u64 {
        row.checked_div(self.count / WRITERS).map_or(WRITERS - 1, |at| at.min(WRITERS - 1))
    }
}

/// A bijection of the 64-bit numbers that looks like chance.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
