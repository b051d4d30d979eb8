use std::collections::VecDeque;

use super::*;

/// A small generator, so that a failing case can be repeated from its seed.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn wire(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut wire = Vec::new();
    for frame in frames {
        wire.extend_from_slice(&i32::try_from(frame.len()).unwrap().to_be_bytes());
        wire.extend_from_slice(frame);
    }
    wire
}

fn drain(reader: &mut FrameReader, into: &mut Vec<Vec<u8>>) {
    while let Some(frame) = reader.next_frame().unwrap() {
        into.push(frame.to_vec());
    }
}

/// Gives its pieces one read at a time, with a pause after each.
struct Pieces(VecDeque<Vec<u8>>);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.0.front_mut() else { return Ok(0) };
        if piece.is_empty() {
            self.0.pop_front();
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = piece.len().min(buffer.len());
        buffer[..n].copy_from_slice(&piece[..n]);
        piece.drain(..n);
        Ok(n)
    }
}

/// Feeds a piece in one of the three ways, in as many steps as it takes.
fn feed(reader: &mut FrameReader, mut piece: &[u8], way: usize, got: &mut Vec<Vec<u8>>) {
    while !piece.is_empty() {
        let n = match way {
            0 => {
                let buffer = reader.buffer();
                let n = piece.len().min(buffer.len());
                buffer[..n].copy_from_slice(&piece[..n]);
                reader.advance(n);
                n
            }
            1 => {
                let mut buffer = reader.buf_mut();
                let n = piece.len().min(buffer.remaining_mut());
                buffer.put_slice(&piece[..n]);
                n
            }
            _ => {
                let mut pieces = Pieces(VecDeque::from([piece.to_vec()]));
                reader.read_from(&mut pieces).unwrap()
            }
        };
        assert!(n > 0);
        piece = &piece[n..];
        drain(reader, got);
    }
}

#[test]
fn frames_survive_any_cut_of_the_stream_and_any_way_to_feed_it() {
    for seed in 0..25 {
        let mut rng = Rng(seed);
        let sizes = [0, 1, 5, 300, CHUNK - 5, CHUNK - 4, CHUNK - 3, 5 * CHUNK, 3 * ZEROED_AHEAD];
        let frames: Vec<Vec<u8>> = (0..40)
            .map(|_| {
                let size = sizes[rng.below(sizes.len())];
                let first = rng.next() as u8;
                (0..size).map(|i| first.wrapping_add(i as u8)).collect()
            })
            .collect();
        let stream = wire(&frames);
        let mut reader = FrameReader::new(DEFAULT_MAX_FRAME_BYTES);
        let (mut got, mut rest) = (Vec::new(), &stream[..]);
        while !rest.is_empty() {
            let largest = [3, 100, CHUNK, 40 * CHUNK][rng.below(4)];
            let (piece, after) = rest.split_at((1 + rng.below(largest)).min(rest.len()));
            feed(&mut reader, piece, rng.below(3), &mut got);
            rest = after;
        }
        assert!(got == frames, "seed {seed}");
        assert!(reader.is_between_frames(), "seed {seed}");
    }
}

#[test]
fn one_byte_at_a_time_is_enough() {
    let frames = vec![b"abc".to_vec(), Vec::new(), b"d".to_vec()];
    for way in 0..3 {
        let (mut reader, mut got) = (FrameReader::new(3), Vec::new());
        for byte in wire(&frames) {
            feed(&mut reader, &[byte], way, &mut got);
        }
        assert_eq!(got, frames);
    }
}

#[test]
fn one_read_brings_all_small_frames() {
    let frames: Vec<_> = (0..100_u8).map(|i| vec![i; 50]).collect();
    let mut reader = FrameReader::new(100);
    let stream = wire(&frames);
    assert_eq!(reader.read_from(&mut &stream[..]).unwrap(), stream.len());
    let mut got = Vec::new();
    drain(&mut reader, &mut got);
    assert_eq!(got, frames);
}

#[test]
fn frames_that_are_not_taken_are_kept_in_order() {
    let frames = vec![vec![1; 3 * CHUNK], vec![2; 10], vec![3; CHUNK], vec![4; 2 * CHUNK]];
    let stream = wire(&frames);
    let mut reader = FrameReader::new(DEFAULT_MAX_FRAME_BYTES);
    let mut rest = &stream[..];
    assert!(reader.read_from(&mut rest).unwrap() > 0);
    // Finds out that the first frame is large, and nothing is taken from here on.
    assert_eq!(reader.next_frame(), Ok(None));
    while !rest.is_empty() {
        assert!(!reader.buffer().is_empty());
        assert!(reader.buf_mut().has_remaining_mut());
        assert!(reader.read_from(&mut rest).unwrap() > 0);
    }
    assert!(!reader.is_between_frames());
    let mut got = Vec::new();
    drain(&mut reader, &mut got);
    assert!(got == frames);
    assert!(reader.is_between_frames());
}

#[test]
fn a_large_frame_is_one_allocation_of_its_exact_size() {
    let frame = vec![7; 4 << 20];
    let stream = wire(std::slice::from_ref(&frame));
    let mut reader = FrameReader::new(DEFAULT_MAX_FRAME_BYTES);
    reader.buf_mut().put_slice(&stream[..CHUNK]);
    assert_eq!(reader.next_frame(), Ok(None));
    let large = reader.large.as_ref().unwrap();
    let (address, capacity) = (large.space.data.as_ptr(), large.space.data.capacity());
    assert_eq!(capacity, frame.len());
    reader.buf_mut().put_slice(&stream[CHUNK..]);
    let got = reader.next_frame().unwrap().unwrap();
    assert_eq!(got.as_ptr(), address);
    assert!(got == frame);
}

#[test]
fn an_announced_length_claims_no_memory_before_its_bytes_arrive() {
    let mut reader = FrameReader::new(DEFAULT_MAX_FRAME_BYTES);
    let announced = 72 << 20;
    reader.buf_mut().put_i32(announced);
    assert_eq!(reader.next_frame(), Ok(None));
    assert_eq!(reader.buffer().len(), ZEROED_AHEAD);
    let data = &reader.large.as_ref().unwrap().space.data;
    assert_eq!((data.capacity(), data.len()), (EAGER, ZEROED_AHEAD));

    let step = vec![9; 1 << 20];
    let mut left = usize::try_from(announced).unwrap();
    while left > 0 {
        let mut space = reader.buf_mut();
        let n = step.len().min(space.remaining_mut());
        space.put_slice(&step[..n]);
        left -= n;
        if let Some(large) = &reader.large {
            let arrived = large.space.data.len();
            assert!(large.space.data.capacity() <= EAGER.max(2 * arrived));
        }
    }
    let frame = reader.next_frame().unwrap().unwrap();
    assert_eq!(frame.len(), 72 << 20);
    assert!(frame.chunks(step.len()).all(|part| part == step));
}

#[test]
fn a_length_above_the_limit_names_both_numbers_and_stays_refused() {
    let mut reader = FrameReader::new(1000);
    let (mut rest, error) =
        (&b"\0\0\x03\xe9"[..], FrameError::TooLarge { length: 1001, limit: 1000 });
    reader.read_from(&mut rest).unwrap();
    assert_eq!(reader.next_frame(), Err(error));
    assert!(error.to_string().contains("1001 bytes, but at most 1000 bytes"));
    reader.buf_mut().put_slice(b"\0\0\0\x01x");
    assert_eq!(reader.next_frame(), Err(error));
}

#[test]
fn two_gibibytes_and_negative_lengths_are_refused_at_once() {
    let mut reader = FrameReader::new(DEFAULT_MAX_FRAME_BYTES);
    reader.buf_mut().put_i32(i32::MAX);
    let error = FrameError::TooLarge { length: MAX_LENGTH, limit: DEFAULT_MAX_FRAME_BYTES };
    assert_eq!(reader.next_frame(), Err(error));
    for length in [-1, i32::MIN] {
        let mut reader = FrameReader::new(usize::MAX);
        reader.buf_mut().put_i32(length);
        assert_eq!(reader.next_frame(), Err(FrameError::Negative { length }));
    }
}

#[test]
fn an_empty_frame_is_a_frame() {
    let mut reader = FrameReader::new(0);
    reader.buf_mut().put_slice(&[0; 8]);
    assert_eq!(reader.next_frame(), Ok(Some(Bytes::new())));
    assert_eq!(reader.next_frame(), Ok(Some(Bytes::new())));
    assert_eq!(reader.next_frame(), Ok(None));
}

#[test]
fn a_pause_in_the_middle_of_a_large_frame_is_no_error_if_bytes_came() {
    let frame = vec![1; 6 * CHUNK];
    let stream = wire(std::slice::from_ref(&frame));
    let (first, rest) = stream.split_at(CHUNK);
    let (second, third) = rest.split_at(CHUNK);
    let pieces = [first.to_vec(), second.to_vec(), Vec::new(), third.to_vec()];
    let mut pieces = Pieces(VecDeque::from(pieces));
    let mut reader = FrameReader::new(DEFAULT_MAX_FRAME_BYTES);
    assert_eq!(reader.read_from(&mut pieces).unwrap(), CHUNK);
    assert_eq!(reader.next_frame(), Ok(None));
    for expected in [None, Some(CHUNK), None, Some(4 * CHUNK + 4)] {
        let outcome = reader.read_from(&mut pieces);
        assert_eq!(outcome.as_ref().ok(), expected.as_ref());
        if let Err(error) = outcome {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }
    assert!(reader.next_frame().unwrap().unwrap() == frame);
}

#[test]
#[should_panic(expected = "goes beyond the buffer")]
fn advancing_beyond_the_buffer_is_refused() {
    let mut reader = FrameReader::new(10);
    let n = reader.buffer().len();
    reader.advance(n + 1);
}

#[test]
fn a_reader_that_blocks_gives_its_frames_and_then_one_error() {
    let frames = [b"one".to_vec(), Vec::new(), vec![7; 100_000]];
    let bytes = wire(&frames);
    let mut read = FrameReader::new(1 << 20).frames_of(&bytes[..]);
    for frame in &frames {
        assert_eq!(read.next().unwrap().unwrap(), frame[..]);
    }
    let end = read.next().unwrap().unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    assert!(read.next().is_none());
    let mut refused = FrameReader::new(10).frames_of(&[0, 0, 0, 11][..]);
    assert_eq!(refused.next().unwrap().unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert!(refused.next().is_none());
}

/// A large frame of this many bytes, read and taken.
fn large_frame(memory: &mut FrameMemory, length: usize) -> Bytes {
    let mut reader = FrameReader::new(DEFAULT_MAX_FRAME_BYTES);
    let wire = wire(&[vec![7; length]]);
    let mut stream = &wire[..];
    loop {
        reader.read_from(&mut stream).unwrap();
        if let Some(frame) = reader.next_frame_in(memory).unwrap() {
            assert!(frame.iter().all(|byte| *byte == 7), "{length}");
            return frame;
        }
    }
}

#[test]
fn a_large_frame_is_read_into_the_memory_of_one_that_was_dropped() {
    let memory = &mut FrameMemory::default();
    let first = large_frame(memory, 1 << 20);
    let address = first.as_ptr();
    let part = first.slice(5..10);
    drop(first);
    let second = large_frame(memory, 1 << 20);
    assert_ne!(second.as_ptr(), address, "somebody still holds a part of the first");
    drop(part);
    assert_eq!(large_frame(memory, (1 << 20) - 9).as_ptr(), address);
    assert_eq!(large_frame(memory, 1 << 20).as_ptr(), address, "all of it can be had again");
    let small = large_frame(memory, 1 << 18);
    assert_ne!(small.as_ptr(), address, "a small frame would keep too much");
}

#[test]
fn what_is_remembered_of_large_frames_is_bounded_and_given_back() {
    let memory = &mut FrameMemory::default();
    for length in [6 << 20, 4 << 20, 18 << 20, 2 << 20, 9 << 20, 10 << 20] {
        large_frame(memory, length);
        let bytes: usize = memory.frames.iter().map(|(_, capacity)| capacity).sum();
        assert_eq!(bytes, memory.bytes);
        assert!(bytes <= REMEMBERED, "{bytes} bytes");
    }
    assert_eq!(memory.bytes, 10 << 20);
    for _ in 0..=FORGOTTEN_AFTER {
        let mut reader = FrameReader::new(DEFAULT_MAX_FRAME_BYTES);
        reader.read_from(&mut &b"\0\0\0\x02hi"[..]).unwrap();
        assert!(reader.next_frame_in(memory).unwrap().is_some());
    }
    assert!(memory.frames.is_empty(), "nothing streams any more");
}
