//! Objects of an S3 server of ours, read as a client reads them: good answers, and all kinds of bad
//! ones.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fluss_core::config::{ObjectPart, Storage, StorageError, StorageErrorKind, StorageToken};
use fluss_core::testing::cluster::IssuedKeys;
use fluss_storage_s3::S3Storage;

use super::loopback::{Fault, Keys, S3Server};
use super::signature::{check, hex, hmac, sha256};

const REGION: &str = "eu-test-1";
const OBJECT: &str = "s3://lake/log/a b/0000.log";
/// Longer than any answer here takes.
const LONG: Duration = Duration::from_secs(20);

fn stored() -> Bytes {
    (0..10_000_u32).map(|at| (at % 251) as u8).collect()
}

fn keys() -> IssuedKeys {
    let mut keys = IssuedKeys::new("ASIA1", "se/cr+et");
    keys.session = "ses/si+on==".to_owned();
    keys
}

/// A server that has the object, for who has these keys; None: for everybody.
fn server_for(keys: Option<IssuedKeys>) -> S3Server {
    let objects = |name: &str| (name == "lake/log/a b/0000.log").then(stored);
    let known = keys.map(|keys| -> Box<Keys> {
        Box::new(move |id| (id == keys.access_key).then(|| keys.clone()))
    });
    S3Server::start(REGION, objects, known)
}

fn server() -> S3Server {
    server_for(Some(keys()))
}

/// The token that its users have from the servers.
fn token(server: &S3Server) -> StorageToken {
    let keys = keys();
    let json = format!(
        r#"{{"version":1,"access_key_id":"{}","access_key_secret":"{}","security_token":"{}"}}"#,
        keys.access_key, keys.secret, keys.session
    );
    let token = StorageToken::new("s3", json).setting("fs.s3a.endpoint", server.endpoint());
    token.setting("fs.s3a.region", REGION)
}

fn part(token: StorageToken, from: u64, len: usize) -> ObjectPart {
    ObjectPart::new(OBJECT, from, len, LONG).token(Some(Arc::new(token)))
}

fn read(server: &S3Server, from: u64, len: usize) -> Result<Bytes, StorageError> {
    S3Storage::new().read(&part(token(server), from, len))
}

/// An error of this kind that says this, and nothing secret.
#[track_caller]
fn told(result: Result<Bytes, StorageError>, kind: StorageErrorKind, text: &str) {
    let error = result.expect_err(text);
    assert_eq!(error.kind, kind, "{error}");
    let error = error.to_string();
    assert!(error.contains(text), "no `{text}` in: {error}");
    assert!(error.contains(OBJECT), "{error}");
    assert!(error.len() < 600, "{error}");
    for secret in [keys().secret, keys().session] {
        assert!(!error.contains(&secret), "{error}");
    }
}

#[test]
fn the_checker_knows_the_published_examples() {
    // FIPS 180-4 and RFC 4231.
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hex(&sha256(b"abc")), hash);
    let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    let hash = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";
    assert_eq!(hex(&sha256(two_blocks)), hash);
    let code = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(hex(&hmac(b"Jefe", b"what do ya want for nothing?")), code);
    // "GET Object" of AWS.
    let signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
         SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature={signature}"
    );
    let no_body = hex(&sha256(b""));
    let mut headers = [
        ("authorization", &*authorization),
        ("host", "examplebucket.s3.amazonaws.com"),
        ("range", "bytes=0-9"),
        ("x-amz-content-sha256", &no_body),
        ("x-amz-date", "20130524T000000Z"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    assert_eq!(check("/test.txt", &headers, secret, "us-east-1"), Ok(()));
    assert!(check("/test.tx", &headers, secret, "us-east-1").is_err());
    assert!(check("/test.txt", &headers, "other", "us-east-1").is_err());
    assert!(check("/test.txt", &headers, secret, "us-east-2").is_err());
    headers.insert("x-amz-security-token".to_owned(), "not signed".to_owned());
    assert!(check("/test.txt", &headers, secret, "us-east-1").is_err());
}

#[test]
fn parts_are_read_with_the_token_and_the_connection_is_kept() {
    let server = server();
    let (storage, token) = (S3Storage::new(), token(&server));
    for (from, len) in [(0, 1), (0, 10_000), (17, 4_000), (9_999, 1), (9_000, 5_000)] {
        let found = storage.read(&part(token.clone(), from, len)).expect("it is there");
        let end = stored().len().min(from as usize + len);
        assert_eq!(found, stored().slice(from as usize..end));
    }
    // It ends before.
    assert_eq!(storage.read(&part(token.clone(), 10_000, 5)), Ok(Bytes::new()));
    let mut other = part(token, 0, 10);
    other.object = OBJECT.replace("s3:", "s3a:").into();
    assert_eq!(storage.read(&other).expect("it is there"), stored().slice(..10));
    let seen = server.seen();
    assert_eq!((seen.requests, seen.connections), (7, 1), "{seen:?}");
    assert!(seen.refused.is_empty(), "{seen:?}");
}

#[test]
fn keys_and_settings_of_the_application_come_first() {
    let mut fixed = keys();
    fixed.session.clear();
    let server = server_for(Some(fixed.clone()));
    let storage = S3Storage::new().endpoint(&server.endpoint()).region(REGION);
    let storage = storage.path_style(true).keys(&fixed.access_key, &fixed.secret);
    let bare = ObjectPart::new(OBJECT, 5, 5, LONG);
    assert_eq!(storage.read(&bare).expect("it is there"), stored().slice(5..10));
    let wrong = StorageToken::new("s3", "{}").setting("fs.s3a.endpoint", "http://127.0.0.1:1");
    let part = bare.clone().token(Some(Arc::new(wrong.setting("fs.s3a.region", "other"))));
    assert_eq!(storage.read(&part).expect("it is there"), stored().slice(5..10));
    let text = format!("{storage:?}");
    assert!(text.contains(REGION) && !text.contains(&fixed.secret), "{text}");
    // The other name for the region.
    let token = StorageToken::new("s3", "").setting("fs.s3a.endpoint.region", REGION);
    let part = bare.token(Some(Arc::new(token)));
    let storage = S3Storage::new().endpoint(&server.endpoint());
    let storage = storage.keys(&fixed.access_key, &fixed.secret);
    assert_eq!(storage.read(&part).expect("it is there"), stored().slice(5..10));
}

#[test]
fn without_keys_nothing_is_signed() {
    let server = server_for(None);
    let storage = S3Storage::new().endpoint(&server.endpoint());
    let bare = ObjectPart::new(OBJECT, 0, 3, LONG);
    assert_eq!(storage.read(&bare).expect("everybody may"), stored().slice(..3));
    let strict = server_for(Some(keys()));
    let storage = S3Storage::new().endpoint(&strict.endpoint());
    told(storage.read(&bare), StorageErrorKind::Denied, "AccessDenied");
}

#[test]
fn each_refusal_has_its_kind_and_says_what_it_is() {
    use StorageErrorKind::{Denied, NotFound, Unavailable, Unsupported};
    let server = server();
    for (status, code, kind, text) in [
        (404, "NoSuchKey", NotFound, "404, NoSuchKey, said by a test"),
        (404, "NoSuchBucket", NotFound, "NoSuchBucket"),
        (403, "AccessDenied", Denied, "AccessDenied"),
        (403, "RequestTimeTooSkewed", Denied, "clock"),
        (401, "Unauthorized", Denied, "401"),
        (400, "ExpiredToken", Denied, "ExpiredToken"),
        (400, "InvalidToken", Denied, "InvalidToken"),
        (400, "AuthorizationHeaderMalformed", Unsupported, "region or endpoint"),
        (301, "PermanentRedirect", Unsupported, "region eu-9; is the region or endpoint"),
        (307, "TemporaryRedirect", Unsupported, "307"),
        (405, "MethodNotAllowed", Unsupported, "endpoint"),
        (429, "TooManyRequests", Unavailable, "429"),
        (500, "InternalError", Unavailable, "InternalError"),
        (503, "SlowDown", Unavailable, "503, SlowDown"),
    ] {
        server.plan(Fault::Refuse(status, code));
        told(read(&server, 0, 10), kind, text);
    }
    assert_eq!(read(&server, 0, 10).expect("it is there"), stored().slice(..10));
    // What the server finds by itself.
    let mut other = part(token(&server), 0, 1);
    other.object = "s3://lake/log/a b/none".into();
    let error = S3Storage::new().read(&other).expect_err("it is not there");
    assert_eq!(error.kind, NotFound, "{error}");
    let storage = S3Storage::new().region("eu-other-1");
    told(storage.read(&part(token(&server), 0, 1)), Unsupported, "region");
    let storage = S3Storage::new().keys("ASIA1", "other");
    told(storage.read(&part(token(&server), 0, 1)), Denied, "InvalidToken");
    server.expire_after(0);
    told(read(&server, 0, 1), Denied, "ExpiredToken");
}

#[test]
fn answers_that_are_cut_give_the_bytes_that_came() {
    let server = server();
    server.plan(Fault::Cut(700));
    assert_eq!(read(&server, 10, 5_000).expect("some came"), stored().slice(10..710));
    server.plan(Fault::Cut(0));
    told(read(&server, 10, 5_000), StorageErrorKind::Unavailable, "cut");
    server.plan(Fault::Half);
    assert_eq!(read(&server, 10, 5_000).expect("a half"), stored().slice(10..2_510));
}

#[test]
fn ranges_are_taken_from_whole_objects_and_checked() {
    let server = server();
    for (from, len) in [(0, 100), (5_000, 100), (9_990, 100)] {
        server.plan(Fault::Whole);
        let end = stored().len().min(from + len);
        let found = read(&server, from as u64, len).expect("it is there");
        assert_eq!(found, stored().slice(from..end));
    }
    server.plan(Fault::OtherRange);
    told(read(&server, 10, 100), StorageErrorKind::Unavailable, "bytes from 10 on");
}

#[test]
fn who_does_not_answer_in_time_is_out_of_reach() {
    let server = server();
    server.plan(Fault::Stall);
    let mut part = part(token(&server), 0, 10);
    part.limit = Duration::from_millis(200);
    told(S3Storage::new().read(&part), StorageErrorKind::Unavailable, "did not answer");
    let gone = server.endpoint();
    drop(server);
    let storage = S3Storage::new().endpoint(&gone);
    told(storage.read(&part), StorageErrorKind::Unavailable, "did not answer");
}

#[test]
fn what_is_no_answer_is_an_error() {
    let server = server();
    for said in [
        &b"HTTP/1.1 \xff\xfe\r\n\r\n"[..],
        b"hello\r\n\r\n",
        b"HTTP/1.1 206 Part\r\nContent-Range: bytes \xff-\xff/\xff\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 206 Partial\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-0/1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 9-0/1\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-0/1\r\nContent-Length: -1\r\n\r\nx",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-0/1\r\n\
          Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        b"HTTP/1.1 99999 No\r\n\r\n",
        b"",
    ] {
        server.plan(Fault::Say(said));
        told(read(&server, 0, 10), StorageErrorKind::Unavailable, "storage");
    }
    for len in [1 << 16, 8 << 20] {
        server.plan(Fault::LongHeader(len));
        told(read(&server, 0, 10), StorageErrorKind::Unavailable, "storage");
    }
    // An error without a text, one that is no text, one that repeats what it was told.
    for (said, text) in [
        (&b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"[..], "answered 403"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\n\xff\x00<Code>\x1b", "answered 403"),
        (
            b"HTTP/1.1 403 No\r\nContent-Length: 87\r\n\r\n<Code>Signature\x1bDoesNotMatch</Code>\
              <Message>x-amz-security-token:ses/si+on==</Message>",
            "403, SignatureDoesNotMatch",
        ),
    ] {
        server.plan(Fault::Say(said));
        told(read(&server, 0, 10), StorageErrorKind::Denied, text);
    }
    // An answer that says that it is without end is read as far as it is wanted.
    server.plan(Fault::Say(
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-18446744073709551615/*\r\n\
          Content-Length: 18446744073709551615\r\n\r\nabcdefghijklmnop",
    ));
    assert_eq!(read(&server, 0, 10).expect("as far as wanted"), &b"abcdefghij"[..]);
}

#[test]
fn tokens_that_are_none_and_places_that_are_none_are_told() {
    let server = server();
    let read = |token: StorageToken| S3Storage::new().read(&part(token, 0, 1));
    let of = |json: &str| {
        StorageToken::new("s3", json.to_owned()).setting("fs.s3a.endpoint", server.endpoint())
    };
    let unsupported = StorageErrorKind::Unsupported;
    told(read(of("no JSON: se/cr+et")), unsupported, "no JSON");
    told(read(of(r#"{"access_key_secret":"se/cr+et"}"#)), unsupported, "access_key_id");
    told(read(of(r#"{"version":2}"#)), unsupported, "version");
    let token = token(&server);
    told(read(token.clone().setting("fs.s3a.region", "a/b")), unsupported, "region");
    let elsewhere = token.clone().setting("fs.s3a.endpoint", "ftp://host");
    told(read(elsewhere), unsupported, "endpoint");
    assert_eq!(server.seen().requests, 0);
    for object in ["s3://", "s3://lake", "s3://lake/", "s3:///key"] {
        let mut part = part(token.clone(), 0, 1);
        part.object = object.into();
        let error = S3Storage::new().read(&part).expect_err(object);
        assert_eq!(error.kind, unsupported, "{error}");
    }
}

#[test]
fn everything_else_is_read_as_files() {
    let path = std::env::temp_dir().join(format!("fluss-s3-{}", std::process::id()));
    std::fs::write(&path, b"0123456789").expect("a file");
    let name = path.to_str().expect("text").to_owned();
    for name in [name.clone(), format!("file://{name}")] {
        let found = S3Storage::new().read(&ObjectPart::new(name, 2, 3, LONG));
        assert_eq!(found.expect("a file"), &b"234"[..]);
    }
    std::fs::remove_file(&path).expect("it is there");
    let other = S3Storage::new().read(&ObjectPart::new("oss://lake/a", 0, 1, LONG));
    assert_eq!(other.expect_err("nothing here").kind, StorageErrorKind::Unsupported);
}
