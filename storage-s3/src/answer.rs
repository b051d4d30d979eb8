//! What an answer means: bytes of the object, or an error that says what to do.

use std::io::{self, Read};

use bytes::Bytes;
use fluss_core::config::{ObjectPart, StorageError, StorageErrorKind};
use ureq::http::{HeaderMap, StatusCode};

use crate::sign::Keys;

/// Bytes of an error's text that are read.
const MAX_ERROR: u64 = 4 << 10;
/// Bytes of it that are told.
const MAX_TOLD: usize = 300;
/// Room that is made for a body before it came.
const MAX_AHEAD: usize = 1 << 20;

/// Reads an answer to the request for a part. None of the keys stands in an error.
pub(crate) fn read(
    part: &ObjectPart,
    status: StatusCode,
    headers: &HeaderMap,
    body: &mut dyn Read,
    keys: Option<&Keys>,
) -> Result<Bytes, StorageError> {
    match status.as_u16() {
        206 => {
            let len = range_of(part, headers)?;
            take(part, len, body)
        }
        // All of the object: the range was not looked at.
        200 => match io::copy(&mut body.take(part.from), &mut io::sink()) {
            Ok(passed) if passed < part.from => Ok(Bytes::new()),
            Ok(_) => take(part, part.len, body),
            Err(error) => Err(unavailable(part, &format!("the answer was cut: {error}"))),
        },
        // It ends before the part begins. The text is read for the sake of the connection.
        416 => {
            Trouble::read(body, None);
            Ok(Bytes::new())
        }
        code => Err(refused(part, code, headers, &Trouble::read(body, keys))),
    }
}

/// The number of bytes that an answer announces, if they are the first ones of the part.
fn range_of(part: &ObjectPart, headers: &HeaderMap) -> Result<usize, StorageError> {
    let text = headers.get("content-range").and_then(|value| value.to_str().ok());
    let range = text.and_then(|text| text.strip_prefix("bytes ")?.split_once('/'));
    let ends = range.and_then(|(range, _)| range.split_once('-'));
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let ends = ends.and_then(|(first, last)| Some((number(first)?, number(last)?)));
    match ends {
        Some((first, last)) if first == part.from && last >= first => {
            let len = (last - first).saturating_add(1);
            Ok(usize::try_from(len).unwrap_or(usize::MAX).min(part.len))
        }
        _ => {
            let told: String = text.unwrap_or("none").chars().take(60).collect();
            let from = part.from;
            let what = format!("asked for bytes from {from} on, and answered with others: {told}");
            Err(unavailable(part, &what))
        }
    }
}

/// Reads so many bytes, or those that come before the answer is cut: they are gone on from.
fn take(part: &ObjectPart, len: usize, body: &mut dyn Read) -> Result<Bytes, StorageError> {
    let mut bytes = Vec::with_capacity(len.min(MAX_AHEAD));
    match body.take(len as u64).read_to_end(&mut bytes) {
        Err(error) if bytes.is_empty() => {
            Err(unavailable(part, &format!("the answer was cut: {error}")))
        }
        Ok(0) => Err(unavailable(part, "an answer without a byte")),
        _ => {
            // The end of the body shows now, and then the connection can be used again.
            let _ = body.read(&mut [0]);
            Ok(bytes.into())
        }
    }
}

pub(crate) fn unavailable(part: &ObjectPart, what: &str) -> StorageError {
    StorageError::new(part, StorageErrorKind::Unavailable, what)
}

/// What an error's XML says.
#[derive(Debug, Default)]
struct Trouble {
    code: String,
    message: String,
}

impl Trouble {
    fn read(body: &mut dyn Read, keys: Option<&Keys>) -> Self {
        let mut bytes = Vec::new();
        // A text that was cut is worth what came of it.
        let _ = body.take(MAX_ERROR).read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let of = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            let (text, _) = rest.split_once("</")?;
            let printable = |c: char| if c.is_control() { ' ' } else { c };
            Some(text.chars().take(MAX_TOLD).map(printable).collect::<String>())
        };
        let mut message = of("Message").unwrap_or_default();
        let secrets = keys.into_iter().flat_map(|keys| [Some(&keys.secret), keys.session.as_ref()]);
        // Some stores repeat what they were told.
        if secrets.flatten().any(|secret| message.contains(secret.as_str())) {
            message.clear();
        }
        let mut code = of("Code").unwrap_or_default();
        code.retain(|c| c.is_ascii_alphanumeric());
        Self { code, message }
    }
}

fn refused(part: &ObjectPart, status: u16, headers: &HeaderMap, trouble: &Trouble) -> StorageError {
    let Trouble { code, message } = trouble;
    let (kind, advice) = match (status, &**code) {
        (404, _) => (StorageErrorKind::NotFound, ""),
        (_, "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect")
        | (300..=399, _) => (StorageErrorKind::Unsupported, "; is the region or endpoint right?"),
        (_, "RequestTimeTooSkewed") => {
            (StorageErrorKind::Denied, "; is the clock of this machine right?")
        }
        (408 | 425 | 429 | 500.., _) => (StorageErrorKind::Unavailable, ""),
        (400 | 401 | 403, _) => (StorageErrorKind::Denied, ""),
        _ => (StorageErrorKind::Unsupported, "; is the endpoint one of S3?"),
    };
    let mut text = format!("the storage answered {status}");
    for told in [code, message].into_iter().filter(|told| !told.is_empty()) {
        text.push_str(&format!(", {told}"));
    }
    let region = headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
    if let Some(region) = region.filter(|_| kind == StorageErrorKind::Unsupported) {
        let region: String = region.chars().take(40).collect();
        text.push_str(&format!(", the bucket is in region {region}"));
    }
    text.push_str(advice);
    StorageError::new(part, kind, text)
}
