//! Both ways to wait, with the same expectations.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use super::*;

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let ours = start_connect(listener.local_addr().unwrap()).unwrap();
    (ours, listener.accept().unwrap().0)
}

macro_rules! both {
    ($($name:ident: $module:ident;)*) => {$(
        mod $name {
            use std::sync::Arc;

            use super::super::$module::Selector;
            use super::*;

            /// Waits until one of the flags is set.
            fn until(selector: &Selector, source: &Source, flags: u8) {
                while !source.is(flags) {
                    selector.wait(None).unwrap();
                }
            }

            #[test]
            fn a_connection_becomes_writable_then_readable_then_closed() {
                let selector = Selector::new().unwrap();
                let (ours, mut theirs) = pair();
                let source = Arc::new(Source::new(0, ours));
                selector.add(&source).unwrap();
                until(&selector, &source, WRITABLE);
                assert!(!source.is(READABLE | CLOSED));
                assert_eq!(source.stream.take_error().unwrap().map(|e| e.kind()), None);

                theirs.write_all(b"hi").unwrap();
                until(&selector, &source, READABLE);
                let mut space = [0; 8];
                assert_eq!((&source.stream).read(&mut space).unwrap(), 2);
                source.clear(READABLE);

                drop(theirs);
                until(&selector, &source, READABLE);
                assert_eq!((&source.stream).read(&mut space).unwrap(), 0);
            }

            #[test]
            fn a_refused_connection_reports_its_error() {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let address = listener.local_addr().unwrap();
                drop(listener);
                let Ok(stream) = start_connect(address) else { return };
                let selector = Selector::new().unwrap();
                let source = Arc::new(Source::new(0, stream));
                selector.add(&source).unwrap();
                until(&selector, &source, WRITABLE);
                let error = source.stream.take_error().unwrap().expect("nobody listens there");
                assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            }

            #[test]
            fn a_notification_before_the_wait_ends_it_and_only_it() {
                let selector = Selector::new().unwrap();
                selector.notify();
                selector.notify();
                assert_eq!(selector.wait(None).unwrap(), 0);
                assert_eq!(selector.wait(Some(Duration::ZERO)).unwrap(), 0);
            }

            #[test]
            fn a_removed_source_is_not_told_any_more() {
                let selector = Selector::new().unwrap();
                let (ours, mut theirs) = pair();
                let source = Arc::new(Source::new(0, ours));
                selector.add(&source).unwrap();
                selector.remove(&source);
                theirs.write_all(b"hi").unwrap();
                assert_eq!(selector.wait(Some(Duration::ZERO)).unwrap(), 0);
                assert_eq!(Arc::strong_count(&source), 1);
            }
        }
    )*};
}

#[cfg(any(target_os = "linux", target_os = "android"))]
both! { with_epoll: epoll; }
both! { with_poll: poll; }

#[test]
fn timeouts_are_rounded_up_to_milliseconds_and_capped() {
    let spec = |t| timespec(Some(t)).map(|s| (s.tv_sec, s.tv_nsec));
    assert_eq!(spec(Duration::ZERO), Some((0, 0)));
    assert_eq!(spec(Duration::from_nanos(1)), Some((0, 1_000_000)));
    assert_eq!(spec(Duration::from_micros(1_999_001)), Some((2, 0)));
    assert_eq!(spec(Duration::MAX), Some((60, 0)));
    assert_eq!(timespec(None).map(|s| s.tv_sec), None);
}
