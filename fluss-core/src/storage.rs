//! Where the older part of a log is: objects in remote storage, and who reads them.

mod token;

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;

pub use self::token::StorageToken;
use crate::time::Duration;

/// A part of an object in remote storage that a client wants to read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectPart {
    /// The object as the servers name it: an absolute path, or a URI such as
    /// `s3://bucket/path/to/object`.
    pub object: Arc<str>,
    /// The first byte that is wanted, counted from 0.
    pub from: u64,
    /// How many bytes are wanted, at least 1. Fewer are no error: the client asks for the others.
    pub len: usize,
    /// For how long the client waits for the answer; later ones are dropped.
    pub limit: Duration,
    /// What the servers gave for reading it. None for files, and where they gave nothing: whoever
    /// reads has rights of its own, or needs none.
    pub token: Option<Arc<StorageToken>>,
}

impl ObjectPart {
    /// This part of this object, without a token.
    #[must_use]
    pub fn new(object: impl Into<Arc<str>>, from: u64, len: usize, limit: Duration) -> Self {
        Self { object: object.into(), from, len, limit, token: None }
    }

    /// The same with this token.
    #[must_use]
    pub fn token(mut self, token: Option<Arc<StorageToken>>) -> Self {
        self.token = token;
        self
    }
}

/// Reads remote storage, to which servers move older segments of logs
/// (`PbRemoteLogFetchInfo` in the answer to FETCH_LOG).
///
/// It may block: adapters call it where that harms nobody (tokio's and smol's threads for blocking
/// calls, the storage threads of `fluss-embedded`), up to four times at once for a scanner. A
/// scanner asks again after an error, see [`StorageErrorKind`]; it checks the checksum of every
/// batch. It should not panic.
///
/// ```
/// use bytes::Bytes;
/// use fluss_core::config::{Config, ObjectPart, Storage, StorageError, StorageErrorKind, Store};
///
/// /// Objects that somebody else keeps in memory.
/// struct Kept(std::collections::BTreeMap<String, Bytes>);
///
/// impl Storage for Kept {
///     fn read(&self, part: &ObjectPart) -> Result<Bytes, StorageError> {
///         let missing = || StorageError::new(part, StorageErrorKind::NotFound, "nobody kept it");
///         let object = self.0.get(&*part.object).ok_or_else(missing)?;
///         let from = usize::try_from(part.from).map_or(object.len(), |at| at.min(object.len()));
///         Ok(object.slice(from..object.len().min(from + part.len)))
///     }
/// }
///
/// let store = Store::new(Kept([].into()));
/// let config = Config::new("fluss.example.com:9123")?.store(store);
/// # Ok::<(), fluss_core::Error>(())
/// ```
pub trait Storage: Send + Sync + 'static {
    /// The bytes of this part, from its first one on: as many as are wanted, or fewer. None means
    /// that the object ends before.
    ///
    /// # Errors
    /// [`StorageError`] with the kind that tells what the client does next.
    fn read(&self, part: &ObjectPart) -> Result<Bytes, StorageError>;
}

/// A [`Storage`] that clients share.
#[derive(Clone)]
pub struct Store(Arc<dyn Storage>);

impl Store {
    /// Reads with this one.
    pub fn new(storage: impl Storage) -> Self {
        Self(Arc::new(storage))
    }

    /// Reads files of this machine, which `open` opens: for absolute paths and `file:` URIs. What
    /// adapters use unless told otherwise.
    pub fn of_files<R: Read + Seek>(
        open: impl Fn(&str) -> io::Result<R> + Send + Sync + 'static,
    ) -> Self {
        Self::new(Files(open))
    }

    /// Asks it. May block. Never more than was wanted.
    ///
    /// # Errors
    /// As [`Storage::read`].
    pub fn read(&self, part: &ObjectPart) -> Result<Bytes, StorageError> {
        let mut bytes = self.0.read(part)?;
        bytes.truncate(part.len);
        Ok(bytes)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

/// The same one, not one that does the same.
impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Why an object was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("remote storage, {object}: {message}")]
#[non_exhaustive]
pub struct StorageError {
    /// The object.
    pub object: Arc<str>,
    /// What the client does about it.
    pub kind: StorageErrorKind,
    /// What happened, for people.
    pub message: Arc<str>,
}

/// What a client does when an object was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum StorageErrorKind {
    /// There is no such object, as where it expired or moved: the client asks the server again
    /// where the records are, and stops the bucket when it is sent to objects that are not there
    /// for the fourth time in a row.
    NotFound,
    /// It may not be read: the client asks the servers for a new token, tries again, as rights may
    /// come late, and stops the bucket after ten times in a row.
    Denied,
    /// Nothing here reads such objects; the bucket stops at once.
    Unsupported,
    /// Anything that may go away by itself: the client tries again, as with a server that is out
    /// of reach.
    Unavailable,
}

impl StorageError {
    /// This part was not read for this reason.
    #[must_use]
    pub fn new(part: &ObjectPart, kind: StorageErrorKind, message: impl Into<Arc<str>>) -> Self {
        Self { object: Arc::clone(&part.object), kind, message: message.into() }
    }

    /// The kind that fits an error of the system.
    #[must_use]
    pub fn from_io(part: &ObjectPart, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => StorageErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => StorageErrorKind::Denied,
            _ => StorageErrorKind::Unavailable,
        };
        Self::new(part, kind, error.to_string())
    }
}

struct Files<F>(F);

impl<R: Read + Seek, F: Fn(&str) -> io::Result<R> + Send + Sync + 'static> Storage for Files<F> {
    fn read(&self, part: &ObjectPart) -> Result<Bytes, StorageError> {
        let path = path_of(part)?;
        let read = || {
            let mut file = (self.0)(path)?;
            file.seek(SeekFrom::Start(part.from))?;
            let mut bytes = Vec::with_capacity(part.len);
            file.take(part.len as u64).read_to_end(&mut bytes)?;
            Ok(bytes.into())
        };
        read().map_err(|error| StorageError::from_io(part, &error))
    }
}

/// The scheme of an object's name, and what stands behind it; None for a path.
fn scheme_of(object: &str) -> Option<(&str, &str)> {
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    object.split_once(':').filter(|(name, _)| !name.is_empty() && name.chars().all(named))
}

/// Whether somebody else than this machine keeps the object, who may want credentials.
pub(crate) fn is_foreign(object: &str) -> bool {
    scheme_of(object).is_some_and(|(scheme, _)| scheme != "file")
}

/// The path on this machine that an object's name means.
fn path_of(part: &ObjectPart) -> Result<&str, StorageError> {
    let unsupported =
        |why: String| Err(StorageError::new(part, StorageErrorKind::Unsupported, why));
    let object = &*part.object;
    let path = match scheme_of(object) {
        Some(("file", rest)) => {
            let rest = rest.strip_prefix("//").unwrap_or(rest);
            rest.strip_prefix("localhost").unwrap_or(rest)
        }
        Some((scheme, rest)) => {
            let bucket = rest.trim_start_matches('/').split('/').next().unwrap_or_default();
            return unsupported(format!(
                "the servers keep old segments in `{scheme}` storage, bucket `{bucket}`, which \
                 nothing here can read: files can be; for others set `Config::store`, for `s3` and \
                 `s3a` to an `S3Storage` (feature `s3`)"
            ));
        }
        None => object,
    };
    if !path.starts_with('/') {
        return unsupported(format!("`{path}` is no absolute path"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn part(object: &str, from: u64, len: usize) -> ObjectPart {
        ObjectPart::new(object, from, len, Duration::from_secs(1))
    }

    fn one_file() -> Store {
        Store::of_files(|path| match path {
            "/data/log" => Ok(Cursor::new(*b"0123456789")),
            "/data/closed" => Err(io::ErrorKind::PermissionDenied.into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        })
    }

    #[test]
    fn a_file_is_read_in_parts_by_path_and_by_uri() {
        let store = one_file();
        for name in ["/data/log", "file:///data/log", "file:/data/log", "file://localhost/data/log"]
        {
            assert_eq!(&*store.read(&part(name, 2, 3)).unwrap(), b"234", "{name}");
        }
        assert_eq!(&*store.read(&part("/data/log", 8, 100)).unwrap(), b"89");
        assert_eq!(&*store.read(&part("/data/log", 100, 100)).unwrap(), b"");
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_kind() {
        for (name, kind, text) in [
            ("/data/none", StorageErrorKind::NotFound, "/data/none"),
            ("/data/closed", StorageErrorKind::Denied, "denied"),
            ("data/log", StorageErrorKind::Unsupported, "no absolute path"),
            ("s3://lake/a/b", StorageErrorKind::Unsupported, "`s3` storage, bucket `lake`"),
            ("hdfs://name:8020/a", StorageErrorKind::Unsupported, "`hdfs` storage"),
        ] {
            let error = one_file().read(&part(name, 0, 1)).unwrap_err();
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn credentials_are_for_what_is_not_on_this_machine() {
        for (name, foreign) in [
            ("s3://lake/a", true),
            ("hdfs://name:8020/a", true),
            ("file:///a", false),
            ("/a", false),
            ("/a/b:c", false),
            (":a", false),
        ] {
            assert_eq!(is_foreign(name), foreign, "{name}");
        }
    }

    #[test]
    fn no_storage_gives_more_than_was_wanted() {
        struct Generous;
        impl Storage for Generous {
            fn read(&self, _: &ObjectPart) -> Result<Bytes, StorageError> {
                Ok(Bytes::from_static(b"more than that"))
            }
        }
        assert_eq!(&*Store::new(Generous).read(&part("/a", 0, 4)).unwrap(), b"more");
    }
}
