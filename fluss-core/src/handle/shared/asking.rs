//! Commands and lookups: handed in, and their answers taken.

use std::task::{Poll, Waker};

use super::{Call, Core, Shared, Wake};
use crate::error::{Error, Result};
use crate::handle::answers::{RunAnswer, Taken};
use crate::handle::signal::{lock, lock_in};
use crate::ids::CommandId;
use crate::lookup::Ask;
use crate::output::CommandAnswer;
use crate::time::Instant;

impl Shared {
    /// Like [`Shared::with`], but the driver may be left uncalled: true if that is up to the caller
    /// now. The next call of any handle does it, too, also if it is another of this kind; those
    /// behind that one leave it to come.
    pub(crate) fn with_uncalled<R>(&self, act: impl FnOnce(&mut Core, Instant) -> R) -> (R, bool) {
        let mut wake = Wake::default();
        let (result, uncalled) = self.with_core(&mut wake, |core, now, wake| {
            let result = act(core, now);
            core.pass_on(now, wake);
            (result, core.leave_uncalled(wake))
        });
        self.fire(wake);
        (result, uncalled)
    }

    /// Takes a lookup that gathers with others and brings nothing about; None: it is one for
    /// [`Shared::with_uncalled`]. Whether this is the child of a fork nobody asks, as that costs as
    /// much as all the rest: there is no lock to wait for, and whoever waits for it finds out.
    pub(crate) fn gather(&self, ask: &Ask<'_>) -> Option<CommandId> {
        let now = self.clock.now();
        let (command, is_early) = {
            let mut core = self.core.try_lock().ok()?;
            // Who stands in line may have to be served, which takes a lock more.
            if core.call == Call::Unsaid || core.client.would_stand_in_line(ask) {
                return None;
            }
            let until = now + ask.limit;
            let command = core.client.join(ask, now)?;
            core.watch_command(command);
            let is_early = core.call == Call::Heard && core.armed.is_none_or(|armed| until < armed);
            if is_early {
                core.call = Call::Made;
            }
            (command, is_early)
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
                Ok(true) => return Poll::Pending,
                // It has ended since.
                Ok(false) => self.take_kept(command),
                Err(error) => Err(error),
            },
            taken => taken,
        };
        let (answer, serve) = match taken {
            Ok(Some(Taken::Answer(answer, serve))) => (answer, serve),
            Ok(Some(Taken::GivesWay)) => {
                waker.wake_by_ref();
                return Poll::Pending;
            }
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

    /// An answer that has come.
    fn take_kept(&self, command: CommandId) -> Result<Option<Taken>> {
        match lock_in(&self.kept, || self.is_foreign()) {
            Some(mut kept) => Ok(kept.take(command)),
            None => Err(self.of_this_process().err().unwrap_or(Error::Closed("client"))),
        }
    }

    /// Registers who waits for a command. False: it has ended. An error where nobody will ever
    /// answer it, which is the child of a fork.
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
        if awaited {
            self.of_this_process()?;
        }
        if awaited && gathers {
            self.with_own(|core, now| core.client.urge_lookup(command, now));
        }
        Ok(awaited)
    }

    /// Like [`Shared::with`], for callers that know that this is no child of a fork.
    fn with_own<R>(&self, act: impl FnOnce(&mut Core, Instant) -> R) -> R {
        let mut wake = Wake::default();
        let result = self.with_own_core(&mut wake, |core, now, wake| {
            let result = act(core, now);
            core.pass_on(now, wake);
            result
        });
        self.fire(wake);
        result
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
        let (polled, gives_way, is_due) = {
            let mut core = lock(&self.core);
            let (polled, gives_way) = core.poll_run(first, waker, into);
            (polled, gives_way, core.client.has_due_lookups())
        };
        if gives_way {
            waker.wake_by_ref();
        }
        if is_due {
            self.with(|core, now| core.client.serve_lookups(now));
        }
        polled.map(Ok)
    }
}

impl Core {
    /// Decides whether the driver is called now. True: it is left to whoever asks.
    fn leave_uncalled(&mut self, wake: &mut Wake) -> bool {
        if !wake.driver {
            return false;
        }
        match self.call {
            Call::Heard => {
                self.call = Call::Unsaid;
                wake.driver = false;
                return true;
            }
            // A waker that panics would keep this call from being made.
            Call::Unsaid if wake.wakes_nobody_else() => self.call = Call::Made,
            Call::Unsaid => {}
            Call::Made => wake.driver = false,
        }
        false
    }
}

fn failed<T>(error: Error) -> Poll<Result<T>> {
    Poll::Ready(Err(error))
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::handle::lookup::{Lookup, Lookuper};
    use crate::handle::testkit::{Stage, users};
    use crate::ids::TablePath;
    use crate::row::OwnedRow;

    /// A lookup in an empty table whose answer has come.
    fn answered() -> (Stage, Lookup<Option<OwnedRow>>) {
        let mut stage = Stage::new();
        let lookuper: Lookuper = users(&mut stage).lookuper().expect("a primary-key table");
        let mut lookup = lookuper.lookup(&(1_i64,));
        assert!(stage.poll(&mut lookup).is_pending());
        stage.settle();
        (stage, lookup)
    }

    #[test]
    fn an_answer_is_taken_while_the_driver_has_the_core() {
        let (stage, mut lookup) = answered();
        let shared = Arc::clone(stage.fluss.shared());
        let core = shared.core.try_lock().expect("nobody has it");
        assert_eq!(stage.poll(&mut lookup), Poll::Ready(Ok(None)));
        drop(core);
    }

    #[test]
    fn a_child_whose_parent_took_an_answer_when_it_was_made_gets_an_error() {
        let (stage, mut lookup) = answered();
        let shared = Arc::clone(stage.fluss.shared());
        let kept = shared.kept.try_lock().expect("nobody has it");
        stage.fork(true);
        let error = Error::Forked { owner: 1 };
        assert_eq!(stage.poll(&mut lookup), Poll::Ready(Err(error)));
        drop(kept);
    }

    #[test]
    fn what_a_child_asks_is_not_answered_with_what_its_parent_asked() {
        let mut stage = Stage::new();
        let lookuper = users(&mut stage).lookuper().expect("a primary-key table");
        let mut of_parent: Vec<_> = (0..20_i64).map(|id| lookuper.lookup(&(id,))).collect();
        assert!(of_parent.iter_mut().all(|lookup| stage.poll(lookup).is_pending()));
        stage.settle();
        stage.fork(true);
        for id in 0..40_i64 {
            let mut of_child = lookuper.lookup(&(id,));
            let error = Error::Forked { owner: 1 };
            assert_eq!(stage.poll(&mut of_child), Poll::Ready(Err(error)), "lookup {id}");
        }
    }

    #[test]
    fn who_takes_answer_after_answer_gives_way_now_and_then_and_misses_none() {
        let mut stage = Stage::new();
        let lookuper = users(&mut stage).lookuper().expect("a primary-key table");
        let mut lookups: Vec<_> = (0..600_i64).map(|id| lookuper.lookup(&(id,))).collect();
        let mut runs: Vec<_> = (0..6)
            .map(|run| {
                let keys: Vec<_> = (0..100_i64).map(|id| (100 * run + id,)).collect();
                lookuper.lookup_all(&keys)
            })
            .collect();
        assert!(stage.poll(lookups.last_mut().expect("many")).is_pending());
        assert!(runs.iter_mut().all(|run| stage.poll(run).is_pending()));
        stage.settle();
        let calls = Arc::new(Calls::default());
        let waker = Waker::from(Arc::clone(&calls));
        let mut context = std::task::Context::from_waker(&waker);
        let mut pauses = Vec::new();
        for (at, lookup) in lookups.iter_mut().enumerate() {
            if Pin::new(&mut *lookup).poll(&mut context).is_pending() {
                pauses.push(at);
                assert_eq!(calls.0.load(Ordering::Relaxed), pauses.len(), "it is polled again");
                assert_eq!(Pin::new(lookup).poll(&mut context), Poll::Ready(Ok(None)));
            }
        }
        assert_eq!(pauses, [256, 512]);
        for (at, run) in runs.iter_mut().enumerate() {
            let polled = Pin::new(&mut *run).poll(&mut context);
            assert_eq!(polled.is_pending(), at == 3, "run {at}");
            if polled.is_pending() {
                assert_eq!(calls.0.load(Ordering::Relaxed), 3, "it is polled again");
                let rows = Pin::new(run).poll(&mut context);
                assert_eq!(rows, Poll::Ready(Ok(vec![None; 100])));
            }
        }
    }

    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_driver_is_called_for_the_second_call_and_then_left_to_come() {
        let stage = Stage::new();
        let (shared, calls) = (stage.fluss.shared(), Arc::new(Calls::default()));
        shared.register_driver(&Waker::from(Arc::clone(&calls)));
        let path = TablePath::new("shop", "events");
        for round in 1..=3 {
            let ask = || shared.with_uncalled(|core, now| core.client.describe_table(&path, now));
            let heard = || calls.0.load(Ordering::Relaxed);
            assert!(ask().1, "it is up to the caller");
            assert_eq!(heard(), round - 1);
            for _ in 0..3 {
                assert!(!ask().1);
                assert_eq!(heard(), round);
            }
            shared.seal_what_is_due();
        }
    }
}
