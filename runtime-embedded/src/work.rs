//! Threads for what blocks: the names of servers, and remote storage.

use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use crate::reactor::{Reactor, lock};

type Job = Box<dyn FnOnce() + Send>;

/// Where the answer will be, once.
pub(crate) type Answer<T> = Arc<Mutex<Option<T>>>;

/// Some threads of one name. One starts with each of the first jobs, and all end with the client.
/// Jobs whose answers nobody waits for any more are skipped.
#[derive(Debug)]
pub(crate) struct Threads {
    name: &'static str,
    most: usize,
    started: usize,
    sender: Sender<Job>,
    jobs: Arc<Mutex<Receiver<Job>>>,
}

impl Threads {
    /// So many threads at most.
    pub(crate) fn new(name: &'static str, most: usize) -> Self {
        let (sender, jobs) = channel();
        Self { name, most, started: 0, sender, jobs: Arc::new(Mutex::new(jobs)) }
    }

    /// Does this on one of them; the answer wakes the driver.
    pub(crate) fn run<T: Send + 'static>(
        &mut self,
        reactor: &Arc<Reactor>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Answer<T>> {
        if self.started < self.most {
            let jobs = Arc::clone(&self.jobs);
            thread::Builder::new().name(self.name.into()).spawn(move || serve(&jobs))?;
            self.started += 1;
        }
        let (answer, waker) = (Answer::default(), Waker::from(Arc::clone(reactor)));
        let to = Arc::clone(&answer);
        let job = move || {
            if Arc::strong_count(&to) > 1 {
                // The work is done before the lock is taken.
                *lock(&to) = Some(work());
                waker.wake_by_ref();
            }
        };
        // The other end is held here, too.
        drop(self.sender.send(Box::new(job)));
        Ok(answer)
    }
}

/// Waits for an answer.
pub(crate) async fn answered<T>(asked: io::Result<Answer<T>>) -> io::Result<T> {
    let answer = asked?;
    Ok(poll_fn(|_| lock(&answer).take().map_or(Poll::Pending, Poll::Ready)).await)
}

fn serve(jobs: &Mutex<Receiver<Job>>) {
    loop {
        // Who waits for a job holds the lock, and no longer; the others wait for that.
        let Ok(job) = lock(jobs).recv() else { return };
        // What panics has no answer, and is given up in time.
        drop(catch_unwind(AssertUnwindSafe(job)));
    }
}

#[cfg(test)]
impl Threads {
    pub(crate) fn started(&self) -> usize {
        self.started
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    fn wait<T>(answer: &Answer<T>, reactor: &Reactor) -> T {
        loop {
            if let Some(done) = lock(answer).take() {
                return done;
            }
            reactor.look();
            reactor.sleep(None, || false).unwrap();
        }
    }

    #[test]
    fn jobs_run_at_once_and_their_answers_wake_the_driver() {
        let reactor = Arc::new(Reactor::new().unwrap());
        reactor.look();
        let mut threads = Threads::new("test", 2);
        let both = Arc::new(Barrier::new(2));
        let answers = [1, 2].map(|number| {
            let both = Arc::clone(&both);
            let job = move || (both.wait(), number).1;
            threads.run(&reactor, job).unwrap()
        });
        assert_eq!(answers.map(|answer| wait(&answer, &reactor)), [1, 2]);
        let third = threads.run(&reactor, || 3).unwrap();
        assert_eq!((wait(&third, &reactor), threads.started), (3, 2));
    }

    #[test]
    fn a_job_that_panics_leaves_its_thread_to_others() {
        let reactor = Arc::new(Reactor::new().unwrap());
        reactor.look();
        let mut threads = Threads::new("test", 1);
        let broken = threads.run(&reactor, || -> u8 { panic!("on purpose") }).unwrap();
        let next = threads.run(&reactor, || 2).unwrap();
        assert_eq!(wait(&next, &reactor), 2);
        assert_eq!(*lock(&broken), None);
    }
}
