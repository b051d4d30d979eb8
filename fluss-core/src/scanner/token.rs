//! The token for remote storage, which all scanners of a client share.
//!
//! It is asked for when the first bucket is sent to storage that is not this machine's, and anew
//! when somebody reads after three quarters of its life, or when the storage denied it. While
//! nobody reads, nobody asks. The one at hand is used while the next one is on its way, unless it
//! is over or was denied: then reads wait for the answer. Questions are paced, whatever the servers
//! and the storage say, and nobody reads with what was denied meanwhile.
//!
//! The end of a token is told as time since 1970, which the core does not know: whoever drives the
//! client may tell it ([`Client::handle_unix_time`](crate::Client::handle_unix_time)). It is told
//! again now and then and kept apart from the client's own line, as a host that slept, or whose
//! clock was set, has lost time on that one. Without it, and for a token that is over when it
//! comes, as where clocks disagree, the storage itself tells when its time has come.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use fluss_proto::ApiKey;
use fluss_proto::message::{GetFileSystemSecurityTokenRequest, GetFileSystemSecurityTokenResponse};
use prost::Message;

use crate::backoff::{Backoff, BackoffConfig};
use crate::command::{Call, Target};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::ids::{CommandId, ScannerKey};
use crate::output::CommandAnswer;
use crate::storage::{StorageError, StorageToken};
use crate::time::{Duration, Instant};

/// Waits after questions that brought nothing; each has repeated itself for a while already.
const FAILED: BackoffConfig =
    BackoffConfig::new(Duration::from_millis(500), Duration::from_secs(30));
/// Waits between a token and the next one while the storage denies what comes.
const DENIED: BackoffConfig = BackoffConfig::new(Duration::from_secs(1), Duration::from_secs(5));
/// Between an answer and the next question, in any case.
const LEAST: Duration = Duration::from_secs(1);
/// Bytes of a token and its settings at most.
const MAX_BYTES: usize = 64 << 10;

/// What a read gets.
#[derive(Debug, PartialEq)]
pub(super) enum Access {
    /// This token, or none where the servers gave none.
    Granted(Option<Arc<StorageToken>>),
    /// The servers were asked; the scanner is called when they have answered.
    Asked,
    /// There is none of use for this reason, and they are asked again at this time.
    Later(Error, Instant),
}

/// A token that the servers gave, or their answer that none is needed.
#[derive(Debug)]
struct Held {
    token: Option<Arc<StorageToken>>,
    since: Instant,
    /// When to ask for the next one, and when it is over, as time since 1970; if that can be told.
    ends: Option<(Duration, Duration)>,
    /// What the storage said of it, if it denied it.
    denied: Option<StorageError>,
}

/// Whether the servers are asked for a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Question {
    #[default]
    None,
    Due,
    Sent(CommandId),
}

/// The token of a client.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// Time since 1970 when the client's line began, as far as known.
    epoch: Option<Duration>,
    held: Option<Held>,
    question: Question,
    /// No question before.
    not_before: Instant,
    /// Why the last question brought nothing.
    failure: Option<Error>,
    failures: Backoff,
    denials: Backoff,
    /// Whom to call with the answer.
    waiting: BTreeSet<ScannerKey>,
}

impl Tokens {
    /// It is so long since 1970.
    pub(super) fn set_unix_time(&mut self, since_1970: Duration, now: Instant) {
        self.epoch = Some(since_1970.saturating_sub(now - Instant::ZERO));
    }

    fn unix_time(&self, now: Instant) -> Option<Duration> {
        Some(self.epoch?.saturating_add(now - Instant::ZERO))
    }

    /// A scanner wants to read with the token.
    pub(super) fn access(&mut self, now: Instant, scanner: ScannerKey) -> Access {
        let wall = self.unix_time(now);
        let ends = self.held.as_ref().and_then(|held| held.ends).zip(wall);
        let (old, over) =
            ends.map_or((false, false), |((renew, end), wall)| (renew <= wall, end <= wall));
        let useless = over || self.held.as_ref().is_none_or(|held| held.denied.is_some());
        let wanted = useless || old;
        if wanted && self.question == Question::None && self.not_before <= now {
            self.question = Question::Due;
        }
        if useless && self.question != Question::None {
            self.waiting.insert(scanner);
            return Access::Asked;
        }
        let denied = self.held.as_ref().and_then(|held| held.denied.clone());
        let trouble = self.failure.clone().or(denied.map(Error::from)).filter(|_| useless);
        match trouble {
            Some(trouble) => Access::Later(trouble, self.not_before),
            // Also one that is over, for the moment until the servers may be asked again.
            None => Access::Granted(self.held.as_ref().and_then(|held| held.token.clone())),
        }
    }

    /// The storage denied what was read with this token.
    pub(super) fn deny(
        &mut self,
        cx: &mut Cx<'_>,
        token: Option<&Arc<StorageToken>>,
        error: &StorageError,
    ) {
        let Some(held) = &mut self.held else { return };
        let same = match (&held.token, token) {
            (Some(held), Some(token)) => Arc::ptr_eq(held, token),
            (None, None) => true,
            _ => false,
        };
        if same && held.denied.is_none() {
            held.denied = Some(error.clone());
            let at = held.since + self.denials.next(DENIED, cx.rng);
            self.not_before = self.not_before.max(at);
        }
    }

    /// The question to ask, if there is one; `start` has it asked.
    pub(super) fn poll_call(&mut self, cx: &Cx<'_>, start: impl FnOnce(Call) -> CommandId) -> bool {
        if self.question != Question::Due {
            return false;
        }
        let api = ApiKey::GetFileSystemSecurityToken;
        let body = GetFileSystemSecurityTokenRequest {}.encode_to_vec().into();
        let mut call = Call::new(api, body, Target::AnyServer, "GET_FILESYSTEM_SECURITY_TOKEN")
            .answered_by::<GetFileSystemSecurityTokenResponse>();
        call.limit = cx.config.request_deadline;
        self.question = Question::Sent(start(call));
        true
    }

    pub(super) fn owns_call(&self, command: CommandId) -> bool {
        self.question == Question::Sent(command)
    }

    /// The answer, or why there is none; the scanners that waited for it.
    pub(super) fn handle_call(
        &mut self,
        cx: &mut Cx<'_>,
        result: Result<CommandAnswer>,
    ) -> BTreeSet<ScannerKey> {
        self.question = Question::None;
        let token = result.and_then(|answer| match answer {
            CommandAnswer::Body(body) => read_token(body),
            _ => Err(Error::Closed("client")),
        });
        match token {
            Ok(token) => self.hold(cx.now, token),
            Err(error) => {
                self.not_before = cx.now + self.failures.next(FAILED, cx.rng);
                self.failure = Some(error);
            }
        }
        std::mem::take(&mut self.waiting)
    }

    fn hold(&mut self, now: Instant, token: Option<StorageToken>) {
        self.failures.reset();
        self.failure = None;
        self.not_before = now + LEAST;
        let end = token.as_ref().and_then(|token| token.expires);
        let wall = self.unix_time(now);
        let ends = end.zip(wall).filter(|(end, wall)| end > wall).map(|(end, wall)| {
            let left = end.saturating_sub(wall);
            (wall.saturating_add(left / 4 * 3), end)
        });
        // One that came again is the one that was denied, to reads that are still on their way.
        let before = self.held.take().map(|held| held.token);
        let (token, again) = match before {
            Some(before) if before.as_deref() == token.as_ref() => (before, true),
            _ => (token.map(Arc::new), false),
        };
        if !again {
            self.denials.reset();
        }
        self.held = Some(Held { token, since: now, ends, denied: None });
    }
}

/// The token in an answer; None if it holds nothing of use.
fn read_token(body: Bytes) -> Result<Option<StorageToken>> {
    let peer = |what: String| Error::Peer { server: "server".into(), what: what.into() };
    let answer = GetFileSystemSecurityTokenResponse::decode(body)
        .map_err(|error| peer(format!("GET_FILESYSTEM_SECURITY_TOKEN: {error}")))?;
    let settings = answer.addition_info.iter().map(|pair| pair.key.len() + pair.value.len());
    let bytes = answer.schema.len() + answer.token.len() + settings.sum::<usize>();
    if bytes > MAX_BYTES {
        let what = format!("a token for remote storage of {bytes} bytes, at most {MAX_BYTES}");
        return Err(peer(what));
    }
    if answer.token.is_empty() && answer.addition_info.is_empty() {
        return Ok(None);
    }
    // In memory of its own: it stays for long, and the answer's frame with it.
    let mut token = StorageToken::new(answer.schema, Bytes::copy_from_slice(&answer.token));
    for pair in answer.addition_info {
        token = token.setting(pair.key, pair.value);
    }
    // Nothing ends before 1970; servers without an end to tell say 0 or less.
    let end = answer.expiration_time.and_then(|ms| u64::try_from(ms).ok());
    token.expires = end.filter(|ms| *ms > 0).map(Duration::from_millis);
    Ok(Some(token))
}
