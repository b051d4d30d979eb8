//! What servers give to clients for remote storage.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::time::Duration;

/// Credentials and settings for remote storage, as the servers gave them out
/// (GET_FILESYSTEM_SECURITY_TOKEN). A client asks for them when it is sent to objects outside the
/// files of a machine, keeps them for all its scanners, and renews them.
///
/// `Debug` hides the token and the values of the settings.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StorageToken {
    /// The URI scheme of the servers' storage, such as `s3`.
    pub scheme: Arc<str>,
    /// Whatever this kind of storage wants; for object stores JSON with a pair of keys and a
    /// session. Empty: no credentials are needed, or everybody has their own.
    pub token: Bytes,
    /// Settings beside it, such as `fs.s3a.endpoint`.
    pub settings: BTreeMap<Arc<str>, Arc<str>>,
    /// When it expires, as time since 1970. None: never.
    pub expires: Option<Duration>,
}

impl StorageToken {
    /// This token for storage of this scheme, without settings and an end.
    #[must_use]
    pub fn new(scheme: impl Into<Arc<str>>, token: impl Into<Bytes>) -> Self {
        let (scheme, token) = (scheme.into(), token.into());
        Self { scheme, token, settings: BTreeMap::new(), expires: None }
    }

    /// Adds a setting.
    #[must_use]
    pub fn setting(mut self, name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }
}

impl fmt::Debug for StorageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.settings.keys().map(|name| &**name).collect();
        f.debug_struct("StorageToken")
            .field("scheme", &self.scheme)
            .field("settings", &names)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let token = StorageToken::new("s3", r#"{"access_key_secret":"hush"}"#);
        let text = format!("{:?}", token.setting("fs.s3a.secret", "hush"));
        assert!(text.contains("s3") && text.contains("fs.s3a.secret"), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
}
