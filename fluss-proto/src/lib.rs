//! Wire format of Apache Fluss.

pub mod api;
pub mod error_code;
pub mod frame;
pub mod header;
pub mod message;
pub mod record;
pub mod request;
pub mod server;

pub use api::ApiKey;
pub use error_code::ErrorCode;
