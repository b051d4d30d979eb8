//! From a request to its answer, with the faults in between.

use bytes::{Bytes, BytesMut};
use fluss_proto::message::{
    ApiVersionsResponse, AuthenticateRequest, AuthenticateResponse, FetchLogRequest,
    GetFileSystemSecurityTokenRequest, InitWriterRequest, InitWriterResponse, LookupRequest,
    PbApiVersion, ProduceLogRequest, PutKvRequest, ScanKvRequest,
};
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, decode_varint, skip_field};

use super::api::{self, code, key};
use super::conn::{self, Outcome, Request};
use super::scan_kv::Sessions;
use super::{Answer, Failure, FakeCluster, Fault, Timer, shape, words};
use crate::ids::{BucketKey, ConnId, PartitionId, ServerId, TableId};

/// Codes that a server answers for a whole request, never for one bucket.
const WHOLE_REQUEST: [i32; 5] = [18, 46, 48, 65, 70];

/// What an answer needs besides its content.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplyTo {
    pub(super) conn: ConnId,
    pub(super) id: i32,
    pub(super) fault: Option<Fault>,
}

impl FakeCluster {
    /// A request has come in: it is processed, or waits behind one that is held back.
    pub(super) fn arrive(&mut self, conn: ConnId, mut request: Request) {
        let Some(state) = self.conns.get_mut(&conn).filter(|state| !state.closing) else { return };
        request.fault = self.faults.draw(request.api);
        if state.held_until.is_some() {
            state.queue.push_back(request);
            return;
        }
        if let Some(fault @ Fault::DelayRequest(delay)) = request.fault {
            let until = self.now + delay;
            state.held_until = Some(until);
            request.fault = None;
            state.queue.push_back(request);
            self.faults.fired(fault);
            self.set_timer(until, Timer::Resume(conn));
            return;
        }
        self.process(conn, request);
    }

    /// Processes what was held back, also when the client is gone: servers do that.
    pub(super) fn resume(&mut self, conn: ConnId) {
        if let Some(state) = self.conns.get_mut(&conn) {
            state.held_until = None;
        }
        while let Some(state) = self.conns.get_mut(&conn) {
            let Some(request) = state.queue.pop_front() else { break };
            self.process(conn, request);
        }
        if self.conns.get(&conn).is_some_and(|state| !state.open) {
            self.conns.remove(&conn);
        }
    }

    fn process(&mut self, conn: ConnId, mut request: Request) {
        let Some(server) = self.conns.get(&conn).map(|state| state.server) else { return };
        if let Some(fault) = request.fault
            && self.before(conn, server, &request, fault)
        {
            return;
        }
        let reply = ReplyTo { conn, id: request.id, fault: request.fault };
        let coordinator = self.is_coordinator(server);
        if !api::served(request.api, coordinator, self.options.release)
            || !shape::complete(request.api, &request.body)
        {
            return;
        }
        if let Some(failure) = self.refuses_all(conn, &mut request) {
            return self.respond(reply, Outcome::Refused(failure), false);
        }
        match request.api {
            key::PRODUCE_LOG => self.produce(reply, server, request.body),
            key::PUT_KV => self.put(reply, server, request.version, request.body),
            key::FETCH_LOG => self.fetch(reply, server, request.body),
            key::LOOKUP if inserts(&request.body) => {
                let Ok(lookup) = LookupRequest::decode(request.body) else { return };
                self.lookup_or_insert(reply, server, request.version, lookup);
            }
            _ => {
                let outcome = self.execute(conn, server, &request);
                let outcome = match (request.fault, outcome) {
                    (Some(fault @ Fault::ErrorAfter(code)), Outcome::Answer(_)) => {
                        self.faults.fired(fault);
                        Outcome::Refused(Failure::new(code, "injected after the request"))
                    }
                    (_, outcome) => outcome,
                };
                self.respond(reply, outcome, false);
            }
        }
    }

    /// Faults that come before the request is looked at; true if they end it.
    fn before(&mut self, conn: ConnId, server: ServerId, request: &Request, fault: Fault) -> bool {
        match fault {
            Fault::CutRequest => self.cut(conn),
            Fault::DropRequest => {}
            Fault::Silence => {
                if let Some(state) = self.conns.get_mut(&conn) {
                    state.silent = true;
                }
            }
            Fault::RestartClean => self.restart(server, true),
            Fault::RestartUnclean => self.restart(server, false),
            Fault::MoveLeader | Fault::ExpireWriters | Fault::RecreateTable => {
                let Some(bucket) = first_bucket(request, &self.sessions) else { return false };
                let done = match fault {
                    Fault::MoveLeader => self.move_leader(bucket, None).is_some(),
                    Fault::ExpireWriters => self.expire_writers(bucket),
                    _ => self.recreate_table(bucket.table),
                };
                if done {
                    self.faults.fired(fault);
                }
                return false;
            }
            _ => return false,
        }
        self.faults.fired(fault);
        true
    }

    /// An answer to the request as a whole: authentication, rights, and injected request-level
    /// codes.
    fn refuses_all(&mut self, conn: ConnId, request: &mut Request) -> Option<Failure> {
        let handshake = matches!(request.api, key::API_VERSIONS | key::AUTHENTICATE);
        if !handshake && self.conns.get(&conn).is_some_and(|state| !state.authenticated) {
            return Some(Failure::new(code::AUTHENTICATION, words::NOT_AUTHENTICATED));
        }
        if let Err(failure) = self.authorize_request(conn, request) {
            return Some(failure);
        }
        let fault = request.fault?;
        let refusal = fault.refusal(request.version)?;
        let whole = !matches!(
            request.api,
            key::PRODUCE_LOG
                | key::PUT_KV
                | key::FETCH_LOG
                | key::LOOKUP
                | key::PREFIX_LOOKUP
                | key::SCAN_KV
        );
        if !whole && !WHOLE_REQUEST.contains(&refusal) {
            return None;
        }
        self.faults.fired(fault);
        Some(Failure::new(refusal, "injected"))
    }

    fn execute(&mut self, conn: ConnId, server: ServerId, request: &Request) -> Outcome {
        let body = request.body.clone();
        let of_keys = (request.version, request.fault);
        match request.api {
            key::API_VERSIONS => Outcome::Answer(self.versions_answer(server)),
            key::AUTHENTICATE => reply(body, |q| self.authenticate(conn, &q)),
            key::CREATE_DATABASE => reply(body, |q| self.create_database(q)),
            key::DROP_DATABASE => reply(body, |q| self.drop_database(&q)),
            key::CREATE_TABLE => reply(body, |q| self.create_table(&q)),
            key::DROP_TABLE => reply(body, |q| self.drop_table(&q)),
            key::ALTER_TABLE => reply(body, |q| self.alter_table(&q)),
            key::CREATE_PARTITION => reply(body, |q| self.create_partition(&q)),
            key::DROP_PARTITION => reply(body, |q| self.drop_partition(&q)),
            key::LIST_DATABASES => reply(body, |q| self.list_databases(conn, q)),
            key::DATABASE_EXISTS => reply(body, |q| self.database_exists(&q)),
            key::GET_DATABASE_INFO => reply(body, |q| self.database_info(&q)),
            key::GET_TABLE_INFO => reply(body, |q| self.table_info(&q)),
            key::GET_TABLE_SCHEMA => reply(body, |q| self.table_schema(&q)),
            key::LIST_TABLES => reply(body, |q| self.list_tables(conn, &q)),
            key::TABLE_EXISTS => reply(body, |q| self.table_exists(&q)),
            key::LIST_PARTITION_INFOS => reply(body, |q| self.list_partitions(&q)),
            key::GET_METADATA => reply(body, |q| self.metadata(conn, server, &q)),
            key::INIT_WRITER => reply(body, |q| self.init_writer(request.fault, &q)),
            key::LIST_OFFSETS => reply(body, |q| self.list_offsets(server, &q)),
            key::LIMIT_SCAN => reply(body, |q| self.limit_scan(server, &q)),
            key::GET_TABLE_STATS => reply(body, |q| self.table_stats(server, &q)),
            key::CREATE_ACLS => reply(body, |q| self.create_acls(conn, q)),
            key::DROP_ACLS => reply(body, |q| self.drop_acls(conn, &q)),
            key::LOOKUP => match LookupRequest::decode(body) {
                Ok(q) => match self.lookup(conn, server, of_keys, &q) {
                    Ok(answer) => Outcome::Answer(answer),
                    Err(failure) => Outcome::Refused(failure),
                },
                Err(_) => Outcome::Dropped,
            },
            key::PREFIX_LOOKUP => reply(body, |q| self.prefix_lookup(conn, server, of_keys, &q)),
            key::SCAN_KV => reply(body, |q| self.scan_kv(conn, server, request.fault, &q)),
            key::GET_FILESYSTEM_SECURITY_TOKEN => {
                reply(body, |_: GetFileSystemSecurityTokenRequest| Ok(self.security_token()))
            }
            _ => Outcome::Dropped,
        }
    }

    /// Sends an answer, unless a fault has other plans for it. `applied`: a write had an effect.
    pub(super) fn respond(&mut self, to: ReplyTo, outcome: Outcome, applied: bool) {
        let frame = match outcome {
            Outcome::Answer(frame) => conn::success(to.id, frame),
            Outcome::Refused(failure) => conn::refused(to.id, &failure),
            Outcome::Dropped => return,
        };
        let Some(fault) = to.fault else { return self.push(to.conn, frame) };
        let mut lost = true;
        match fault {
            Fault::LoseAnswer => self.cut(to.conn),
            Fault::CutAnswer => {
                let keep = 1 + self.faults.below(frame.len() as u64 - 1) as usize;
                self.push(to.conn, frame.slice(..keep));
                self.cut(to.conn);
            }
            Fault::SwallowAnswer => {}
            Fault::GarbageBody => self.push(to.conn, conn::rubbish(to.id)),
            Fault::GarbageFrame => self.push(to.conn, conn::nonsense(to.id)),
            Fault::DelayAnswer(delay) => {
                lost = false;
                self.set_timer(self.now + delay, Timer::Send(to.conn, frame));
            }
            Fault::UnaskedAnswer => {
                lost = false;
                self.push(to.conn, conn::rubbish(to.id.wrapping_add(1000)));
                self.push(to.conn, frame);
            }
            Fault::DuplicateAnswer => {
                lost = false;
                self.push(to.conn, frame.clone());
                self.push(to.conn, frame);
            }
            _ => return self.push(to.conn, frame),
        }
        self.faults.fired(fault);
        self.lost_writes += u64::from(lost && applied);
    }

    fn is_coordinator(&self, server: ServerId) -> bool {
        server == ServerId::Coordinator
    }

    /// Each connection begins with this question, so the usual answers are kept.
    fn versions_answer(&mut self, server: ServerId) -> BytesMut {
        if self.offers.is_some() || self.offers_of.contains_key(&server) {
            return Outcome::encode(&self.api_versions(server));
        }
        let kind = usize::from(self.is_coordinator(server));
        if self.usual_offers[kind].is_empty() {
            self.usual_offers[kind] = Outcome::encode(&self.api_versions(server));
        }
        self.usual_offers[kind].clone()
    }

    fn api_versions(&self, server: ServerId) -> ApiVersionsResponse {
        let coordinator = self.is_coordinator(server);
        let entry = |(key, highest): (i16, i16)| PbApiVersion {
            api_key: key.into(),
            min_version: 0,
            max_version: highest.into(),
        };
        let versions = match self.offers_of.get(&server).or(self.offers.as_ref()) {
            Some(offers) => offers.clone(),
            None => api::versions(coordinator, self.options.release),
        };
        ApiVersionsResponse {
            api_versions: versions.into_iter().map(entry).collect(),
            server_type: Some(if coordinator { 1 } else { 2 }),
        }
    }

    fn authenticate(
        &mut self,
        conn: ConnId,
        request: &AuthenticateRequest,
    ) -> Answer<AuthenticateResponse> {
        let refuse = |message: String| Failure::new(code::AUTHENTICATION, message);
        let state = self.conns.get_mut(&conn).ok_or_else(|| refuse("no connection".to_owned()))?;
        let protocol = &*request.protocol;
        if self.options.users.is_empty() {
            return if protocol.eq_ignore_ascii_case("PLAINTEXT") {
                Ok(AuthenticateResponse { challenge: None })
            } else {
                Err(refuse(words::other_protocol(protocol)))
            };
        }
        if !protocol.eq_ignore_ascii_case("PLAIN") {
            return Err(refuse(words::other_mechanism(protocol)));
        }
        if state.authenticated {
            return Ok(AuthenticateResponse { challenge: None });
        }
        if protocol != "PLAIN" {
            return Err(Failure::new(code::UNKNOWN, words::no_such_mechanism(protocol)));
        }
        let user = logged_in(&self.options.users, &request.token).map_err(refuse)?;
        state.authenticated = true;
        state.user = user;
        Ok(AuthenticateResponse { challenge: Some(Bytes::new()) })
    }

    fn init_writer(
        &mut self,
        fault: Option<Fault>,
        _: &InitWriterRequest,
    ) -> Answer<InitWriterResponse> {
        if let Some(fault @ Fault::WriterId(writer_id)) = fault {
            self.faults.fired(fault);
            return Ok(InitWriterResponse { writer_id });
        }
        let writer_id = self.catalog.next_writer_id;
        self.catalog.next_writer_id += 1;
        Ok(InitWriterResponse { writer_id })
    }
}

/// Whose token of the mechanism PLAIN this is, or what is wrong with it.
fn logged_in(users: &[(String, String)], token: &[u8]) -> Result<String, String> {
    let parts: Vec<&[u8]> = token.split(|&byte| byte == 0).collect();
    let [identity, user, password] = parts[..] else {
        return Err(words::other_tokens(parts.len()));
    };
    if user.is_empty() {
        return Err(words::NO_USER.to_owned());
    }
    if password.is_empty() {
        return Err(words::NO_PASSWORD.to_owned());
    }
    let is = |(name, secret): &&(String, String)| {
        name.as_bytes() == user && secret.as_bytes() == password
    };
    let (name, _) = users.iter().find(is).ok_or(words::WRONG_PASSWORD)?;
    if !identity.is_empty() && identity != user {
        return Err(words::OTHER_IDENTITY.to_owned());
    }
    Ok(name.clone())
}

/// Decodes a request, lets `handle` answer it and encodes the answer.
fn reply<Q, A>(body: Bytes, handle: impl FnOnce(Q) -> Answer<A>) -> Outcome
where
    Q: Message + Default,
    A: Message,
{
    match Q::decode(body) {
        Ok(request) => match handle(request) {
            Ok(answer) => Outcome::answer(&answer),
            Err(failure) => Outcome::Refused(failure),
        },
        Err(_) => Outcome::Dropped,
    }
}

/// The first bucket a request names, for faults that need one.
fn first_bucket(request: &Request, sessions: &Sessions) -> Option<BucketKey> {
    let body = request.body.clone();
    let key = |table, partition: Option<i64>, bucket| BucketKey {
        table: TableId(table),
        partition: partition.map(PartitionId),
        bucket,
    };
    match request.api {
        key::PRODUCE_LOG => {
            let request = ProduceLogRequest::decode(body).ok()?;
            let bucket = request.buckets_req.first()?;
            Some(key(request.table_id, bucket.partition_id, bucket.bucket_id))
        }
        key::PUT_KV => {
            let request = PutKvRequest::decode(body).ok()?;
            let bucket = request.buckets_req.first()?;
            Some(key(request.table_id, bucket.partition_id, bucket.bucket_id))
        }
        key::FETCH_LOG => {
            let request = FetchLogRequest::decode(body).ok()?;
            let table = request.tables_req.first()?;
            let bucket = table.buckets_req.first()?;
            Some(key(table.table_id, bucket.partition_id, bucket.bucket_id))
        }
        key::LOOKUP => {
            let request = LookupRequest::decode(body).ok()?;
            let bucket = request.buckets_req.first()?;
            Some(key(request.table_id, bucket.partition_id, bucket.bucket_id))
        }
        key::SCAN_KV => {
            let request = ScanKvRequest::decode(body).ok()?;
            if let Some(id) = &request.scanner_id {
                return sessions.bucket(id);
            }
            let bucket = request.bucket_scan_req?;
            Some(key(bucket.table_id, bucket.partition_id, bucket.bucket_id))
        }
        _ => None,
    }
}

/// Whether a LOOKUP is to insert the rows that are not there. Its keys are passed over: most do
/// not, and clients are measured against this server.
pub(super) fn inserts(mut body: &[u8]) -> bool {
    const INSERT_IF_NOT_EXISTS: u32 = 3;
    let context = DecodeContext::default();
    while let Ok((tag, wire)) = decode_key(&mut body) {
        if tag == INSERT_IF_NOT_EXISTS {
            return decode_varint(&mut body) == Ok(1);
        }
        if skip_field(wire, tag, &mut body, context.clone()).is_err() {
            break;
        }
    }
    false
}
