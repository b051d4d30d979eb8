//! From the answer to a lookup to what its caller gets.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::output::CommandAnswer;
use crate::row::OwnedRow;

/// What a lookup may find.
pub trait Found: Sized + Send + 'static + private::Sealed {
    /// The values of the answer.
    #[doc(hidden)]
    fn values(answer: CommandAnswer) -> Result<Vec<Bytes>> {
        match answer {
            CommandAnswer::Value(value) => Ok(value.into_iter().collect()),
            CommandAnswer::Values(values) => Ok(values),
            other => Err(Error::misuse(format!("a lookup was answered with {other:?}"))),
        }
    }

    /// What the answer says; the answer comes back where the schema of a value is not known.
    #[doc(hidden)]
    fn read(
        answer: CommandAnswer,
        decode: impl FnMut(&[u8]) -> Result<Option<OwnedRow>>,
    ) -> Result<Result<Self, CommandAnswer>>;

    /// The result made of the rows.
    #[doc(hidden)]
    fn from_rows(rows: Vec<OwnedRow>) -> Result<Self>;
}

impl Found for Option<OwnedRow> {
    fn read(
        answer: CommandAnswer,
        mut decode: impl FnMut(&[u8]) -> Result<Option<OwnedRow>>,
    ) -> Result<Result<Self, CommandAnswer>> {
        let CommandAnswer::Value(Some(value)) = &answer else {
            return Ok(Ok(Self::values(answer)?.pop().and(None)));
        };
        Ok(decode(value)?.map(Some).ok_or(answer))
    }

    fn from_rows(mut rows: Vec<OwnedRow>) -> Result<Self> {
        Ok(rows.pop())
    }
}

impl Found for Vec<OwnedRow> {
    fn read(
        answer: CommandAnswer,
        mut decode: impl FnMut(&[u8]) -> Result<Option<OwnedRow>>,
    ) -> Result<Result<Self, CommandAnswer>> {
        let values = Self::values(answer)?;
        let mut rows = Self::with_capacity(values.len());
        for value in &values {
            match decode(value)? {
                Some(row) => rows.push(row),
                None => return Ok(Err(CommandAnswer::Values(values))),
            }
        }
        Ok(Ok(rows))
    }

    fn from_rows(rows: Vec<OwnedRow>) -> Result<Self> {
        Ok(rows)
    }
}

mod private {
    use crate::row::OwnedRow;

    pub trait Sealed {}
    impl Sealed for Option<OwnedRow> {}
    impl Sealed for Vec<OwnedRow> {}
}
