//! LZ4 frames, back to what they hold.

use std::io::Read as _;

use lz4_flex::block::decompress_into;
use lz4_flex::frame::FrameDecoder;

use super::inflate::exactly;

/// The head of frames as this client and Fluss' own write them: of independent blocks of up to
/// 64 KiB, without checksums.
const USUAL: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
const BLOCK: usize = 64 << 10;
/// Marks a block that is not compressed, in the word with its length.
const RAW: u32 = 1 << 31;

/// What a frame of so many bytes holds.
pub(super) fn unpack(data: &[u8], size: usize) -> Result<Vec<u8>, String> {
    if let Some(out) = usual(data, size) {
        return Ok(out);
    }
    let mut out = Vec::with_capacity(size);
    // One byte more than claimed is enough to see that the claim was wrong.
    let mut frame = FrameDecoder::new(data).take(size as u64 + 1);
    frame.read_to_end(&mut out).map_err(|error| format!("lz4: {error}"))?;
    exactly(out, size)
}

/// What a usual frame holds; None for any other, and for all that is not sound. Its blocks are
/// unpacked where they belong: the decoder of frames would fetch and clear 128 KiB for each buffer,
/// however small.
fn usual(data: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut rest = data.strip_prefix(&USUAL)?;
    let (mut out, mut end) = (vec![0; size], 0);
    loop {
        let (head, behind) = rest.split_first_chunk()?;
        let head = u32::from_le_bytes(*head);
        if head == 0 {
            return (end == size).then_some(out);
        }
        let length = (head & !RAW) as usize;
        let (block, behind) = behind.split_at_checked(length).filter(|_| length <= BLOCK)?;
        let room = &mut out[end..size.min(end + BLOCK)];
        let unpacked = if head & RAW == 0 {
            decompress_into(block, room).ok()?
        } else {
            room.get_mut(..length)?.copy_from_slice(block);
            length
        };
        if unpacked == 0 {
            return None;
        }
        end += unpacked;
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

    use super::*;
    use crate::rng::Rng;

    fn frame(info: &FrameInfo, content: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info.clone(), Vec::new());
        encoder.write_all(content).expect("it compresses");
        encoder.finish().expect("it compresses")
    }

    fn info() -> FrameInfo {
        FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB)
    }

    /// Bytes of which some parts compress and others do not.
    fn content(rng: &mut Rng, size: usize) -> Vec<u8> {
        let alike = rng.below(3);
        (0..size as u64).map(|at| if alike == 0 { rng.below(256) } else { at / 9 } as u8).collect()
    }

    #[test]
    fn usual_frames_of_any_length_are_read_without_a_decoder_of_frames() {
        let mut rng = Rng::new(1);
        for size in [1, 2, 100, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 7] {
            for _ in 0..4 {
                let content = content(&mut rng, size);
                let frame = frame(&info(), &content);
                assert_eq!(usual(&frame, size).as_ref(), Some(&content), "{size}");
                assert_eq!(unpack(&frame, size + 1).ok(), None, "{size}");
                assert_eq!(unpack(&frame, size - 1).ok(), None, "{size}");
            }
        }
    }

    #[test]
    fn frames_with_checksums_or_other_blocks_are_read_too() {
        let mut rng = Rng::new(2);
        let infos = [
            info().content_checksum(true),
            info().block_checksums(true),
            info().content_size(Some(100_000)),
            info().block_size(BlockSize::Max4MB),
            info().block_mode(BlockMode::Linked),
        ];
        for info in infos {
            let content = content(&mut rng, 100_000);
            let frame = frame(&info, &content);
            assert_eq!(usual(&frame, content.len()), None, "{info:?}");
            assert_eq!(unpack(&frame, content.len()), Ok(content), "{info:?}");
        }
    }

    #[test]
    fn damaged_frames_are_read_as_the_decoder_of_frames_reads_them() {
        let by_frame = |data: &[u8], size: usize| {
            let mut out = Vec::new();
            let read = FrameDecoder::new(data).take(size as u64 + 1).read_to_end(&mut out);
            read.ok().filter(|_| out.len() == size).map(|_| out)
        };
        let mut sound = [0; 2];
        for seed in 0..3000 {
            let mut rng = Rng::new(seed);
            let most = [40, 4000, 150_000][rng.below(3) as usize];
            let size = 1 + rng.below(most) as usize;
            let content = content(&mut rng, size);
            let mut frame = frame(&info(), &content);
            let at = USUAL.len() + rng.below((frame.len() - USUAL.len()) as u64) as usize;
            match rng.below(4) {
                0 => frame.truncate(at),
                1 => frame[at] ^= 1 << rng.below(8),
                2 => frame[USUAL.len() + 3] ^= 0x80,
                _ => frame.extend_from_slice(&content),
            }
            let found = unpack(&frame, size).ok();
            sound[usize::from(found.is_some())] += 1;
            assert_eq!(found, by_frame(&frame, size), "seed {seed}");
        }
        assert!(sound.into_iter().all(|some| some > 300), "{sound:?}");
    }
}
