//! Ready-made rows: the `row!` macro, arrays, vectors and tuples.

use super::datum::{Datum, Decimal, OwnedDatum, OwnedRow, Timestamp};
use super::nested::AsDatum;
use super::{Row, RowSink};

/// Makes a row on the stack: an array of [`Datum`], each made by `Datum::from`.
///
/// ```
/// use fluss_core::row;
/// use fluss_core::row::{Datum, Row as _};
///
/// let name: Option<&str> = None;
/// let row = row![7_i64, name, 1.5, Datum::Date(20_000)];
/// assert_eq!(row.arity(), 4);
/// assert!(row[1].is_null());
/// ```
#[macro_export]
macro_rules! row {
    () => { [$crate::row::Datum::Null; 0] };
    ($($value:expr),+ $(,)?) => { [$($crate::row::Datum::from($value)),+] };
}

/// A value that a tuple may hold as a field of a row.
///
/// Written with the method of its own type, so that no [`Datum`] is made for the usual ones. A
/// [`Timestamp`] is a TIMESTAMP; write `Datum::TimestampLtz(t)` for the other.
pub trait Value {
    /// Puts the value as that of the sink's next column.
    ///
    /// # Errors
    /// The sink's own error, unchanged.
    fn put_into<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error>;
}

macro_rules! values {
    ($($type:ty => |$value:ident, $sink:ident| $put:expr;)*) => {$(
        impl Value for $type {
            #[inline]
            fn put_into<S: RowSink>(&self, $sink: &mut S) -> Result<(), S::Error> {
                let $value = self;
                $put
            }
        }
    )*};
}

values! {
    bool => |value, sink| sink.put(Datum::Bool(*value));
    i8 => |value, sink| sink.put(Datum::Int8(*value));
    i16 => |value, sink| sink.put(Datum::Int16(*value));
    i32 => |value, sink| sink.put_i32(*value);
    i64 => |value, sink| sink.put_i64(*value);
    f32 => |value, sink| sink.put(Datum::Float32(*value));
    f64 => |value, sink| sink.put_f64(*value);
    str => |value, sink| sink.put_str(value);
    String => |value, sink| sink.put_str(value);
    [u8] => |value, sink| sink.put_bytes(value);
    Vec<u8> => |value, sink| sink.put_bytes(value);
    Decimal => |value, sink| sink.put(Datum::Decimal(value));
    Timestamp => |value, sink| sink.put(Datum::Timestamp(*value));
    Datum<'_> => |value, sink| put_datum(value, sink);
    OwnedDatum => |value, sink| sink.put(value.as_datum());
}

/// An ARRAY.
impl<T: AsDatum> Value for Vec<T> {
    #[inline]
    fn put_into<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.put(Datum::Array(self))
    }
}

impl<const N: usize> Value for [u8; N] {
    #[inline]
    fn put_into<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.put_bytes(self)
    }
}

impl<T: Value + ?Sized> Value for &T {
    #[inline]
    fn put_into<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        (**self).put_into(sink)
    }
}

impl<T: Value> Value for Option<T> {
    #[inline]
    fn put_into<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        match self {
            Some(value) => value.put_into(sink),
            None => sink.put(Datum::Null),
        }
    }
}

/// Puts a datum where it lies. Copied whole it would be read in pieces other than those in which it
/// was written a moment ago, for which processors wait longer than all else takes.
#[inline]
fn put_datum<S: RowSink>(datum: &Datum<'_>, sink: &mut S) -> Result<(), S::Error> {
    match datum {
        Datum::Int32(value) => sink.put_i32(*value),
        Datum::Int64(value) => sink.put_i64(*value),
        Datum::Float64(value) => sink.put_f64(*value),
        Datum::Str(value) => sink.put_str(value),
        Datum::Bytes(value) => sink.put_bytes(value),
        other => sink.put(*other),
    }
}

impl Row for [Datum<'_>] {
    #[inline]
    fn arity(&self) -> usize {
        self.len()
    }

    #[inline]
    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        self.iter().try_for_each(|datum| put_datum(datum, sink))
    }
}

impl<const N: usize> Row for [Datum<'_>; N] {
    #[inline]
    fn arity(&self) -> usize {
        N
    }

    #[inline]
    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        self.iter().try_for_each(|datum| put_datum(datum, sink))
    }
}

impl Row for Vec<Datum<'_>> {
    #[inline]
    fn arity(&self) -> usize {
        self.len()
    }

    #[inline]
    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        self.as_slice().write(sink)
    }
}

impl Row for OwnedRow {
    fn arity(&self) -> usize {
        self.values().len()
    }

    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        self.values().iter().try_for_each(|value| sink.put(value.as_datum()))
    }
}

impl<R: Row + ?Sized> Row for &R {
    #[inline]
    fn arity(&self) -> usize {
        (**self).arity()
    }

    #[inline]
    fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        (**self).write(sink)
    }
}

macro_rules! tuple_rows {
    ($($arity:literal: $($type:ident $index:tt),+;)*) => {$(
        impl<$($type: Value),+> Row for ($($type,)+) {
            #[inline]
            fn arity(&self) -> usize {
                $arity
            }

            #[inline]
            fn write<S: RowSink>(&self, sink: &mut S) -> Result<(), S::Error> {
                $(self.$index.put_into(sink)?;)+
                Ok(())
            }
        }
    )*};
}

tuple_rows! {
    1: A 0;
    2: A 0, B 1;
    3: A 0, B 1, C 2;
    4: A 0, B 1, C 2, D 3;
    5: A 0, B 1, C 2, D 3, E 4;
    6: A 0, B 1, C 2, D 3, E 4, F 5;
    7: A 0, B 1, C 2, D 3, E 4, F 5, G 6;
    8: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7;
    9: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8;
    10: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9;
    11: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10;
    12: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11;
    13: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12;
    14: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13;
    15: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14;
    16: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Collects what a row writes.
    #[derive(Default)]
    struct Seen(Vec<OwnedDatum>);

    impl RowSink for Seen {
        type Error = crate::row::RowError;

        fn put(&mut self, datum: Datum<'_>) -> Result<(), Self::Error> {
            self.0.push(datum.into());
            Ok(())
        }
    }

    fn seen<R: Row + ?Sized>(row: &R) -> Vec<OwnedDatum> {
        let mut seen = Seen::default();
        row.write(&mut seen).expect("collecting cannot fail");
        assert_eq!(seen.0.len(), row.arity());
        seen.0
    }

    #[test]
    fn a_tuple_and_the_macro_write_the_same_row() {
        let decimal = Decimal::new(5, 1);
        let time = Timestamp::from_micros(-1);
        let tuple = (
            true,
            1_i8,
            2_i16,
            3_i32,
            4_i64,
            5.5_f32,
            6.5_f64,
            "seven",
            String::from("eight"),
            [9_u8].as_slice(),
            vec![10_u8],
            None::<i32>,
            decimal,
            time,
            Datum::Date(-1),
            b"x",
        );
        let array = row![
            true,
            1_i8,
            2_i16,
            3_i32,
            4_i64,
            5.5_f32,
            6.5_f64,
            "seven",
            "eight",
            b"\x09",
            b"\x0a",
            None::<i32>,
            &decimal,
            time,
            Datum::Date(-1),
            b"x",
        ];
        assert_eq!(seen(&tuple), seen(&array));
        assert_eq!(seen(&array[..]), seen(&array.to_vec()));
        let owned = OwnedRow::new(seen(&array));
        assert_eq!(seen(&owned), seen(&&array));
        assert_eq!(owned.datum(4).and_then(Datum::as_i64), Some(4));
    }

    #[test]
    fn a_datum_stays_small() {
        assert_eq!(size_of::<Datum<'_>>(), 24);
    }
}
