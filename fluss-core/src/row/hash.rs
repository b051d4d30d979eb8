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
#[inline]
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

/// What Fluss' own function makes of a key, of which only the number of buckets is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyHash(u32);

/// The hash of a key for [`BucketFunction::bucket_by`].
#[inline]
pub(crate) fn of_key(key: &[u8]) -> KeyHash {
    KeyHash(spread(fluss_hash(key)))
}

impl KeyHash {
    #[inline]
    fn bucket(self, buckets: u32) -> Option<u32> {
        // A division takes as long as half the hash.
        if buckets.is_power_of_two() {
            Some(self.0 & (buckets - 1))
        } else {
            self.0.checked_rem(buckets)
        }
    }
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
    of_key(key).bucket(buckets)
}

/// How the bytes of a bucket key choose a bucket. Which one a table has, its property
/// `table.datalake.format` decides; see [`KeyRules`](super::key::KeyRules).
///
/// ```
/// use fluss_core::row::hash::BucketFunction;
///
/// assert_eq!(BucketFunction::Paimon.bucket_of(&[0x00, 0x0a, 0x0a, 0x0a], 12), Some(11));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BucketFunction {
    /// Fluss' own, also with Lance; see [`bucket_of`].
    #[default]
    Fluss,
    /// As Paimon places rows.
    Paimon,
    /// As Iceberg's bucket transform.
    Iceberg,
    /// As Hudi's bucket index; keys have 4 bytes.
    Hudi,
}

impl BucketFunction {
    /// The bucket of a key among `buckets` of them. None for a key that the function cannot take
    /// (an empty one, or for Hudi one that has not 4 bytes) or no buckets.
    #[must_use]
    #[inline]
    pub fn bucket_of(self, key: &[u8], buckets: u32) -> Option<u32> {
        match self {
            Self::Fluss => bucket_of(key, buckets),
            Self::Paimon if !key.is_empty() => {
                // The remainder of a number that has a sign, then without it.
                let hash = i64::from(fluss_hash(key));
                let rest = hash.checked_rem(i64::from(buckets))?;
                u32::try_from(rest.unsigned_abs()).ok()
            }
            Self::Iceberg if !key.is_empty() => (murmur3(key) & 0x7fff_ffff).checked_rem(buckets),
            Self::Hudi => {
                let hash = u32::from_be_bytes(key.try_into().ok()?);
                (hash & 0x7fff_ffff).checked_rem(buckets)
            }
            Self::Paimon | Self::Iceberg => None,
        }
    }

    /// The same where the key's hash is known, which most tables need nothing else for.
    #[inline]
    pub(crate) fn bucket_by(self, hash: KeyHash, key: &[u8], buckets: u32) -> Option<u32> {
        match self {
            Self::Fluss if !key.is_empty() => hash.bucket(buckets),
            other => other.bucket_of(key, buckets),
        }
    }
}

/// The standard Murmur3 of 32 bits with seed 0.
fn murmur3(key: &[u8]) -> u32 {
    let (words, tail) = key.as_chunks::<4>();
    let mut hash = words.iter().fold(0, |hash, word| mix(hash, u32::from_le_bytes(*word)));
    let mut last = [0; 4];
    last[..tail.len()].copy_from_slice(tail);
    if !tail.is_empty() {
        hash ^= mix_word(u32::from_le_bytes(last));
    }
    avalanche(hash ^ key.len() as u32)
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
        for (key, buckets, [paimon, iceberg]) in [
            (&[0x00, 0x0a][..], 7, [1, 3]),
            (&[0x00, 0x0a, 0x0a, 0x0a], 12, [11, 4]),
            (b"2bb87d68-baf9-4e64-90f9-f80910419fa6", 16, [12, 12]),
            (fox, 8, [0, 3]),
        ] {
            assert_eq!(BucketFunction::Paimon.bucket_of(key, buckets), Some(paimon), "{key:?}");
            assert_eq!(BucketFunction::Iceberg.bucket_of(key, buckets), Some(iceberg), "{key:?}");
        }
        assert_eq!((murmur3(fox), murmur3(b"")), (0x2e4f_f723, 0));
        for function in [BucketFunction::Paimon, BucketFunction::Iceberg, BucketFunction::Hudi] {
            assert_eq!(function.bucket_of(b"", 3), None, "{function:?}");
            assert_eq!(function.bucket_of(b"four", 0), None, "{function:?}");
        }
        assert_eq!(BucketFunction::Hudi.bucket_of(b"more than four", 3), None);
        assert_eq!(bucket_of(b"", 3), None);
        assert_eq!(bucket_of(b"a", 0), None);
    }
}
