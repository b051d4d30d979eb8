//! From the bytes of a bucket key to the bucket.
//!
//! The functions are Murmur3 with deviations of Fluss' own; every client must agree on them to the
//! bit, because no server checks where a key is sent.

const C1: u32 = 0xcc9e_2d51;
const C2: u32 = 0x1b87_3593;
const SEED: u32 = 42;

#[inline]
fn mix_word(word: u32) -> u32 {
    word.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2)
}

#[inline]
fn mix(hash: u32, word: u32) -> u32 {
    (hash ^ mix_word(word)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

#[inline]
fn avalanche(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// The hash of a bucket key.
///
/// Each of the last one to three bytes that fill no word is a round of its own, **sign-extended**:
/// the one place where this differs from what a Murmur3 library would give.
#[must_use]
pub fn fluss_hash(key: &[u8]) -> i32 {
    let (words, tail) = key.as_chunks::<4>();
    let mut hash = words.iter().fold(SEED, |hash, word| mix(hash, u32::from_le_bytes(*word)));
    for &byte in tail {
        hash = mix(hash, i32::from(byte.cast_signed()).cast_unsigned());
    }
    // Keys beyond 4 GiB do not exist; the length wraps as the 32-bit one of the server would.
    avalanche(hash ^ key.len() as u32).cast_signed()
}

/// Spreads a hash once more, to a number that is not negative.
fn spread(hash: i32) -> u32 {
    let spread = avalanche(mix(0, hash.cast_unsigned()) ^ 4).cast_signed();
    if spread == i32::MIN { 0 } else { spread.unsigned_abs() }
}

/// The bucket of a key among `buckets` of them, as tables without a data lake and those with
/// `lance` place it. None for an empty key or no buckets, neither of which occurs in a sound table.
///
/// ```
/// use fluss_core::row::hash::bucket_of;
///
/// assert_eq!(bucket_of(&[0xac, 0x02], 7), Some(6)); // the BIGINT 300
/// ```
#[must_use]
#[inline]
pub fn bucket_of(key: &[u8], buckets: u32) -> Option<u32> {
    if key.is_empty() {
        return None;
    }
    spread(fluss_hash(key)).checked_rem(buckets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_server() {
        let fox = b"The quick brown fox jumps over the lazy dog";
        for (key, hash) in [
            (&b""[..], 0x087f_cd5c_u32),
            (&[0x00, 0x0a], 0x5b35_3918),
            (&[0x00, 0x0a, 0x0a, 0x0a], 0x4a63_a407),
            (b"2bb87d68-baf9-4e64-90f9-f80910419fa6", 0x9ef7_4ff4),
            (fox, 0x1bc6_f880),
        ] {
            assert_eq!(fluss_hash(key).cast_unsigned(), hash, "{key:?}");
        }
        assert_eq!([spread(0), spread(42), spread(-77)], [0x2362_f9de, 0x43a4_6e1d, 0x2eeb_27de]);
    }

    #[test]
    fn buckets_are_those_of_the_server() {
        let fox = b"The quick brown fox jumps over the lazy dog";
        for (key, buckets, bucket) in [
            (&[0x00, 0x0a][..], 7, 1),
            (&[0x00, 0x0a, 0x0a, 0x0a], 12, 0),
            (b"2bb87d68-baf9-4e64-90f9-f80910419fa6", 16, 6),
            (fox, 8, 6),
        ] {
            assert_eq!(bucket_of(key, buckets), Some(bucket), "{key:?}");
        }
        assert_eq!(bucket_of(b"", 3), None);
        assert_eq!(bucket_of(b"a", 0), None);
    }
}
