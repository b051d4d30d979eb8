//! How the suite runs a client on threads alone.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use fluss_core::testing::conformance::{Harness, Stop};
use fluss_embedded::{Config, Fluss, Result, Signal, Turn};

fn block_on<F: Future>(future: F) -> F::Output {
    let signal = Arc::new(Signal::default());
    let waker = Waker::from(Arc::clone(&signal));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => drop(signal.wait(None)),
        }
    }
}

fn aside<T: Send + 'static>(
    body: impl FnOnce() -> T + Send + 'static,
) -> Pin<Box<dyn Future<Output = T>>> {
    let waiting = Arc::new(Mutex::new(None::<Waker>));
    let waker = Arc::clone(&waiting);
    let thread = thread::spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        (result, waker)
    });
    // A second thread, so that the first one has ended when the waker fires.
    let (done, ended) = std::sync::mpsc::channel();
    thread::spawn(move || {
        if let Ok((result, waker)) = thread.join() {
            drop(done.send(result));
            let waker = waker.lock().unwrap_or_else(PoisonError::into_inner).take();
            waker.into_iter().for_each(Waker::wake);
        }
    });
    Box::pin(std::future::poll_fn(move |cx| {
        *waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        match ended.try_recv() {
            Ok(Ok(value)) => Poll::Ready(value),
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => Poll::Pending,
        }
    }))
}

/// Turns a client's driver on a thread of the caller's own until it is told to stop.
fn turn(config: Config) -> Result<(Fluss, Stop)> {
    let (fluss, mut driver) = fluss_embedded::connect_with(config)?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    thread::spawn(move || {
        while !stopped.load(Ordering::SeqCst) {
            let turn = driver.turn(Some(Duration::from_millis(20))).expect("it can wait");
            if turn == Turn::Closed {
                return;
            }
        }
    });
    Ok((fluss, Box::new(move || stop.store(true, Ordering::SeqCst))))
}

/// A harness.
pub(crate) struct Attended;

impl Harness for Attended {
    const BLOCKING_ALONE: bool = true;

    fn notice(text: &str) {
        notice(text);
    }

    fn new() -> Self {
        Self
    }

    fn start(&self, config: Config) -> Result<Fluss> {
        fluss_embedded::open(config)
    }

    fn start_stoppable(&self, config: Config) -> Result<(Fluss, Stop)> {
        turn(config)
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        block_on(future)
    }

    fn aside<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = T>>> {
        aside(body)
    }
}

/// A harness.
pub(crate) struct Turned;

impl Harness for Turned {
    const BLOCKING_ALONE: bool = true;

    fn notice(text: &str) {
        notice(text);
    }

    fn new() -> Self {
        Self
    }

    fn start(&self, config: Config) -> Result<Fluss> {
        turn(config).map(|(fluss, _)| fluss)
    }

    fn start_stoppable(&self, config: Config) -> Result<(Fluss, Stop)> {
        turn(config)
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        block_on(future)
    }

    fn aside<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = T>>> {
        aside(body)
    }
}

fn notice(text: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
}
