//! Buffers of a compressed body, back to their size, within a budget.

use arrow_buffer::Buffer;
use arrow_ipc::CompressionType;
use zstd::bulk::Decompressor;
use zstd::zstd_safe::get_frame_content_size;

use super::{DecodeError, lz4};

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

/// What undoes compression, for the next batch too: to make it costs as much as to read a small
/// batch. It is made with the first buffer that needs it and takes about 100 kB.
#[derive(Default)]
pub(crate) struct Unpacker(Option<Decompressor<'static>>);

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Unpacker").field(&self.0.is_some()).finish()
    }
}

/// Undoes the compression of a message's buffers.
pub(super) enum Inflater<'a> {
    /// There is none.
    None,
    Lz4,
    Zstd(&'a mut Unpacker),
}

impl<'a> Inflater<'a> {
    pub(super) fn new(
        codec: CompressionType,
        unpacker: &'a mut Unpacker,
    ) -> Result<Self, DecodeError> {
        match codec {
            CompressionType::LZ4_FRAME => Ok(Self::Lz4),
            CompressionType::ZSTD => Ok(Self::Zstd(unpacker)),
            other => Err(DecodeError::message(format!("the compression {} is unknown", other.0))),
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
            Self::Lz4 => lz4::unpack(&data, size),
            Self::Zstd(unpacker) => unpack_zstd(unpacker, &data, size),
        };
        inflated.map(Buffer::from_vec).map_err(damaged)
    }
}

fn unpack_zstd(unpacker: &mut Unpacker, data: &[u8], size: usize) -> Result<Vec<u8>, String> {
    // A frame usually tells its content's size: a contradiction is found before any allocation.
    if let Ok(Some(content)) = get_frame_content_size(data)
        && content > size as u64
    {
        return Err(format!("a buffer claims {size} bytes, its frame holds {content}"));
    }
    // One that fails is not put back: whatever it is left in is no matter of the next batch.
    let mut decompressor = match unpacker.0.take() {
        Some(decompressor) => decompressor,
        None => Decompressor::new().map_err(|error| format!("no zstd decoder: {error}"))?,
    };
    let mut out = Vec::with_capacity(size);
    let unpacked = decompressor.decompress_to_buffer(data, &mut out);
    unpacked.map_err(|error| format!("zstd: {error}"))?;
    unpacker.0 = Some(decompressor);
    exactly(out, size)
}

pub(super) fn exactly(out: Vec<u8>, size: usize) -> Result<Vec<u8>, String> {
    if out.len() == size {
        Ok(out)
    } else {
        Err(format!("a buffer claims {size} bytes and inflates to another size"))
    }
}

#[cfg(test)]
#[path = "inflate_tests.rs"]
mod tests;
