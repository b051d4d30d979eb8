//! What the rest of the client tells the writers: where leaders are, who is out of reach, what is
//! gone.

use bytes::Bytes;
use fluss_proto::ApiKey;
use fluss_proto::message::{InitWriterRequest, InitWriterResponse, PbTablePath};
use prost::Message;

use super::{Wish, Writers};
use crate::connection::request::{Outgoing, Owner, RequestError};
use crate::cx::Cx;
use crate::error::{Error, WriteError};
use crate::ids::{BucketKey, ServerId, WriterId, WriterKey};
use crate::metadata::{Cluster, Described};
use crate::output::BatchOutcome;

/// Writer ids remembered; the lowest, mostly the oldest, are forgotten first.
const IDS_KEPT: usize = 1 << 16;

impl Writers {
    /// The picture of the cluster changed: leaders may be known, or may have moved.
    /// `described` is what the newest answers were about.
    pub(crate) fn handle_metadata(
        &mut self,
        cx: &mut Cx<'_>,
        cluster: &Cluster,
        described: &Described,
    ) {
        self.partitions.handle_metadata(cluster);
        let keys: Vec<WriterKey> = self.writers.keys().copied().collect();
        for key in keys {
            if let Some(writer) = self.changing(key) {
                writer.sender.handle_metadata(cx, cluster, described);
            }
            self.settle(key);
        }
    }

    /// Nothing new was learnt: who waits for a leader asks for it again.
    pub(crate) fn ask_again(&mut self) {
        let keys: Vec<WriterKey> = self.writers.keys().copied().collect();
        for key in keys {
            if let Some(writer) = self.changing(key) {
                writer.sender.touch_without_leader();
            }
        }
    }

    /// The answer to the request for a writer id.
    pub(crate) fn handle_writer_id(
        &mut self,
        cx: &mut Cx<'_>,
        key: WriterKey,
        result: Result<Bytes, RequestError>,
    ) {
        let result = result.and_then(|body| self.read_id(body));
        let Some(writer) = self.changing(key) else { return };
        writer.sender.manager.handle_writer_id(cx, result);
        writer.sender.touch_waiting_for_id();
        self.settle(key);
    }

    /// The id in an answer. One that names none reads as 0, which is the id of some other client's
    /// writer: servers would take a first batch under it for that one's, and call it written.
    fn read_id(&mut self, body: Bytes) -> Result<WriterId, RequestError> {
        let unread = |what: String| {
            let (server, what) = ("cluster".into(), format!("INIT_WRITER: {what}").into());
            RequestError::Lost(Error::Peer { server, what })
        };
        if body.is_empty() {
            return Err(unread("an answer without a writer id".to_owned()));
        }
        let answer = InitWriterResponse::decode(body).map_err(|e| unread(e.to_string()))?;
        self.new_id(answer.writer_id)
    }

    /// An id that no writer of this client had before. Under one that was given out twice the
    /// servers would take a new batch for an old one, and call it written.
    fn new_id(&mut self, id: i64) -> Result<WriterId, RequestError> {
        // Those below 0 are none; the writer says so.
        if id >= 0 && !self.ids.insert(id) {
            let what = format!("INIT_WRITER: the writer id {id} was given to this client before");
            let server = "cluster".into();
            return Err(RequestError::Lost(Error::Peer { server, what: what.into() }));
        }
        if self.ids.len() > IDS_KEPT {
            self.ids.pop_first();
        }
        Ok(WriterId(id))
    }

    /// The request for a writer id.
    pub(crate) fn init_writer_request(&self, cx: &Cx<'_>, key: WriterKey) -> Option<Outgoing> {
        let path = &self.writers.get(&key)?.path;
        let request = InitWriterRequest {
            table_path: vec![PbTablePath {
                database_name: path.database.to_string(),
                table_name: path.table.to_string(),
            }],
        };
        Some(Outgoing {
            api: ApiKey::InitWriter,
            body: request.encode_to_vec().into(),
            owner: Owner::InitWriter(key),
            deadline: cx.now + cx.config.request_deadline,
        })
    }

    /// Why nothing can be sent; told with batches that were never sent.
    pub(crate) fn note_trouble(&mut self, error: &Error) {
        self.trouble = Some(error.clone());
    }

    /// A server cannot be reached: whoever stands in its line looks for another leader.
    pub(crate) fn handle_unreachable(&mut self, server: ServerId, error: &Error) {
        self.note_trouble(error);
        for writer in self.writers.values_mut() {
            let left = writer.sender.leave_line(server);
            self.wishes.extend(left.into_iter().map(|b| Wish::Refresh(b, None)));
        }
    }

    /// A table or partition is gone: all its batches end.
    pub(crate) fn handle_gone(
        &mut self,
        cx: &mut Cx<'_>,
        gone: impl Fn(&BucketKey) -> bool,
        error: &Error,
    ) {
        let keys: Vec<WriterKey> = self.writers.keys().copied().collect();
        for key in keys {
            let Some(writer) = self.changing(key) else { continue };
            for bucket in writer.sender.buckets().filter(|b| gone(b)).collect::<Vec<_>>() {
                writer.sender.with_manager(bucket, |manager, _| {
                    manager.handle_bucket_gone(cx, bucket, error);
                });
            }
            self.settle(key);
            self.fail_queued(key, &gone, error);
            if let Some(writer) = self.writers.get_mut(&key) {
                writer.sender.forget(&gone);
            }
        }
    }

    pub(super) fn fail_queued(
        &mut self,
        key: WriterKey,
        which: impl Fn(&BucketKey) -> bool,
        error: &Error,
    ) {
        let queued = self.writers.get(&key).map(|w| w.sender.queued()).unwrap_or_default();
        for (bucket, rank) in queued.into_iter().filter(|(bucket, _)| which(bucket)) {
            if let Some(writer) = self.changing(key) {
                writer.sender.queue(bucket).remove(rank);
                writer.sender.touch(bucket);
            }
            let error = WriteError::NotWritten(error.clone().into());
            self.finish(rank.batch, BatchOutcome::Failed(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, WriterConfig};
    use crate::ids::TablePath;
    use crate::rng::Rng;
    use crate::time::Instant;
    use crate::writer::WriterKind;

    #[test]
    fn an_answer_that_names_no_writer_id_gives_none() {
        let config = Config::new("a:1").expect("valid");
        let mut rng = Rng::new(1);
        let cx = &mut Cx { now: Instant::ZERO, rng: &mut rng, config: &config };
        let mut writers = Writers::new(1 << 20);
        let path = TablePath::new("shop", "events");
        let key = writers.open_writer(cx, path, WriterKind::Append, WriterConfig::default());
        let key = key.expect("sound settings");
        // The id 0, as the first writer of a cluster gets it, is told.
        for (body, ids) in [(&b""[..], 0), (&[8, 0], 1), (b"", 1), (&[8, 5], 2)] {
            writers.handle_writer_id(cx, key, Ok(Bytes::from_static(body)));
            assert_eq!(writers.ids.len(), ids, "{body:?}");
        }
    }
}
