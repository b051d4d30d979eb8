//! The tokens that servers give out for remote storage.

use std::time::Duration;

use bytes::Bytes;
use fluss_proto::message::{GetFileSystemSecurityTokenResponse, PbKeyValue};

use super::FakeCluster;
use crate::storage::{ObjectPart, StorageError, StorageErrorKind};
use crate::time::Instant;

/// A pair of keys with a session, as a fake cluster gave it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedKeys {
    /// The public part.
    pub access_key: String,
    /// The secret.
    pub secret: String,
    /// The session that both are part of.
    pub session: String,
    /// Whether the storage takes it no more.
    pub expired: bool,
}

impl IssuedKeys {
    /// These keys, without a session and an end.
    #[must_use]
    pub fn new(access_key: &str, secret: &str) -> Self {
        let (access_key, secret) = (access_key.to_owned(), secret.to_owned());
        Self { access_key, secret, session: String::new(), expired: false }
    }
}

#[derive(Debug)]
struct Issued {
    keys: IssuedKeys,
    until: Option<Instant>,
}

/// What the servers answer to who asks for a token.
#[derive(Debug, Default)]
enum Answer {
    /// Files need none.
    #[default]
    Nothing,
    /// A new one each time, for so long.
    Keys(Option<Duration>),
    /// Exactly this.
    This(GetFileSystemSecurityTokenResponse),
}

/// Tokens and what goes with them.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    answer: Answer,
    issued: Vec<Issued>,
    settings: Vec<PbKeyValue>,
}

impl FakeCluster {
    /// Names what is in remote storage by URIs that begin like this, such as `s3://lake/fluss`,
    /// in place of paths.
    pub fn set_remote_root(&mut self, root: &str) {
        self.remote.root = root.into();
    }

    /// Gives out tokens from now on: new keys each time, which are good for this long, or for ever.
    /// [`read_object`](Self::read_object) wants them.
    pub fn give_keys(&mut self, life: Option<Duration>) {
        self.tokens.answer = Answer::Keys(life);
    }

    /// Adds a setting to all tokens to come.
    pub fn add_token_setting(&mut self, key: &str, value: &str) {
        self.tokens.settings.push(PbKeyValue { key: key.to_owned(), value: value.to_owned() });
    }

    /// Answers with exactly this from now on, whatever a client makes of it.
    pub fn give_token(&mut self, answer: GetFileSystemSecurityTokenResponse) {
        self.tokens.answer = Answer::This(answer);
    }

    /// The storage takes no token more that was given out before.
    pub fn revoke_keys(&mut self) {
        self.tokens.issued.iter_mut().for_each(|issued| issued.keys.expired = true);
    }

    /// The keys with this public part, if they were given out.
    #[must_use]
    pub fn issued_keys(&self, access_key: &str) -> Option<IssuedKeys> {
        let issued = self.tokens.issued.iter().find(|i| i.keys.access_key == access_key)?;
        let over = issued.until.is_some_and(|until| until <= self.now);
        let expired = issued.keys.expired || over;
        Some(IssuedKeys { expired, ..issued.keys.clone() })
    }

    /// All of an object in remote storage, for who serves it in another way than
    /// [`read_object`](Self::read_object).
    #[must_use]
    pub fn object_bytes(&self, object: &str) -> Option<Bytes> {
        self.object(&ObjectPart::new(object, 0, usize::MAX, Duration::ZERO)).ok()
    }

    pub(super) fn security_token(&mut self) -> GetFileSystemSecurityTokenResponse {
        let life = match &self.tokens.answer {
            Answer::Keys(life) => *life,
            Answer::This(answer) => return answer.clone(),
            Answer::Nothing => {
                return GetFileSystemSecurityTokenResponse {
                    schema: "file".to_owned(),
                    ..GetFileSystemSecurityTokenResponse::default()
                };
            }
        };
        let number = self.tokens.issued.len();
        let (id, secret) = (format!("ASIA{number:016}"), format!("secret/of+{number}"));
        let session = format!("session+of/{number}==");
        let keys = IssuedKeys { session, ..IssuedKeys::new(&id, &secret) };
        let token = format!(
            concat!(
                r#"{{"version":1,"access_key_id":"{}","access_key_secret":"{}","#,
                r#""security_token":"{}"}}"#
            ),
            keys.access_key, keys.secret, keys.session
        );
        self.tokens.issued.push(Issued { keys, until: life.map(|life| self.now + life) });
        let millis = |life: Duration| i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
        GetFileSystemSecurityTokenResponse {
            schema: "s3".to_owned(),
            token: token.into(),
            expiration_time: life.map(|life| self.now_ms().saturating_add(millis(life))),
            addition_info: self.tokens.settings.clone(),
        }
    }

    /// Whether this part is asked for with keys that are good now, where keys are wanted.
    pub(super) fn check_token(&self, part: &ObjectPart) -> Result<(), StorageError> {
        if !matches!(self.tokens.answer, Answer::Keys(_)) {
            return Ok(());
        }
        let token = part.token.as_ref().map(|token| &token.token[..]).unwrap_or_default();
        let good = |issued: &Issued| {
            let session = issued.keys.session.as_bytes();
            let told = token.windows(session.len()).any(|window| window == session);
            told && !issued.keys.expired && issued.until.is_none_or(|until| until > self.now)
        };
        if self.tokens.issued.iter().any(good) {
            return Ok(());
        }
        Err(StorageError::new(part, StorageErrorKind::Denied, "a token that is not good, or none"))
    }
}
