//! Commands and lookups: handed in, and their answers taken.

use std::task::{Poll, Waker};

use super::{Core, Shared, Wake};
use crate::error::Result;
use crate::handle::answers::RunAnswer;
use crate::handle::signal::lock;
use crate::ids::CommandId;
use crate::lookup::Ask;
use crate::output::CommandAnswer;
use crate::time::Instant;

impl Shared {
    /// Like [`Shared::with`], but the driver may be left uncalled: true if that is up to the caller
    /// now. The next call of any handle does it, too, also if it is another of this kind.
    pub(crate) fn with_uncalled<R>(&self, act: impl FnOnce(&mut Core, Instant) -> R) -> (R, bool) {
        let mut wake = Wake::default();
        let (result, is_second) = self.with_core(&mut wake, |core, now, wake| {
            let result = act(core, now);
            core.pass_on(wake);
            let is_second = core.uncalled;
            core.uncalled |= wake.driver;
            (result, is_second)
        });
        let uncalled = wake.driver && !is_second;
        wake.driver &= is_second;
        self.fire(wake);
        (result, uncalled)
    }

    /// Takes a lookup that gathers with others and brings nothing about; None: it is one for
    /// [`Shared::with_uncalled`]. Whether this is the child of a fork nobody asks, as that costs as
    /// much as all the rest: there is no lock to wait for, and whoever waits for it finds out.
    pub(crate) fn gather(&self, ask: Ask<'_>) -> Option<CommandId> {
        let now = self.clock.now();
        let mut wake = Wake::default();
        let command = {
            let mut core = self.core.try_lock().ok()?;
            if core.uncalled {
                return None;
            }
            let command = core.client.join(ask, now)?;
            core.watch_command(command);
            core.pass_on(&mut wake);
            command
        };
        if !wake.is_empty() && !self.is_foreign() {
            self.fire(wake);
        }
        Some(command)
    }

    /// The answer to a command, or who waits for it from now on. Nothing else comes of it, but that
    /// a lookup may go for which there was no room while the answer was kept.
    pub(crate) fn poll_command(
        &self,
        command: CommandId,
        waker: &Waker,
    ) -> Poll<Result<CommandAnswer>> {
        let (polled, is_due, gathers) = {
            // What was looked up before a fork is known in the child, too, and to ask for the
            // process costs more than to take it.
            let mut core = match self.core.try_lock() {
                Ok(core) => core,
                Err(_) => match self.of_this_process() {
                    Ok(()) => lock(&self.core),
                    Err(error) => return Poll::Ready(Err(error)),
                },
            };
            let polled = core.poll_command(command, waker);
            let gathers = polled.is_pending() && core.client.is_gathering(command);
            (polled, core.client.has_due_lookups(), gathers)
        };
        let is_value = |answer: &CommandAnswer| {
            matches!(answer, CommandAnswer::Value(_) | CommandAnswer::Values(_))
        };
        if !matches!(&polled, Poll::Ready(Ok(answer)) if is_value(answer))
            && let Err(error) = self.of_this_process()
        {
            return Poll::Ready(Err(error));
        }
        if is_due {
            self.with(|core, now| core.client.serve_lookups(now));
        }
        if gathers {
            self.with(|core, now| core.client.urge_lookup(command, now));
        }
        polled
    }

    /// Takes what has come of a run of lookups; ready with the last of it. See
    /// [`Shared::poll_command`].
    pub(crate) fn poll_run(
        &self,
        first: u64,
        waker: &Waker,
        into: &mut Vec<RunAnswer>,
    ) -> Poll<Result<()>> {
        if let Err(error) = self.of_this_process() {
            return Poll::Ready(Err(error));
        }
        let (polled, is_due) = {
            let mut core = lock(&self.core);
            let polled = core.poll_run(first, waker, into);
            (polled, core.client.has_due_lookups())
        };
        if is_due {
            self.with(|core, now| core.client.serve_lookups(now));
        }
        polled.map(Ok)
    }
}
