//! Servers that are none, and bytes that make no sense.

use std::io::{Read, Write};

use super::Harness;
use super::stage::{LOG, NEVER, Stage, config};
use crate::ids::{Address, ServerId, TablePath};
use crate::row;
use crate::row::{DataType, Schema, TableDescriptor};
use crate::testing::loopback::{Port, Relay};
use crate::time::Duration;

const SOON: Duration = Duration::from_millis(250);

/// A server that says these bytes as soon as it has heard anything, and then nothing.
fn saying(bytes: &'static [u8]) -> Port {
    let port = Port::open(move |mut stream| {
        let mut heard = [0; 4096];
        let mut said = false;
        while stream.read(&mut heard).is_ok_and(|read| read > 0) {
            // A client that has gone already is no failure of this server.
            if !said && stream.write_all(bytes).is_err() {
                return;
            }
            said = true;
        }
    });
    port.expect("a port")
}

/// The error of a client that meets this server names it and says this; the same client is fine
/// as soon as a Fluss server is there.
fn met_by_error<H: Harness>(server: impl FnOnce() -> Port + Send + 'static, says: &'static str) {
    Stage::<H>::run(async move |stage| {
        let server = server();
        let relay = Relay::open(&server.address().to_string(), 4 << 10).expect("a port");
        let address = relay.address().to_string();
        let fluss = stage.client_with(config(&address).connect_timeout(SOON));
        let error = fluss.ready().await.expect_err("that is no Fluss server").to_string();
        assert!(error.contains(&address) && error.contains(says), "{error}");
        relay.aim(&stage.fake().bootstrap());
        fluss.table(LOG).await.expect("usable as before");
    });
}

/// A web server.
pub fn a_web_server_is_no_fluss_server<H: Harness>() {
    met_by_error::<H>(|| saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "Fluss server?");
}

/// A frame of 2 GiB is announced: nothing of that size is allocated or waited for.
pub fn a_frame_of_two_gibibytes_is_refused<H: Harness>() {
    met_by_error::<H>(|| saying(b"\x7f\xff\xff\xff\0\0\0\0\0"), "2147483647 bytes");
}

/// A frame of a negative length.
pub fn a_frame_of_negative_length_is_refused<H: Harness>() {
    met_by_error::<H>(|| saying(b"\xff\xff\xff\xff"), "-1 bytes");
}

/// A well-formed frame of a type that does not exist.
pub fn a_frame_of_unknown_type_is_refused<H: Harness>() {
    met_by_error::<H>(|| saying(b"\0\0\0\x05\x63\0\0\0\0"), "Fluss server?");
}

/// A server that hangs up at once.
pub fn a_server_that_hangs_up_is_named<H: Harness>() {
    met_by_error::<H>(|| Port::open(drop).expect("a port"), "API_VERSIONS");
}

/// A server that listens and never says a word.
pub fn a_server_that_never_answers_is_given_up_in_time<H: Harness>() {
    met_by_error::<H>(|| saying(b""), "API_VERSIONS");
}

/// An answer above the limit is an error that names both numbers.
pub fn an_answer_above_the_frame_limit_names_the_limit<H: Harness>() {
    Stage::<H>::run(async |stage| {
        let mut columns = Schema::builder();
        for at in 0..300 {
            columns = columns.column(format!("column_with_a_long_name_{at}"), DataType::STRING);
        }
        let wide = TableDescriptor::new(columns.build().expect("a schema")).to_json();
        let path = TablePath::new("fluss", "wide");
        stage.with(|cluster| cluster.add_table(&path, &wide)).expect("a table");
        let mut config = stage.config().command_deadline(SOON * 4);
        config.max_frame_bytes = 4 << 10;
        let fluss = stage.client_with(config);
        let error = fluss.table("fluss.wide").await.expect_err("too large").to_string();
        assert!(error.contains("at most 4096 bytes"), "{error}");
        fluss.table(LOG).await.expect("usable as before");
    });
}

/// A batch far above what sockets buffer goes out in many writes, through a peer that takes little
/// at once.
pub fn a_large_batch_is_written_in_parts<H: Harness>() {
    const BYTES: usize = 16 << 20;
    Stage::<H>::run(async |stage| {
        let tablets: Vec<ServerId> = stage.with(|cluster| {
            cluster.servers().filter(|s| matches!(s, ServerId::Tablet(_))).collect()
        });
        let relays: Vec<Relay> = tablets
            .into_iter()
            .map(|server| {
                let address = stage.fake().address(server).expect("it exists").to_string();
                let relay = Relay::open(&address, 16 << 10).expect("a port");
                let port = relay.address().port();
                let address = Address { host: "127.0.0.1".into(), port };
                stage.with(|cluster| cluster.set_address(server, address));
                relay
            })
            .collect();
        let set = |b: crate::AppendBuilder| {
            b.linger(NEVER).delivery_timeout(2 * NEVER).batch_bytes(2 * BYTES)
        };
        let mut writer_config = stage.config();
        writer_config.max_request_bytes = 4 * BYTES;
        let writer = stage.writer_with(writer_config, set).await;
        let text = "0123456789abcdef".repeat(BYTES / 256);
        let mut tickets = Vec::new();
        for id in 0..16 {
            tickets.push(writer.append(&row![id, &text]).await.expect("it fits"));
        }
        writer.flush().await.expect("all written");
        for (id, ticket) in (0..).zip(tickets) {
            assert_eq!(stage.acked(id, ticket).await.offset, Some(id));
        }
        let partial = writer.table().fluss().partial_writes();
        assert!(partial > 0, "the sockets took every request at once");
        drop(relays);
    });
}
