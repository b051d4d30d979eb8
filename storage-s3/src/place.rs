//! Where an object is: from its name and the settings to the address of a request.

use std::net::IpAddr;

/// The host and the rest of an URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// `http` or `https`.
    scheme: &'static str,
    /// With the port, where there is one.
    pub(crate) host: String,
    /// From the first `/` on, encoded.
    pub(crate) path: String,
}

impl Place {
    pub(crate) fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.host, self.path)
    }

    /// The place of `bucket/key` at an endpoint, or at Amazon's of a region. The bucket stands in
    /// the path or before the host; unless told, before Amazon's, and in the path for others, who
    /// may have no names for buckets.
    pub(crate) fn of(
        bucket: &str,
        key: &str,
        endpoint: Option<&str>,
        region: &str,
        path_style: Option<bool>,
    ) -> Result<Self, String> {
        let named = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_');
        if bucket.is_empty() || !bucket.bytes().all(named) {
            return Err("its bucket has no name, or one that no bucket has".to_owned());
        }
        if key.is_empty() {
            return Err("it names a bucket and no object in it".to_owned());
        }
        let amazons = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let amazons = format!("https://s3.{region}.{amazons}");
        let (scheme, host, base) = parts(endpoint.unwrap_or(&amazons))?;
        let of_amazon = host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn");
        // A certificate for `*.host` is none for a bucket whose name has dots.
        let in_host = match path_style {
            Some(path_style) => !path_style && !is_address(host),
            None => of_amazon && !bucket.contains('.'),
        };
        let key = encode(key);
        Ok(if in_host {
            Self { scheme, host: format!("{bucket}.{host}"), path: format!("{base}/{key}") }
        } else {
            Self { scheme, host: host.to_owned(), path: format!("{base}/{bucket}/{key}") }
        })
    }
}

/// Scheme, host with port, and path of an endpoint.
fn parts(endpoint: &str) -> Result<(&'static str, &str, &str), String> {
    let (scheme, rest) = match endpoint.split_once("://") {
        Some(("https", rest)) => ("https", rest),
        Some(("http", rest)) => ("http", rest),
        Some(_) => return Err("the endpoint is neither http:// nor https://".to_owned()),
        None => ("https", endpoint),
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let named = |c: u8| c.is_ascii_alphanumeric() || b"-._:[]".contains(&c);
    let walked = |c: u8| c.is_ascii_alphanumeric() || b"-._~/".contains(&c);
    if host.is_empty() || !host.bytes().all(named) || !path.bytes().all(walked) {
        return Err("the endpoint is no host with a port and a path".to_owned());
    }
    Ok((scheme, host, path.trim_end_matches('/')))
}

/// Whether a host is a literal address, before which no name can stand.
fn is_address(host: &str) -> bool {
    let name =
        host.rsplit_once(':').filter(|_| !host.ends_with(']')).map_or(host, |(name, _)| name);
    name.starts_with('[') || name.parse::<IpAddr>().is_ok()
}

/// The name of an object as it stands in a path: what is signed has to be what is sent.
fn encode(key: &str) -> String {
    let mut path = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                path.push(char::from(byte));
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(bucket: &str, endpoint: Option<&str>, region: &str, style: Option<bool>) -> String {
        Place::of(bucket, "a/b c", endpoint, region, style).expect("a place").url()
    }

    #[test]
    fn buckets_stand_before_amazons_host_and_in_the_path_of_others() {
        for (bucket, endpoint, region, style, expected) in [
            ("lake", None, "eu-west-1", None, "https://lake.s3.eu-west-1.amazonaws.com/a/b%20c"),
            (
                "lake",
                None,
                "cn-north-1",
                None,
                "https://lake.s3.cn-north-1.amazonaws.com.cn/a/b%20c",
            ),
            ("la.ke", None, "r", None, "https://s3.r.amazonaws.com/la.ke/a/b%20c"),
            ("lake", None, "r", Some(true), "https://s3.r.amazonaws.com/lake/a/b%20c"),
            (
                "lake",
                Some("s3.r.amazonaws.com"),
                "r",
                None,
                "https://lake.s3.r.amazonaws.com/a/b%20c",
            ),
            ("lake", Some("http://m:9000"), "r", None, "http://m:9000/lake/a/b%20c"),
            ("lake", Some("http://m:9000/"), "r", Some(false), "http://lake.m:9000/a/b%20c"),
            (
                "lake",
                Some("http://127.0.0.1:9"),
                "r",
                Some(false),
                "http://127.0.0.1:9/lake/a/b%20c",
            ),
            (
                "lake",
                Some("https://[::1]:9/s3/"),
                "r",
                Some(false),
                "https://[::1]:9/s3/lake/a/b%20c",
            ),
            (
                "lake",
                Some("minio.example.com"),
                "r",
                None,
                "https://minio.example.com/lake/a/b%20c",
            ),
        ] {
            assert_eq!(url(bucket, endpoint, region, style), expected);
        }
    }

    #[test]
    fn what_is_no_place_is_told() {
        for (bucket, key, endpoint, text) in [
            ("", "k", None, "bucket"),
            ("a b", "k", None, "bucket"),
            ("b@host", "k", None, "bucket"),
            ("b", "", None, "no object"),
            ("b", "k", Some("ftp://host"), "neither http"),
            ("b", "k", Some("http://"), "no host"),
            ("b", "k", Some("http://user:hush@host"), "no host"),
            ("b", "k", Some("http://host/?x=\r\n"), "no host"),
        ] {
            let error = Place::of(bucket, key, endpoint, "r", None).expect_err(text);
            assert!(error.contains(text) && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn names_of_objects_are_encoded_byte_by_byte() {
        assert_eq!(encode("a/ü?#%+~_.-"), "a/%C3%BC%3F%23%25%2B~_.-");
    }
}
