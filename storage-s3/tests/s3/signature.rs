//! The signature of a request, computed anew from its bytes, with nothing that the client uses: not
//! even the same hashes.

use std::collections::BTreeMap;

/// Whether a request is signed as it should be, by its first line and headers as they came.
///
/// # Errors
/// What is wrong with it, by the code that S3 has for it.
pub(crate) fn check(
    path: &str,
    headers: &BTreeMap<String, String>,
    secret: &str,
    region: &str,
) -> Result<(), &'static str> {
    let header = |name: &str| headers.get(name).map(String::as_str).unwrap_or_default();
    let rest = header("authorization").strip_prefix("AWS4-HMAC-SHA256 ");
    let rest = rest.ok_or("AccessDenied")?;
    let fields: BTreeMap<&str, &str> =
        rest.split(',').filter_map(|field| field.trim().split_once('=')).collect();
    let field = |name: &str| fields.get(name).copied().ok_or("AuthorizationHeaderMalformed");
    let names: Vec<&str> = field("SignedHeaders")?.split(';').collect();
    if !names.is_sorted() {
        return Err("SignatureDoesNotMatch");
    }
    // What changes the meaning of a request has to be signed.
    let meaning =
        |name: &&String| *name == "host" || name.starts_with("x-amz-") || *name == "range";
    if headers.keys().filter(meaning).any(|name| !names.contains(&name.as_str())) {
        return Err("AccessDenied");
    }
    let scope: Vec<&str> = field("Credential")?.split('/').skip(1).collect();
    let [day, of, service, end] = scope[..] else { return Err("AuthorizationHeaderMalformed") };
    if of != region || service != "s3" || end != "aws4_request" {
        return Err("AuthorizationHeaderMalformed");
    }
    let moment = header("x-amz-date");
    if !moment.starts_with(day) || moment.len() != 16 {
        return Err("AccessDenied");
    }
    let mut request = format!("GET\n{path}\n\n");
    for name in &names {
        request += &format!("{name}:{}\n", header(name).trim());
    }
    request += &format!("\n{}\n{}", names.join(";"), header("x-amz-content-sha256"));
    let scope = scope.join("/");
    let hash = hex(&sha256(request.as_bytes()));
    let text = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hash}");
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in scope.split('/') {
        key = hmac(&key, part.as_bytes()).to_vec();
    }
    let signature = hex(&hmac(&key, text.as_bytes()));
    if field("Signature")? == signature { Ok(()) } else { Err("SignatureDoesNotMatch") }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 2104.
pub(crate) fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    let key = if key.len() > 64 { sha256(key).to_vec() } else { key.to_vec() };
    block[..key.len()].copy_from_slice(&key);
    let padded = |with: u8| block.iter().map(|byte| byte ^ with).collect::<Vec<u8>>();
    let inner = sha256(&[&padded(0x36)[..], text].concat());
    sha256(&[&padded(0x5c)[..], &inner].concat())
}

/// The first 32 bits of the fractional part of a root of a prime: `root` is 2 or 3.
fn fraction(prime: u32, root: u32) -> u32 {
    // By halves: the largest number of 64 bits, 32 of them behind the point, whose power fits.
    let below = |x: u128| match root {
        2 => x * x <= u128::from(prime) << 64,
        _ => x * x * x <= u128::from(prime) << 96,
    };
    let found =
        (0..36).rev().fold(0_u128, |x, bit| if below(x | 1 << bit) { x | 1 << bit } else { x });
    found as u32
}

/// FIPS 180-4, its constants computed as it defines them.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let primes = (2_u32..).filter(|n| (2..*n).all(|divisor| n % divisor != 0));
    let primes: Vec<u32> = primes.take(64).collect();
    let constants: Vec<u32> = primes.iter().map(|prime| fraction(*prime, 3)).collect();
    let mut state: Vec<u32> = primes[..8].iter().map(|prime| fraction(*prime, 2)).collect();
    let mut padded = bytes.to_vec();
    padded.push(0x80);
    padded.resize((padded.len() + 8).next_multiple_of(64) - 8, 0);
    padded.extend_from_slice(&(bytes.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        let words = block.chunks_exact(4);
        let mut w: Vec<u32> =
            words.map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]])).collect();
        for t in 16..64 {
            let (a, b) = (w[t - 15], w[t - 2]);
            let a = a.rotate_right(7) ^ a.rotate_right(18) ^ (a >> 3);
            let b = b.rotate_right(17) ^ b.rotate_right(19) ^ (b >> 10);
            w.push(w[t - 16].wrapping_add(a).wrapping_add(w[t - 7]).wrapping_add(b));
        }
        let mut s = state.clone();
        for (word, constant) in w.iter().zip(&constants) {
            let big = s[4].rotate_right(6) ^ s[4].rotate_right(11) ^ s[4].rotate_right(25);
            let choice = (s[4] & s[5]) ^ (!s[4] & s[6]);
            let sum = [s[7], big, choice, *constant, *word].into_iter().fold(0, u32::wrapping_add);
            let small = s[0].rotate_right(2) ^ s[0].rotate_right(13) ^ s[0].rotate_right(22);
            let most = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
            s.rotate_right(1);
            s[4] = s[4].wrapping_add(sum);
            s[0] = sum.wrapping_add(small).wrapping_add(most);
        }
        state.iter_mut().zip(s).for_each(|(state, s)| *state = state.wrapping_add(s));
    }
    let mut hash = [0; 32];
    let bytes = state.iter().flat_map(|word| word.to_be_bytes());
    hash.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
    hash
}
