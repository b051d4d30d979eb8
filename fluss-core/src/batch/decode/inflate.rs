//! Buffers of a compressed body, back to their size, within a budget.

use std::io::Read as _;

use arrow_buffer::Buffer;
use arrow_ipc::CompressionType;
use lz4_flex::frame::FrameDecoder;
use zstd::bulk::Decompressor;
use zstd::zstd_safe::get_frame_content_size;

use super::DecodeError;

/// The prefix of a buffer that was not worth compressing.
const STORED_RAW: i64 = -1;

/// Memory a batch may still take beyond its own bytes.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    used: u64,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit as u64, used: 0 }
    }

    /// Takes a part of the budget, before the memory is asked for.
    pub(super) fn charge(&mut self, bytes: u64) -> Result<(), DecodeError> {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.limit {
            return Err(DecodeError::TooLarge { needed: self.used, limit: self.limit });
        }
        Ok(())
    }
}

/// Undoes the compression of a message's buffers.
pub(super) enum Inflater {
    /// There is none.
    None,
    Lz4,
    Zstd(Box<Decompressor<'static>>),
}

impl Inflater {
    pub(super) fn new(codec: Option<CompressionType>) -> Result<Self, DecodeError> {
        match codec {
            None => Ok(Self::None),
            Some(CompressionType::LZ4_FRAME) => Ok(Self::Lz4),
            Some(CompressionType::ZSTD) => match Decompressor::new() {
                Ok(decompressor) => Ok(Self::Zstd(Box::new(decompressor))),
                Err(error) => Err(DecodeError::message(format!("no zstd decoder: {error}"))),
            },
            Some(other) => {
                Err(DecodeError::message(format!("the compression {} is unknown", other.0)))
            }
        }
    }

    /// The buffer as it was before compression, of the column with this name.
    pub(super) fn inflate(
        &mut self,
        stored: Buffer,
        column: &str,
        budget: &mut Budget,
    ) -> Result<Buffer, DecodeError> {
        if matches!(self, Self::None) || stored.is_empty() {
            return Ok(stored);
        }
        let damaged = |what: String| DecodeError::column(column, what);
        let Some(prefix) = stored.first_chunk() else {
            return Err(damaged(format!("a compressed buffer has {} bytes", stored.len())));
        };
        let claimed = i64::from_le_bytes(*prefix);
        let data = stored.slice(prefix.len());
        if claimed == STORED_RAW {
            return Ok(data);
        }
        if claimed == 0 {
            return Ok(data.slice_with_length(0, 0));
        }
        let Ok(size) = usize::try_from(claimed) else {
            return Err(damaged(format!("a buffer claims {claimed} bytes")));
        };
        budget.charge(claimed.unsigned_abs())?;
        let inflated = match self {
            Self::None => return Ok(data),
            Self::Lz4 => unpack_lz4(&data, size),
            Self::Zstd(decompressor) => unpack_zstd(decompressor, &data, size),
        };
        inflated.map(Buffer::from_vec).map_err(damaged)
    }
}

fn unpack_lz4(data: &[u8], size: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(size);
    // One byte more than claimed is enough to see that the claim was wrong.
    let mut frame = FrameDecoder::new(data).take(size as u64 + 1);
    frame.read_to_end(&mut out).map_err(|error| format!("lz4: {error}"))?;
    exactly(out, size)
}

fn unpack_zstd(
    decompressor: &mut Decompressor<'static>,
    data: &[u8],
    size: usize,
) -> Result<Vec<u8>, String> {
    // A frame usually tells its content's size: a contradiction is found before any allocation.
    if let Ok(Some(content)) = get_frame_content_size(data)
        && content > size as u64
    {
        return Err(format!("a buffer claims {size} bytes, its frame holds {content}"));
    }
    let mut out = Vec::with_capacity(size);
    let unpacked = decompressor.decompress_to_buffer(data, &mut out);
    unpacked.map_err(|error| format!("zstd: {error}"))?;
    exactly(out, size)
}

fn exactly(out: Vec<u8>, size: usize) -> Result<Vec<u8>, String> {
    if out.len() == size {
        Ok(out)
    } else {
        Err(format!("a buffer claims {size} bytes and inflates to another size"))
    }
}
