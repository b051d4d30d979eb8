//! The network: connections, the bytes on their way, and how they are cut, held back and reordered.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::ids::{ConnId, ServerId};
use crate::time::{Duration, Instant};

use super::plan::ZOMBIE;
use super::stats::Oddity;
use super::wire;
use super::world::{Due, World};

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    /// The client's name of it.
    conn: ConnId,
    server: ServerId,
    /// The server's name of it, once it stands.
    far: Option<ConnId>,
    /// The client uses it.
    open: bool,
    /// Requests on their way, in order.
    up: VecDeque<Bytes>,
    up_at: Instant,
    /// Nothing goes up before this moment: the client is gone, its requests are not.
    held: Instant,
    /// Whatever else the client sends is lost.
    cut_up: bool,
    /// Answers on their way; None is the end of the connection.
    down: VecDeque<Option<Bytes>>,
    down_at: Instant,
    cut_down: bool,
    /// Bytes of an unfinished answer.
    rest: BytesMut,
    /// The socket takes nothing for the moment.
    pub(super) full: bool,
}

/// Why connections end, as the client is told.
const GONE: &str = "connection reset by peer";

impl World {
    fn latency(&mut self) -> Duration {
        let (least, most) = self.plan.net.latency;
        let mut micros = least + self.rng.below(most);
        let slow = self.plan.net.slow;
        if self.strikes(slow) {
            micros += self.rng.below(300_000);
            self.seed.count(Oddity::SlowFrame);
        }
        Duration::from_micros(micros)
    }

    /// The client wants a connection.
    pub(super) fn dial(&mut self, conn: ConnId, port: u16) {
        let is = |s: &ServerId| self.cluster.address(*s).is_some_and(|a| a.port == port);
        let found = self.cluster.servers().find(is);
        let Some(server) = found else {
            return self.check.rule("I16", false, || format!("nobody listens on port {port}"));
        };
        let link = self.links.len();
        self.links.push(Link {
            conn,
            server,
            far: None,
            open: true,
            up: VecDeque::new(),
            up_at: Instant::ZERO,
            held: Instant::ZERO,
            cut_up: false,
            down: VecDeque::new(),
            down_at: Instant::ZERO,
            cut_down: false,
            rest: BytesMut::new(),
            full: false,
        });
        self.near.insert(conn, link);
        self.watch.note(self.now, || format!("dial {server}, link {link}"));
        let wait = self.latency();
        self.after(wait, Due::Connect(link));
    }

    pub(super) fn connect(&mut self, link: usize) {
        let Link { conn, server, open, .. } = self.links[link];
        if !open {
            return;
        }
        self.check.anything_may_change();
        let refuse = self.plan.net.refuse;
        let refused = self.strikes(refuse);
        if refused {
            self.seed.count(Oddity::ConnectRefused);
        }
        match self.cluster.open(server).filter(|_| !refused) {
            Some(far) => {
                self.links[link].far = Some(far);
                self.far.insert(far, link);
                self.client.handle_connected(conn, self.now);
            }
            None => {
                self.links[link].open = false;
                self.near.remove(&conn);
                self.client.handle_connect_failed(conn, "connection refused", self.now);
            }
        }
    }

    /// Writes what the client has, as far as the socket takes it.
    pub(super) fn transmit(&mut self, link: usize) {
        while self.links[link].open && !self.links[link].full {
            let full = self.plan.net.full;
            if self.strikes(full) {
                self.seed.count(Oddity::SocketFull);
                self.links[link].full = true;
                let wait = self.pause(30_000);
                return self.after(wait, Due::Writable(link));
            }
            let conn = self.links[link].conn;
            let Some(segments) = self.client.poll_transmit(conn, self.now) else { return };
            self.send(link, segments.into_bytes());
        }
    }

    fn send(&mut self, link: usize, frame: Bytes) {
        let Link { conn, server, .. } = self.links[link];
        let sent = wire::sent(&frame);
        self.watch.note(self.now, || format!("link {link} > {}", super::watch::sent(&sent)));
        self.watch.bytes(link, &frame);
        if !sent.copies.is_empty() {
            self.look();
        }
        self.check.transmitted((conn, server), sent, self.now);
        if self.links[link].cut_up {
            return;
        }
        let cut = self.plan.net.cut_up;
        if self.strikes(cut) {
            let keep = self.rng.below(frame.len() as u64) as usize;
            self.push_up(link, frame.slice(..keep));
            self.seed.count(Oddity::CutUp);
            return self.break_off(link);
        }
        let split = self.plan.net.split;
        if frame.len() > 1 && self.strikes(split) {
            let at = 1 + self.rng.below(frame.len() as u64 - 1) as usize;
            self.push_up(link, frame.slice(..at));
            self.push_up(link, frame.slice(at..));
        } else {
            self.push_up(link, frame);
        }
    }

    fn push_up(&mut self, link: usize, bytes: Bytes) {
        let wait = self.latency();
        let entry = &mut self.links[link];
        entry.up_at = entry.up_at.max(self.now + wait);
        entry.up.push_back(bytes);
        let at = entry.up_at;
        self.at(at, Due::Up(link));
    }

    /// The connection breaks between the two: what was sent may still arrive, later, or be lost;
    /// the client learns of it after a while.
    pub(super) fn break_off(&mut self, link: usize) {
        let wait = self.pause(20_000);
        let entry = &mut self.links[link];
        entry.cut_up = true;
        if !entry.open || entry.cut_down {
            return;
        }
        entry.cut_down = true;
        entry.down.push_back(None);
        entry.down_at = entry.down_at.max(self.now + wait);
        let at = entry.down_at;
        self.at(at, Due::Down(link));
        self.watch.note(self.now, || format!("link {link} breaks"));
        self.leave_behind(link);
    }

    /// The client is gone, or the connection is: its requests on the way are lost, or come late.
    fn leave_behind(&mut self, link: usize) {
        let fate = self.rng.below(4);
        let hold = self.pause(ZOMBIE.as_micros() as u64);
        let entry = &mut self.links[link];
        if !entry.up.is_empty() && !self.healed {
            match fate {
                0 => entry.up.clear(),
                1 | 2 => {
                    entry.held = self.now + hold;
                    self.seed.count(Oddity::Zombie);
                }
                _ => {}
            }
        }
        let at = self.links[link].held.max(self.links[link].up_at).max(self.now);
        self.at(at, Due::UpEnd(link));
    }

    pub(super) fn up(&mut self, link: usize) {
        let entry = &mut self.links[link];
        if self.now < entry.held {
            let held = entry.held;
            return self.at(held, Due::Up(link));
        }
        let (Some(bytes), Some(far)) = (entry.up.pop_front(), entry.far) else { return };
        self.watch.note(self.now, || format!("link {link}: {} bytes arrive", bytes.len()));
        self.cluster.handle_piece(far, bytes, self.now);
    }

    pub(super) fn up_end(&mut self, link: usize) {
        let entry = &self.links[link];
        if !entry.up.is_empty() {
            let at = entry.held.max(entry.up_at).max(self.now);
            return self.at(at, Due::UpEnd(link));
        }
        if let Some(far) = entry.far {
            self.cluster.close(far);
        }
    }

    /// Takes what a server has to say on a connection.
    pub(super) fn collect(&mut self, far: ConnId) {
        let Some(link) = self.far.get(&far).copied() else { return };
        while let Some(bytes) = self.cluster.poll_output(far) {
            let entry = &self.links[link];
            if !entry.open || entry.cut_down {
                continue;
            }
            let cut = self.plan.net.cut_down;
            if self.strikes(cut) {
                let keep = self.rng.below(bytes.len() as u64) as usize;
                self.push_down(link, Some(bytes.slice(..keep)));
                self.seed.count(Oddity::CutDown);
                self.break_off(link);
            } else {
                self.push_down(link, Some(bytes));
            }
        }
        let entry = &mut self.links[link];
        if self.cluster.is_closed(far) && entry.open && !entry.cut_down {
            entry.cut_down = true;
            self.push_down(link, None);
        }
    }

    fn push_down(&mut self, link: usize, bytes: Option<Bytes>) {
        let wait = self.latency();
        let entry = &mut self.links[link];
        entry.down_at = entry.down_at.max(self.now + wait);
        entry.down.push_back(bytes);
        let at = entry.down_at;
        self.at(at, Due::Down(link));
    }

    pub(super) fn down(&mut self, link: usize) {
        let entry = &mut self.links[link];
        let Some(bytes) = entry.down.pop_front().filter(|_| entry.open) else { return };
        let Some(mut bytes) = bytes else { return self.lose(link) };
        self.watch.bytes(link, &bytes);
        let entry = &mut self.links[link];
        if entry.rest.is_empty() && is_frame(&bytes) {
            bytes.advance(4);
            return self.frame(link, bytes);
        }
        entry.rest.extend_from_slice(&bytes);
        while let Some(frame) = next_frame(&mut self.links[link].rest) {
            self.frame(link, frame);
        }
    }

    fn frame(&mut self, link: usize, frame: Bytes) {
        let conn = self.links[link].conn;
        self.watch.note(self.now, || format!("link {link} < {}", super::watch::frame(&frame)));
        // What comes behind nonsense is not read any more.
        let costs = self.client.uses(conn) && self.check.answered(conn, &frame, self.now);
        self.client.handle_frame(conn, frame, self.now);
        self.check.heard(conn, costs, self.client.uses(conn));
        self.look();
        self.check.anything_may_change();
    }

    /// The client learns of the end of a connection.
    fn lose(&mut self, link: usize) {
        let entry = &mut self.links[link];
        entry.open = false;
        let conn = entry.conn;
        let broken = entry.cut_up;
        self.near.remove(&conn);
        self.check.disconnected(conn, self.now);
        self.watch.note(self.now, || format!("link {link} is closed"));
        self.client.handle_closed(conn, GONE, self.now);
        if !broken {
            self.leave_behind(link);
        }
    }

    /// The client gives a connection up.
    pub(super) fn hang_up(&mut self, conn: ConnId) {
        let Some(link) = self.near.remove(&conn) else { return };
        let limit = self.plan.client.request_deadline;
        if !self.over && self.check.oldest_write(conn).is_some_and(|at| self.now >= at + limit) {
            self.seed.rules |= 1 << 16;
        }
        self.watch.note(self.now, || format!("link {link} is given up"));
        self.check.disconnected(conn, self.now);
        let entry = &mut self.links[link];
        entry.open = false;
        if !entry.cut_up {
            entry.cut_up = true;
            self.leave_behind(link);
        }
    }

    /// A connection the client uses, any.
    pub(super) fn any_link(&mut self) -> Option<usize> {
        let open: Vec<usize> = self.near.values().copied().collect();
        (!open.is_empty()).then(|| open[self.rng.below(open.len() as u64) as usize])
    }

    pub(super) fn links_of(&self, server: ServerId) -> Vec<usize> {
        let of = |link: &&usize| self.links[**link].server == server;
        self.near.values().filter(of).copied().collect()
    }

    /// Whether no request is on its way or held back anywhere.
    pub(super) fn is_quiet(&self) -> bool {
        self.links.iter().all(|link| link.up.is_empty()) && self.cluster.poll_timeout().is_none()
    }
}

fn is_frame(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|head| {
        usize::try_from(i32::from_be_bytes(*head)).is_ok_and(|length| length + 4 == bytes.len())
    })
}

fn next_frame(rest: &mut BytesMut) -> Option<Bytes> {
    let length = usize::try_from(i32::from_be_bytes(*rest.first_chunk()?)).ok()?;
    if rest.len() < length + 4 {
        return None;
    }
    rest.advance(4);
    Some(rest.split_to(length).freeze())
}
