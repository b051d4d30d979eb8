//! Blocking use from several threads, without any async code.
//!
//! `cargo run -p fluss-embedded --example blocking -- 127.0.0.1:9123 shop.events` appends rows to a
//! log table with the columns BIGINT, STRING, INT, DOUBLE from four threads.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use fluss_embedded::row;

const THREADS: i64 = 4;
const ROWS: i64 = 10_000;

pub(crate) fn run(bootstrap: &str, table: &str) -> Result<(), Box<dyn Error>> {
    let fluss = fluss_embedded::connect(bootstrap)?;
    let table = fluss.table(table).wait()?;
    let writer = table.appender().linger(Duration::from_millis(5)).build()?;
    let start = Instant::now();
    thread::scope(|scope| {
        for number in 0..THREADS {
            // A clone is a lane of its own: the threads do not wait for each other.
            let writer = writer.clone();
            scope.spawn(move || {
                for id in number * ROWS..(number + 1) * ROWS {
                    // Waits for memory only; `flush` tells of rows that were not written.
                    if let Err(e) = writer.append(&row![id, "ada", 7, 0.5]).wait() {
                        return eprintln!("row {id}: {e}");
                    }
                }
            });
        }
    });
    writer.flush().wait()?;
    println!("{} rows in {:?}", THREADS * ROWS, start.elapsed());

    // One row at a time: alone with the client, this thread moves the bytes itself.
    let ack = writer.append(&row![-1_i64, "grace", 1, 1.5]).wait()?.wait()?;
    println!("one more in bucket {}, offset {:?}", ack.bucket, ack.offset);
    fluss.close(Duration::from_secs(10)).wait()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    match (args.next(), args.next()) {
        (Some(bootstrap), Some(table)) => run(&bootstrap, &table),
        _ => Err("usage: blocking HOST:PORT DATABASE.TABLE".into()),
    }
}
