//! What becomes of keys when a request ends.

use std::sync::Arc;

use bytes::Bytes;

use super::lane::State;
use super::{Lookups, Sent, request};
use crate::connection::request::RequestError;
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::{BucketKey, CommandId, label_of};
use crate::output::CommandAnswer;

impl Lookups {
    /// The answer to a request, or why there is none.
    pub(crate) fn handle_reply(
        &mut self,
        cx: &mut Cx<'_>,
        token: u64,
        result: Result<Bytes, RequestError>,
    ) {
        let Some(sent) = self.requests.remove(&token) else { return };
        if let Some(entry) = self.servers.get_mut(&sent.server) {
            entry.in_flight = entry.in_flight.saturating_sub(1);
        }
        match result {
            Ok(body) => self.on_answer(cx, &sent, body),
            Err(error) => {
                for (bucket, ids) in &sent.buckets {
                    self.on_failure(cx, &sent, *bucket, ids, &error);
                }
            }
        }
        for (bucket, _) in &sent.buckets {
            let key = sent.group.lane(*bucket);
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.in_flight = lane.in_flight.saturating_sub(1);
                self.prune(key);
            }
        }
        self.wish_flush(cx, sent.server);
        self.prune_server(sent.server);
    }

    fn on_answer(&mut self, cx: &mut Cx<'_>, sent: &Sent, body: Bytes) {
        let Sent { server, group, buckets } = sent;
        let label = label_of(&self.labels, *server);
        let peer = |what: String| Error::Peer { server: label.clone(), what: what.into() };
        let mut answers = match request::decode(group.kind, group.table, body) {
            Ok(answers) => answers,
            Err(what) => {
                let error = peer(what);
                for id in buckets.iter().flat_map(|(_, ids)| ids) {
                    self.done(*id, Err(error.clone()));
                }
                return;
            }
        };
        for (bucket, ids) in buckets {
            let wrong = match answers.remove(bucket) {
                Some(Ok(values)) if values.len() == ids.len() => {
                    if let Some(lane) = self.lanes.get_mut(&group.lane(*bucket)) {
                        lane.succeeded();
                    }
                    self.done_all(ids, values);
                    continue;
                }
                Some(Err((code, message))) => {
                    let error = RequestError::Rejected { code, message };
                    self.on_failure(cx, sent, *bucket, ids, &error);
                    continue;
                }
                Some(Ok(values)) => format!("{} values for {} keys", values.len(), ids.len()),
                None => format!("no answer for {} keys", ids.len()),
            };
            let error = peer(format!("{} of {bucket}: {wrong}", group.kind.api()));
            for id in ids {
                self.done(*id, Err(error.clone()));
            }
        }
    }

    /// A request failed for the keys of one bucket: they wait for another attempt, or end.
    fn on_failure(
        &mut self,
        cx: &mut Cx<'_>,
        sent: &Sent,
        bucket: BucketKey,
        ids: &[CommandId],
        error: &RequestError,
    ) {
        if !is_worth_repeating(error) {
            for id in ids {
                if let Some(key) = self.keys.get(*id) {
                    let error = error_for(&self.text_of(*id, key), error);
                    self.done(*id, Err(error));
                }
            }
            return;
        }
        let key = sent.group.lane(bucket);
        let any = |id: &CommandId| Some((*id, self.keys.get(*id)?));
        let Some((id, any)) = ids.iter().find_map(any) else { return };
        let why = error_for(&self.text_of(id, any), error);
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        lane.last = Some(why);
        for id in ids {
            if let Some(key) = self.keys.value_mut(*id) {
                key.waits = true;
                self.waiting += 1;
                lane.wait(*id);
            }
        }
        lane.awaited = true;
        match lane.state {
            // The bucket has found another leader meanwhile, or waits already.
            State::Ready(server) if server != sent.server => {}
            State::Paused(_) | State::Leaderless | State::Unresolved => {}
            State::Idle | State::Ready(_) => self.pause(cx, key),
        }
    }

    /// Ends keys with their values, in one go.
    fn done_all(&mut self, ids: &[CommandId], values: Vec<CommandAnswer>) {
        for (id, value) in ids.iter().zip(values) {
            if self.take(*id) {
                self.found.push((*id, value));
            }
        }
        self.deadlines.tidy(&self.keys);
    }
}

fn is_worth_repeating(error: &RequestError) -> bool {
    match error {
        RequestError::Rejected { code, .. } => code.is_retriable(),
        RequestError::NotSent(error) => !error.is_final(),
        RequestError::Lost(_) => true,
        RequestError::Unsupported(_) => false,
    }
}

fn error_for(what: &Arc<str>, error: &RequestError) -> Error {
    match error {
        RequestError::Rejected { code, message } => {
            Error::Rejected { what: Arc::clone(what), code: *code, message: Arc::clone(message) }
        }
        RequestError::NotSent(error)
        | RequestError::Lost(error)
        | RequestError::Unsupported(error) => error.clone(),
    }
}
