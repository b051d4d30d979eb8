//! Connections to a real cluster.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::must;
use super::step::{Event, Stop, USERS};
use super::wire::{ANSWER_LIMIT, At, Got, Wire, followers, login, read};
use crate::cluster::{RealCluster, TableLosses, tally};

/// How long one looks for an answer that should not come yet.
const MOMENT: Duration = Duration::from_millis(200);
/// Between two looks at a file that is written every 200 ms.
const LOOK: Duration = Duration::from_millis(20);
/// Such looks, 10 s.
const LOOKS: usize = 500;

/// A real cluster.
#[derive(Debug)]
pub struct RealWire<'a> {
    cluster: &'a RealCluster,
    user: &'static str,
    streams: BTreeMap<(usize, &'static str), TcpStream>,
    losses: TableLosses,
}

impl<'a> RealWire<'a> {
    /// Plays to this cluster.
    #[must_use]
    pub fn new(cluster: &'a RealCluster) -> Self {
        let (streams, losses) = (BTreeMap::new(), TableLosses::new());
        Self { cluster, user: USERS[0].0, streams, losses }
    }

    /// Whether clients are asked who they are.
    fn asks(&self) -> bool {
        self.cluster.bootstrap() != self.cluster.internal_bootstrap()
    }

    /// A connection to the server, kept after the answer unless something was wrong with it.
    fn exchange(&mut self, at: At, bytes: &[u8], patience: Duration) -> io::Result<Bytes> {
        let index = match at {
            At::Coordinator => 0,
            At::Tablet(id) => id + 1,
        };
        let place = (index, self.user);
        let mut stream = match self.streams.remove(&place) {
            Some(stream) => stream,
            None => self.connect(index)?,
        };
        stream.set_read_timeout(Some(patience))?;
        let answer = transfer(&mut stream, bytes);
        // A frame about the connection is its last one. An answer that was not waited for long
        // may still come.
        let keep = match &answer {
            Ok(frame) => frame.first() != Some(&2),
            Err(error) => error.kind() == io::ErrorKind::WouldBlock && patience == MOMENT,
        };
        if keep {
            self.streams.insert(place, stream);
        }
        answer
    }

    fn connect(&self, index: usize) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.cluster.bootstrap()[index])?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        if let Some(login) = login(self.user).filter(|_| self.asks()) {
            let answer = read(&transfer(&mut stream, &login)?);
            assert!(matches!(answer, Got::Answer(_)), "{} is not let in: {answer:?}", self.user);
        }
        Ok(stream)
    }

    /// Starts servers that are down, all at once.
    fn start(&self, servers: impl Iterator<Item = usize>) {
        std::thread::scope(|scope| {
            for id in servers {
                scope.spawn(move || must("start", self.cluster.restart(id)));
            }
        });
        must("ready", self.cluster.wait_until_ready());
    }

    /// Kills servers once they have written down how far their high watermarks are: what lies above
    /// is lost with the only replica, and fetched again, into a new segment, by a follower.
    fn kill(&self, servers: impl Iterator<Item = usize>) {
        let servers: Vec<usize> = servers.collect();
        let checkpoint = |id: &usize| {
            self.cluster.dir().join(format!("data-{id}")).join("high-watermark-checkpoint")
        };
        let written =
            |id: &usize| fs::metadata(checkpoint(id)).and_then(|file| file.modified()).ok();
        // The first one may have been begun before the last request was answered.
        for _ in 0..2 {
            let before: Vec<_> = servers.iter().map(written).collect();
            for (id, before) in servers.iter().zip(before) {
                let looks = (0..LOOKS).find(|_| {
                    std::thread::sleep(LOOK);
                    written(id).is_some_and(|now| Some(now) != before)
                });
                assert!(looks.is_some(), "tablet server {id} writes no high watermarks down");
            }
        }
        servers.into_iter().for_each(|id| must("kill", self.cluster.kill9(id)));
    }

    fn restart(&self, tablet: usize, stop: Stop) {
        match stop {
            Stop::Clean => must("stop", self.cluster.stop(tablet)),
            Stop::Kill => self.kill(std::iter::once(tablet)),
        }
        self.start(std::iter::once(tablet));
    }
}

/// Sends bytes and reads a frame.
fn transfer(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<Bytes> {
    stream.write_all(bytes)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame.into())
}

fn got(answer: io::Result<Bytes>) -> Got {
    match answer {
        Ok(frame) => read(&frame),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Got::Silence,
        Err(_) => Got::Closed,
    }
}

impl Wire for RealWire<'_> {
    fn act_as(&mut self, user: &'static str) {
        self.user = user;
    }

    fn send(&mut self, at: At, bytes: &[u8]) -> Got {
        got(self.exchange(at, bytes, ANSWER_LIMIT))
    }

    fn begin(&mut self, at: At, bytes: &[u8]) -> Option<Got> {
        let answer = got(self.exchange(at, bytes, MOMENT));
        (answer != Got::Silence).then_some(answer)
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

    fn event(&mut self, event: Event, leader: usize) {
        let cluster = self.cluster;
        self.streams.clear();
        let servers = cluster.tablet_servers().len();
        let mut followers = followers(servers, leader);
        match event {
            Event::Restart(stop) => self.restart(leader, stop),
            Event::PauseFollowers => followers.for_each(|id| must("pause", cluster.pause(id))),
            Event::ResumeFollowers => followers.for_each(|id| must("resume", cluster.resume(id))),
            Event::KillFollowers => self.kill(followers),
            Event::MissFollowers => {}
            Event::StartFollowers => self.start(followers),
            Event::KillLeader => self.kill(std::iter::once(leader)),
            Event::StartFormer => {
                let down = |id: &usize| must("a server", cluster.process_id(*id)).is_none();
                self.start(followers.find(down).into_iter());
            }
        }
    }

    fn pause(&mut self) {
        std::thread::sleep(Duration::from_millis(50));
    }

    fn made(&mut self) {
        tally("table made\n");
        self.losses.record_made();
    }

    fn repair(&mut self) -> bool {
        tally("table lost\n");
        must("lost tables", self.losses.record_lost());
        self.streams.clear();
        must("the coordinator restarts", self.cluster.restart_coordinator());
        true
    }
}
