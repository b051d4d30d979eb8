//! Values of a row by their Rust type, without a detour over [`Datum`].

use super::rows::Values;
use crate::row::{Datum, Decimal, Timestamp};

/// A type that values of a column can be had as, see [`RowView::get`](super::RowView::get):
///
/// | type | columns |
/// |---|---|
/// | `bool`, `i8`, `i16`, `i64`, `f32`, `f64` | BOOLEAN, TINYINT, SMALLINT, BIGINT, FLOAT, DOUBLE |
/// | `i32` | INT; DATE, in days since 1970-01-01; TIME, in milliseconds of the day |
/// | `&str`, `&[u8]` | CHAR and STRING; BINARY and BYTES |
/// | `Decimal`, `Timestamp` | DECIMAL; TIMESTAMP and TIMESTAMP_LTZ |
/// | `Datum` | all |
///
/// A null is had as `None` of an [`Option`] of these, or as [`Datum::Null`].
pub trait FromColumn<'a>: Sized + private::Sealed {
    /// The value, unless the column has another type.
    #[doc(hidden)]
    fn take(slot: Slot<'a>) -> Option<Self>;

    /// What null is, where it may be.
    #[doc(hidden)]
    #[inline]
    fn null() -> Option<Self> {
        None
    }
}

/// A place in a column that holds a value.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    pub(super) values: &'a Values,
    pub(super) row: usize,
}

mod private {
    pub trait Sealed {}
    impl<T: Sealed> Sealed for Option<T> {}

    macro_rules! sealed {
        ($($type:ty),+) => { $(impl Sealed for $type {})+ };
    }

    sealed!(bool, i8, i16, i32, i64, f32, f64, &str, &[u8]);
    sealed!(super::Decimal, super::Timestamp, super::Datum<'_>);
}

macro_rules! taken {
    ($($type:ty: |$slot:ident| $get:expr;)+) => { $(
        impl<'a> FromColumn<'a> for $type {
            #[inline]
            fn take($slot: Slot<'a>) -> Option<Self> {
                $get
            }
        }
    )+ };
}

/// A value of exactly these kinds of columns.
macro_rules! of {
    ($slot:ident, $($variant:ident)|+, |$values:ident, $row:ident| $get:expr) => {{
        let $row = $slot.row;
        match $slot.values {
            $(Values::$variant($values) => Some($get),)+
            _ => None,
        }
    }};
}

taken! {
    bool: |slot| of!(slot, Bool, |values, row| values.value(row));
    i8: |slot| of!(slot, Int8, |values, row| values[row]);
    i16: |slot| of!(slot, Int16, |values, row| values[row]);
    i64: |slot| of!(slot, Int64, |values, row| values[row]);
    f32: |slot| of!(slot, Float32, |values, row| values[row]);
    f64: |slot| of!(slot, Float64, |values, row| values[row]);
    &'a str: |slot| of!(slot, Text, |values, row| values.value(row));
    Decimal: |slot| of!(slot, Decimal, |values, row| values[row]);
    &'a [u8]: |slot| match slot.values {
        Values::Bytes(values) => Some(values.value(slot.row)),
        Values::Fixed(values) => Some(values.value(slot.row)),
        _ => None,
    };
    i32: |slot| match slot.values {
        Values::Int32(values) | Values::Date(values) => Some(values[slot.row]),
        other => match other.get(slot.row) {
            Datum::Time(millis) => Some(millis),
            _ => None,
        },
    };
    Timestamp: |slot| match slot.values.get(slot.row) {
        Datum::Timestamp(value) | Datum::TimestampLtz(value) => Some(value),
        _ => None,
    };
}

impl<'a> FromColumn<'a> for Datum<'a> {
    #[inline]
    fn take(slot: Slot<'a>) -> Option<Self> {
        Some(slot.values.get(slot.row))
    }

    #[inline]
    fn null() -> Option<Self> {
        Some(Self::Null)
    }
}

impl<'a, T: FromColumn<'a>> FromColumn<'a> for Option<T> {
    #[inline]
    fn take(slot: Slot<'a>) -> Option<Self> {
        T::take(slot).map(Some)
    }

    #[inline]
    fn null() -> Option<Self> {
        Some(None)
    }
}
