//! A frame that is announced takes no memory before its bytes arrive. Its one allocation is made at
//! once, as large as the frame, and stays address space: nobody has touched it.

use std::io::Read;

use bytes::BufMut;
use fluss_proto::frame::{DEFAULT_MAX_FRAME_BYTES, FrameReader};

/// Peers that announce much and send little.
const PEERS: u64 = 200;
const ANNOUNCED: u64 = 32 << 20;
/// What came of each frame.
const ARRIVED: [u8; 100] = [7; 100];

/// What a reader may touch: its space for small frames, a page for what came of the large one, and
/// what is filled with zeroes ahead for those who read into initialised memory.
const EACH: u64 = (16 << 10) + (8 << 10);
const ZEROED: u64 = 256 << 10;

/// Bytes of this process that are in memory.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib << 10)
}

/// One peer's start of a frame.
fn start() -> Vec<u8> {
    let length = i32::try_from(ANNOUNCED).expect("it fits");
    [&length.to_be_bytes()[..], &ARRIVED].concat()
}

fn grown(per_reader: u64, feed: impl Fn(&mut FrameReader, &[u8])) {
    let Some(before) = resident() else {
        println!("not run: this system does not tell how much memory is in use");
        return;
    };
    let mut readers: Vec<FrameReader> = (0..PEERS)
        .map(|_| {
            let mut reader = FrameReader::new(DEFAULT_MAX_FRAME_BYTES);
            feed(&mut reader, &start());
            assert_eq!(reader.next_frame(), Ok(None));
            feed(&mut reader, &ARRIVED);
            reader
        })
        .collect();
    let grown = resident().unwrap_or_default().saturating_sub(before);
    println!("{PEERS} announced {} MiB each: {} KiB", ANNOUNCED >> 20, grown >> 10);
    assert!(grown <= PEERS * per_reader + (2 << 20), "{grown} bytes");
    assert!(readers.iter_mut().all(|reader| !reader.is_between_frames()));
}

// One test, as the other one's memory would count.
#[test]
fn a_frame_that_is_announced_takes_no_memory_before_it_arrives() {
    grown(EACH, |reader, bytes| reader.buf_mut().put_slice(bytes));
    grown(EACH + ZEROED, |reader, bytes| {
        let mut rest = bytes;
        while !rest.is_empty() {
            let read = reader.read_from(&mut (&mut rest).take(1 << 20)).expect("it is memory");
            assert!(read > 0);
        }
    });
}
