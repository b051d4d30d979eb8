use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::ArrowBatchOptions;
use super::*;
use crate::batch::ArrowCompression;
use crate::rng::Rng;
use crate::row::{
    Column, DataType, Datum, Decimal, OwnedDatum, OwnedRow, RowSink, Schema, Timestamp, TypeKind,
};

/// The memory that is reserved for a batch when it opens.
const FIRST: usize = 3_000;

/// How the values of a column are drawn.
struct Drawn {
    data_type: DataType,
    /// One of so many is null, of a narrower type, or one that the column refuses; 0 for none.
    null: u64,
    narrow: u64,
    wrong: u64,
    longest: u64,
}

impl Drawn {
    fn new(rng: &mut Rng) -> Self {
        let kinds = [
            DataType::BOOLEAN,
            DataType::TINYINT,
            DataType::SMALLINT,
            DataType::FLOAT,
            DataType::DATE,
            DataType::decimal(10, 2),
            DataType::time([0, 3, 6, 9][rng.below(4) as usize]),
            DataType::timestamp(rng.below(10) as u8),
            DataType::timestamp_ltz(rng.below(10) as u8),
            DataType::char(5),
            DataType::array(DataType::STRING),
        ];
        let usual =
            [DataType::INT, DataType::BIGINT, DataType::DOUBLE, DataType::STRING, DataType::BYTES];
        let kinds: &[DataType] = if rng.one_in(4) { &kinds } else { &usual };
        let data_type = kinds[rng.below(kinds.len() as u64) as usize].clone();
        let nullable = rng.one_in(2);
        let rare = |rng: &mut Rng| [0, 0, 0, 0, 2, 50, 400][rng.below(7) as usize];
        Self {
            data_type: if nullable { data_type } else { data_type.not_null() },
            null: if nullable { rare(rng) } else { 0 },
            narrow: rare(rng),
            wrong: if rng.one_in(6) { 300 } else { 0 },
            longest: [5, 20, 40, 600][rng.below(4) as usize],
        }
    }

    fn value(&self, rng: &mut Rng) -> OwnedDatum {
        if rng.one_in(self.null) {
            return OwnedDatum::Null;
        }
        if rng.one_in(self.wrong) {
            return [OwnedDatum::Time(1), OwnedDatum::Null, OwnedDatum::Str("äöüäöüä".into())]
                [rng.below(3) as usize]
                .clone();
        }
        let narrow = rng.one_in(self.narrow);
        let length = rng.below(self.longest) as usize;
        let text: String = "äb€cdefgh ijk".chars().cycle().skip(length % 7).take(length).collect();
        match &self.data_type.kind {
            TypeKind::Boolean => OwnedDatum::Bool(rng.one_in(2)),
            TypeKind::Date => OwnedDatum::Date(rng.below(30_000) as i32),
            TypeKind::Decimal { .. } => {
                OwnedDatum::Decimal(Decimal::new(rng.below(1 << 30) as i128, 2))
            }
            TypeKind::SmallInt if !narrow => OwnedDatum::Int16(rng.next_u64() as i16),
            TypeKind::Float => OwnedDatum::Float32(rng.next_u64() as f32),
            TypeKind::Time(precision) => {
                let grain = if narrow || *precision > 0 { 1 } else { 1_000 };
                OwnedDatum::Time(rng.below(86_400_000) as i32 / grain * grain)
            }
            TypeKind::Timestamp(precision) => OwnedDatum::Timestamp(time(rng, *precision, narrow)),
            TypeKind::TimestampLtz(precision) => {
                OwnedDatum::TimestampLtz(time(rng, *precision, narrow))
            }
            TypeKind::Array(_) => OwnedDatum::Array(vec![OwnedDatum::Str(text); length % 4]),
            TypeKind::Char(_) => OwnedDatum::Str("äöüäö"[..2 * (length % 6)].to_owned()),
            TypeKind::String => OwnedDatum::Str(text),
            TypeKind::Bytes => OwnedDatum::Bytes(text.into_bytes()),
            TypeKind::Double if narrow => OwnedDatum::Float32(rng.below(1 << 20) as f32),
            TypeKind::Double => OwnedDatum::Float64(rng.next_u64() as f64),
            TypeKind::BigInt if narrow => OwnedDatum::Int32(rng.below(1 << 30) as i32),
            TypeKind::BigInt => OwnedDatum::Int64(rng.next_u64().cast_signed()),
            TypeKind::Int if !narrow => OwnedDatum::Int32(rng.next_u64() as i32),
            _ => OwnedDatum::Int8(rng.below(128) as i8),
        }
    }
}

/// A time with as many digits of a second as its column takes, or with too many of them.
fn time(rng: &mut Rng, precision: u8, too_fine: bool) -> Timestamp {
    let nanos = rng.below(1_000_000_000) as u32;
    let grain = if too_fine { 1 } else { 10_u32.pow(u32::from(9 - precision)) };
    let nanos = nanos / grain * grain;
    let seconds = rng.below(1 << 32).cast_signed() - (1 << 31);
    let millis = seconds * 1_000 + i64::from(nanos / 1_000_000);
    Timestamp { millis, nanos: nanos % 1_000_000 }
}

fn schema(types: impl Iterator<Item = DataType>) -> Schema {
    let columns = types.enumerate().map(|(at, data_type)| Column {
        name: format!("c{at}"),
        data_type,
        comment: None,
        id: None,
    });
    Schema::new(columns.collect(), vec![])
}

fn builder(schema: Schema, max_bytes: usize) -> ArrowBatchBuilder {
    let max_row_bytes = max_bytes.max(8_000);
    let compression = ArrowCompression::None;
    ArrowBatchBuilder::new(schema, ArrowBatchOptions { max_bytes, max_row_bytes, compression })
        .expect("sound options")
}

/// What became of the rows: batches with the sizes they had, and refused rows.
#[derive(Default, PartialEq)]
struct Written {
    batches: Vec<(usize, Vec<u8>)>,
    refused: Vec<(usize, String)>,
}

impl Written {
    fn seal(&mut self, builder: &mut ArrowBatchBuilder) {
        let size = builder.size_in_bytes();
        let sealed = builder.seal(1, Vec::new()).expect("rows");
        assert!(sealed.payload().len() <= size);
        self.batches.push((size, sealed.payload().to_vec()));
        builder.reserve(FIRST);
    }

    /// Puts a row by itself; how many rows are done with.
    fn put(&mut self, builder: &mut ArrowBatchBuilder, at: usize, row: &OwnedRow) -> usize {
        match builder.try_push(row) {
            Ok(Push::Pushed(_)) => return 1,
            Ok(Push::Full) => match builder.wanted() {
                Some(wanted) => builder.reserve(2 * wanted.batch),
                None => self.seal(builder),
            },
            Err(error) => {
                self.refused.push((at, error.to_string()));
                return 1;
            }
        }
        0
    }
}

/// Writes rows in runs, or one by one where there is no generator that says how many.
fn write(mut builder: ArrowBatchBuilder, rows: &[OwnedRow], mut runs: Option<Rng>) -> Written {
    let (mut written, mut next) = (Written::default(), 0);
    builder.reserve(FIRST);
    while next < rows.len() {
        let mut left = rows[next..].first();
        if let Some(rng) = &mut runs {
            let (before, most) = (builder.len(), 1 + rng.below(150) as usize);
            left = builder.push_many(&mut rows[next..].iter(), most);
            let taken = builder.len() - before;
            next += taken;
            match left {
                Some(row) => assert!(std::ptr::eq(row, &rows[next]) && taken < most),
                None => assert!(taken == most || next == rows.len()),
            }
        }
        if let Some(row) = left {
            next += written.put(&mut builder, next, row);
        }
    }
    if !builder.is_empty() {
        written.seal(&mut builder);
    }
    written
}

#[test]
fn runs_of_rows_make_the_same_batches_as_rows_taken_one_by_one() {
    let (mut batches, mut refused) = (0, 0);
    for seed in 0..120 {
        let mut rng = Rng::new(seed);
        let drawn: Vec<_> = (0..1 + rng.below(18)).map(|_| Drawn::new(&mut rng)).collect();
        let rows = 1 + rng.below(1_000);
        let mut row = || drawn.iter().map(|drawn| drawn.value(&mut rng)).collect::<OwnedRow>();
        let rows: Vec<_> = (0..rows).map(|_| row()).collect();
        let max_bytes = [4_000, 20_000, 200_000][rng.below(3) as usize];
        let columns: Vec<_> = (0..drawn.len()).filter(|_| rng.one_in(3)).collect();
        let builder = || {
            let schema = schema(drawn.iter().map(|drawn| drawn.data_type.clone()));
            let builder = builder(schema, max_bytes);
            if columns.len() < 3 { builder.with_statistics(&columns) } else { Ok(builder) }
                .expect("room for statistics")
        };
        let one_by_one = write(builder(), &rows, None);
        let in_runs = write(builder(), &rows, Some(rng.fork()));
        assert_eq!(one_by_one.refused, in_runs.refused, "seed {seed}");
        assert!(one_by_one == in_runs, "seed {seed}");
        batches += in_runs.batches.len();
        refused += in_runs.refused.len();
    }
    assert!(batches > 500 && refused > 100, "{batches} batches, {refused} rows refused");
}

#[test]
fn a_column_of_values_that_are_not_as_usual_stops_one_stretch_of_a_batch() {
    let types = [DataType::BIGINT, DataType::BIGINT];
    let mut builder = builder(schema(types.into_iter()), 1 << 20);
    let row = |id| (id, 7_i32);
    assert_eq!(builder.push_many(&mut (0..200_i64).map(row), 200), None);
    assert_eq!((builder.len(), builder.slow), (200, 0b10));
    builder.seal(1, Vec::new()).expect("rows");
    assert_eq!(builder.slow, 0);
    assert_eq!(builder.push_many(&mut (0..200_i64).map(|id| (id, id)), 200), None);
    assert_eq!((builder.len(), builder.slow), (200, 0));
    let null = |id| (Some(id).filter(|id| *id != 100), id);
    assert_eq!(builder.push_many(&mut (0..200_i64).map(null), 200), None);
    assert_eq!((builder.len(), builder.slow), (400, 0b01));
}

/// Panics, or goes on after an error as if there were none.
#[derive(Clone, Debug, PartialEq)]
enum Odd {
    Usual(i64),
    Panics,
    Hides,
    Long,
}

impl Row for Odd {
    fn arity(&self) -> usize {
        2
    }

    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let text = match self {
            Self::Usual(id) => {
                sink.put_i64(*id)?;
                "a text of more than 32 bytes, which is a copy"
            }
            Self::Panics => {
                sink.put_i64(1)?;
                sink.put_str("left behind")?;
                panic!("the row's own panic");
            }
            Self::Hides => {
                drop(sink.put(Datum::Time(1)));
                "hidden"
            }
            Self::Long => {
                sink.put_i64(1)?;
                sink.put_str("two")?;
                drop(sink.put_i64(3));
                return Ok(());
            }
        };
        sink.put_str(text)
    }
}

#[test]
fn rows_around_one_that_panics_or_hides_its_error_are_taken() {
    let schema = || schema([DataType::BIGINT.not_null(), DataType::STRING].into_iter());
    let usual: Vec<_> = (0..100).map(Odd::Usual).collect();
    let mut without = builder(schema(), 1 << 20);
    assert_eq!(without.push_many(&mut usual.iter(), 100), None);
    let expected = without.seal(1, Vec::new()).expect("rows").payload();
    for odd in [Odd::Panics, Odd::Hides, Odd::Long] {
        for at in [0, 1, 40, 64, 99] {
            let mut with = builder(schema(), 1 << 20);
            let mut rows = usual.clone();
            rows.insert(at, odd.clone());
            let mut rows = rows.iter();
            let run = AssertUnwindSafe(|| with.push_many(&mut rows, 101));
            match (catch_unwind(run), &odd) {
                (Err(_), Odd::Panics) => {}
                (Ok(left), odd) => assert_eq!(left, Some(odd)),
                (Err(_), odd) => panic!("{odd:?} panicked"),
            }
            assert_eq!(with.len(), at, "{odd:?}");
            assert_eq!(with.push_many(&mut rows, 101), None);
            assert_eq!(with.seal(1, Vec::new()).expect("rows").payload(), expected, "{odd:?} {at}");
        }
    }
}
