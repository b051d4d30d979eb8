//! S3-compatible remote storage for Apache Fluss clients.
//!
//! Servers move older segments of logs to remote storage, and send readers there. Where that is an
//! S3 bucket, a client needs this crate: the feature `s3` of `fluss-tokio`, `fluss-smol` and
//! `fluss-embedded`, which name it `S3Storage`. It is a crate of its own because all three share it
//! and the core must know neither sockets nor TLS.
//!
//! ```
//! use fluss_core::config::{Config, Store};
//! use fluss_storage_s3::S3Storage;
//!
//! // Keys, region and endpoint come from the servers.
//! let config = Config::new("fluss.example.com:9123")?.store(Store::new(S3Storage::new()));
//!
//! // Or from here, where the servers give none.
//! let own = S3Storage::new().endpoint("http://127.0.0.1:9000").keys("access-key", "secret");
//! let config = Config::new("fluss.example.com:9123")?.store(Store::new(own));
//! # Ok::<(), fluss_core::Error>(())
//! ```
//!
//! # What it reads with
//!
//! What the application sets comes first, then what the servers give with their token:
//!
//! | [`S3Storage`] | token | neither |
//! |---|---|---|
//! | [`keys`](S3Storage::keys) | the token itself | requests are not signed |
//! | [`region`](S3Storage::region) | `fs.s3a.region`, `fs.s3a.endpoint.region` | `us-east-1` |
//! | [`endpoint`](S3Storage::endpoint) | `fs.s3a.endpoint` | Amazon's of the region |
//! | [`path_style`](S3Storage::path_style) | `fs.s3a.path.style.access` | not at Amazon |
//!
//! Settings keep to what a request can hold: an endpoint is `http://` or `https://`, a host and, if
//! there is one, a port and a path; without a scheme it is `https://`.
//!
//! Tokens are asked for, renewed and, where the storage denies them, asked for anew by the client.
//!
//! # Limits
//!
//! TLS trusts Mozilla's list of authorities, as it was when `webpki-roots` was built, or
//! [those that are set](S3Storage::authorities). A server that it does not trust is tried ten times
//! and then stops its bucket, like one that denies access. Proxies of
//! the environment are not used, redirects not followed. Objects of other schemes than `s3` and
//! `s3a` are read as files. Reads block, within [`ObjectPart::limit`]; a name is resolved on a
//! thread that ends with that.
//!
//! The signature is made here, with the hashes that TLS brings along: the crates that do nothing
//! else bring 40 to 60 others.

mod answer;
mod place;
mod sign;
mod token;

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use bytes::Bytes;
use fluss_core::config::{
    ObjectPart, Storage, StorageError, StorageErrorKind, StorageToken, Store,
};
use ureq::Agent;
use ureq::config::AutoHeaderValue;
use ureq::tls::{PemItem, RootCerts, TlsConfig};

use place::Place;
use sign::{Keys, NO_BODY, Scope, authorization, moment};
use token::{is_plain, keys_of, setting};

const REGION: &str = "us-east-1";
/// Connections that are kept between reads.
const KEPT: usize = 16;
/// Bytes of an answer before its body.
const MAX_HEADERS: usize = 32 << 10;

/// Reads objects named `s3://bucket/key` and `s3a://bucket/key`, and files. See the
/// [crate] for where it has its keys and settings from.
#[derive(Clone)]
pub struct S3Storage {
    endpoint: Option<Arc<str>>,
    region: Option<Arc<str>>,
    path_style: Option<bool>,
    keys: Option<Keys>,
    /// None: what was set has no authorities.
    agent: Option<Agent>,
    files: Store,
}

impl Default for S3Storage {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for S3Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Storage")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("path_style", &self.path_style)
            .finish_non_exhaustive()
    }
}

impl S3Storage {
    /// With keys and settings of the servers. Connects when there is something to read.
    #[must_use]
    pub fn new() -> Self {
        Self {
            endpoint: None,
            region: None,
            path_style: None,
            keys: None,
            agent: Some(agent(RootCerts::WebPki)),
            files: Store::of_files(|path| File::open(path)),
        }
    }

    /// Asks this endpoint, such as `https://minio.example.com:9000`, whatever the servers say.
    #[must_use]
    pub fn endpoint(mut self, endpoint: &str) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Signs for this region, whatever the servers say.
    #[must_use]
    pub fn region(mut self, region: &str) -> Self {
        self.region = Some(region.into());
        self
    }

    /// Whether the bucket is named in the path of an URL, or before its host, whatever the servers
    /// say.
    #[must_use]
    pub fn path_style(mut self, path_style: bool) -> Self {
        self.path_style = Some(path_style);
        self
    }

    /// Signs with these keys, whatever the servers give.
    #[must_use]
    pub fn keys(mut self, access_key_id: &str, secret: &str) -> Self {
        let (id, secret) = (access_key_id.to_owned(), secret.to_owned());
        self.keys = Some(Keys { id, secret, session: None });
        self
    }

    /// Trusts these authorities instead of Mozilla's list: certificates as PEM text, one behind the
    /// other. What is no certificate in it is passed over; without any, objects in S3 are not read.
    ///
    /// ```no_run
    /// # fn example() -> std::io::Result<()> {
    /// let own = std::fs::read("/etc/ssl/own-authority.pem")?;
    /// let storage = fluss_storage_s3::S3Storage::new().authorities(&own);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn authorities(mut self, pem: &[u8]) -> Self {
        let certificates = ureq::tls::parse_pem(pem).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        });
        let certificates: Vec<_> = certificates.collect();
        self.agent = (!certificates.is_empty()).then(|| agent(certificates.into()));
        self
    }

    /// Where a part is, and what signs for it.
    fn request(&self, part: &ObjectPart, rest: &str) -> Result<Request, String> {
        let token = part.token.as_deref();
        let of = |own: &Option<Arc<str>>, names: &[&str]| match own {
            Some(own) => Some(own.to_string()),
            None => setting(token, names).map(str::to_owned),
        };
        let region = of(&self.region, &["fs.s3a.region", "fs.s3a.endpoint.region"]);
        let region = region.unwrap_or_else(|| REGION.to_owned());
        if !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err("the region is no name of one".to_owned());
        }
        let endpoint = of(&self.endpoint, &["fs.s3a.endpoint"]);
        let style = self.path_style.or_else(|| path_style_of(token));
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let place = Place::of(bucket, key, endpoint.as_deref(), &region, style)?;
        let keys = match &self.keys {
            Some(keys) if !is_plain(&keys.id) || keys.secret.is_empty() => {
                return Err("the keys that were set are none".to_owned());
            }
            Some(keys) => Some(keys.clone()),
            None => token.map(keys_of).transpose()?.flatten(),
        };
        Ok(Request { place, region, keys })
    }

    fn get(
        &self,
        part: &ObjectPart,
        agent: &Agent,
        request: &Request,
    ) -> Result<Bytes, StorageError> {
        // A little less than the client waits, so that what came in time is not lost.
        let limit = part.limit / 8 * 7;
        let mut get = agent.get(request.place.url()).config().timeout_global(Some(limit)).build();
        for (name, value) in request.headers(part) {
            get = get.header(name, value);
        }
        let answer = get.call().map_err(|error| failed(part, &error))?;
        let (head, body) = answer.into_parts();
        let mut body = body.into_reader();
        answer::read(part, head.status, &head.headers, &mut body, request.keys.as_ref())
    }
}

impl Storage for S3Storage {
    fn read(&self, part: &ObjectPart) -> Result<Bytes, StorageError> {
        let named = part.object.split_once("://");
        let Some(("s3" | "s3a", rest)) = named else { return self.files.read(part) };
        let unsupported = |what| StorageError::new(part, StorageErrorKind::Unsupported, what);
        let request = self.request(part, rest).map_err(unsupported)?;
        let none = || unsupported("the authorities that were set are no certificates".to_owned());
        self.get(part, self.agent.as_ref().ok_or_else(none)?, &request)
    }
}

fn agent(trusted: RootCerts) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .accept_encoding(AutoHeaderValue::None)
        .max_response_header_size(MAX_HEADERS)
        .max_idle_connections(KEPT)
        .max_idle_connections_per_host(KEPT)
        .user_agent(concat!("fluss-storage-s3/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(trusted).build())
        .build()
        .into()
}

/// What the servers say of where the bucket stands.
fn path_style_of(token: Option<&StorageToken>) -> Option<bool> {
    match setting(token, &["fs.s3a.path.style.access"])? {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

struct Request {
    place: Place,
    region: String,
    keys: Option<Keys>,
}

impl Request {
    /// The headers of a GET for this part, in their order and signed if there are keys.
    fn headers(&self, part: &ObjectPart) -> Vec<(&'static str, String)> {
        let last = part.from.saturating_add(part.len as u64).saturating_sub(1).max(part.from);
        let range = format!("bytes={}-{last}", part.from);
        let mut headers = vec![("host", self.place.host.clone()), ("range", range)];
        let Some(keys) = &self.keys else { return headers };
        // A clock before 1970 is as wrong as any: the storage says so.
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let time = time.unwrap_or(Duration::ZERO);
        headers.push(("x-amz-content-sha256", NO_BODY.to_owned()));
        headers.push(("x-amz-date", moment(time)));
        headers.extend(keys.session.clone().map(|session| ("x-amz-security-token", session)));
        let signed: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        let scope = Scope { region: &self.region, time };
        let authorization = authorization(keys, &scope, &self.place.path, &signed);
        headers.push(("authorization", authorization));
        headers
    }
}

/// No answer came.
fn failed(part: &ObjectPart, error: &ureq::Error) -> StorageError {
    let kind = match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => StorageErrorKind::Unsupported,
        // What TLS refuses comes as data that is not valid: no answer was there to be so.
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            StorageErrorKind::Denied
        }
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => StorageErrorKind::Denied,
        _ => StorageErrorKind::Unavailable,
    };
    let text: String = error.to_string().chars().take(300).collect();
    StorageError::new(part, kind, format!("the storage did not answer: {text}"))
}
