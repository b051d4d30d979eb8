//! Wire format of Apache Fluss.

pub mod message;
pub mod record;
