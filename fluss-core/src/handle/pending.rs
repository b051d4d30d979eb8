//! Answers that are on their way.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::answers::RunAnswer;
use super::fluss::Fluss;
use super::shared::Shared;
use crate::command::Call;
use crate::error::Result;
use crate::ids::CommandId;
use crate::lookup::Ask;
use crate::output::CommandAnswer;

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

/// A command of the core, as a future. Dropping it cancels the wait.
pub(crate) struct CommandFuture {
    shared: Arc<Shared>,
    command: CommandId,
    /// The driver has not been told of it.
    untold: bool,
    done: bool,
}

impl CommandFuture {
    /// Starts a call.
    pub(crate) fn start(shared: &Arc<Shared>, call: Call) -> Self {
        let command = shared.with(|core, now| {
            let command = core.client.call(call, now);
            core.watch_command(command);
            command
        });
        Self { shared: Arc::clone(shared), command, untold: false, done: false }
    }

    /// Waits for the end of something that reports to this id; `begin` starts it.
    pub(crate) fn watch(
        shared: &Arc<Shared>,
        begin: impl FnOnce(&mut super::shared::Core, crate::Instant) -> CommandId,
    ) -> Self {
        let mut future = Self::watch_untold(shared, begin);
        future.tell();
        future
    }

    /// Like [`CommandFuture::watch`], but the driver hears of it when somebody polls or waits: one
    /// who blocks then drives it all by himself. Any other call of a handle tells it earlier.
    pub(crate) fn watch_untold(
        shared: &Arc<Shared>,
        begin: impl FnOnce(&mut super::shared::Core, crate::Instant) -> CommandId,
    ) -> Self {
        let (command, untold) = shared.with_uncalled(|core, now| {
            let command = begin(core, now);
            core.watch_command(command);
            command
        });
        Self { shared: Arc::clone(shared), command, untold, done: false }
    }

    /// A lookup that only gathers with others; None: it is one for [`CommandFuture::watch_untold`].
    pub(super) fn gather(shared: &Arc<Shared>, ask: Ask<'_>) -> Option<Self> {
        let command = shared.gather(ask)?;
        Some(Self { shared: Arc::clone(shared), command, untold: false, done: false })
    }

    /// Like [`CommandFuture::watch_untold`], but `begin` may refuse.
    pub(crate) fn try_watch_untold(
        shared: &Arc<Shared>,
        begin: impl FnOnce(&mut super::shared::Core, crate::Instant) -> Result<CommandId>,
    ) -> Result<Self> {
        let (command, untold) = shared.with_uncalled(|core, now| {
            let command = begin(core, now)?;
            core.watch_command(command);
            Ok(command)
        });
        let shared = Arc::clone(shared);
        match command {
            Ok(command) => Ok(Self { shared, command, untold, done: false }),
            Err(error) => {
                if untold {
                    shared.call_driver();
                }
                Err(shared.explain(error))
            }
        }
    }

    /// Whether the driver has heard of it.
    pub(super) fn is_told(&self) -> bool {
        !self.untold
    }

    fn tell(&mut self) {
        if std::mem::take(&mut self.untold) {
            self.shared.call_driver();
        }
    }
}

impl Future for CommandFuture {
    type Output = Result<CommandAnswer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.shared.poll_command(self.command, cx.waker());
        self.tell();
        self.done |= polled.is_ready();
        polled
    }
}

impl Drop for CommandFuture {
    fn drop(&mut self) {
        if !self.done {
            self.shared.with(|core, now| core.drop_command(self.command, now));
        }
    }
}

/// Many lookups of the core that were handed in together. Dropping it cancels the wait for all.
pub(super) struct RunFuture {
    shared: Arc<Shared>,
    ids: Range<u64>,
    /// See [`CommandFuture`].
    untold: bool,
    done: bool,
}

impl RunFuture {
    /// `begin` hands them in.
    pub(super) fn start(
        shared: &Arc<Shared>,
        begin: impl FnOnce(&mut super::shared::Core, crate::Instant) -> Range<u64>,
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
