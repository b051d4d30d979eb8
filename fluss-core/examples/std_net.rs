//! The client without any adapter: `Client`, `std::net` and a channel.
//!
//! `cargo run -p fluss-core --example std_net -- 127.0.0.1:9123 shop.events` appends a few rows to
//! a log table with the columns BIGINT, STRING, INT, DOUBLE and prints where they are. A thread for
//! each connection reads; everything else happens in `Loop::turn`.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use bytes::{Buf, Bytes};
use fluss_core::batch::{ArrowBatchBuilder, ArrowBatchOptions};
use fluss_core::command::{Call, Target};
use fluss_core::config::{Config, WriterConfig};
use fluss_core::ids::{Address, BucketKey, ConnId, TableId, TablePath};
use fluss_core::row::TableDescriptor;
use fluss_core::{
    Action, ApiKey, BatchOutcome, Client, CommandAnswer, Event, FrameReader, Instant, Open,
    Reserve, WriterKind, row,
};
use fluss_proto::message::{GetTableInfoRequest, GetTableInfoResponse, PbTablePath};
use prost::Message;

/// What a connection's thread tells.
enum News {
    Connected(TcpStream),
    Frame(Bytes),
    Damaged(String),
    Closed(String),
    NotConnected(String),
}

/// Connects, then reads until the connection ends.
fn serve(conn: ConnId, address: &Address, limit: usize, news: &Sender<(ConnId, News)>) {
    let mut stream = match TcpStream::connect((&*address.host, address.port)) {
        Ok(stream) => stream,
        Err(e) => return drop(news.send((conn, News::NotConnected(e.to_string())))),
    };
    let end = stream.set_nodelay(true).and_then(|()| {
        drop(news.send((conn, News::Connected(stream.try_clone()?))));
        let mut frames = FrameReader::new(limit);
        while frames.read_from(&mut stream)? > 0 {
            loop {
                match frames.next_frame() {
                    Ok(Some(frame)) => drop(news.send((conn, News::Frame(frame)))),
                    Ok(None) => break,
                    Err(e) => {
                        drop(news.send((conn, News::Damaged(e.to_string()))));
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    });
    let reason = end.err().map_or("closed by the server".to_owned(), |e| e.to_string());
    drop(news.send((conn, News::Closed(reason))));
}

struct Loop {
    client: Client,
    start: std::time::Instant,
    sockets: BTreeMap<ConnId, TcpStream>,
    sender: Sender<(ConnId, News)>,
    news: Receiver<(ConnId, News)>,
}

impl Loop {
    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// Does what the client asks for, then waits for one thing to happen.
    fn turn(&mut self) {
        while let Some(action) = self.client.poll_action() {
            match action {
                Action::Connect { conn, address } => {
                    let (sender, limit) =
                        (self.sender.clone(), self.client.config().max_frame_bytes);
                    thread::spawn(move || serve(conn, &address, limit, &sender));
                }
                Action::Flush { conn } => self.write(conn),
                Action::Disconnect { conn } => {
                    self.sockets.remove(&conn).map(|socket| socket.shutdown(Shutdown::Both));
                }
                _ => {}
            }
        }
        let due = self.client.poll_timeout().map(|(at, _)| at - self.now());
        let (news, now) = (self.news.recv_timeout(due.unwrap_or(Duration::MAX)), self.now());
        match news {
            Ok((conn, News::Connected(socket))) => {
                self.sockets.insert(conn, socket);
                self.client.handle_connected(conn, now);
                self.write(conn);
            }
            Ok((conn, News::Frame(frame))) => self.client.handle_frame(conn, frame, now),
            Ok((conn, News::Damaged(why))) => self.client.handle_protocol_error(conn, &why, now),
            Ok((conn, News::Closed(why))) => self.client.handle_closed(conn, &why, now),
            Ok((conn, News::NotConnected(why))) => {
                self.client.handle_connect_failed(conn, &why, now);
            }
            Err(_) => self.client.handle_timeout(now),
        }
    }

    /// Writes what waits for a connection. An error shows at the reading end as well.
    fn write(&mut self, conn: ConnId) {
        while let Some(socket) = self.sockets.get_mut(&conn)
            && let now = Instant::ZERO + self.start.elapsed()
            && let Some(mut segments) = self.client.poll_transmit(conn, now)
        {
            while segments.has_remaining() && socket.write_all(segments.chunk()).is_ok() {
                segments.advance(segments.chunk().len());
            }
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
    let (sender, news) = channel();
    let client = Client::new(Config::new(bootstrap)?)?;
    let start = std::time::Instant::now();
    let mut net = Loop { client, start, sockets: BTreeMap::new(), sender, news };

    let path = TablePath::parse(table).ok_or("the table is named as database.table")?;
    let pb = PbTablePath {
        database_name: path.database.to_string(),
        table_name: path.table.to_string(),
    };
    let body = GetTableInfoRequest { table_path: pb }.encode_to_vec().into();
    let call = Call::new(ApiKey::GetTableInfo, body, Target::AnyServer, "GET_TABLE_INFO");
    let asked = net.client.call(call, net.now());
    let answer = net.wait(|event| match event {
        Event::CommandDone { command, result } if command == asked => Some(result),
        _ => None,
    });
    let CommandAnswer::Body(body) = answer? else { return Err("no table".into()) };
    let info = GetTableInfoResponse::decode(body)?;
    let descriptor = TableDescriptor::from_json(&info.table_json)?;

    let (id, now) = (TableId(info.table_id), net.now());
    net.client.watch_table(&path, id, now);
    let writer = net.client.open_writer(path, WriterKind::Append, WriterConfig::default(), now)?;
    let lane = net.client.open_lane(writer)?;
    let bucket = BucketKey { table: id, partition: None, bucket: 0 };
    let reserve = Reserve::Now { step: 64 << 10, full: 64 << 10 };
    let Open::Granted { batch, .. } = net.client.open_batch(lane, bucket, reserve, now)? else {
        return Err("no memory for a batch".into());
    };
    let mut rows = ArrowBatchBuilder::new(descriptor.schema, ArrowBatchOptions::default())?;
    for id in 0..3_i64 {
        rows.try_push(&row![id, "ada", 7, 0.5])?;
    }
    let sealed = rows.seal(i16::try_from(info.schema_id)?, Vec::new())?;
    net.client.submit_batch(batch, sealed, now);
    let outcome = net.wait(|event| match event {
        Event::BatchDone { batch: done, outcome } if done == batch => Some(outcome),
        _ => None,
    });
    match outcome {
        BatchOutcome::Written(written) => {
            let offset = written.base_offset.ok_or("the offset is not known")?;
            println!("3 rows in bucket {}, from offset {offset}", written.bucket);
            Ok(offset)
        }
        BatchOutcome::Failed(e) => Err(e.into()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    match (args.next(), args.next()) {
        (Some(bootstrap), Some(table)) => run(&bootstrap, &table).map(|_| ()),
        _ => Err("usage: std_net HOST:PORT DATABASE.TABLE".into()),
    }
}
