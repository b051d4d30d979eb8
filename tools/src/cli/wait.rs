//! Waiting that a signal ends.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use super::failure::{Failure, Result};
use crate::cluster::is_output_closed;

/// How often the flag of a signal is looked at, and whether anybody reads what is printed; neither
/// wakes the thread.
const PAUSE: Duration = Duration::from_millis(50);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static WAKER: Waker = Arc::new(Unpark(thread::current())).into();
}

/// Blocks this thread until the future is done or the flag is up.
pub(crate) fn wait<F: Future>(future: F, interrupted: &AtomicBool) -> Result<F::Output> {
    wait_unless(future, || interrupted.load(Ordering::Relaxed).then_some(Failure::Interrupted))
}

/// Like [`wait`], for what is printed when it is there: also until nobody reads standard output.
/// Who only finds that out by writing never ends where there is nothing to write.
pub(crate) fn wait_to_print<F: Future>(future: F, interrupted: &AtomicBool) -> Result<F::Output> {
    wait_unless(future, || {
        if interrupted.load(Ordering::Relaxed) {
            return Some(Failure::Interrupted);
        }
        is_output_closed().then_some(Failure::OutputClosed)
    })
}

fn wait_unless<F: Future>(future: F, why_not: impl Fn() -> Option<Failure>) -> Result<F::Output> {
    let waker = WAKER.with(Waker::clone);
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Ok(output);
        }
        if let Some(failure) = why_not() {
            return Err(failure);
        }
        thread::park_timeout(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_ends_the_wait_for_what_never_comes() {
        let flag = AtomicBool::new(true);
        assert!(matches!(wait(std::future::pending::<()>(), &flag), Err(Failure::Interrupted)));
        assert_eq!(wait(std::future::ready(7), &flag).expect("it is there"), 7);
    }
}
