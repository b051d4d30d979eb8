//! Connections to the two kinds of cluster.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use fluss_core::ids::{ConnId, ServerId};
use fluss_core::testing::cluster::FakeCluster;
use fluss_core::time::Instant;
use fluss_proto::message::ErrorResponse;
use prost::Message;

use super::must;
use super::step::Stop;
use crate::cluster::RealCluster;

/// Longer than any answer takes.
const ANSWER_LIMIT: Duration = Duration::from_secs(8);

/// A server: the coordinator or a tablet server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The coordinator.
    Coordinator,
    /// A tablet server.
    Tablet(usize),
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub enum Got {
    /// A success frame.
    Answer(Bytes),
    /// An error frame.
    Refused(ErrorResponse),
    /// A frame about the connection.
    Failure(ErrorResponse),
    /// Nothing: the server closed the connection.
    Closed,
    /// Nothing, for longer than any answer takes.
    Silence,
}

/// A cluster that scripts are played to.
pub trait Wire {
    /// Sends one request and waits for its answer.
    fn call(&mut self, at: At, api: i16, version: i16, body: &[u8]) -> Got {
        let mut frame =
            must("a short request", i32::try_from(8 + body.len())).to_be_bytes().to_vec();
        frame.extend_from_slice(&api.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&7_i32.to_be_bytes());
        frame.extend_from_slice(body);
        self.send(at, &frame)
    }

    /// Sends bytes and waits for a frame.
    fn send(&mut self, at: At, bytes: &[u8]) -> Got;

    /// Host and port of all servers, the coordinator first.
    fn addresses(&self) -> Vec<(String, i32)>;

    /// The wall clock of the servers, in milliseconds since 1970.
    fn now_ms(&self) -> i64;

    /// Restarts a tablet server.
    fn restart(&mut self, tablet: usize, stop: Stop);

    /// Stops a tablet server for good.
    fn kill(&mut self, tablet: usize);

    /// Takes out of sync what has been killed, or waits until it is.
    fn shrink(&mut self, table: i64);

    /// Lets time go by before another look at something that is not there yet.
    fn pause(&mut self);

    /// Repairs a cluster that has lost the creation of a table; false if it cannot.
    fn repair(&mut self) -> bool;
}

/// Reads a frame without its length field.
fn read(frame: &Bytes) -> Got {
    let error = |at: usize| must("an error body", ErrorResponse::decode(frame.slice(at..)));
    match frame.first() {
        Some(0) => Got::Answer(frame.slice(5..)),
        Some(1) => Got::Refused(error(5)),
        Some(2) => Got::Failure(error(1)),
        other => panic!("a frame of type {other:?}"),
    }
}

/// A fake cluster, without sockets.
#[derive(Debug)]
pub struct FakeWire {
    cluster: FakeCluster,
    conns: Vec<(ServerId, ConnId)>,
    now: Instant,
}

impl FakeWire {
    /// Plays to this cluster.
    #[must_use]
    pub fn new(cluster: FakeCluster) -> Self {
        Self { cluster, conns: Vec::new(), now: Instant::ZERO }
    }

    fn conn(&mut self, at: At) -> Option<ConnId> {
        let server = match at {
            At::Coordinator => ServerId::Coordinator,
            At::Tablet(id) => ServerId::Tablet(id as i32),
        };
        let cluster = &mut self.cluster;
        self.conns.retain(|(_, conn)| !cluster.is_closed(*conn));
        if let Some((_, conn)) = self.conns.iter().find(|(id, _)| *id == server) {
            return Some(*conn);
        }
        let conn = cluster.open(server)?;
        self.conns.push((server, conn));
        Some(conn)
    }
}

impl Wire for FakeWire {
    fn send(&mut self, at: At, bytes: &[u8]) -> Got {
        let Some(conn) = self.conn(at) else { return Got::Closed };
        self.now = self.now + Duration::from_millis(1);
        self.cluster.handle_timeout(self.now);
        self.cluster.handle_bytes(conn, bytes, self.now);
        let mut answer = BytesMut::new();
        loop {
            while let Some(bytes) = self.cluster.poll_output(conn) {
                answer.extend_from_slice(&bytes);
            }
            if answer.len() > 4 {
                return read(&answer.freeze().slice(4..));
            }
            if self.cluster.is_closed(conn) {
                return Got::Closed;
            }
            let Some(at) = self.cluster.poll_timeout() else { return Got::Silence };
            self.now = self.now.max(at);
            self.cluster.handle_timeout(self.now);
        }
    }

    fn addresses(&self) -> Vec<(String, i32)> {
        let addresses = self.cluster.servers().filter_map(|id| self.cluster.address(id));
        addresses.map(|address| (address.host.to_string(), i32::from(address.port))).collect()
    }

    fn now_ms(&self) -> i64 {
        self.cluster.options().epoch_ms + (self.now.as_micros() / 1000) as i64
    }

    fn restart(&mut self, tablet: usize, stop: Stop) {
        self.cluster.restart(ServerId::Tablet(tablet as i32), stop == Stop::Clean);
    }

    fn kill(&mut self, tablet: usize) {
        self.cluster.stop(ServerId::Tablet(tablet as i32));
    }

    fn shrink(&mut self, table: i64) {
        let key = fluss_core::ids::BucketKey {
            table: fluss_core::ids::TableId(table),
            partition: None,
            bucket: 0,
        };
        self.cluster.set_in_sync(key, 1);
    }

    fn pause(&mut self) {
        self.now = self.now + Duration::from_millis(50);
        self.cluster.handle_timeout(self.now);
    }

    fn repair(&mut self) -> bool {
        false
    }
}

/// A real cluster.
#[derive(Debug)]
pub struct RealWire<'a> {
    cluster: &'a RealCluster,
    streams: Vec<Option<TcpStream>>,
}

impl<'a> RealWire<'a> {
    /// Plays to this cluster.
    #[must_use]
    pub fn new(cluster: &'a RealCluster) -> Self {
        Self { cluster, streams: Vec::new() }
    }

    fn exchange(&mut self, at: At, bytes: &[u8]) -> io::Result<Bytes> {
        let index = match at {
            At::Coordinator => 0,
            At::Tablet(id) => id + 1,
        };
        self.streams.resize_with(self.streams.len().max(index + 1), || None);
        let mut stream = match self.streams[index].take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&self.cluster.bootstrap()[index])?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER_LIMIT))?;
                stream
            }
        };
        stream.write_all(bytes)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut frame)?;
        // A frame about the connection is its last one.
        if frame.first() != Some(&2) {
            self.streams[index] = Some(stream);
        }
        Ok(frame.into())
    }
}

impl Wire for RealWire<'_> {
    fn send(&mut self, at: At, bytes: &[u8]) -> Got {
        match self.exchange(at, bytes) {
            Ok(frame) => read(&frame),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Got::Silence,
            Err(_) => Got::Closed,
        }
    }

    fn addresses(&self) -> Vec<(String, i32)> {
        let split = |address: String| {
            let (host, port) = must("host:port", address.rsplit_once(':').ok_or("no colon"));
            (host.to_owned(), must("a port", port.parse()))
        };
        self.cluster.bootstrap().into_iter().map(split).collect()
    }

    fn now_ms(&self) -> i64 {
        let since = must("a clock after 1970", SystemTime::now().duration_since(UNIX_EPOCH));
        since.as_millis() as i64
    }

    fn restart(&mut self, tablet: usize, stop: Stop) {
        match stop {
            Stop::Clean => must("stop", self.cluster.stop(tablet)),
            Stop::Kill => {
                // What lies above the last checkpoint of the high watermark would be lost.
                std::thread::sleep(Duration::from_secs(1));
                must("kill", self.cluster.kill9(tablet));
            }
        }
        self.streams.clear();
        must("restart", self.cluster.restart(tablet));
        must("ready", self.cluster.wait_until_ready());
    }

    fn kill(&mut self, tablet: usize) {
        must("kill", self.cluster.kill9(tablet));
        self.streams.clear();
    }

    fn shrink(&mut self, _: i64) {
        // The lag time of 4 s and the next look at it.
        std::thread::sleep(Duration::from_secs(6));
    }

    fn pause(&mut self) {
        std::thread::sleep(Duration::from_millis(50));
    }

    fn repair(&mut self) -> bool {
        self.streams.clear();
        must("the coordinator restarts", self.cluster.restart_coordinator());
        true
    }
}
