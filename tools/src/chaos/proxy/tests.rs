use super::*;
use std::io::{Read, Write};
use std::time::Instant;

use fluss_core::testing::loopback::Port as Peer;

/// A server that answers each request of a write with eight bytes of its own, and says how much it
/// got.
fn server(received: &Arc<AtomicU64>) -> Peer {
    let received = Arc::clone(received);
    Peer::open(move |mut stream| {
        let mut request = [0; 12];
        while stream.read_exact(&mut request).is_ok() {
            received.fetch_add(12, Ordering::SeqCst);
            let id = &request[8..];
            let answer = [&[0, 0, 0, 9, 0], id, b"done"].concat();
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    })
    .unwrap()
}

fn request(id: u8) -> Vec<u8> {
    let key = fluss_core::ApiKey::ProduceLog.number().to_be_bytes();
    [&[0, 0, 0, 8], &key[..], &[0, 0], &[0, 0, 0, id]].concat()
}

struct Stage {
    proxy: Proxy,
    received: Arc<AtomicU64>,
    _server: Peer,
}

impl Stage {
    fn new(seed: u64, weather: Weather) -> Self {
        let received = Arc::new(AtomicU64::new(0));
        let server = server(&received);
        let proxy = Proxy::open(1, seed).unwrap();
        proxy.aim(&[server.address().to_string()]);
        proxy.set(weather);
        Self { proxy, received, _server: server }
    }

    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(&*self.proxy.addresses()[0]).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    }

    /// Sends requests until the connection ends; the answers that came whole.
    fn talk(&self) -> u64 {
        let mut client = self.client();
        for answered in 0.. {
            let id = (answered % 250) as u8;
            let mut answer = [0; 13];
            if client.write_all(&request(id)).is_err() || client.read_exact(&mut answer).is_err() {
                return answered;
            }
            assert_eq!(answer, [0, 0, 0, 9, 0, 0, 0, 0, id, b'd', b'o', b'n', b'e']);
        }
        0
    }
}

#[test]
fn connections_are_cut_and_the_bytes_before_it_are_true() {
    let every = Some(Duration::from_millis(30));
    let stage = Stage::new(1, Weather { cut_every: every, ..Weather::default() });
    let answered: u64 = (0..5).map(|_| stage.talk()).sum();
    let harm = stage.proxy.harm();
    assert_eq!((harm.connections, harm.cuts), (5, 5), "{harm:?}");
    assert!(answered > 0, "{harm:?}");
}

#[test]
fn a_lost_answer_is_counted_and_its_request_reached_the_server() {
    let stage = Stage::new(2, Weather { lose_answer_one_in: 5, ..Weather::default() });
    for talks in 1..=4 {
        let before = stage.received.load(Ordering::SeqCst);
        let answered = stage.talk();
        let harm = stage.proxy.harm();
        assert_eq!((harm.cuts, harm.lost_answers), (talks, talks), "{harm:?}");
        let received = stage.received.load(Ordering::SeqCst) - before;
        assert_eq!(received, 12 * (answered + 1), "the request without an answer was passed on");
    }
}

#[test]
fn delayed_and_split_pieces_arrive_whole() {
    let weather = Weather {
        delay_one_in: 4,
        delay_max: Duration::from_millis(2),
        split_one_in: 2,
        ..Weather::default()
    };
    let stage = Stage::new(3, weather);
    let mut client = stage.client();
    for id in 0..50 {
        client.write_all(&request(id)).unwrap();
        let mut answer = [0; 13];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer[8], id);
    }
    let harm = stage.proxy.harm();
    assert!(harm.delays > 0 && harm.splits > 0 && harm.cuts == 0, "{harm:?}");
}

#[test]
fn swallowed_answers_never_come_and_clear_weather_ends_the_silence() {
    let every = Some(Duration::from_nanos(1));
    let stage = Stage::new(4, Weather { swallow_every: every, ..Weather::default() });
    let mut client = stage.client();
    client.write_all(&request(7)).unwrap();
    let limit = Instant::now() + Duration::from_secs(20);
    while stage.proxy.harm().lost_answers == 0 {
        assert!(Instant::now() < limit, "{:?}", stage.proxy.harm());
        thread::yield_now();
    }
    assert_eq!(stage.proxy.harm().swallowed, 1);
    client.set_nonblocking(true).unwrap();
    let silent = client.read(&mut [0; 16]).unwrap_err().kind();
    assert_eq!(silent, io::ErrorKind::WouldBlock);
    client.set_nonblocking(false).unwrap();
    stage.proxy.set(Weather::default());
    // The connection ends instead of going on in the middle of something.
    assert_eq!(client.read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn a_server_that_is_down_shows_as_a_closed_connection() {
    let proxy = Proxy::open(1, 5).unwrap();
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    proxy.aim(&[free.to_string()]);
    let mut client = TcpStream::connect(&*proxy.addresses()[0]).unwrap();
    assert_eq!(client.read(&mut [0; 16]).unwrap_or(0), 0);
    assert_eq!(proxy.harm(), Harm::default());
}

#[test]
fn writes_without_an_answer_count_for_the_port_through_which_they_came() {
    // It answers the first request when the second has come.
    let server = Peer::open(|mut stream| {
        let mut requests = [0; 24];
        while stream.read_exact(&mut requests).is_ok() {
            for id in [&requests[8..12], &requests[20..]] {
                if stream.write_all(&[&[0, 0, 0, 5, 0], id].concat()).is_err() {
                    return;
                }
            }
        }
    })
    .unwrap();
    let proxy = Proxy::open(2, 6).unwrap();
    let address = server.address().to_string();
    proxy.aim(&[address.clone(), address]);
    let mut client = TcpStream::connect(&*proxy.addresses()[1]).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answers = [0; 18];
    for open in [1, 0] {
        client.write_all(&request(open as u8)).unwrap();
        if open == 0 {
            client.read_exact(&mut answers).unwrap();
        }
        let limit = Instant::now() + Duration::from_secs(20);
        while proxy.open_writes(1) != open {
            assert!(Instant::now() < limit, "{}", proxy.open_writes(1));
            thread::yield_now();
        }
        assert_eq!(proxy.open_writes(0), 0);
    }
}
