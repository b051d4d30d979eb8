//! Values that hold values: what a [`Datum`] of an ARRAY, a MAP or a ROW borrows.
//!
//! Whoever has a list of values implements [`Items`], or [`Entries`] for pairs of them; vectors and
//! arrays of everything that is [`AsDatum`] do so already. Nothing is copied on the way to a batch.
//!
//! ```
//! use fluss_core::row;
//! use fluss_core::row::{Datum, OwnedDatum};
//!
//! let tags = vec!["new", "red"];
//! let prices = [("EUR", 12), ("CHF", 13)];
//! let place = row!["Ulm", Datum::Array(&[48.4, 9.99])];
//! let row = row![1_i64, &tags, Datum::Map(&prices), Datum::Row(&place)];
//! assert_eq!(row[1].as_items().map(|tags| tags.count()), Some(2));
//! let owned = OwnedDatum::from(row[3]);
//! assert_eq!(owned.as_datum(), row[3]);
//! ```

use std::fmt;

use super::datum::{Datum, Decimal, OwnedDatum, Timestamp};

/// The elements of an ARRAY in their order, or the fields of a ROW in the order of its type.
pub trait Items: Sync {
    /// The number of elements or fields.
    fn count(&self) -> usize;

    /// The element or field at this index, which is below [`count`](Self::count).
    fn item(&self, index: usize) -> Datum<'_>;
}

/// The entries of a MAP. Their order is kept; keys are not null and should differ.
pub trait Entries: Sync {
    /// The number of entries.
    fn count(&self) -> usize;

    /// Key and value of the entry at this index, which is below [`count`](Self::count).
    fn entry(&self, index: usize) -> (Datum<'_>, Datum<'_>);
}

/// A value that can be borrowed as a [`Datum`], such as an element of a vector that is an ARRAY.
pub trait AsDatum: Sync {
    /// The value borrowed.
    fn as_datum(&self) -> Datum<'_>;
}

macro_rules! as_datum {
    ($($type:ty => |$value:ident| $datum:expr;)*) => {$(
        impl AsDatum for $type {
            #[inline]
            fn as_datum(&self) -> Datum<'_> {
                let $value = self;
                $datum
            }
        }
    )*};
}

as_datum! {
    bool => |value| Datum::Bool(*value);
    i8 => |value| Datum::Int8(*value);
    i16 => |value| Datum::Int16(*value);
    i32 => |value| Datum::Int32(*value);
    i64 => |value| Datum::Int64(*value);
    f32 => |value| Datum::Float32(*value);
    f64 => |value| Datum::Float64(*value);
    str => |value| Datum::Str(value);
    String => |value| Datum::Str(value);
    [u8] => |value| Datum::Bytes(value);
    Vec<u8> => |value| Datum::Bytes(value);
    Decimal => |value| Datum::Decimal(value);
    Timestamp => |value| Datum::Timestamp(*value);
    Datum<'_> => |value| *value;
    OwnedDatum => |value| OwnedDatum::as_datum(value);
}

impl<T: AsDatum + ?Sized> AsDatum for &T {
    #[inline]
    fn as_datum(&self) -> Datum<'_> {
        (**self).as_datum()
    }
}

impl<T: AsDatum> AsDatum for Option<T> {
    #[inline]
    fn as_datum(&self) -> Datum<'_> {
        self.as_ref().map_or(Datum::Null, AsDatum::as_datum)
    }
}

/// An ARRAY within another value.
impl<T: AsDatum> AsDatum for Vec<T> {
    #[inline]
    fn as_datum(&self) -> Datum<'_> {
        Datum::Array(self)
    }
}

/// An ARRAY within another value.
impl<T: AsDatum, const N: usize> AsDatum for [T; N] {
    #[inline]
    fn as_datum(&self) -> Datum<'_> {
        Datum::Array(self)
    }
}

impl<const N: usize> AsDatum for [u8; N] {
    #[inline]
    fn as_datum(&self) -> Datum<'_> {
        Datum::Bytes(self)
    }
}

impl<T: AsDatum> Items for Vec<T> {
    fn count(&self) -> usize {
        self.len()
    }

    fn item(&self, index: usize) -> Datum<'_> {
        self.get(index).map_or(Datum::Null, AsDatum::as_datum)
    }
}

impl<T: AsDatum, const N: usize> Items for [T; N] {
    fn count(&self) -> usize {
        N
    }

    fn item(&self, index: usize) -> Datum<'_> {
        self.get(index).map_or(Datum::Null, AsDatum::as_datum)
    }
}

impl<T: AsDatum> Items for &[T] {
    fn count(&self) -> usize {
        self.len()
    }

    fn item(&self, index: usize) -> Datum<'_> {
        self.get(index).map_or(Datum::Null, AsDatum::as_datum)
    }
}

fn pair<'a, K: AsDatum, V: AsDatum>(entry: Option<&'a (K, V)>) -> (Datum<'a>, Datum<'a>) {
    match entry {
        Some((key, value)) => (key.as_datum(), value.as_datum()),
        None => (Datum::Null, Datum::Null),
    }
}

impl<K: AsDatum, V: AsDatum> Entries for Vec<(K, V)> {
    fn count(&self) -> usize {
        self.len()
    }

    fn entry(&self, index: usize) -> (Datum<'_>, Datum<'_>) {
        pair(self.get(index))
    }
}

impl<K: AsDatum, V: AsDatum, const N: usize> Entries for [(K, V); N] {
    fn count(&self) -> usize {
        N
    }

    fn entry(&self, index: usize) -> (Datum<'_>, Datum<'_>) {
        pair(self.get(index))
    }
}

impl<K: AsDatum, V: AsDatum> Entries for &[(K, V)] {
    fn count(&self) -> usize {
        self.len()
    }

    fn entry(&self, index: usize) -> (Datum<'_>, Datum<'_>) {
        pair(self.get(index))
    }
}

impl PartialEq for dyn Items + '_ {
    fn eq(&self, other: &Self) -> bool {
        let count = self.count();
        count == other.count() && (0..count).all(|at| self.item(at) == other.item(at))
    }
}

impl PartialEq for dyn Entries + '_ {
    fn eq(&self, other: &Self) -> bool {
        let count = self.count();
        count == other.count() && (0..count).all(|at| self.entry(at) == other.entry(at))
    }
}

impl fmt::Debug for dyn Items + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries((0..self.count()).map(|at| self.item(at))).finish()
    }
}

impl fmt::Debug for dyn Entries + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries((0..self.count()).map(|at| self.entry(at))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row;

    #[test]
    fn what_is_borrowed_and_what_is_owned_are_equal() {
        let tags = vec![Some("a"), None];
        let lists = vec![vec![1, 2], vec![]];
        let entries = vec![(1_i64, Some(String::from("x"))), (2, None)];
        let inner = row![true, &tags];
        let row = row![&tags, &lists, Datum::Map(&entries), Datum::Row(&inner), &b"bytes"[..]];
        let owned = row.map(OwnedDatum::from);
        let list = |values: &[i32]| {
            OwnedDatum::Array(values.iter().map(|value| OwnedDatum::Int32(*value)).collect())
        };
        assert_eq!(owned[1], OwnedDatum::Array(vec![list(&[1, 2]), list(&[])]));
        for (owned, datum) in owned.iter().zip(row) {
            assert_eq!(owned.as_datum(), datum);
            assert_eq!(format!("{:?}", owned.as_datum()), format!("{datum:?}"));
        }
        assert_ne!(row[0], row[1]);
        assert_ne!(Datum::Array(&inner), Datum::Row(&inner), "an ARRAY is no ROW");
    }
}
