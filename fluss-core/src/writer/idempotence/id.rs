//! Writer ids: one request at a time for the whole writer, shared by all its buckets.

use std::collections::BTreeSet;

use super::{Env, IdempotenceManager, Want};
use crate::backoff::Backoff;
use crate::connection::request::RequestError;
use crate::cx::Cx;
use crate::error::{Error, WriteError};
use crate::ids::{BucketKey, WriterId};
use crate::time::Instant;

use super::outcome::Outcome;
use super::session::{Bucket, Once};

/// Where the request for an id stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Asked {
    #[default]
    No,
    Yes,
    /// Failed; not asked again before this moment.
    After(Instant),
}

/// The ids of a writer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ids {
    /// The newest id: any bucket that did not use it may take it.
    pub(super) spare: Option<WriterId>,
    waiting: BTreeSet<BucketKey>,
    asked: Asked,
    failures: Backoff,
}

impl Ids {
    pub(super) fn next_timer(&self) -> Option<Instant> {
        match self.asked {
            Asked::After(at) if !self.waiting.is_empty() => Some(at),
            _ => None,
        }
    }

    /// What is known of a bucket will be forgotten. Should it be written to again, it must not
    /// begin anew with an id that it used: its first batches would look like copies of old ones.
    pub(super) fn forget_used_in(&mut self, bucket: &Bucket) {
        if bucket.last_id == self.spare {
            self.spare = None;
        }
    }
}

impl IdempotenceManager {
    /// Asks for a writer id for this bucket unless that is under way; what `NeedsWriterId` calls
    /// for. The bucket is named by a [`Want::Ready`] once there is one.
    pub(crate) fn want_writer_id(&mut self, cx: &mut Cx<'_>, bucket: BucketKey) {
        if self.closed || !self.config.enabled {
            return;
        }
        self.ids.waiting.insert(bucket);
        self.ask_for_id(cx.now);
    }

    pub(super) fn ask_for_id(&mut self, now: Instant) {
        let due = match self.ids.asked {
            Asked::No => true,
            Asked::Yes => false,
            Asked::After(at) => at <= now,
        };
        if due && !self.ids.waiting.is_empty() {
            self.ids.asked = Asked::Yes;
            self.sink.want(Want::WriterId);
        }
    }

    /// The result of the `InitWriter` that [`Want::WriterId`] asked for. A failure for good
    /// completes the batches of the waiting buckets; any other is repeated after a pause. Batches
    /// that have a stamp are not touched.
    pub(crate) fn handle_writer_id(
        &mut self,
        cx: &mut Cx<'_>,
        result: Result<WriterId, RequestError>,
    ) {
        self.ids.asked = Asked::No;
        if self.closed {
            return;
        }
        match result {
            Ok(id) if id.0 >= 0 => {
                self.ids.spare = Some(id);
                self.ids.failures.reset();
                for bucket in std::mem::take(&mut self.ids.waiting) {
                    self.sink.want(Want::Ready(bucket));
                }
            }
            Ok(_) => self.id_later(cx),
            Err(error) => {
                self.id_later(cx);
                self.fail_all_wrongly(cx);
                if let Some(error) = fatal(error) {
                    self.fail_waiting(cx, &error);
                }
            }
        }
    }

    fn id_later(&mut self, cx: &mut Cx<'_>) {
        self.sink.counters.fired.rule(20);
        let wait = self.ids.failures.next(self.config.retry_backoff, cx.rng);
        self.ids.asked = Asked::After(cx.now + wait);
    }

    fn fail_waiting(&mut self, cx: &mut Cx<'_>, error: &Error) {
        for key in std::mem::take(&mut self.ids.waiting) {
            if let Some(bucket) = self.buckets.get_mut(&key) {
                let mut env = Env {
                    config: &self.config,
                    sink: &mut self.sink,
                    now: cx.now,
                    rng: cx.rng,
                    key,
                };
                // A bucket that waits has no session, hence no stamped batches.
                for held in std::mem::take(&mut bucket.returned) {
                    let outcome = Outcome::Failed(WriteError::NotWritten(error.clone().into()));
                    env.finish(held, outcome);
                }
                self.rearm(key);
            }
            self.sink.want(Want::FailQueued { bucket: key, error: error.clone() });
        }
    }

    /// Whether anything is kept about this bucket.
    pub(crate) fn knows(&self, bucket: BucketKey) -> bool {
        self.buckets.contains_key(&bucket)
    }

    /// Whether this bucket waits for news of its leader before its session is given up.
    pub(crate) fn is_looking(&self, bucket: BucketKey) -> bool {
        self.buckets.get(&bucket).is_some_and(|b| matches!(b.confirm, Once::Until(_)))
    }

    /// Forgets buckets without batches that were idle for longer than `idle_rotate`. Ids they may
    /// have used are not given to them again.
    pub(crate) fn forget_idle(&mut self, now: Instant) {
        let (ids, limit) = (&mut self.ids, self.config.idle_rotate);
        self.buckets.retain(|_, bucket| {
            let idle = bucket.is_idle() && now.saturating_since(bucket.last_activity) > limit;
            if idle {
                ids.forget_used_in(bucket);
            }
            !idle
        });
    }
}

/// The error, if asking again cannot help.
fn fatal(error: RequestError) -> Option<Error> {
    let denied = |e: &Error| matches!(e.code().map(|c| c.0), Some(46 | 48));
    match error {
        RequestError::Rejected { code, message } => {
            let error = Error::Rejected { what: "INIT_WRITER".into(), code, message };
            denied(&error).then_some(error)
        }
        RequestError::Unsupported(error) => Some(error),
        RequestError::NotSent(error) | RequestError::Lost(error) => denied(&error).then_some(error),
    }
}
