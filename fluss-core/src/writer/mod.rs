//! Writing: batches, their place in the buckets' queues, and what the server's answers mean.

pub(crate) mod idempotence;
pub(crate) mod retry;
