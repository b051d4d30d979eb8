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

    /// The result made of the rows.
    #[doc(hidden)]
    fn from_rows(rows: Vec<OwnedRow>) -> Result<Self>;
}

impl Found for Option<OwnedRow> {
    fn from_rows(mut rows: Vec<OwnedRow>) -> Result<Self> {
        Ok(rows.pop())
    }
}

impl Found for Vec<OwnedRow> {
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
