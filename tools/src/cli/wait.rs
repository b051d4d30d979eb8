//! Waiting that a signal ends.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use super::failure::{Failure, Result};

/// How often the flag of a signal is looked at; a signal does not wake the thread.
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
    let waker = WAKER.with(Waker::clone);
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Ok(output);
        }
        if interrupted.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
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
