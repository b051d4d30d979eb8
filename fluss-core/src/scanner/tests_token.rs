//! The token for remote storage: when it is asked for, who reads with which.

use std::sync::Arc;

use bytes::Bytes;
use fluss_proto::message::{
    GetFileSystemSecurityTokenResponse, PbFetchLogRespForBucket, PbKeyValue,
};
use fluss_proto::{ApiKey, ErrorCode};
use prost::Message;

use super::testkit::*;
use crate::error::Error;
use crate::ids::ScannerKey;
use crate::output::CommandAnswer;
use crate::storage::{StorageError, StorageErrorKind, StorageToken};
use crate::time::Duration;

const S: Duration = Duration::from_secs(1);
/// The time since 1970 at which these tests begin, and seconds of it.
const EPOCH: Duration = Duration::from_secs(1_760_000_000);

/// A bucket whose records are in storage of somebody else.
fn abroad(number: i32, size: usize) -> PbFetchLogRespForBucket {
    let mut part = moved(number, 2, 0, &[(0, 2, size)]);
    let info = part.remote_log_fetch_info.as_mut().expect("it was moved");
    info.remote_log_tablet_dir = format!("s3://lake/{number}");
    part
}

/// The bytes that such a bucket has there.
fn stored() -> Bytes {
    [batch(0, 1, 0, 40), batch(1, 1, 0, 40)].concat().into()
}

/// A token that is good for so many seconds after 1970.
fn token(name: &str, until: Option<u64>) -> GetFileSystemSecurityTokenResponse {
    GetFileSystemSecurityTokenResponse {
        schema: "s3".to_owned(),
        token: Bytes::copy_from_slice(name.as_bytes()),
        expiration_time: until.map(|seconds| seconds as i64 * 1000),
        addition_info: Vec::new(),
    }
}

fn later(seconds: u64) -> Option<u64> {
    Some(EPOCH.as_secs() + seconds)
}

/// A bench with a scanner of bucket 0, which was sent to storage of somebody else.
fn sent_abroad(options: super::ScannerOptions) -> (Bench, ScannerKey) {
    let mut b = Bench::new(&[(0, S1)]);
    let (start, now) = (EPOCH, b.now);
    b.run(|s, _| s.handle_unix_time(start, now));
    let key = b.open(options, &[(0, 0)]);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![abroad(0, stored().len())]);
    (b, key)
}

impl Bench {
    /// The answer to the only call.
    fn answer_call(&mut self, result: Result<GetFileSystemSecurityTokenResponse, Error>) {
        let [(command, _)] = &self.calls[..] else { panic!("{:?}", self.calls) };
        let command = *command;
        self.calls.clear();
        let result = result.map(|answer| CommandAnswer::Body(answer.encode_to_vec().into()));
        self.run(|s, cx| {
            assert!(s.owns_call(command));
            s.handle_call(cx, result);
        });
    }

    /// What the reads on their way are made with.
    fn tokens(&self) -> Vec<Option<String>> {
        let text = |token: &Arc<StorageToken>| String::from_utf8_lossy(&token.token).into_owned();
        self.reads.iter().map(|(_, part)| part.token.as_ref().map(text)).collect()
    }

    fn deny(&mut self) {
        let what = StorageErrorKind::Denied;
        let error = StorageError::new(&self.reads[0].1, what, "injected");
        self.end_read(Err(error));
    }

    /// Subscribes bucket 0 anew and has it sent abroad again.
    fn again(&mut self, key: ScannerKey) {
        self.run(|s, _| s.subscribe(key, bucket(0), 0)).expect("open");
        let sent = self.fetch(S1);
        self.reply(&sent, vec![abroad(0, stored().len())]);
    }
}

fn refused() -> Error {
    let code = ErrorCode::SECURITY_TOKEN_EXCEPTION;
    Error::Rejected { what: "a token".into(), code, message: "injected".into() }
}

fn named(name: &str) -> Vec<Option<String>> {
    vec![Some(name.to_owned())]
}

#[test]
fn two_scanners_ask_once_and_read_with_the_answer() {
    let (mut b, first) = sent_abroad(Bench::options());
    assert!(b.reads.is_empty(), "not before the answer");
    let second = b.open(Bench::options(), &[(0, 0)]);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![abroad(0, stored().len())]);
    let [(_, call)] = &b.calls[..] else { panic!("{:?}", b.calls) };
    assert_eq!(call.api, ApiKey::GetFileSystemSecurityToken);
    let mut answer = token("t1", None);
    let (key, value) = ("fs.s3a.region".to_owned(), "eu-1".to_owned());
    answer.addition_info.push(PbKeyValue { key, value });
    b.answer_call(Ok(answer));
    assert_eq!(b.tokens(), [named("t1"), named("t1")].concat());
    let given = b.reads[0].1.token.clone().expect("a token");
    assert_eq!((&*given.scheme, &*given.settings["fs.s3a.region"]), ("s3", "eu-1"));
    for key in [first, second] {
        b.end_read(Ok(stored()));
        assert_eq!(places(&b.take(key)), [(0, 0), (0, 1)]);
    }
    b.pass(Duration::from_secs(1_000_000));
    b.again(first);
    assert!(b.calls.is_empty(), "one without an end is not renewed");
    assert_eq!(b.tokens(), named("t1"));
}

#[test]
fn files_and_an_empty_answer_need_no_token() {
    let mut b = Bench::new(&[(0, S1)]);
    b.open(Bench::options(), &[(0, 0)]);
    let sent = b.fetch(S1);
    let mut part = abroad(0, 100);
    part.remote_log_fetch_info.as_mut().expect("moved").remote_log_tablet_dir =
        "file:///remote/0".to_owned();
    b.reply(&sent, vec![part]);
    assert!(b.calls.is_empty());
    assert_eq!(b.tokens(), [None]);
    let (mut b, _) = sent_abroad(Bench::options());
    b.answer_call(Ok(GetFileSystemSecurityTokenResponse::default()));
    assert_eq!(b.tokens(), [None]);
}

#[test]
fn after_three_quarters_of_its_life_it_is_renewed_while_reads_go_on() {
    let (mut b, key) = sent_abroad(Bench::options());
    b.answer_call(Ok(token("t1", later(100))));
    b.end_read(Ok(stored()));
    b.pass(S * 74);
    b.again(key);
    assert_eq!((b.calls.len(), b.tokens()), (0, named("t1")));
    b.end_read(Ok(stored()));
    b.pass(S);
    assert!(b.calls.is_empty(), "nobody reads");
    b.again(key);
    assert_eq!(
        (b.calls.len(), b.tokens()),
        (1, named("t1")),
        "asked for while the old one is used"
    );
    b.end_read(Ok(stored()));
    b.again(key);
    assert_eq!((b.calls.len(), b.tokens()), (1, named("t1")), "not twice");
    b.answer_call(Ok(token("t2", later(1000))));
    b.end_read(Ok(stored()));
    b.again(key);
    assert_eq!((b.calls.len(), b.tokens()), (0, named("t2")));
}

#[test]
fn with_one_that_is_over_nobody_reads_before_the_answer() {
    let (mut b, key) = sent_abroad(Bench::options());
    b.answer_call(Ok(token("t1", later(100))));
    b.end_read(Ok(stored()));
    b.pass(S * 50);
    // The host slept, or its clock was set.
    let now = b.now;
    b.run(|s, _| s.handle_unix_time(EPOCH + S * 100, now));
    b.again(key);
    assert_eq!((b.calls.len(), b.reads.len()), (1, 0));
    b.answer_call(Err(refused()));
    assert!(b.reads.is_empty() && b.calls.is_empty());
    b.pass(S);
    assert_eq!((b.calls.len(), b.reads.len()), (1, 0));
    // Over when it comes: whoever's clock is right, the storage tells.
    b.answer_call(Ok(token("t2", later(90))));
    assert_eq!(b.tokens(), named("t2"));
    b.end_read(Ok(stored()));
    b.pass(S * 100);
    b.again(key);
    assert_eq!((b.calls.len(), b.tokens()), (0, named("t2")));
    b.deny();
    b.pass(S);
    assert_eq!((b.calls.len(), b.reads.len()), (1, 0), "as soon as it was denied");
}

#[test]
fn one_of_a_very_short_life_is_not_asked_for_without_a_pause() {
    let (mut b, key) = sent_abroad(Bench::options());
    let mut asked = 0;
    for step in 0..100_u64 {
        if !b.calls.is_empty() {
            asked += 1;
            // Good for a millisecond.
            let mut answer = token("t", None);
            let now = EPOCH + S / 10 * u32::try_from(step).expect("small");
            answer.expiration_time = i64::try_from(now.as_millis() + 1).ok();
            b.answer_call(Ok(answer));
        }
        if !b.reads.is_empty() {
            b.end_read(Ok(stored()));
            b.take(key);
            b.again(key);
        }
        b.pass(S / 10);
    }
    assert!((5..=11).contains(&asked), "{asked}");
}

#[test]
fn without_a_clock_the_storage_tells_that_it_is_over() {
    let mut b = Bench::new(&[(0, S1)]);
    let key = b.open(Bench::options(), &[(0, 0)]);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![abroad(0, stored().len())]);
    b.answer_call(Ok(token("t1", Some(5))));
    b.pass(S * 20);
    assert_eq!((b.calls.len(), b.tokens()), (0, named("t1")));
    b.deny();
    b.pass(S);
    assert_eq!((b.calls.len(), b.reads.len()), (1, 0), "the one that was denied is not used");
    b.answer_call(Ok(token("t2", Some(6))));
    b.end_read(Ok(stored()));
    assert_eq!(places(&b.take(key)), [(0, 0), (0, 1)]);
}

#[test]
fn one_that_is_denied_is_asked_for_anew_but_not_again_and_again() {
    let (mut b, key) = sent_abroad(Bench::options());
    b.answer_call(Ok(token("t1", None)));
    let (mut asked, mut denied) = (Vec::new(), 0);
    for step in 0..600 {
        if !b.calls.is_empty() {
            asked.push(step);
            b.answer_call(Ok(token("t1", None)));
        }
        if !b.reads.is_empty() {
            denied += 1;
            b.deny();
        }
        b.pass(S / 10);
    }
    let error = b.take(key).errors.pop().expect("it stopped");
    assert!(error.to_string().contains("injected"), "{error}");
    assert_eq!((denied, asked.len()), (11, 10), "once with each answer: {asked:?}");
    let waits: Vec<i32> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((8..=25).contains(&waits[0]) && (40..=61).contains(&waits[8]), "{waits:?}");
}

#[test]
fn a_late_denial_of_an_earlier_one_asks_for_nothing() {
    let mut b = Bench::new(&[(0, S1), (1, S1)]);
    let key = b.open(Bench::options(), &[(0, 0), (1, 0)]);
    let sent = b.fetch(S1);
    b.reply(&sent, vec![abroad(0, stored().len()), abroad(1, stored().len())]);
    b.answer_call(Ok(token("t1", None)));
    b.pass(S * 5);
    assert_eq!(b.reads.len(), 2);
    b.deny();
    b.pass(S);
    b.answer_call(Ok(token("t2", None)));
    assert_eq!(b.tokens(), [named("t1"), named("t2")].concat());
    b.deny();
    b.pass(S);
    assert_eq!((b.calls.len(), b.tokens()), (0, [named("t2"), named("t2")].concat()));
    b.end_read(Ok(stored()));
    b.end_read(Ok(stored()));
    assert_eq!(b.take(key).batches.len(), 4);
}

#[test]
fn servers_that_give_none_are_asked_less_and_less_often_and_the_bucket_stops() {
    let (mut b, key) = sent_abroad(Bench::options());
    let mut asked = Vec::new();
    for step in 0..4_000 {
        if !b.calls.is_empty() {
            asked.push(step);
            b.answer_call(Err(refused()));
        }
        b.pass(S / 10);
    }
    assert_eq!(asked.len(), 11, "{asked:?}");
    let waits: Vec<i32> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((4..=7).contains(&waits[0]) && (240..=361).contains(&waits[9]), "{waits:?}");
    let error = b.take(key).errors.pop().expect("it stopped");
    assert!(matches!(*error.cause, Error::Rejected { .. }), "{error}");
}

#[test]
fn servers_out_of_reach_are_waited_for_and_a_bounded_wait_ends() {
    let lost = || Error::Unavailable { what: "a token".into(), after: S, last: None };
    let (mut b, key) = sent_abroad(Bench::options());
    for _ in 0..2_000 {
        if !b.calls.is_empty() {
            b.answer_call(Err(lost()));
        }
        b.pass(S);
    }
    assert!(b.take(key).errors.is_empty(), "they may come back");
    let mut options = Bench::options();
    options.patience = Some(S * 60);
    let (mut b, key) = sent_abroad(options.clone());
    b.answer_call(Err(lost()));
    (0..62).for_each(|_| b.pass(S));
    let error = b.take(key).errors.pop().expect("patience ended");
    assert!(error.to_string().contains("a token"), "{error}");
    // The same where nobody answers at all.
    let (mut b, key) = sent_abroad(options);
    (0..62).for_each(|_| b.pass(S));
    let error = b.take(key).errors.pop().expect("patience ended");
    assert!(error.to_string().contains("a token"), "{error}");
}

#[test]
fn servers_that_know_no_tokens_and_answers_that_are_none_are_told() {
    let (mut b, key) = sent_abroad(Bench::options());
    b.answer_call(Err(Error::Unsupported { server: "s".into(), what: "no such API".into() }));
    let error = b.take(key).errors.pop().expect("it stopped");
    assert!(matches!(*error.cause, Error::Unsupported { .. }), "{error}");
    let (mut b, _) = sent_abroad(Bench::options());
    b.answer_call(Ok(token(&"x".repeat(70_000), None)));
    assert!(b.reads.is_empty());
    let trouble = b.scanners.trouble(ScannerKey(0), bucket(0)).expect("trouble");
    assert!(trouble.to_string().contains("70002 bytes"), "{trouble}");
    b.pass(S);
    // An end before 1970 is none.
    let mut answer = token("t", None);
    answer.expiration_time = Some(i64::MIN);
    b.answer_call(Ok(answer));
    assert_eq!(b.tokens(), named("t"));
    assert_eq!(b.reads[0].1.token.as_ref().and_then(|token| token.expires), None);
}

#[test]
fn a_scanner_that_was_closed_meanwhile_is_not_called() {
    let (mut b, key) = sent_abroad(Bench::options());
    b.run(|s, _| s.close_scanner(key));
    b.answer_call(Ok(token("t1", None)));
    assert!(b.reads.is_empty() && b.calls.is_empty());
}
