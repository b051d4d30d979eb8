//! Answers to commands, kept until their futures take them.
//!
//! What a lookup found counts against the client's budget as long as it is kept.

use std::task::{Poll, Waker};

use super::shared::{Core, Wake, replace_waker};
use crate::error::{Error, Result};
use crate::ids::CommandId;
use crate::output::CommandAnswer;
use crate::time::Instant;

/// A command's answer, or who waits for it.
#[derive(Debug)]
pub(super) enum Command {
    Waiting(Option<Waker>),
    Done(Result<CommandAnswer>),
}

fn row_bytes(result: &Result<CommandAnswer>) -> u64 {
    result.as_ref().map_or(0, CommandAnswer::row_bytes)
}

impl Core {
    pub(crate) fn watch_command(&mut self, command: CommandId) {
        self.commands.insert(command, Command::Waiting(None));
    }

    pub(super) fn poll_command(
        &mut self,
        command: CommandId,
        waker: &Waker,
    ) -> Poll<Result<CommandAnswer>> {
        match self.commands.get_mut(&command) {
            Some(Command::Waiting(slot)) => {
                replace_waker(slot, waker);
                Poll::Pending
            }
            Some(Command::Done(_)) => match self.commands.remove(&command) {
                Some(Command::Done(result)) => {
                    self.client.take_answer(row_bytes(&result));
                    Poll::Ready(result)
                }
                _ => Poll::Pending,
            },
            None => Poll::Ready(Err(Error::misuse("this future was polled after its end"))),
        }
    }

    /// Nobody waits for this command any more.
    pub(crate) fn drop_command(&mut self, command: CommandId, now: Instant) {
        match self.commands.remove(&command) {
            Some(Command::Waiting(_)) => self.client.cancel(command, now),
            Some(Command::Done(result)) => {
                self.client.take_answer(row_bytes(&result));
                self.client.serve_lookups(now);
            }
            None => {}
        }
    }

    pub(super) fn finish_command(
        &mut self,
        id: CommandId,
        result: Result<CommandAnswer>,
        wake: &mut Wake,
    ) {
        if let Some(slot) = self.commands.get_mut(&id)
            && let Command::Waiting(waker) = slot
        {
            self.client.keep_answer(row_bytes(&result));
            wake.wakers.extend(waker.take());
            *slot = Command::Done(result);
        }
    }

    /// The client is closed: no answer comes any more.
    pub(super) fn end_commands(&mut self, wake: &mut Wake) {
        for slot in self.commands.values_mut() {
            if let Command::Waiting(waker) = slot {
                wake.wakers.extend(waker.take());
                *slot = Command::Done(Err(Error::Closed("client")));
            }
        }
    }
}
