//! Bytes for a socket: what waits in the outbox first, then what is bound late.
//!
//! Writes, fetches and lookups are put into a request only when the socket can take it. While it
//! cannot, batches keep filling and keys keep gathering instead of queueing behind each other.

use bytes::Bytes;
use fluss_proto::header::RequestHeader;
use fluss_proto::segments::Segments;

use super::Client;
use crate::connection::request::{Outgoing, Owner, Reply, RequestError};
use crate::cx::Cx;
use crate::error::Error;
use crate::ids::{ConnId, ServerId};
use crate::time::Instant;

impl Client {
    pub(super) fn transmit(&mut self, conn: ConnId, now: Instant) -> Option<Segments> {
        self.step(now, |client, cx| {
            if let Some(frame) = client.connections.poll_transmit(cx, conn) {
                return Some(frame);
            }
            let server = client.connections.server_of(conn)?;
            if !client.connections.is_ready(server) {
                return None;
            }
            client
                .transmit_lookup(cx, conn, server)
                .or_else(|| client.transmit_write(cx, conn, server))
                .or_else(|| client.transmit_fetch(cx, conn, server))
        })
    }

    fn transmit_write(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        server: ServerId,
    ) -> Option<Segments> {
        let draft = self.writers.poll_request(cx, server, conn)?;
        let deadline = cx.now + cx.config.request_deadline;
        let owner = Owner::Write(draft.token);
        match self.connections.begin(cx, conn, draft.api, owner, deadline) {
            Ok(begun) => match draft.encode(begun, cx.config.ack_timeout) {
                Ok(segments) => Some(segments),
                // It would not fit the next time either, nor suit the version that is spoken here.
                Err(error) => {
                    self.connections.withdraw(conn, begun);
                    self.refuse_late(cx, server, owner, RequestError::Unsupported(error))
                }
            },
            Err(error) => self.refuse_late(cx, server, owner, error),
        }
    }

    /// Ends a request that could not be put together. Others may stand in line behind it, and
    /// nothing else would make the adapter come back for them.
    fn refuse_late(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        owner: Owner,
        error: RequestError,
    ) -> Option<Segments> {
        self.route(cx, Reply { owner, result: Err(error) });
        self.connections.want_flush(cx, server);
        None
    }

    fn transmit_fetch(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        server: ServerId,
    ) -> Option<Segments> {
        let request = self.scanners.poll_request(cx, server)?;
        self.transmit_small(cx, conn, server, request)
    }

    fn transmit_lookup(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        server: ServerId,
    ) -> Option<Segments> {
        let request = self.lookups.poll_request(cx, server)?;
        self.transmit_small(cx, conn, server, request)
    }

    /// Registers and frames a request whose body is encoded already.
    fn transmit_small(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        server: ServerId,
        request: Outgoing,
    ) -> Option<Segments> {
        let Outgoing { api, body, owner, deadline } = request;
        let begun = match self.connections.begin(cx, conn, api, owner, deadline) {
            Ok(begun) => begun,
            Err(error) => return self.refuse_late(cx, server, owner, error),
        };
        let header = RequestHeader {
            api_key: api.number(),
            api_version: begun.version,
            request_id: begun.request_id,
        };
        match header.to_wire(body.len()) {
            Ok(head) => {
                let mut segments = Segments::from(Bytes::copy_from_slice(&head));
                segments.push(body);
                Some(segments)
            }
            Err(e) => {
                self.connections.withdraw(conn, begun);
                let error = RequestError::Unsupported(Error::misuse(format!("{api}: {e}")));
                self.refuse_late(cx, server, owner, error)
            }
        }
    }
}
