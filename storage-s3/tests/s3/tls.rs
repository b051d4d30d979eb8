//! A storage behind TLS whose certificate is of an authority of its own, and one that speaks none.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fluss_core::config::{ObjectPart, Storage, StorageError, StorageErrorKind};
use fluss_core::testing::loopback::Port;
use fluss_storage_s3::S3Storage;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::loopback::S3Server;

/// Its key was thrown away after it had signed the certificate, which is for these tests only and
/// good for a hundred years.
const AUTHORITY: &[u8] = include_bytes!("tls/authority.pem");
const CERTIFICATE: &[u8] = include_bytes!("tls/server.pem");
const KEY: &[u8] = include_bytes!("tls/server.key");
const LONG: Duration = Duration::from_secs(20);

/// Stands in front of a server without TLS.
fn in_front_of(server: &S3Server) -> Port {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(KEY).expect("a key");
    let config =
        ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("they belong together");
    let config = Arc::new(config);
    let behind = server.endpoint().trim_start_matches("http://").to_owned();
    Port::open(move |stream| drop(pass(stream, &config, &behind))).expect("a loopback port")
}

fn pass(stream: TcpStream, config: &Arc<ServerConfig>, behind: &str) -> io::Result<()> {
    let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(session, stream));
    loop {
        let request = head(&mut stream)?;
        if request.is_empty() {
            return Ok(());
        }
        let mut server = BufReader::new(TcpStream::connect(behind)?);
        server.get_mut().write_all(&request)?;
        let mut answer = head(&mut server)?;
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        server.take(length).read_to_end(&mut answer)?;
        stream.get_mut().write_all(&answer)?;
        stream.get_mut().flush()?;
    }
}

/// All up to an empty line.
fn head(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && from.read_until(b'\n', &mut head)? > 0 {}
    Ok(head)
}

fn read(storage: &S3Storage) -> Result<Bytes, StorageError> {
    storage.read(&ObjectPart::new("s3://lake/0000.log", 3, 4, LONG))
}

fn behind_tls(port: &Port) -> S3Storage {
    S3Storage::new().path_style(true).endpoint(&format!("https://{}", port.address()))
}

fn server() -> S3Server {
    let objects = |name: &str| (name == "lake/0000.log").then(|| Bytes::from_static(b"0123456789"));
    S3Server::start("us-east-1", objects, None)
}

#[test]
fn a_storage_whose_authority_was_set_is_read_and_no_other() {
    let server = server();
    let port = in_front_of(&server);
    let storage = behind_tls(&port);
    let error = read(&storage).expect_err("nobody trusts it");
    assert_eq!(error.kind, StorageErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(server.seen().requests, 0);
    let trusting = storage.clone().authorities(&[b"# ours\n", AUTHORITY].concat());
    assert_eq!(read(&trusting).expect("it is trusted"), "3456");
    assert_eq!(read(&trusting).expect("again"), "3456");
    // The certificate of the server itself is no authority.
    let error = read(&storage.authorities(CERTIFICATE)).expect_err("another authority");
    assert_eq!(error.kind, StorageErrorKind::Denied, "{error}");
    assert_eq!(server.seen().requests, 2);
}

#[test]
fn authorities_that_are_none_are_told_when_something_is_read() {
    let server = server();
    let port = in_front_of(&server);
    for none in [&b""[..], b"no certificate", KEY] {
        let error = read(&behind_tls(&port).authorities(none)).expect_err("no authority");
        assert_eq!(error.kind, StorageErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains("authorities"), "{error}");
    }
}

#[test]
fn a_server_without_tls_where_there_should_be_some_is_denied_like_one_that_is_not_trusted() {
    let refuse = |mut stream: TcpStream| {
        drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n"));
        // It does not end before the other side has read that.
        drop(stream.read_to_end(&mut Vec::new()));
    };
    let port = Port::open(refuse).expect("a loopback port");
    let error = read(&behind_tls(&port)).expect_err("no TLS");
    assert_eq!(error.kind, StorageErrorKind::Denied, "{error}");
}
