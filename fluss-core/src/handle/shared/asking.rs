//! Commands and lookups: handed in, and their answers taken.

use std::task::{Poll, Waker};

use super::{Core, Shared, Wake};
use crate::error::{Error, Result};
use crate::handle::answers::RunAnswer;
use crate::handle::signal::{lock, lock_in};
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
            core.pass_on(now, wake);
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
        let (command, is_early) = {
            let mut core = self.core.try_lock().ok()?;
            // Who stands in line may have to be served, which takes a lock more.
            if core.uncalled || core.client.would_stand_in_line(&ask) {
                return None;
            }
            let until = now + ask.limit;
            let command = core.client.join(ask, now)?;
            core.watch_command(command);
            (command, core.armed.is_none_or(|armed| until < armed))
        };
        if is_early && !self.is_foreign() {
            self.call_driver();
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
        // What was looked up before a fork is known in the child, too, and to ask for the process
        // costs more than to take it.
        let taken = match self.take_kept(command) {
            Ok(None) => match self.await_command(command, waker) {
                Ok(true) => return self.of_this_process().map_or_else(failed, |()| Poll::Pending),
                // It has ended since.
                Ok(false) => self.take_kept(command),
                Err(error) => Err(error),
            },
            taken => taken,
        };
        let (answer, serve) = match taken {
            Ok(Some(taken)) => taken,
            Ok(None) => (Err(Error::misuse("this future was polled after its end")), false),
            Err(error) => return failed(error),
        };
        let is_value = |answer: &CommandAnswer| {
            matches!(answer, CommandAnswer::Value(_) | CommandAnswer::Values(_))
        };
        if !answer.as_ref().is_ok_and(is_value)
            && let Err(error) = self.of_this_process()
        {
            return failed(error);
        }
        if serve {
            self.with(Core::serve_lookups);
        }
        Poll::Ready(answer)
    }

    /// An answer that has come, and whether the core is to hear that it was taken.
    fn take_kept(&self, command: CommandId) -> Result<Option<(Result<CommandAnswer>, bool)>> {
        match lock_in(&self.kept, || self.is_foreign()) {
            Some(mut kept) => Ok(kept.take(command)),
            None => Err(self.of_this_process().err().unwrap_or(Error::Closed("client"))),
        }
    }

    /// Registers who waits for a command. False: it has ended.
    fn await_command(&self, command: CommandId, waker: &Waker) -> Result<bool> {
        let (awaited, gathers) = {
            let mut core = match self.core.try_lock() {
                Ok(core) => core,
                Err(_) => {
                    self.of_this_process()?;
                    lock(&self.core)
                }
            };
            (core.await_command(command, waker), core.client.is_gathering(command))
        };
        if gathers && awaited {
            self.with(|core, now| core.client.urge_lookup(command, now));
        }
        Ok(awaited)
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

fn failed<T>(error: Error) -> Poll<Result<T>> {
    Poll::Ready(Err(error))
}
