pub use ::crc32c::{crc32c, crc32c_append};

/// The polynomial of CRC-32C in the reflected bit order that the checksum itself uses: the most
/// significant bit of a word is the coefficient of x^0.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The polynomial "1".
const ONE: u32 = 1 << 31;

/// The polynomial "x^8": what one zero byte multiplies a remainder by.
const ONE_BYTE: u32 = 1 << (31 - 8);

/// What 2^k zero bytes multiply a remainder by: each is the square of the one before.
static POWERS: [u32; 64] = {
    let mut powers = [ONE_BYTE; 64];
    let mut k = 1;
    while k < powers.len() {
        powers[k] = AppendZeros::mul(powers[k - 1], powers[k - 1]);
        k += 1;
    }
    powers
};

/// What appending a run of zero bytes does to a CRC-32C.
///
/// Appending `n` zero bytes multiplies the remainder by x^(8n) modulo the polynomial. Finding that
/// factor takes a multiplication for each further bit that is set in `n` and is done once per
/// payload; applying it takes one. This is how a header can change in front of a payload that is
/// not read again.
///
/// ```
/// use fluss_proto::record::{AppendZeros, crc32c};
///
/// let operator = AppendZeros::new(5);
/// let whole = operator.combine(crc32c(b"head "), crc32c(b"tail!"));
/// assert_eq!(whole, crc32c(b"head tail!"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendZeros(u32);

impl AppendZeros {
    /// The operator for a payload of `len` bytes.
    #[must_use]
    pub const fn new(len: u64) -> Self {
        let mut factor = ONE;
        let mut rest = len;
        while rest != 0 {
            let power = POWERS[rest.trailing_zeros() as usize];
            factor = if factor == ONE { power } else { Self::mul(factor, power) };
            rest &= rest - 1;
        }
        Self(factor)
    }

    /// The checksum of A followed by B, from the checksums of both; B must have the length that the
    /// operator was made for.
    #[must_use]
    pub const fn combine(self, crc_a: u32, crc_b: u32) -> u32 {
        // The inversions before and after the division cancel out in this sum.
        Self::mul(self.0, crc_a) ^ crc_b
    }

    /// The product of two polynomials modulo that of CRC-32C, both in reflected bit order.
    #[must_use]
    pub const fn mul(a: u32, b: u32) -> u32 {
        let mut product = 0;
        let mut term = b;
        let mut bit = 0;
        while bit < 32 {
            // All ones where the coefficient of x^bit in `a` is one. Selecting by mask instead of
            // by branch keeps the cost the same for all checksums.
            let chosen = ((a << bit) as i32 >> 31) as u32;
            product ^= term & chosen;
            let carried = (term & 1).wrapping_neg();
            term = (term >> 1) ^ (POLYNOMIAL & carried);
            bit += 1;
        }
        product
    }
}
