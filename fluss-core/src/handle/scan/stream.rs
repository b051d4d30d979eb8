//! A scan as a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::LogScanner;
use crate::error::Result;
use crate::scanner::ScanBatch;

/// The batches of a scanner. It ends with a bounded scan, and when it is
/// [woken](LogScanner::waker); after a wake it can be polled on.
impl Stream for LogScanner {
    type Item = Result<ScanBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_next_batch(cx).map(Result::transpose)
    }
}
