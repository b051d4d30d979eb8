//! Compression of body buffers, with compressors that are kept from batch to batch.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Write as _};

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use zstd::bulk::Compressor as ZstdCompressor;

use crate::batch::BatchError;

/// How the buffers of an Arrow batch are compressed. It must be the table's own setting
/// (`table.log.arrow.compression.type`): when the server projects a batch it rewrites the
/// description with the table's codec and copies the buffers as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArrowCompression {
    /// Buffers as they are.
    None,
    /// LZ4 frames of independent blocks.
    Lz4Frame,
    /// Zstandard.
    Zstd {
        /// 1 (fast) to 22 (small).
        level: i32,
    },
}

impl ArrowCompression {
    /// What a table's properties say: `table.log.arrow.compression.type` and, for ZSTD,
    /// `table.log.arrow.compression.zstd.level`.
    ///
    /// # Errors
    /// [`BatchError::Compression`] for a type or level that is not known.
    pub fn from_properties(properties: &BTreeMap<String, String>) -> Result<Self, BatchError> {
        const TYPE: &str = "table.log.arrow.compression.type";
        const LEVEL: &str = "table.log.arrow.compression.zstd.level";
        let unknown = |key: &str, value: &str| BatchError::Compression {
            reason: format!("the table's property {key}={value} is not known to this client"),
        };
        let name = properties.get(TYPE).map_or("ZSTD", String::as_str);
        match name.to_ascii_uppercase().as_str() {
            "NONE" => Ok(Self::None),
            "LZ4_FRAME" => Ok(Self::Lz4Frame),
            "ZSTD" => match properties.get(LEVEL) {
                None => Ok(Self::default()),
                Some(text) => match text.parse() {
                    Ok(level) if (1..=22).contains(&level) => Ok(Self::Zstd { level }),
                    _ => Err(unknown(LEVEL, text)),
                },
            },
            _ => Err(unknown(TYPE, name)),
        }
    }
}

impl Default for ArrowCompression {
    /// Zstandard with level 3, what a table has unless it says otherwise.
    fn default() -> Self {
        Self::Zstd { level: 3 }
    }
}

/// A prefix that says: not compressed, because compression would not have made it smaller.
const STORED_RAW: i64 = -1;

/// The compressor of a builder.
pub(super) enum Compressor {
    None,
    /// Leaves buffers as they are, and says so of each.
    Stored,
    Lz4(Box<FrameEncoder<Vec<u8>>>),
    Zstd(Box<ZstdCompressor<'static>>),
}

/// What compressing needs beside the batch: a compressor, and the buffer in which compressed
/// batches are made. What they will take is not known before, and what was reserved beyond it would
/// stay in memory with them.
///
/// Both are large, and only needed while a batch is sealed, so builders hand them on.
#[derive(Debug)]
pub struct Packer {
    pub(super) compressor: Compressor,
    pub(super) out: Vec<u8>,
}

impl Packer {
    pub(super) fn new(compression: ArrowCompression) -> io::Result<Self> {
        let (mut compressor, mut out) = (Compressor::new(compression)?, Vec::new());
        if let Compressor::Zstd(zstd) = &mut compressor {
            // It would get its tables for a small buffer, and free them for a larger one; an
            // allocator that sees megabytes freed keeps them from then on.
            out.resize(LARGE, 0);
            // The few bytes that come of it are for nobody.
            zstd.compress_to_buffer(&out, &mut [0; 64][..]).ok();
            out.clear();
        }
        Ok(Self { compressor, out })
    }

    /// One that cannot fail, for batches that are to be read and not to be sent.
    pub(super) fn storing() -> Self {
        Self { compressor: Compressor::Stored, out: Vec::new() }
    }
}

/// From this size on, buffers are all the same to Zstandard.
const LARGE: usize = (256 << 10) + 1;

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Stored => "Stored",
            Self::Lz4(_) => "Lz4",
            Self::Zstd(_) => "Zstd",
        })
    }
}

impl Compressor {
    pub(super) fn new(compression: ArrowCompression) -> io::Result<Self> {
        Ok(match compression {
            ArrowCompression::None => Self::None,
            ArrowCompression::Lz4Frame => {
                // Java reads frames of independent blocks only.
                let info = FrameInfo::new()
                    .block_mode(BlockMode::Independent)
                    .block_size(BlockSize::Max64KB);
                Self::Lz4(Box::new(FrameEncoder::with_frame_info(info, Vec::new())))
            }
            ArrowCompression::Zstd { level } => Self::Zstd(Box::new(ZstdCompressor::new(level)?)),
        })
    }

    /// Appends a buffer, compressed if that makes it smaller.
    pub(super) fn append(&mut self, buffer: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        if buffer.is_empty() {
            return Ok(());
        }
        if matches!(self, Self::None) {
            out.extend_from_slice(buffer);
            return Ok(());
        }
        let start = out.len();
        // A buffer is a part of a batch, far below 2^63 bytes.
        out.extend_from_slice(&(buffer.len() as i64).to_le_bytes());
        let data = out.len();
        match self {
            Self::None | Self::Stored => {}
            Self::Lz4(encoder) => lz4(encoder, buffer, out)?,
            Self::Zstd(compressor) => zstd(compressor, buffer, out)?,
        }
        if matches!(self, Self::Stored) || out.len() - data >= buffer.len() {
            out.truncate(start);
            out.extend_from_slice(&STORED_RAW.to_le_bytes());
            out.extend_from_slice(buffer);
        }
        Ok(())
    }
}

/// The worst case is as long as the buffer itself, and would be kept from batch to batch; so it is
/// tried with what there is, and with more only where that is too little.
fn zstd(
    compressor: &mut ZstdCompressor<'static>,
    buffer: &[u8],
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let data = out.len();
    let worst = zstd::zstd_safe::compress_bound(buffer.len());
    out.reserve_exact((buffer.len() / 4 + 1024).min(worst));
    loop {
        let mut end = Cursor::new(&mut *out);
        end.set_position(data as u64);
        let room = end.get_ref().capacity() - data;
        match compressor.compress_to_buffer(buffer, &mut end) {
            Ok(_) => return Ok(()),
            Err(error) if room >= worst => return Err(error),
            Err(_) => {
                out.truncate(data);
                out.reserve_exact((2 * room).min(worst));
            }
        }
    }
}

/// The encoder owns what it writes to, so the body moves in and out; nothing is copied by that.
fn lz4(encoder: &mut FrameEncoder<Vec<u8>>, buffer: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    std::mem::swap(encoder.get_mut(), out);
    let result = encoder.write_all(buffer).and_then(|()| Ok(encoder.try_finish()?));
    std::mem::swap(encoder.get_mut(), out);
    result
}
