use super::*;
use crate::testing::cluster::{ClusterOptions, Fault, On};
use crate::testing::framing::READ_BYTES;
use fluss_proto::message::{
    ApiVersionsRequest, FetchLogRequest, MetadataRequest, MetadataResponse,
};
use prost::Message;
use std::io::{Read, Write};

fn start() -> Loopback {
    let cluster = FakeCluster::new(ClusterOptions::default());
    Loopback::start(cluster, LoopbackOptions::default()).expect("loopback ports")
}

fn connect(fake: &Loopback, server: ServerId) -> TcpStream {
    let address = fake.address(server).expect("a server");
    let stream = TcpStream::connect((&*address.host, address.port)).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream
}

fn send(stream: &mut TcpStream, api: i16, body: &impl Message) {
    let body = body.encode_to_vec();
    let mut frame = (8 + body.len() as i32).to_be_bytes().to_vec();
    frame.extend(api.to_be_bytes());
    frame.extend([0; 6]);
    frame.extend(body);
    stream.write_all(&frame).expect("the socket takes it");
}

/// The body of the next success frame.
fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    assert_eq!(head[4], 0, "a success frame");
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let mut body = vec![0; length as usize - 5];
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn metadata(stream: &mut TcpStream) -> MetadataResponse {
    send(stream, 1012, &MetadataRequest::default());
    let body = receive(stream).expect("an answer");
    MetadataResponse::decode(&body[..]).expect("metadata")
}

#[test]
fn metadata_names_the_ports_that_listen() {
    let fake = start();
    let answer = metadata(&mut connect(&fake, ServerId::Coordinator));
    assert_eq!(answer.tablet_servers.len(), 3);
    for node in answer.tablet_servers {
        let port = u16::try_from(node.port).expect("a port");
        let mut stream = TcpStream::connect((&*node.host, port)).expect("it listens");
        assert_eq!(metadata(&mut stream).tablet_servers.len(), 3);
    }
}

#[test]
fn large_frames_and_many_small_ones_come_through() {
    let fake = start();
    let mut stream = connect(&fake, ServerId::Tablet(0));
    let hello = |size| ApiVersionsRequest {
        client_software_name: "x".repeat(size),
        client_software_version: "1".into(),
    };
    for size in [1, READ_BYTES / 2, READ_BYTES, READ_BYTES * 40, 3] {
        send(&mut stream, 1000, &hello(size));
        assert!(!receive(&mut stream).expect("an answer").is_empty(), "{size} bytes");
    }
    (0..1000).for_each(|_| send(&mut stream, 1000, &hello(30)));
    (0..1000).for_each(|_| drop(receive(&mut stream).expect("an answer")));
    assert_eq!(fake.with(|cluster| cluster.requests()[&1000]), 1005);
}

#[test]
fn a_cut_a_late_answer_and_a_bad_length_reach_the_client() {
    let fake = start();
    let mut stream = connect(&fake, ServerId::Tablet(0));
    fake.with(|cluster| {
        cluster.inject(On::Metadata, 0, Fault::DelayAnswer(Duration::from_millis(1)));
        cluster.inject(On::Metadata, 1, Fault::LoseAnswer);
    });
    metadata(&mut stream);
    // A fetch of nothing at all is answered, by the thread that reads.
    send(&mut stream, 1015, &FetchLogRequest { follower_server_id: -1, ..Default::default() });
    receive(&mut stream).expect("an answer");
    send(&mut stream, 1012, &MetadataRequest::default());
    assert!(receive(&mut stream).is_err(), "cut");
    metadata(&mut connect(&fake, ServerId::Tablet(1)));
    let mut other = connect(&fake, ServerId::Tablet(1));
    other.write_all(&[0xff; 4]).expect("four bytes");
    let mut all = Vec::new();
    other.read_to_end(&mut all).expect("frame and end");
    assert_eq!(all[4], 2, "a server failure, then the end");
}

#[test]
fn stopped_servers_refuse_and_replaced_ones_listen_elsewhere() {
    let fake = start();
    let server = ServerId::Tablet(1);
    let mut stream = connect(&fake, server);
    metadata(&mut stream);
    fake.stop_server(server);
    assert!(receive(&mut stream).is_err(), "cut");
    let address = fake.address(server).expect("still known");
    assert!(TcpStream::connect((&*address.host, address.port)).is_err(), "refused");
    fake.start_server(server).expect("its port is free");
    assert_eq!(fake.address(server), Some(address));
    let mut stream = connect(&fake, server);
    metadata(&mut stream);
    let before = fake.bootstrap_all();
    fake.replace_all_servers().expect("new ports");
    assert!(receive(&mut stream).is_err(), "cut");
    let after = fake.bootstrap_all();
    assert!(before.iter().all(|address| !after.contains(address)), "{before:?} {after:?}");
    assert_eq!(metadata(&mut connect(&fake, server)).tablet_servers.len(), 3);
}

#[test]
fn a_dropped_fake_closes_its_ports() {
    let fake = start();
    let mut stream = connect(&fake, ServerId::Tablet(0));
    metadata(&mut stream);
    let address = fake.address(ServerId::Tablet(0)).expect("an address");
    drop(fake);
    assert!(receive(&mut stream).is_err());
    assert!(TcpStream::connect((&*address.host, address.port)).is_err());
}

#[test]
fn it_listens_on_ipv6_where_there_is_any() {
    let cluster = FakeCluster::new(ClusterOptions::default());
    let Ok(fake) = Loopback::start(cluster, LoopbackOptions { ipv6: true }) else {
        assert!(TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err(), "there is IPv6");
        return;
    };
    assert!(fake.bootstrap().starts_with("[::1]:"));
    metadata(&mut connect(&fake, ServerId::Coordinator));
}
