//! AWS Signature Version 4 for requests without a body, in the header `authorization`.

use std::time::Duration;

use ring::digest::{SHA256, digest};
use ring::hmac::{HMAC_SHA256, Key, sign};

/// The hash of no bytes at all.
pub(crate) const NO_BODY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// With what requests are signed. Without `Debug`, as it holds secrets.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    /// For keys that were lent for a while.
    pub(crate) session: Option<String>,
}

/// Where and when a request is signed for.
pub(crate) struct Scope<'a> {
    pub(crate) region: &'a str,
    /// Since 1970.
    pub(crate) time: Duration,
}

/// The header of a signed GET for this path, as it stands in the request, without a query. The
/// headers, names in lower case and in their order, are part of what is signed.
pub(crate) fn authorization(
    keys: &Keys,
    scope: &Scope<'_>,
    path: &str,
    headers: &[(&str, &str)],
) -> String {
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let mut request = format!("GET\n{path}\n\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}:{}\n", value.trim()));
    }
    request.push_str(&format!("\n{names}\n{NO_BODY}"));
    let moment = moment(scope.time);
    let day = &moment[..8];
    let scope_text = format!("{day}/{}/s3/aws4_request", scope.region);
    let hash = hex(digest(&SHA256, request.as_bytes()).as_ref());
    let text = format!("AWS4-HMAC-SHA256\n{moment}\n{scope_text}\n{hash}");
    let mut key = format!("AWS4{}", keys.secret).into_bytes();
    for part in [day, scope.region, "s3", "aws4_request"] {
        key = sign(&Key::new(HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
    }
    let signature = hex(sign(&Key::new(HMAC_SHA256, &key), text.as_bytes()).as_ref());
    let id = &keys.id;
    format!(
        "AWS4-HMAC-SHA256 Credential={id}/{scope_text},SignedHeaders={names},Signature={signature}"
    )
}

/// A time since 1970 as the header `x-amz-date` has it: `20130524T000000Z`.
pub(crate) fn moment(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Year, month and day, so many days after the first one of 1970, by years that begin in March:
/// the day that some years have more is their last one then.
fn date(days: u64) -> (u64, u64, u64) {
    // From March of the year 0 on, in spans of 400 years, which are all alike.
    let days = days.saturating_add(719_468);
    let (spans, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (spans.saturating_mul(400).saturating_add(year + carry), month, day_of_month)
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "GET Object" of the examples that AWS publishes with its description of the signature.
    #[test]
    fn the_published_example_has_its_published_signature() {
        let keys = Keys {
            id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session: None,
        };
        let scope = Scope { region: "us-east-1", time: Duration::from_secs(1_369_353_600) };
        let headers = [
            ("host", "examplebucket.s3.amazonaws.com"),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", NO_BODY),
            ("x-amz-date", "20130524T000000Z"),
        ];
        assert_eq!(
            authorization(&keys, &scope, "/test.txt", &headers),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (951_868_800, "20000301T000000Z"),
            (1_735_689_599, "20241231T235959Z"),
            (1_735_689_600, "20250101T000000Z"),
            (4_107_542_400, "21000301T000000Z"),
            (4_107_542_399, "21000228T235959Z"),
        ] {
            assert_eq!(moment(Duration::from_secs(seconds)), text);
        }
        // Nobody lives as long, but nothing breaks.
        assert!(moment(Duration::MAX).ends_with('Z'));
    }
}
