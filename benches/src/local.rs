//! A client on a thread of its own whose server is a function call: batches are acknowledged the
//! moment they are handed over, and nobody reads their rows.
//!
//! It shows what writing costs up to there. A socket would cost as much again, on a processor that
//! the writers want too.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant as Wall;

use bytes::{Buf, Bytes, BytesMut};
use fluss_core::config::Config;
use fluss_core::ids::{Address, ConnId, ServerId};
use fluss_core::testing::cluster::FakeCluster;
use fluss_core::{ApiKey, Clock, Driver, Fluss, FrameReader, Instant, Net, Sleep, Socket};
use fluss_proto::message::{
    PbProduceLogRespForBucket, PbPutKvRespForBucket, ProduceLogResponse, PutKvResponse,
};
use fluss_proto::request::{self, encode_request};
use prost::Message;

use crate::fake;

/// Pieces of a request from this length on are the rows of a batch. Batches that are shorter come
/// with the rest.
const PAYLOAD: usize = 4 << 10;
/// Length, API, version and id of a request.
const HEAD: usize = 12;
/// The header of a batch of a log, and of one with keys: up to there a piece is copied.
const LOG_ROWS: usize = 44;
const KV_ROWS: usize = 24;

/// A client of such a server, with the tables of [`fake::cluster`]. Its thread ends when it is
/// closed or dropped.
///
/// # Panics
/// If the client refuses its settings.
#[must_use]
pub fn start(buckets: u32, settings: impl FnOnce(Config) -> Config) -> Fluss {
    start_with(fake::cluster(buckets), settings)
}

/// The same with a cluster that may hold something to read. What is written to it by this client is
/// not kept.
///
/// # Panics
/// If the client refuses its settings.
#[must_use]
pub fn start_with(cluster: FakeCluster, settings: impl FnOnce(Config) -> Config) -> Fluss {
    let (config, net, clock) = parts(cluster);
    let (fluss, driver) = Fluss::new(settings(config), net, clock, Sleep).expect("sound settings");
    thread::spawn(move || drive(driver));
    fluss
}

/// What a client of such a server is made of.
pub(crate) fn parts(cluster: FakeCluster) -> (Config, Local, Line) {
    let address = cluster.address(ServerId::Coordinator).expect("a coordinator").clone();
    let clock = Line(Wall::now());
    let net = Local { cluster: Arc::new(Mutex::new(cluster)), clock, armed: None };
    (Config::with_addresses(vec![address]), net, clock)
}

fn drive(mut driver: Driver<Local>) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    while Pin::new(&mut driver).poll(&mut Context::from_waker(&waker)).is_pending() {
        let (now, armed) = (driver.net().now(), driver.net().armed);
        match armed {
            Some(at) => thread::park_timeout(at.saturating_since(now)),
            None => thread::park(),
        }
    }
}

/// Whether the driver was called since somebody looked: for one that shares the caller's thread.
#[derive(Default)]
pub(crate) struct Called(pub(crate) AtomicBool);

impl Wake for Called {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Has the servers take a request before there is a client: what is to be read is stored with it.
///
/// # Panics
/// If no tablet server is up, or the request is too large.
pub fn store<R: request::Request>(cluster: &mut FakeCluster, request: &R) {
    let frame = encode_request(0, 0, request).expect("not too large");
    let conn = cluster.open(ServerId::Tablet(0)).expect("it is up");
    cluster.handle_bytes(conn, &frame, Instant::ZERO);
    while cluster.poll_output(conn).is_some() {}
    cluster.close(conn);
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Line(Wall);

impl Clock for Line {
    fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }

    fn process(&self) -> u32 {
        std::process::id()
    }

    fn thread(&self) -> u64 {
        thread_local!(static HERE: u8 = const { 0 });
        HERE.with(|here| std::ptr::from_ref(here).addr() as u64)
    }
}

pub(crate) struct Local {
    cluster: Arc<Mutex<FakeCluster>>,
    clock: Line,
    armed: Option<Instant>,
}

fn lock(cluster: &Mutex<FakeCluster>) -> MutexGuard<'_, FakeCluster> {
    cluster.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Net for Local {
    type Socket = Pipe;

    fn connect(
        &mut self,
        address: Address,
    ) -> Pin<Box<dyn Future<Output = io::Result<Pipe>> + Send>> {
        let mut cluster = lock(&self.cluster);
        let server = cluster.servers().find(|server| cluster.address(*server) == Some(&address));
        let pipe = server.and_then(|server| cluster.open(server)).map(|conn| Pipe {
            cluster: Arc::clone(&self.cluster),
            clock: self.clock,
            conn,
            request: Request::default(),
            answers: VecDeque::new(),
            offset: 0,
        });
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        Box::pin(std::future::ready(pipe.ok_or_else(refused)))
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn poll_timer(&mut self, _: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        self.armed = at;
        match at {
            Some(at) if at <= self.clock.now() => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

/// A request on its way: what is copied of it, and the rows that are left out.
#[derive(Default)]
struct Request {
    bytes: BytesMut,
    /// Where rows were left out of the bytes, and how many bytes of them.
    gaps: VecDeque<(usize, usize)>,
}

impl Request {
    /// The bytes of the whole request, if its length is known.
    fn length(&self) -> Option<usize> {
        let length = self.bytes.first_chunk::<4>()?;
        Some(4 + u32::from_be_bytes(*length) as usize)
    }

    /// The bytes that came so far.
    fn came(&self) -> usize {
        self.bytes.len() + self.gaps.iter().map(|(_, left_out)| left_out).sum::<usize>()
    }

    fn is_write(&self) -> bool {
        let api = self.bytes.get(4..6).map(|api| i16::from_be_bytes([api[0], api[1]]));
        [ApiKey::ProduceLog, ApiKey::PutKv].iter().any(|write| api == Some(write.number()))
    }
}

pub(crate) struct Pipe {
    cluster: Arc<Mutex<FakeCluster>>,
    clock: Line,
    conn: ConnId,
    request: Request,
    answers: VecDeque<Bytes>,
    offset: i64,
}

impl Pipe {
    /// Takes a piece, of which no more than one request is a part.
    fn take(&mut self, piece: &[u8]) {
        let request = &mut self.request;
        match piece.len() >= PAYLOAD && request.is_write() {
            true => request.gaps.push_back((request.bytes.len(), piece.len())),
            false => request.bytes.extend_from_slice(piece),
        }
        if request.length() == Some(request.came()) {
            let request = std::mem::take(request);
            match request.is_write() {
                true => self.acknowledge(request),
                false => {
                    let now = self.clock.now();
                    lock(&self.cluster).handle_bytes(self.conn, &request.bytes, now);
                }
            }
        }
    }

    fn acknowledge(&mut self, request: Request) {
        let api = i16::from_be_bytes([request.bytes[4], request.bytes[5]]);
        let mut answer = BytesMut::zeroed(9);
        answer[5..9].copy_from_slice(&request.bytes[8..HEAD]);
        if api == ApiKey::ProduceLog.number() {
            let buckets_resp = batches(request, 4, LOG_ROWS).into_iter().map(|(bucket, rows)| {
                let base_offset = Some(self.offset);
                self.offset += rows;
                PbProduceLogRespForBucket { bucket_id: bucket, base_offset, ..Default::default() }
            });
            let message = ProduceLogResponse { buckets_resp: buckets_resp.collect() };
            message.encode_raw(&mut answer);
        } else {
            let buckets_resp = batches(request, 5, KV_ROWS).into_iter().map(|(bucket, rows)| {
                self.offset += rows;
                let log_end_offset = Some(self.offset);
                PbPutKvRespForBucket { bucket_id: bucket, log_end_offset, ..Default::default() }
            });
            let message = PutKvResponse { buckets_resp: buckets_resp.collect() };
            message.encode_raw(&mut answer);
        }
        let length = answer.len() as u32 - 4;
        answer[..4].copy_from_slice(&length.to_be_bytes());
        self.answers.push_back(answer.freeze());
    }
}

/// The buckets that a request names in this field of its message, and the rows for each of them,
/// whose number stands at this place of a batch.
fn batches(request: Request, field: u64, rows_at: usize) -> Vec<(i32, i64)> {
    let Request { bytes, mut gaps } = request;
    let end = bytes.len();
    let mut rest = bytes.freeze();
    rest.advance(HEAD);
    let mut found: Vec<(i32, i64)> = Vec::new();
    while rest.has_remaining() {
        let key = varint(&mut rest);
        match (key >> 3, key & 7) {
            // The message for a bucket is read as a part of the whole: within it, 2 is the bucket
            // and 3 the batch.
            (number, 2) if number == field => {
                varint(&mut rest);
                let mut bucket = 0;
                loop {
                    let key = varint(&mut rest);
                    match (key >> 3, key & 7) {
                        (2, 0) => bucket = varint(&mut rest) as i32,
                        (3, 2) => break,
                        _ => drop(varint(&mut rest)),
                    }
                }
                let mut length = varint(&mut rest) as usize;
                let rows = (&rest[rows_at..]).get_u32_le();
                let at = end - rest.len();
                if let Some(&(gap, left_out)) = gaps.front()
                    && gap <= at + length
                {
                    length -= left_out;
                    gaps.pop_front();
                }
                rest.advance(length);
                found.push((bucket, i64::from(rows)));
            }
            (_, 2) => {
                let length = varint(&mut rest) as usize;
                rest.advance(length);
            }
            _ => drop(varint(&mut rest)),
        }
    }
    found
}

fn varint(from: &mut Bytes) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = from.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

impl Socket for Pipe {
    fn poll_read(
        &mut self,
        _: &mut Context<'_>,
        reader: &mut FrameReader,
    ) -> Poll<io::Result<usize>> {
        let answer = self.answers.pop_front();
        let Some(answer) = answer.or_else(|| lock(&self.cluster).poll_output(self.conn)) else {
            return Poll::Pending;
        };
        let mut rest = &answer[..];
        while !rest.is_empty() {
            reader.read_from(&mut rest)?;
        }
        Poll::Ready(Ok(answer.len()))
    }

    fn poll_write(
        &mut self,
        _: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        pieces.iter().for_each(|piece| self.take(piece));
        Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        lock(&self.cluster).close(self.conn);
    }
}

#[cfg(test)]
mod tests {
    use super::start;
    use crate::{fake, tuple};
    use fluss_core::time::Duration;

    #[test]
    fn rows_of_small_and_large_batches_are_acknowledged_with_their_offsets() {
        let fluss = start(1, |config| config);
        let log = fluss.table(fake::LOG).wait().expect("the log table");
        let keyed = fluss.table(fake::KEYED).wait().expect("the primary-key table");
        let (append, upsert) = (log.appender().build(), keyed.upserter().build());
        let (append, upsert) = (append.expect("a writer"), upsert.expect("a writer"));
        let mut rows = 0;
        for count in [1, 3, 100_000, 150_000] {
            let run = append.append_all((0..count).map(tuple)).wait().expect("a client");
            append.flush().wait().expect("written");
            for part in run.wait() {
                let offset = part.outcome.expect("written").offset;
                assert_eq!(offset, Some(rows + part.rows.start as i64));
            }
            // The server counts all rows together.
            rows += 2 * count as i64;
            let run = upsert.upsert_all((0..count).map(tuple)).wait().expect("a client");
            upsert.flush().wait().expect("written");
            assert!(run.wait().into_iter().all(|part| part.outcome.is_ok()));
        }
        fluss.close(Duration::from_secs(10)).wait().expect("a client");
    }
}
