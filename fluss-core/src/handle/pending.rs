//! Answers that are on their way.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::answers::RunAnswer;
use super::fluss::Fluss;
use super::shared::{Core, Shared};
use crate::command::Call;
use crate::error::Result;
use crate::ids::CommandId;
use crate::lookup::Ask;
use crate::output::CommandAnswer;
use crate::time::Instant;

/// An answer that is on its way: await it, or [`Pending::wait`] for it.
///
/// The call starts when the future is first polled or waited for, and ends within its deadline.
/// Dropping it before its end forgets the answer; what was sent may still happen.
#[must_use = "nothing happens until it is awaited or waited for"]
pub struct Pending<T> {
    shared: Arc<Shared>,
    future: Pin<Box<dyn Future<Output = Result<T>> + Send>>,
}

impl<T> std::fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

impl<T> Pending<T> {
    pub(crate) fn new(
        fluss: &Fluss,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Self {
        Self { shared: Arc::clone(fluss.shared()), future: Box::pin(future) }
    }

    /// Blocks this thread until the answer is there.
    ///
    /// # Errors
    /// What the call itself reports.
    pub fn wait(self) -> Result<T> {
        let shared = self.shared;
        shared.block_on(self.future)?
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.future.as_mut().poll(cx)
    }
}

/// A command of the core that somebody waits for. It does not know its client: who has it, does,
/// and must [`give_up`](Self::give_up) one that is dropped.
///
/// A handle of the client of its own would cost each lookup two atomic operations.
#[derive(Debug)]
pub(super) struct Waiting {
    command: CommandId,
    /// The driver has not been told of it.
    untold: bool,
    done: bool,
}

impl Waiting {
    /// Waits for the end of something that reports to this id; `begin` starts it. The driver hears
    /// of it when somebody polls or waits: one who blocks then drives it all by himself. Any other
    /// call of a handle tells it earlier.
    pub(super) fn begin(
        shared: &Shared,
        begin: impl FnOnce(&mut Core, Instant) -> CommandId,
    ) -> Self {
        let (command, untold) = shared.with_uncalled(|core, now| {
            let command = begin(core, now);
            core.watch_command(command);
            command
        });
        Self { command, untold, done: false }
    }

    /// Like [`Waiting::begin`], but `begin` may refuse.
    pub(super) fn try_begin(
        shared: &Shared,
        begin: impl FnOnce(&mut Core, Instant) -> Result<CommandId>,
    ) -> Result<Self> {
        let (command, untold) = shared.with_uncalled(|core, now| {
            let command = begin(core, now)?;
            core.watch_command(command);
            Ok(command)
        });
        match command {
            Ok(command) => Ok(Self { command, untold, done: false }),
            Err(error) => {
                if untold {
                    shared.call_driver();
                }
                Err(shared.explain(error))
            }
        }
    }

    /// A lookup that only gathers with others; None: it is one for [`Waiting::begin`].
    pub(super) fn gather(shared: &Shared, ask: &Ask<'_>) -> Option<Self> {
        let command = shared.gather(ask)?;
        Some(Self { command, untold: false, done: false })
    }

    /// Whether the driver has heard of it.
    pub(super) fn is_told(&self) -> bool {
        !self.untold
    }

    fn tell(&mut self, shared: &Shared) {
        if std::mem::take(&mut self.untold) {
            shared.call_driver();
        }
    }

    pub(super) fn poll(&mut self, shared: &Shared, waker: &Waker) -> Poll<Result<CommandAnswer>> {
        let polled = shared.poll_command(self.command, waker);
        self.tell(shared);
        self.done |= polled.is_ready();
        polled
    }

    /// Nobody waits for it any more.
    pub(super) fn give_up(&self, shared: &Shared) {
        if !self.done {
            shared.with(|core, now| core.drop_command(self.command, now));
        }
    }
}

/// A command of the core, as a future. Dropping it cancels the wait.
pub(crate) struct CommandFuture {
    shared: Arc<Shared>,
    waiting: Waiting,
}

impl CommandFuture {
    /// Starts a call.
    pub(crate) fn start(shared: &Arc<Shared>, call: Call) -> Self {
        let command = shared.with(|core, now| {
            let command = core.client.call(call, now);
            core.watch_command(command);
            command
        });
        Self::new(shared, Waiting { command, untold: false, done: false })
    }

    /// Waits for the end of something that reports to this id; `begin` starts it.
    pub(crate) fn watch(
        shared: &Arc<Shared>,
        begin: impl FnOnce(&mut Core, Instant) -> CommandId,
    ) -> Self {
        let mut waiting = Waiting::begin(shared, begin);
        waiting.tell(shared);
        Self::new(shared, waiting)
    }

    pub(super) fn new(shared: &Arc<Shared>, waiting: Waiting) -> Self {
        Self { shared: Arc::clone(shared), waiting }
    }
}

impl Future for CommandFuture {
    type Output = Result<CommandAnswer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.waiting.poll(&this.shared, cx.waker())
    }
}

impl Drop for CommandFuture {
    fn drop(&mut self) {
        self.waiting.give_up(&self.shared);
    }
}

/// Many lookups of the core that were handed in together. Dropping it cancels the wait for all.
pub(super) struct RunFuture {
    shared: Arc<Shared>,
    ids: Range<u64>,
    /// See [`Waiting`].
    untold: bool,
    done: bool,
}

impl RunFuture {
    /// `begin` hands them in.
    pub(super) fn start(
        shared: &Arc<Shared>,
        begin: impl FnOnce(&mut Core, Instant) -> Range<u64>,
    ) -> Self {
        let (ids, untold) = shared.with_uncalled(|core, now| {
            let ids = begin(core, now);
            core.watch_run(&ids);
            ids
        });
        Self { shared: Arc::clone(shared), ids, untold, done: false }
    }

    /// Takes the answers that have come; ready with the last one.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut Vec<RunAnswer>,
    ) -> Poll<Result<()>> {
        let polled = self.shared.poll_run(self.ids.start, cx.waker(), into);
        if std::mem::take(&mut self.untold) {
            self.shared.call_driver();
        }
        self.done |= polled.is_ready();
        polled
    }
}

impl Drop for RunFuture {
    fn drop(&mut self) {
        if !self.done {
            self.shared.with(|core, now| core.drop_run(self.ids.clone(), now));
        }
    }
}
