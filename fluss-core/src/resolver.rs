//! Where host names lead: a hook for applications that know better than the system.

use core::net::SocketAddr;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::ids::Address;

type Resolve = dyn Fn(&Address) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Turns the name of a server into the addresses to connect to, instead of the system's resolver:
/// for a DNS client of one's own, for servers behind a tunnel whose advertised names mean nothing
/// here, for tests.
///
/// It is asked anew for each connection, for every address that is no literal IP address, and all
/// addresses that it returns are tried in their order. It may block: adapters call it where that
/// harms nobody (tokio's and smol's threads for blocking calls, the resolver thread of
/// `fluss-embedded`). It should not panic.
///
/// ```
/// use fluss_core::config::{Config, Resolver};
///
/// // All servers are reached through a tunnel whose end is on this machine.
/// let tunnel = Resolver::new(|server| Ok(vec![([127, 0, 0, 1], server.port).into()]));
/// let config = Config::new("fluss.example.com:9123")?.resolver(tunnel);
/// # Ok::<(), fluss_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Resolver(Arc<Resolve>);

impl Resolver {
    /// A resolver that does this. An error, or no address at all, fails the attempt to connect,
    /// which is made again like any other.
    pub fn new(
        resolve: impl Fn(&Address) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(resolve))
    }

    /// Asks it. May block.
    ///
    /// # Errors
    /// What it reports, and [`io::ErrorKind::NotFound`] if it knows no address.
    pub fn resolve(&self, server: &Address) -> io::Result<Vec<SocketAddr>> {
        let found = (self.0)(server)?;
        if found.is_empty() {
            let text = format!("the name {} has no address", server.host);
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        Ok(found)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

/// The same one, not one that does the same.
impl PartialEq for Resolver {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_is_an_error_that_names_the_name() {
        let nothing = Resolver::new(|_| Ok(Vec::new()));
        let error = nothing.resolve(&Address { host: "nowhere".into(), port: 1 }).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("nowhere"), "{error}");
    }
}
