//! An S3 server on a loopback port: it checks signatures, knows ranges, and fails as told or by
//! chance.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use fluss_core::rng::Rng;
use fluss_core::testing::cluster::IssuedKeys;
use fluss_core::testing::loopback::Port;

use super::signature;

/// Longer than any wait that ends by something else.
const PATIENCE: Duration = Duration::from_secs(30);

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// This status, with an error of this code.
    Refuse(u16, &'static str),
    /// So many bytes of the body come, then the connection ends.
    Cut(usize),
    /// No answer comes. The connection stays.
    Stall,
    /// An answer for another range than the one that was asked for.
    OtherRange,
    /// All of the object, whatever was asked for.
    Whole,
    /// The first half of what was asked for, and that is said.
    Half,
    /// This, in place of an answer.
    Say(&'static [u8]),
    /// A header line of this many bytes.
    LongHeader(usize),
}

type Objects = dyn Fn(&str) -> Option<Bytes> + Send + Sync;
pub(crate) type Keys = dyn Fn(&str) -> Option<IssuedKeys> + Send + Sync;

/// What a server saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: usize,
    pub(crate) requests: usize,
    /// Answers with bytes of objects, and how many.
    pub(crate) answered: usize,
    pub(crate) bytes: u64,
    /// Codes of errors that were found, not injected.
    pub(crate) refused: BTreeMap<String, usize>,
    /// Faults that hit, by name.
    pub(crate) faults: BTreeMap<String, usize>,
    /// The keys that were used.
    pub(crate) keys: BTreeSet<String>,
    /// Hosts that were asked for.
    pub(crate) hosts: BTreeSet<String>,
    /// Requests being answered, and the bytes that they asked for, at most at once.
    pub(crate) most: usize,
    pub(crate) most_bytes: u64,
}

#[derive(Default)]
struct State {
    seen: Seen,
    planned: VecDeque<Fault>,
    chance: Option<(Rng, u64)>,
    /// Answers that keys are good for.
    uses: Option<u64>,
    used: BTreeMap<String, u64>,
    /// Answers wait until so many requests are here at once.
    together: usize,
    here: usize,
    here_bytes: u64,
}

struct Shared {
    region: &'static str,
    objects: Box<Objects>,
    /// None: everybody may read.
    keys: Option<Box<Keys>>,
    state: Mutex<State>,
    changed: Condvar,
}

/// The server. It ends with this value.
pub(crate) struct S3Server {
    port: Port,
    shared: Arc<Shared>,
}

struct Request {
    path: String,
    headers: BTreeMap<String, String>,
}

/// First and last byte.
type Range = (u64, u64);

impl S3Server {
    /// Serves these objects, by `bucket/key`.
    pub(crate) fn start(
        region: &'static str,
        objects: impl Fn(&str) -> Option<Bytes> + Send + Sync + 'static,
        keys: Option<Box<Keys>>,
    ) -> Self {
        let objects = Box::new(objects);
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { region, objects, keys, state, changed });
        let server = Arc::clone(&shared);
        let port = Port::open(move |stream| drop(server.serve(stream))).expect("a loopback port");
        Self { port, shared }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.port.address())
    }

    /// Lets this happen to the next request without a fault.
    pub(crate) fn plan(&self, fault: Fault) {
        self.shared.state().planned.push_back(fault);
    }

    /// Lets something happen to one in so many requests.
    pub(crate) fn disturb(&self, seed: u64, one_in: u64) {
        self.shared.state().chance = Some((Rng::new(seed), one_in));
    }

    /// Keys expire when they were used so often.
    pub(crate) fn expire_after(&self, uses: u64) {
        self.shared.state().uses = Some(uses);
    }

    /// Answers nobody until so many requests are here at once.
    pub(crate) fn wait_for(&self, together: usize) {
        self.shared.state().together = together;
    }

    pub(crate) fn seen(&self) -> Seen {
        self.shared.state().seen.clone()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// Answers the requests of a connection until it ends.
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        self.state().seen.connections += 1;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        stream.set_nodelay(true)?;
        while let Some(request) = read_request(&mut reader)? {
            let asked = range_of(&request);
            let bytes = asked.map_or(0, |(first, last)| last - first + 1);
            let fault = self.enter(&request, bytes);
            let went_on = self.answer(&mut stream, &mut reader, &request, asked, fault);
            let mut state = self.state();
            state.here -= 1;
            state.here_bytes -= bytes;
            drop(state);
            if !went_on? {
                return stream.shutdown(std::net::Shutdown::Both);
            }
        }
        Ok(())
    }

    /// Counts a request, waits for the others, and tells what goes wrong with it.
    fn enter(&self, request: &Request, bytes: u64) -> Option<Fault> {
        let mut state = self.state();
        let state_now = &mut *state;
        state_now.here += 1;
        state_now.here_bytes += bytes;
        let seen = &mut state_now.seen;
        seen.requests += 1;
        seen.hosts.extend(request.headers.get("host").cloned());
        seen.most = seen.most.max(state_now.here);
        seen.most_bytes = seen.most_bytes.max(state_now.here_bytes);
        self.changed.notify_all();
        let alone = |state: &mut State| state.seen.most < state.together;
        let waited = self.changed.wait_timeout_while(state, PATIENCE, alone);
        let (mut state, _) = waited.unwrap_or_else(|broken| broken.into_inner());
        let fault = state.planned.pop_front().or_else(|| {
            let (rng, one_in) = state.chance.as_mut()?;
            rng.one_in(*one_in).then(|| any_fault(rng))
        });
        if let Some(fault) = fault {
            let name = format!("{fault:?}");
            let name = name.split_once('(').map_or(&*name, |(name, _)| name).to_owned();
            *state.seen.faults.entry(name).or_default() += 1;
        }
        fault
    }

    /// False if the connection ends.
    fn answer(
        &self,
        stream: &mut TcpStream,
        reader: &mut impl Read,
        request: &Request,
        asked: Option<Range>,
        fault: Option<Fault>,
    ) -> std::io::Result<bool> {
        match fault {
            Some(Fault::Refuse(status, code)) => {
                refuse(stream, status, code)?;
                return Ok(true);
            }
            Some(Fault::Stall) => {
                // Until the client gives up.
                while reader.read(&mut [0; 64])? > 0 {}
                return Ok(false);
            }
            Some(Fault::Say(bytes)) => {
                stream.write_all(bytes)?;
                return Ok(false);
            }
            Some(Fault::LongHeader(len)) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nx-amz-request-id: ")?;
                // The client may have had enough before the end.
                drop(stream.write_all(&vec![b'x'; len]));
                return Ok(false);
            }
            _ => {}
        }
        let found = self.allow(request).and_then(|()| {
            let name = decode(request.path.trim_start_matches('/'));
            (self.objects)(&name).ok_or((404, "NoSuchKey"))
        });
        let (first, last) = asked.unwrap_or((0, u64::MAX));
        match found {
            Ok(object) if first < object.len() as u64 => {
                self.send(stream, &object, (first, last.min(object.len() as u64 - 1)), fault)
            }
            Ok(_) => refuse(stream, 416, "InvalidRange").map(|()| true),
            Err((status, code)) => {
                *self.state().seen.refused.entry(code.to_owned()).or_default() += 1;
                refuse(stream, status, code).map(|()| true)
            }
        }
    }

    /// Sends a range of an object, which has it. False if the connection ends.
    fn send(
        &self,
        stream: &mut TcpStream,
        object: &Bytes,
        (first, last): Range,
        fault: Option<Fault>,
    ) -> std::io::Result<bool> {
        let size = object.len() as u64;
        let half = first + (last - first) / 2;
        let (sent, told, status) = match fault {
            Some(Fault::OtherRange) => ((first, last), (first + 1, last + 1), "206 Partial"),
            Some(Fault::Whole) => ((0, size - 1), (0, size - 1), "200 OK"),
            Some(Fault::Half) => ((first, half), (first, half), "206 Partial"),
            _ => ((first, last), (first, last), "206 Partial"),
        };
        let body = object.slice(sent.0 as usize..=sent.1 as usize);
        let (len, from, to) = (body.len(), told.0, told.1);
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {len}\r\n\
             Content-Range: bytes {from}-{to}/{size}\r\n\r\n"
        )?;
        let cut = match fault {
            Some(Fault::Cut(after)) => (len - 1).min(after),
            _ => len,
        };
        // Counted first, as whoever gets it may look.
        let mut state = self.state();
        state.seen.answered += 1;
        state.seen.bytes += cut as u64;
        drop(state);
        stream.write_all(&body[..cut])?;
        Ok(cut == len)
    }

    /// Whether the keys of a request are good, and its signature is.
    fn allow(&self, request: &Request) -> Result<(), (u16, &'static str)> {
        let Some(keys) = &self.keys else { return Ok(()) };
        let header = |name: &str| request.headers.get(name).map(String::as_str);
        let credential = header("authorization").and_then(|text| text.split_once("Credential="));
        let id = credential.and_then(|(_, rest)| rest.split('/').next());
        let id = id.ok_or((403, "AccessDenied"))?;
        let keys = keys(id).ok_or((403, "InvalidAccessKeyId"))?;
        let session = Some(&*keys.session).filter(|session| !session.is_empty());
        if header("x-amz-security-token") != session {
            return Err((400, "InvalidToken"));
        }
        signature::check(&request.path, &request.headers, &keys.secret, self.region)
            .map_err(|code| (if code.ends_with("Malformed") { 400 } else { 403 }, code))?;
        let mut state = self.state();
        state.seen.keys.insert(id.to_owned());
        let uses = state.uses;
        let used = state.used.entry(id.to_owned()).or_default();
        *used += 1;
        if keys.expired || uses.is_some_and(|uses| *used > uses) {
            return Err((400, "ExpiredToken"));
        }
        Ok(())
    }
}

fn any_fault(rng: &mut Rng) -> Fault {
    match rng.below(10) {
        0 => Fault::Refuse(503, "SlowDown"),
        1 => Fault::Refuse(500, "InternalError"),
        2 => Fault::Refuse(403, "AccessDenied"),
        3 => Fault::Refuse(400, "ExpiredToken"),
        4 => Fault::Refuse(404, "NoSuchKey"),
        5 => Fault::Cut(rng.below(2_000) as usize),
        6 => Fault::OtherRange,
        7 => Fault::Whole,
        8 => Fault::Half,
        _ => Fault::Say(b"HTTP/1.1 \xff\xfe\r\n\r\n"),
    }
}

fn refuse(stream: &mut TcpStream, status: u16, code: &str) -> std::io::Result<()> {
    let body = format!(
        "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>said by a test</Message>\
         <Resource>/x</Resource></Error>"
    );
    // As where a bucket is elsewhere.
    let more = "x-amz-bucket-region: eu-9\r\nLocation: http://elsewhere.invalid/\r\n";
    let more = if (300..400).contains(&status) { more } else { "" };
    let len = body.len();
    write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: {len}\r\n{more}\r\n{body}")
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    assert!(line.starts_with("GET /") && line.ends_with(" HTTP/1.1\r\n"), "{line:?}");
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let twice = headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        assert_eq!(twice, None, "{name} comes twice");
    }
    Ok(Some(Request { path, headers }))
}

fn range_of(request: &Request) -> Option<Range> {
    let range = request.headers.get("range")?.strip_prefix("bytes=")?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

fn decode(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((byte, more)) = rest.split_first() {
        rest = more;
        if *byte == b'%' {
            let digits = std::str::from_utf8(&more[..2]).expect("digits");
            bytes.push(u8::from_str_radix(digits, 16).expect("digits"));
            rest = &more[2..];
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).expect("a name")
}
