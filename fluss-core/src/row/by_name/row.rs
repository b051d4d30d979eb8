//! A struct or map as a row: which field goes to the column whose turn it is.

use serde_core::ser::{Impossible, Serialize, SerializeMap, SerializeStruct, Serializer};

use super::Fail;
use super::value::{ColumnTarget, ValueSerializer};
use crate::row::columns::Columns;
use crate::row::error::RowErrorKind;
use crate::row::{Datum, RowSink};

/// Rows with more columns need memory for it.
const USUAL_COLUMNS: usize = 256;

/// Which columns a row has fields for.
struct Seen {
    usual: [u64; USUAL_COLUMNS / 64],
    more: Vec<u64>,
}

impl Seen {
    fn new(columns: usize) -> Self {
        let more = columns.saturating_sub(USUAL_COLUMNS).div_ceil(64);
        Self { usual: [0; USUAL_COLUMNS / 64], more: vec![0; more] }
    }

    fn word(&mut self, at: usize) -> Option<&mut u64> {
        let word = at / 64;
        match word.checked_sub(self.usual.len()) {
            None => self.usual.get_mut(word),
            Some(beyond) => self.more.get_mut(beyond),
        }
    }

    /// Adds a column; false if it was there.
    fn add(&mut self, at: usize) -> bool {
        let bit = 1_u64 << (at % 64);
        let Some(word) = self.word(at) else { return true };
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    fn has(&mut self, at: usize) -> bool {
        self.word(at).is_some_and(|word| *word & (1 << (at % 64)) != 0)
    }
}

/// Writes all columns of the sink.
pub(super) fn write<T, S>(row: &T, sink: &mut S) -> Result<(), Fail<S::Error>>
where
    T: Serialize + ?Sized,
    S: RowSink,
{
    let count = sink.columns().ok_or_else(Fail::nameless)?.count();
    let mut pass = Pass { sink, count, next: 0, guess: 0, seen: Seen::new(count), first: true };
    row.serialize(RowSerializer(&mut pass))?;
    pass.first = false;
    pass.pad()?;
    while pass.next < count {
        let before = pass.next;
        pass.guess = 0;
        row.serialize(RowSerializer(&mut pass))?;
        if pass.next == before {
            return Err(Fail::not_a_row("its fields are others each time they are looked at"));
        }
    }
    Ok(())
}

/// One look at all fields, in the order in which the row shows them.
struct Pass<'s, S> {
    sink: &'s mut S,
    count: usize,
    /// The column whose turn it is.
    next: usize,
    /// The column that the next field may well be for.
    guess: usize,
    seen: Seen,
    first: bool,
}

impl<S: RowSink> Pass<'_, S> {
    fn columns(&self) -> Result<Columns<'_>, Fail<S::Error>> {
        self.sink.columns().ok_or_else(Fail::nameless)
    }

    /// Whether it is the turn of the field with this name.
    #[inline]
    fn is_next(&mut self, name: &str) -> Result<bool, Fail<S::Error>> {
        let found = self.columns()?.find(name, self.guess).map_err(Fail::of)?;
        let Some(at) = found else { return Ok(false) };
        self.guess = at + 1;
        if self.first && !self.seen.add(at) {
            return Err(Fail::Row(RowErrorKind::DoubledField(name.to_owned())));
        }
        Ok(at == self.next)
    }

    #[inline]
    fn put<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fail<S::Error>> {
        let target = ColumnTarget { sink: &mut *self.sink, at: self.next };
        if let Err(fail) = value.serialize(ValueSerializer::new(target)) {
            return Err(self.name(fail));
        }
        self.next += 1;
        // What is not there is known only after the first look.
        if self.first { Ok(()) } else { self.pad() }
    }

    #[cold]
    fn name(&self, fail: Fail<S::Error>) -> Fail<S::Error> {
        let name = self.columns().ok().and_then(|columns| columns.column(self.next));
        fail.below(name.map_or("", |column| &column.name))
    }

    /// Puts null for the columns from the next one on that the row has no fields for.
    fn pad(&mut self) -> Result<(), Fail<S::Error>> {
        while self.next < self.count && !self.seen.has(self.next) {
            let columns = self.columns()?;
            if !columns.may_lack(self.next) {
                return Err(Fail::of(columns.missing(self.next)));
            }
            self.sink.put(Datum::Null).map_err(Fail::Sink)?;
            self.next += 1;
        }
        Ok(())
    }
}

struct RowSerializer<'p, 's, S>(&'p mut Pass<'s, S>);

/// The fields of a struct, or the entries of a map.
pub(super) struct Fields<'p, 's, S> {
    pass: &'p mut Pass<'s, S>,
    /// Whether it is the turn of the entry whose key was seen.
    wanted: bool,
}

const NO_ROW: &str = "give a struct, or a map with texts as keys";

macro_rules! no_rows {
    ($($method:ident($($type:ty),*);)*) => {$(
        fn $method(self, $(_: $type),*) -> Result<(), Self::Error> {
            Err(Fail::not_a_row(NO_ROW))
        }
    )*};
}

impl<'p, 's, S: RowSink> Serializer for RowSerializer<'p, 's, S> {
    type Ok = ();
    type Error = Fail<S::Error>;
    type SerializeSeq = Impossible<(), Self::Error>;
    type SerializeTuple = Impossible<(), Self::Error>;
    type SerializeTupleStruct = Impossible<(), Self::Error>;
    type SerializeTupleVariant = Impossible<(), Self::Error>;
    type SerializeMap = Fields<'p, 's, S>;
    type SerializeStruct = Fields<'p, 's, S>;
    type SerializeStructVariant = Impossible<(), Self::Error>;

    no_rows! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Self::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Self::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Self::Error> {
        Err(Fail::not_a_row(NO_ROW))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Self::Error> {
        Err(Fail::not_a_row(NO_ROW))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Self::Error> {
        Err(Fail::not_a_row(NO_ROW))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Self::Error> {
        Err(Fail::not_a_row(NO_ROW))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Self::Error> {
        Err(Fail::not_a_row(NO_ROW))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Self::Error> {
        Ok(Fields { pass: self.0, wanted: false })
    }

    #[inline]
    fn serialize_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStruct, Self::Error> {
        Ok(Fields { pass: self.0, wanted: false })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Self::Error> {
        Err(Fail::not_a_row(NO_ROW))
    }
}

impl<S: RowSink> SerializeStruct for Fields<'_, '_, S> {
    type Ok = ();
    type Error = Fail<S::Error>;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Self::Error> {
        if self.pass.is_next(name)? { self.pass.put(value) } else { Ok(()) }
    }

    fn end(self) -> Result<(), Self::Error> {
        Ok(())
    }
}

impl<S: RowSink> SerializeMap for Fields<'_, '_, S> {
    type Ok = ();
    type Error = Fail<S::Error>;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Self::Error> {
        let pass = &mut *self.pass;
        self.wanted = key.serialize(super::value::Name(|name: &str| pass.is_next(name)))?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Self::Error> {
        if std::mem::take(&mut self.wanted) { self.pass.put(value) } else { Ok(()) }
    }

    fn end(self) -> Result<(), Self::Error> {
        Ok(())
    }
}
