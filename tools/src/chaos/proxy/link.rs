//! One connection through the proxy.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fluss_core::ApiKey;
use fluss_core::rng::Rng;

use super::frames::Frames;
use super::{Shared, Weather, count, lock};

/// How long a direction waits for bytes before it looks at the time.
const TICK: Duration = Duration::from_millis(50);
/// How long a cut waits for bytes in whose middle it could be.
const CUT_PATIENCE: Duration = Duration::from_millis(200);
/// Bytes passed on at once.
const PIECE: usize = 64 << 10;
/// Small pieces made of one.
const SPLITS: usize = 8;
/// Pause between small pieces.
const SPLIT_PAUSE: Duration = Duration::from_micros(300);

/// Requests whose answers count as answers to writes.
const WRITES: [ApiKey; 2] = [ApiKey::ProduceLog, ApiKey::PutKv];

/// Length, key, version, id.
const REQUEST_HEAD: usize = 12;
/// Length, kind, id.
const ANSWER_HEAD: usize = 9;

/// A client's connection and ours to the server.
#[derive(Debug)]
pub(super) struct Link {
    client: TcpStream,
    server: TcpStream,
    /// The number of the port through which it came.
    port: usize,
    /// Writes the server has not answered yet, by their request id.
    writes: Mutex<HashSet<[u8; 4]>>,
    /// What will happen, and the change of the weather it was drawn for.
    fate: Mutex<(Option<u64>, Fate)>,
    cut: AtomicBool,
}

/// What will happen to a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    weather: Weather,
    cut_at: Option<Instant>,
    swallow_at: Option<Instant>,
}

impl Fate {
    fn draw(weather: Weather, rng: &mut Rng) -> Self {
        let now = Instant::now();
        let mut after = |mean: Option<Duration>| mean.map(|mean| now + life(mean, rng));
        Self { weather, cut_at: after(weather.cut_every), swallow_at: after(weather.swallow_every) }
    }
}

/// An exponentially distributed time with this mean.
fn life(mean: Duration, rng: &mut Rng) -> Duration {
    // 53 bits make a fraction above 0 and at most 1.
    let fraction = ((rng.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    mean.mul_f64(-fraction.ln())
}

/// What a direction does with the bytes it has.
enum Deed {
    Pass,
    /// Pass so many on and cut.
    Cut(usize),
    /// Keep them.
    Swallow,
}

impl Link {
    /// Passes bytes on until one side ends or the connection is cut.
    pub(super) fn run(shared: &Arc<Shared>, port: usize, client: TcpStream, server: TcpStream) {
        let set = |stream: &TcpStream| {
            stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(TICK)))
        };
        if set(&client).and_then(|()| set(&server)).is_err() {
            return;
        }
        count(&shared.harm.connections);
        let (requests, answers) = {
            let mut rng = lock(&shared.rng);
            (rng.fork(), rng.fork())
        };
        let link = Arc::new(Self {
            client,
            server,
            port,
            writes: Mutex::default(),
            fate: Mutex::new((None, Fate::default())),
            cut: AtomicBool::new(false),
        });
        shared.keep(&link);
        if shared.is_stopped() {
            return link.end();
        }
        let (theirs, back) = (Arc::clone(shared), Arc::clone(&link));
        let answering = thread::Builder::new()
            .name("proxy-back".to_owned())
            .spawn(move || back.pump_answers(&theirs, answers));
        if answering.is_ok() {
            link.pump_requests(shared, requests);
        }
        link.end();
    }

    /// Writes without an answer, if it came through this port and still stands.
    pub(super) fn open_writes(&self, port: usize) -> u64 {
        let passes = self.port == port && !self.cut.load(Ordering::SeqCst);
        if passes { lock(&self.writes).len() as u64 } else { 0 }
    }

    /// Closes both sides.
    pub(super) fn end(&self) {
        // They may be closed already, which is what is wanted.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }

    fn pump_requests(&self, shared: &Shared, rng: Rng) {
        let mut frames = Frames::<REQUEST_HEAD>::new();
        let mut buffer = vec![0; PIECE];
        let mut way = Way { link: self, shared, to: &self.server, rng };
        while let Ok(piece) = read(&self.client, &mut buffer) {
            let fate = self.fate(shared, &mut way.rng);
            frames.feed(piece, |_, head| {
                let key = i16::from_be_bytes([head[4], head[5]]);
                if WRITES.iter().any(|write| write.number() == key) {
                    lock(&self.writes).insert([head[8], head[9], head[10], head[11]]);
                }
            });
            let deed = cut(&fate, piece, &mut way.rng).map_or(Deed::Pass, Deed::Cut);
            if !way.act(&fate, &deed, piece) {
                break;
            }
        }
        self.end();
    }

    fn pump_answers(&self, shared: &Shared, rng: Rng) {
        let mut frames = Frames::<ANSWER_HEAD>::new();
        let mut buffer = vec![0; PIECE];
        let mut way = Way { link: self, shared, to: &self.client, rng };
        let mut swallowing = false;
        while let Ok(piece) = read(&self.server, &mut buffer) {
            let fate = self.fate(shared, &mut way.rng);
            // Where the answers to writes begin that are in this piece.
            let mut answers = Vec::new();
            frames.feed(piece, |at, head| {
                let id = [head[5], head[6], head[7], head[8]];
                if lock(&self.writes).remove(&id) {
                    answers.push(at);
                }
            });
            let due = fate.swallow_at.is_some_and(|at| at <= Instant::now());
            let deed = way.deed_for_answers(&fate, piece, &answers, (due, swallowing));
            if due && !swallowing {
                swallowing = true;
                count(&shared.harm.swallowed);
            }
            let from = match deed {
                Deed::Pass => usize::MAX,
                Deed::Cut(at) => at,
                Deed::Swallow => 0,
            };
            answers.iter().filter(|at| **at >= from).for_each(|_| count(&shared.harm.lost_answers));
            if !way.act(&fate, &deed, piece) {
                break;
            }
        }
        self.end();
    }

    /// The fate of this connection in the present weather.
    fn fate(&self, shared: &Shared, rng: &mut Rng) -> Fate {
        let change = shared.change.load(Ordering::SeqCst);
        let mut fate = lock(&self.fate);
        if fate.0 != Some(change) {
            *fate = (Some(change), Fate::draw(*lock(&shared.weather), rng));
        }
        fate.1
    }
}

/// One direction of a connection.
struct Way<'a> {
    link: &'a Link,
    shared: &'a Shared,
    to: &'a TcpStream,
    rng: Rng,
}

impl Way<'_> {
    /// What to do with a piece in which answers to writes begin at these places; whether answers
    /// should vanish now, and whether some did already.
    fn deed_for_answers(
        &mut self,
        fate: &Fate,
        piece: &[u8],
        answers: &[usize],
        (swallow, swallowed): (bool, bool),
    ) -> Deed {
        if let Some(at) = cut(fate, piece, &mut self.rng) {
            return Deed::Cut(at);
        }
        let one_in = fate.weather.lose_answer_one_in;
        if let Some(at) = answers.iter().find(|_| self.rng.one_in(one_in)) {
            return Deed::Cut(*at);
        }
        match (swallow, swallowed) {
            (true, _) => Deed::Swallow,
            // The weather has cleared. What follows would begin in the middle of nowhere.
            (false, true) => Deed::Cut(0),
            (false, false) => Deed::Pass,
        }
    }

    /// False once the connection is over.
    fn act(&mut self, fate: &Fate, deed: &Deed, piece: &[u8]) -> bool {
        let harm = &self.shared.harm;
        match *deed {
            Deed::Swallow => true,
            Deed::Cut(at) => {
                // It may be over already, which is as good.
                let _ = self.to.write_all(&piece[..at]);
                if !self.link.cut.swap(true, Ordering::SeqCst) {
                    count(&harm.cuts);
                }
                false
            }
            Deed::Pass if piece.is_empty() => !self.shared.is_stopped(),
            Deed::Pass => {
                if self.rng.one_in(fate.weather.delay_one_in) {
                    count(&harm.delays);
                    let most = fate.weather.delay_max.as_micros();
                    let most = u64::try_from(most).unwrap_or(u64::MAX);
                    thread::sleep(Duration::from_micros(self.rng.below(most)));
                }
                if self.rng.one_in(fate.weather.split_one_in) {
                    count(&harm.splits);
                    return write_split(piece, self.to, &mut self.rng).is_ok();
                }
                self.to.write_all(piece).is_ok()
            }
        }
    }
}

/// Where to cut, if it is time.
fn cut(fate: &Fate, piece: &[u8], rng: &mut Rng) -> Option<usize> {
    let late = Instant::now().checked_duration_since(fate.cut_at?)?;
    let inside = !piece.is_empty();
    (inside || late > CUT_PATIENCE).then(|| {
        let at = rng.below(piece.len() as u64 + 1);
        usize::try_from(at).unwrap_or_default()
    })
}

/// The next bytes, none if there are none for a while; an error at the end.
fn read<'a>(mut from: &TcpStream, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    match from.read(buffer) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(length) => Ok(&buffer[..length]),
        Err(error) => match error.kind() {
            // A read timeout has the first of these names on Unix and the second on Windows.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {
                Ok(&[])
            }
            _ => Err(error),
        },
    }
}

/// Writes a piece in small ones of random length; the last one is what is left.
fn write_split(mut piece: &[u8], mut to: &TcpStream, rng: &mut Rng) -> io::Result<()> {
    for _ in 1..SPLITS {
        let most = piece.len().min(64) as u64;
        let length = usize::try_from(rng.below(most + 1)).unwrap_or_default();
        let (first, rest) = piece.split_at(length);
        to.write_all(first)?;
        piece = rest;
        thread::sleep(SPLIT_PAUSE);
    }
    to.write_all(piece)
}
