//! A lone lookup against the raw round trip of the same request on a blocking socket, to the same
//! server in memory, in turns: median times per runtime and how many times as long one takes.
//!
//! ```console
//! $ cargo bench -p fluss-benches --bench lone_lookup
//! ```
//!
//! It ends with 1 where a lookup takes more than 1.5 times as long with the blocking runtime, or
//! 2.5 times on tokio and smol, from a task. What runs in `main` itself is on none of the threads
//! of a multi_thread runtime, hands its request to one of them and gets the answer from there: that
//! is printed as well, without a bound. The server runs in this process, on a thread of its own.
//!
//! It is measured on one processor first, for which it starts itself under `taskset` where there is
//! one, and then on all of them; both have to keep to the bounds. With several processors, the
//! scheduler decides which threads sleep next to each other, and keeps to it for thousands of
//! lookups: to wake one on another processor takes as long as three round trips on a virtual
//! machine. So both sides have their server in one thread, see [`server`].

mod server;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use fluss_benches::{fake, schema, tuple};
use fluss_core::config::Config;
use fluss_core::ids::{ServerId, TablePath};
use fluss_core::row::OwnedRow;
use fluss_core::row::key::KeyEncoder;
use fluss_core::{Fluss, Lookuper};
use fluss_proto::message::{LookupRequest, PbLookupReqForBucket};
use fluss_proto::request::encode_request;

use server::OneThread;

/// Lookups of each side, and those before them that do not count.
const ROUNDS: usize = 20_000;
const WARM_UP: usize = 2_000;
/// The key that is looked up.
const KEY: i64 = 7;

/// The same request by hand, on a blocking socket.
struct Raw {
    socket: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Raw {
    fn new(fake: &OneThread) -> Self {
        let path = TablePath::parse(fake::KEYED).expect("a path");
        let table_id = fake.cluster().table_id(&path).expect("the table").0;
        let mut key = Vec::new();
        let encoder = KeyEncoder::new(&schema(true), &[0]).expect("a key");
        encoder.encode(&tuple(KEY.unsigned_abs()), &mut key).expect("a row");
        let bucket = PbLookupReqForBucket {
            partition_id: None,
            bucket_id: 0,
            keys: vec![key.into()],
            original_partition_name: None,
            routing_bucket_count: None,
        };
        let request = LookupRequest {
            table_id,
            buckets_req: vec![bucket],
            insert_if_not_exists: None,
            acks: None,
            timeout_ms: None,
        };
        let request = encode_request(1, 0, &request).expect("a short request").to_vec();
        let address = fake.cluster().address(ServerId::Tablet(0)).expect("it is up").clone();
        let socket = TcpStream::connect((&*address.host, address.port)).expect("it is up");
        socket.set_nodelay(true).expect("a socket");
        Self { socket, request, answer: Vec::new() }
    }

    /// One round trip, in nanoseconds.
    fn time(&mut self) -> u64 {
        let start = Instant::now();
        self.socket.write_all(&self.request).expect("the server is up");
        let mut length = [0; 4];
        self.socket.read_exact(&mut length).expect("an answer");
        self.answer.resize(u32::from_be_bytes(length) as usize, 0);
        self.socket.read_exact(&mut self.answer).expect("an answer");
        let taken = nanos(start);
        assert!(self.answer.len() > 30, "the answer holds no row: {:?}", self.answer);
        taken
    }
}

fn nanos(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn median(mut times: Vec<u64>) -> u64 {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Both sides' times, in turns.
struct Turns {
    raw: Raw,
    round: usize,
    ours: Vec<u64>,
    theirs: Vec<u64>,
}

impl Turns {
    fn new(raw: Raw) -> Self {
        Self { raw, round: 0, ours: Vec::new(), theirs: Vec::new() }
    }

    /// Whether there is another turn, which begins with the one by hand, and when ours begins.
    fn begin(&mut self) -> Option<Instant> {
        self.round += 1;
        if self.round > WARM_UP + ROUNDS {
            return None;
        }
        let by_hand = self.raw.time();
        if self.round > WARM_UP {
            self.theirs.push(by_hand);
        }
        Some(Instant::now())
    }

    fn end(&mut self, start: Instant, row: Option<OwnedRow>) {
        let taken = nanos(start);
        assert!(row.is_some(), "the row is there");
        if self.round > WARM_UP {
            self.ours.push(taken);
        }
    }

    fn medians(self) -> (u64, u64) {
        (median(self.ours), median(self.theirs))
    }
}

async fn in_turns(lookuper: Lookuper, raw: Raw) -> (u64, u64) {
    let mut turns = Turns::new(raw);
    while let Some(start) = turns.begin() {
        let row = lookuper.lookup(&(KEY,)).await.expect("an answer");
        turns.end(start, row);
    }
    turns.medians()
}

/// The same for a caller that blocks.
fn in_turns_blocking(lookuper: &Lookuper, raw: Raw) -> (u64, u64) {
    let mut turns = Turns::new(raw);
    while let Some(start) = turns.begin() {
        let row = lookuper.lookup(&(KEY,)).wait().expect("an answer");
        turns.end(start, row);
    }
    turns.medians()
}

fn lookuper(fluss: &Fluss) -> Lookuper {
    fluss.table(fake::KEYED).wait().and_then(|table| table.lookuper()).expect("the table")
}

fn report(runtime: &str, limit: Option<f64>, (ours, raw): (u64, u64)) -> bool {
    let ratio = ours as f64 / raw as f64;
    let met = limit.is_none_or(|limit| ratio <= limit);
    let verdict = match limit {
        None => String::new(),
        Some(limit) => format!(" of {limit}  {}", if met { "met" } else { "MISSED" }),
    };
    println!("{runtime:<22} {ours:>7} ns, by hand {raw:>7} ns: {ratio:4.2}{verdict}");
    met
}

/// Whether this program keeps to the bounds on one processor; None where that cannot be had.
fn on_one_processor() -> Option<bool> {
    let program = std::env::current_exe().ok()?;
    let status = Command::new("taskset").args(["-c", "0"]).arg(program).arg(PINNED).status();
    Some(status.ok()?.success())
}

/// The argument of a program that was started on one processor.
const PINNED: &str = "pinned";

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == PINNED) {
        println!("on one processor:");
        return if measure() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let pinned = on_one_processor();
    println!("on all processors, as the scheduler places the threads:");
    let met = measure();
    if met && pinned != Some(false) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether all runtimes keep to their bounds.
fn measure() -> bool {
    let fake = OneThread::start(fake::stored(1)).expect("loopback ports");
    let address = fake.cluster().address(ServerId::Coordinator).expect("it is up").clone();
    let config = || Config::with_addresses(vec![address.clone()]);
    let mut met = true;

    let fluss = fluss_embedded::open(config()).expect("a client");
    let upserter = fluss.table(fake::KEYED).wait().and_then(|t| t.upserter().build());
    let upserter = upserter.expect("a writer");
    drop(upserter.upsert(&tuple(KEY.unsigned_abs())).wait().expect("room for a row"));
    upserter.flush().wait().expect("an acknowledgement");
    met &= report("blocking", Some(1.5), in_turns_blocking(&lookuper(&fluss), Raw::new(&fake)));
    fluss.close(Duration::from_secs(10)).wait().expect("nothing is left");

    for (name, mut builder, limit) in [
        ("tokio, current_thread", tokio::runtime::Builder::new_current_thread(), Some(2.5)),
        ("tokio, multi_thread", tokio::runtime::Builder::new_multi_thread(), Some(2.5)),
        ("tokio, multi, in main", tokio::runtime::Builder::new_multi_thread(), None),
    ] {
        let runtime = builder.enable_all().build().expect("a runtime");
        let times = runtime.block_on(async {
            let fluss = fluss_tokio::start(config()).await.expect("a client");
            let table = fluss.table(fake::KEYED).await.expect("the table");
            let lookuper = table.lookuper().expect("it has a key");
            let turns = in_turns(lookuper, Raw::new(&fake));
            match limit {
                Some(_) => tokio::spawn(turns).await.expect("no panic"),
                None => turns.await,
            }
        });
        met &= report(name, limit, times);
    }

    let times = smol::block_on(async {
        let fluss = fluss_smol::start(config()).await.expect("a client");
        let table = fluss.table(fake::KEYED).await.expect("the table");
        let lookuper = table.lookuper().expect("it has a key");
        smol::spawn(in_turns(lookuper, Raw::new(&fake))).await
    });
    met & report("smol", Some(2.5), times)
}
