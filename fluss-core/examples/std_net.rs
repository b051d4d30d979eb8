//! The client without any adapter: `Client`, `std::net` and a channel.
//!
//! `cargo run -p fluss-core --example std_net -- 127.0.0.1:9123 shop.events` appends a few rows to
//! a log table with the columns BIGINT, STRING, INT, DOUBLE and prints where they are. A thread for
//! each connection reads; everything else happens in `Loop::turn`.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{io, thread};

use bytes::{Buf, Bytes};
use fluss_core::batch::{ArrowBatchBuilder, ArrowBatchOptions};
use fluss_core::config::{Config, WriterConfig};
use fluss_core::ids::{ConnId, TablePath};
use fluss_core::time::{Duration, Instant};
use fluss_core::{Action, Client, Event, FrameReader, TableInfo, WriterKind, row};

/// A frame that arrived, or why none will any more.
type News = (ConnId, Result<Bytes, String>);

fn read(conn: ConnId, mut socket: TcpStream, max: usize, to: &Sender<News>) -> io::Result<()> {
    let mut frames = FrameReader::new(max);
    while frames.read_from(&mut socket)? > 0 {
        while let Some(frame) = frames.next_frame().map_err(io::Error::other)? {
            to.send((conn, Ok(frame))).map_err(io::Error::other)?;
        }
    }
    Err(io::Error::other("closed by the server"))
}

struct Loop {
    client: Client,
    start: std::time::Instant,
    sockets: BTreeMap<ConnId, TcpStream>,
    sender: Sender<News>,
    news: Receiver<News>,
}

impl Loop {
    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// Connects, which a loop with more to do than this one would not wait for.
    fn connect(&mut self, conn: ConnId, address: (&str, u16)) -> io::Result<()> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        let (reader, sender) = (socket.try_clone()?, self.sender.clone());
        let max = self.client.config().max_frame_bytes;
        self.sockets.insert(conn, socket);
        thread::spawn(move || {
            let end = read(conn, reader, max, &sender).err().map(|why| why.to_string());
            sender.send((conn, Err(end.unwrap_or_default())))
        });
        self.client.handle_connected(conn, self.now());
        Ok(())
    }

    /// Does what the client asks for, then waits for one thing to happen.
    fn turn(&mut self) {
        while let Some(action) = self.client.poll_action() {
            match action {
                Action::Connect { conn, address } => {
                    if let Err(e) = self.connect(conn, (&*address.host, address.port)) {
                        self.client.handle_connect_failed(conn, &e.to_string(), self.now());
                    }
                }
                Action::Disconnect { conn } => {
                    self.sockets.remove(&conn).map(|socket| socket.shutdown(Shutdown::Both));
                }
                // All connections are looked at below.
                _ => {}
            }
        }
        for (conn, mut socket) in &self.sockets {
            let now = Instant::ZERO + self.start.elapsed();
            while let Some(segments) = self.client.poll_transmit(*conn, now) {
                // An error shows at the reading end as well.
                let _ = io::copy(&mut segments.reader(), &mut socket);
            }
        }
        let due = self.client.poll_timeout().map(|(at, _)| at - self.now());
        match self.news.recv_timeout(due.unwrap_or(Duration::MAX)) {
            Ok((conn, Ok(frame))) => self.client.handle_frame(conn, frame, self.now()),
            Ok((conn, Err(why))) => self.client.handle_closed(conn, &why, self.now()),
            Err(_) => self.client.handle_timeout(self.now()),
        }
    }

    /// Turns until an event is the one that is waited for.
    fn wait<T>(&mut self, wanted: impl Fn(Event) -> Option<T>) -> T {
        loop {
            while let Some(event) = self.client.poll_event() {
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
            self.turn();
        }
    }
}

/// Appends three rows and returns the offset of the first.
pub(crate) fn run(bootstrap: &str, table: &str) -> Result<i64, Box<dyn Error>> {
    let (client, start) = (Client::new(Config::new(bootstrap)?)?, std::time::Instant::now());
    let (sender, news) = channel();
    let mut net = Loop { client, start, sockets: BTreeMap::new(), sender, news };

    let path = TablePath::parse(table).ok_or("the table is named as database.table")?;
    let asked = net.client.describe_table(&path, net.now());
    let answer = net.wait(|event| event.of_command(asked))?;
    let info = TableInfo::from_answer(path.clone(), &answer)?;
    let mut rows = ArrowBatchBuilder::new(info.schema().clone(), ArrowBatchOptions::default())?;
    for id in 0..3_i64 {
        rows.try_push(&row![id, "ada", 7, 0.5])?;
    }
    let sealed = rows.seal(i16::try_from(info.schema_id)?, Vec::new())?;

    let now = net.now();
    net.client.watch_table(&path, info.id, now);
    let writer = net.client.open_writer(path, WriterKind::Append, WriterConfig::default(), now)?;
    let lane = net.client.open_lane(writer)?;
    let batch = net.client.write_batch(lane, info.bucket(0), sealed, now)?;
    let written = net.wait(|event| event.of_batch(batch))?;
    let offset = written.base_offset.ok_or("the offset is not known")?;
    println!("3 rows in bucket {}, from offset {offset}", written.bucket);
    Ok(offset)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    match (args.next(), args.next()) {
        (Some(bootstrap), Some(table)) => run(&bootstrap, &table).map(drop),
        _ => Err("usage: std_net HOST:PORT DATABASE.TABLE".into()),
    }
}
