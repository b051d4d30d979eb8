//! The client without any adapter: `Client`, `std::net` and a channel.
//!
//! `cargo run -p fluss-core --example std_net -- 127.0.0.1:9123 shop.events` appends a few rows to
//! a log table with the columns BIGINT, STRING, INT, DOUBLE and prints where they are. A thread for
//! each connection reads; everything else happens in `Loop::run`.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{io, thread};

use bytes::{Buf, Bytes};
use fluss_core::batch::{ArrowBatchBuilder, ArrowBatchOptions};
use fluss_core::config::{Config, WriterConfig};
use fluss_core::ids::{Address, ConnId, TablePath};
use fluss_core::time::{Duration, Instant};
use fluss_core::{Action, Client, Event, FrameReader, TableInfo, WriterKind, row};

/// A frame that arrived, or why none will any more.
type News = (ConnId, io::Result<Bytes>);

struct Loop {
    client: Client,
    start: std::time::Instant,
    sockets: BTreeMap<ConnId, TcpStream>,
    news: (Sender<News>, Receiver<News>),
}

impl Loop {
    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// Connects, which a loop with more to do than this one would not wait for.
    fn connect(&mut self, conn: ConnId, to: &Address) -> io::Result<()> {
        let socket = TcpStream::connect((&*to.host, to.port))?;
        socket.set_nodelay(true)?;
        let frames = FrameReader::new(self.client.config().max_frame_bytes);
        let (mut frames, sender) = (frames.frames_of(socket.try_clone()?), self.news.0.clone());
        thread::spawn(move || frames.try_for_each(|frame| sender.send((conn, frame))));
        self.sockets.insert(conn, socket);
        Ok(())
    }

    /// Does what the client asks for, then waits for one thing to happen, and so on until an event
    /// is the one that is wanted.
    fn run<T>(&mut self, wanted: impl Fn(Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = std::iter::from_fn(|| self.client.poll_event()).find_map(&wanted) {
                return found;
            }
            let now = self.now();
            while let Some(action) = self.client.poll_action() {
                match action {
                    Action::Connect { conn, address } => match self.connect(conn, &address) {
                        Ok(()) => self.client.handle_connected(conn, now),
                        Err(e) => self.client.handle_connect_failed(conn, &e.to_string(), now),
                    },
                    Action::Disconnect { conn } => {
                        self.sockets.remove(&conn).map(|socket| socket.shutdown(Shutdown::Both));
                    }
                    // All connections are looked at below.
                    _ => {}
                }
            }
            for (conn, mut socket) in &self.sockets {
                while let Some(segments) = self.client.poll_transmit(*conn, now) {
                    // An error shows at the reading end as well.
                    let _ = io::copy(&mut segments.reader(), &mut socket);
                }
            }
            let due = self.client.poll_timeout().map_or(Duration::MAX, |(at, _)| at - now);
            let (news, now) = (self.news.1.recv_timeout(due), self.now());
            match news {
                Ok((conn, Ok(frame))) => self.client.handle_frame(conn, frame, now),
                Ok((conn, Err(why))) => self.client.handle_closed(conn, &why.to_string(), now),
                Err(_) => self.client.handle_timeout(now),
            }
        }
    }
}

/// Appends three rows and returns the offset of the first.
pub(crate) fn run(bootstrap: &str, table: &str) -> Result<i64, Box<dyn Error>> {
    let (client, start) = (Client::new(Config::new(bootstrap)?)?, std::time::Instant::now());
    let mut net = Loop { client, start, sockets: BTreeMap::new(), news: channel() };

    let path = TablePath::parse(table).ok_or("the table is named as database.table")?;
    let asked = net.client.describe_table(&path, net.now());
    let info = TableInfo::from_answer(path.clone(), &net.run(|event| event.of_command(asked))?)?;
    let mut rows = ArrowBatchBuilder::new(info.schema().clone(), ArrowBatchOptions::default())?;
    (0..3_i64).try_for_each(|id| rows.try_push(&row![id, "ada", 7, 0.5]).map(drop))?;
    let sealed = rows.seal(i16::try_from(info.schema_id)?, Vec::new())?;

    let now = net.now();
    net.client.watch_table(&path, info.id, now);
    let writer = net.client.open_writer(path, WriterKind::Append, WriterConfig::default(), now)?;
    let lane = net.client.open_lane(writer)?;
    let batch = net.client.write_batch(lane, info.bucket(0), sealed, now)?;
    let written = net.run(|event| event.of_batch(batch))?;
    let offset = written.base_offset.ok_or("the offset is not known")?;
    println!("3 rows in bucket {}, from offset {offset}", written.bucket);
    assert_eq!(net.client.memory_used(), 0, "all rows have their outcomes");
    Ok(offset)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or("usage: std_net HOST:PORT DATABASE.TABLE");
    run(&next()?, &next()?).map(drop)
}
