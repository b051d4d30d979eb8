//! A fake cluster behind loopback ports, all of whose connections are served by one thread.
//!
//! [`Loopback`](fluss_core::testing::loopback::Loopback) has threads for each connection. Whether
//! the one of a connection sleeps on the processor of its client or on another one is the
//! scheduler's choice, which it keeps to for thousands of round trips, and which makes one round
//! trip take four times as long as the other. With one thread for both connections, they meet the
//! same. Servers do it that way, too: theirs have some threads for all connections.

use std::io;
use std::net::{Ipv4Addr, TcpListener as Port};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use fluss_core::Instant;
use fluss_core::ids::{Address, ConnId, ServerId};
use fluss_core::testing::cluster::FakeCluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The cluster, for as long as the process runs. It answers at once or not at all: requests that
/// wait for something else than their own handling have no place here.
#[derive(Clone)]
pub(crate) struct OneThread(Arc<Mutex<FakeCluster>>);

impl OneThread {
    /// Opens a port for each server and starts serving.
    pub(crate) fn start(cluster: FakeCluster) -> io::Result<Self> {
        let this = Self(Arc::new(Mutex::new(cluster)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let servers: Vec<ServerId> = this.cluster().servers().collect();
        for server in servers {
            let port = Port::bind((Ipv4Addr::LOCALHOST, 0))?;
            let address = port.local_addr()?;
            let host = address.ip().to_string().into();
            this.cluster().set_address(server, Address { host, port: address.port() });
            port.set_nonblocking(true)?;
            let inside = runtime.enter();
            let port = TcpListener::from_std(port)?;
            drop(inside);
            runtime.spawn(this.clone().accept(server, port));
        }
        thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        Ok(this)
    }

    pub(crate) fn cluster(&self) -> MutexGuard<'_, FakeCluster> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn accept(self, server: ServerId, port: TcpListener) {
        while let Ok((stream, _)) = port.accept().await {
            let conn = self.cluster().open(server);
            if let Some(conn) = conn {
                tokio::spawn(self.clone().serve(conn, stream));
            }
        }
    }

    async fn serve(self, conn: ConnId, stream: TcpStream) {
        // A connection that fails is closed, which is all that its client has to see.
        let _ = self.answer(conn, stream).await;
        self.cluster().close(conn);
    }

    async fn answer(&self, conn: ConnId, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut bytes = vec![0; 64 << 10];
        while !self.cluster().is_closed(conn) {
            let read = stream.read(&mut bytes).await?;
            if read == 0 {
                break;
            }
            self.cluster().handle_bytes(conn, &bytes[..read], Instant::ZERO);
            loop {
                let answer = self.cluster().poll_output(conn);
                let Some(answer) = answer else { break };
                stream.write_all(&answer).await?;
            }
        }
        Ok(())
    }
}
