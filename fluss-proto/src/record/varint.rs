/// Most bytes a 32-bit number takes.
pub const MAX_VARINT32_LEN: usize = 5;
/// Most bytes a 64-bit number takes.
pub const MAX_VARINT64_LEN: usize = 10;

/// Why bytes are not a variable-length number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VarintError {
    /// The bytes end while more are announced.
    #[error("a variable-length number is cut off after {0} bytes")]
    Truncated(usize),
    /// The number has more bits than its type.
    #[error("a variable-length number does not fit into {0} bits")]
    Overflow(u32),
}

/// Bytes that [`put_varint32`] writes for `value`.
#[must_use]
pub const fn varint32_len(value: u32) -> usize {
    varint64_len(value as u64)
}

/// Bytes that [`put_varint64`] writes for `value`.
#[must_use]
pub const fn varint64_len(value: u64) -> usize {
    // One byte per started group of seven significant bits; zero takes a byte as well.
    let bits = 64 - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Appends `value`, seven bits a byte, lowest first, without zig-zag. A signed number is passed as
/// its two's complement pattern (`value as u32`), so negative numbers take five bytes.
pub fn put_varint32(out: &mut Vec<u8>, value: u32) {
    put_varint64(out, u64::from(value));
}

/// Appends `value` as [`put_varint32`] does; negative numbers take ten bytes.
pub fn put_varint64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a number from the start of `bytes`; returns it and the bytes it took.
///
/// # Errors
/// When `bytes` end inside the number, or the number has more than 32 bits.
pub fn read_varint32(bytes: &[u8]) -> Result<(u32, usize), VarintError> {
    let (value, taken) = read(bytes, 32)?;
    Ok((value as u32, taken))
}

/// Reads a number from the start of `bytes`; returns it and the bytes it took.
///
/// # Errors
/// When `bytes` end inside the number, or the number has more than 64 bits.
pub fn read_varint64(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    read(bytes, 64)
}

fn read(bytes: &[u8], bits: u32) -> Result<(u64, usize), VarintError> {
    let mut value = 0_u64;
    let mut shift = 0;
    for (index, byte) in bytes.iter().enumerate() {
        let group = u64::from(byte & 0x7f);
        // The last byte may only use the bits that are left, and must be the last.
        let room = bits - shift;
        if room < 8 && (u32::from(*byte) >> room) != 0 {
            return Err(VarintError::Overflow(bits));
        }
        value |= group << shift;
        if byte & 0x80 == 0 {
            return Ok((value, index + 1));
        }
        shift += 7;
    }
    Err(VarintError::Truncated(bytes.len()))
}
