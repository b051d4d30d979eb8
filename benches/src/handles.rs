//! What a batch costs through the handles, without its rows: an upper bound of the time that the
//! client's lock is held for it.
//!
//! A writer handle and the driver share one thread and a server that is a function call (see
//! [`crate::local`]). Locks cannot be looked into from outside. What can be seen is where work
//! under the client's lock begins, as the clock is asked then. From there the time is taken to the
//! end of the call of the row that seals a batch and opens the next; and of the driver's turns all
//! counts but what sockets do. So the sum has the core's verbs in it, the locks of the client and
//! of the handle, tickets, wakers, the driver's rounds, the frames of answers and a row; it has no
//! sealing, which comes before. Rows for which a batch gets more memory are left out, as nearly all
//! of their time goes to buffers; [`crate::sim`] has the verb.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant as Wall};

use fluss_core::ids::Address;
use fluss_core::{AppendWriter, Clock, Driver, Fluss, FrameReader, Instant, Net, Sleep, Socket};

use crate::local::{self, Called, Line, Local, Pipe};
use crate::{fake, tuple};

/// Longer than it takes to fill any batch: only size seals.
const LINGER: Duration = Duration::from_secs(60);

thread_local! {
    /// When the clock was asked the last time but one since somebody looked, and the last time.
    static ASKED: Cell<(Option<Wall>, Option<Wall>)> = const { Cell::new((None, None)) };
    /// Time that the driver spent in sockets.
    static ELSEWHERE: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// Answers that came.
    static ANSWERS: Cell<u64> = const { Cell::new(0) };
}

/// A writer of the log table, and the driver.
pub struct Handles {
    driver: Driver<Timed<Local>>,
    called: Arc<Called>,
    writer: AppendWriter,
    row: u64,
}

impl Handles {
    /// A client whose batches are full at this size, in bytes.
    ///
    /// # Panics
    /// If the client refuses the size.
    #[must_use]
    pub fn new(batch_bytes: usize) -> Self {
        let (config, net, clock) = local::parts(fake::cluster(1));
        let (fluss, mut driver) =
            Fluss::new(config, Timed(net), Marking(clock), Sleep).expect("sound settings");
        let called = Arc::default();
        let table = drive(&mut driver, &called, fluss.table(fake::LOG)).expect("the table");
        let appender = table.appender().linger(LINGER).batch_bytes(batch_bytes);
        let writer = appender.build().expect("a valid size");
        let mut handles = Self { driver, called, writer, row: 0 };
        // Leaders and the writer id, which are asked for with other requests.
        drop(handles.writer.try_append(&tuple(0)).expect("memory"));
        let flush = handles.writer.flush();
        drive(&mut handles.driver, &handles.called, flush).expect("written");
        handles.batch();
        handles
    }

    /// Fills batches until one is acknowledged, and takes the time of it.
    ///
    /// # Panics
    /// If a row is not taken.
    pub fn batch(&mut self) -> Duration {
        let before = ANSWERS.get();
        let mut spent = Duration::ZERO;
        while ANSWERS.get() == before {
            self.row += 1;
            ASKED.set((None, None));
            drop(self.writer.try_append(&tuple(self.row)).expect("memory for the row"));
            match ASKED.get() {
                (_, None) => continue,
                // One verb alone is about more memory.
                (None, _) => {}
                // A row that is too much may ask for more memory, too; then its batch is sealed,
                // which is encoding, and only then come the last two: submit and open.
                (Some(submit), _) => spent += submit.elapsed(),
            }
            while self.called.0.swap(false, Ordering::Relaxed) {
                ELSEWHERE.set(Duration::ZERO);
                let start = Wall::now();
                let turned = turn(&mut self.driver, &self.called);
                spent += start.elapsed().saturating_sub(ELSEWHERE.get());
                assert!(turned.is_pending(), "the client is open");
            }
        }
        spent
    }
}

fn turn(driver: &mut Driver<Timed<Local>>, called: &Arc<Called>) -> Poll<()> {
    let waker = Waker::from(Arc::clone(called));
    Pin::new(driver).poll(&mut Context::from_waker(&waker))
}

/// Turns the driver until the future is done.
fn drive<F: Future>(
    driver: &mut Driver<Timed<Local>>,
    called: &Arc<Called>,
    future: F,
) -> F::Output {
    let mut future = pin!(future);
    loop {
        assert!(turn(driver, called).is_pending(), "the client is open");
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

/// Notes when it is asked.
#[derive(Debug)]
struct Marking(Line);

impl Clock for Marking {
    fn now(&self) -> Instant {
        ASKED.set((ASKED.get().1, Some(Wall::now())));
        self.0.now()
    }

    fn process(&self) -> u32 {
        self.0.process()
    }

    fn thread(&self) -> u64 {
        self.0.thread()
    }
}

/// Takes the time that is spent in it.
struct Timed<T>(T);

fn elsewhere<R>(act: impl FnOnce() -> R) -> R {
    let start = Wall::now();
    let result = act();
    ELSEWHERE.set(ELSEWHERE.get() + start.elapsed());
    result
}

impl Net for Timed<Local> {
    type Socket = Timed<Pipe>;

    fn connect(
        &mut self,
        address: Address,
    ) -> Pin<Box<dyn Future<Output = io::Result<Timed<Pipe>>> + Send>> {
        let connecting = self.0.connect(address);
        Box::pin(async { connecting.await.map(Timed) })
    }

    fn now(&self) -> Instant {
        self.0.now()
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        self.0.poll_timer(cx, at)
    }
}

impl Socket for Timed<Pipe> {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut FrameReader,
    ) -> Poll<io::Result<usize>> {
        elsewhere(|| {
            let read = self.0.poll_read(cx, reader);
            ANSWERS.set(ANSWERS.get() + u64::from(read.is_ready()));
            read
        })
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        elsewhere(|| self.0.poll_write(cx, pieces))
    }
}

#[cfg(test)]
mod tests {
    use super::Handles;
    use std::time::Duration;

    #[test]
    fn batch_after_batch_goes_through_the_handles_and_costs_something() {
        for size in [1 << 10, 64 << 10] {
            let mut handles = Handles::new(size);
            let before = handles.row;
            for _ in 0..20 {
                assert!(handles.batch() > Duration::ZERO);
            }
            // A row takes 40 bytes; headers and schema are beside, a good third of the small ones.
            let rows = (handles.row - before) as usize;
            assert!((size / 4..size / 2).contains(&rows), "{rows} rows in 20 of {size} bytes");
        }
    }
}
