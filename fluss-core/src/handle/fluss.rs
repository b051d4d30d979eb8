//! The client's handle.

use std::sync::Arc;

use fluss_proto::ApiKey;
use fluss_proto::message::PbTablePath;
use prost::Message;

use super::driver::{Driver, Net};
use super::pending::{CommandFuture, Pending};
use super::shared::{Clock, Shared};
use super::signal::Park;
use super::table::{Table, TableInfo};
use crate::client::Client;
use crate::command::{Call, Target};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ids::TablePath;
use crate::output::CommandAnswer;
use crate::time::Duration;

/// A client of one cluster. Cheap to clone; all clones share connections, metadata and memory.
///
/// The client lives as long as any handle made from it: tables, writers, scanners. When the last
/// one is dropped without a [`Fluss::close`], rows that are still on their way end with a true
/// outcome, and their number is logged.
#[derive(Clone, Debug)]
pub struct Fluss {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.abort(self.shared.now(), "the client was dropped");
    }
}

impl Fluss {
    /// A client and the driver that moves its bytes. Adapters call this; applications use an
    /// adapter's `connect`.
    ///
    /// # Errors
    /// [`Error::Config`] with every rule the settings violate.
    pub fn new<N: Net>(
        config: Config,
        net: N,
        clock: impl Clock + 'static,
        park: impl Park + 'static,
    ) -> Result<(Self, Driver<N>)> {
        let client = Client::new(config)?;
        let shared = Arc::new(Shared::new(client, Box::new(clock), Box::new(park)));
        let driver = Driver::new(Arc::clone(&shared), net);
        Ok((Self { inner: Arc::new(Inner { shared }) }, driver))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// Asks any server for the cluster, so that a wrong address, a wrong password or a server that
    /// is no Fluss server shows at once. Ends within one [`Config::connect_timeout`] for
    /// each bootstrap address, and a second.
    ///
    /// # Errors
    /// What the last address answered, or that it did not: [`Error::Unavailable`] with the reason,
    /// [`Error::Rejected`] for a wrong password, [`Error::Unsupported`] for a server without a
    /// version in common; [`Error::NoServer`] where each of several answered and none is of use.
    pub fn ready(&self) -> Pending<()> {
        let fluss = self.clone();
        Pending::new(self, async move {
            // A silent address takes its whole time before the next one is tried.
            let limit = fluss.config(|c| {
                let addresses = u32::try_from(c.bootstrap.len()).unwrap_or(u32::MAX);
                c.connect_timeout.saturating_mul(addresses)
            });
            let limit = limit.saturating_add(Duration::from_secs(1));
            let request = fluss_proto::message::MetadataRequest::default();
            let body = request.encode_to_vec().into();
            let mut call = Call::new(ApiKey::GetMetadata, body, Target::AnyServer, "connecting");
            call.limit = limit;
            CommandFuture::start(fluss.shared(), call).await.map(|_| ())
        })
    }

    /// Opens `database.table`.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a text that is no table path, [`Error::Rejected`] with code 7 for a
    /// table that does not exist.
    pub fn table(&self, path: &str) -> Pending<Table> {
        let fluss = self.clone();
        let path = parse_path(path);
        Pending::new(self, async move {
            let path = path?;
            let info = fluss.table_info(&path).await?;
            fluss.shared().with(|core, now| core.client.watch_table(&path, info.id, now));
            Ok(Table::new(fluss, info))
        })
    }

    pub(crate) async fn table_info(&self, path: &TablePath) -> Result<TableInfo> {
        let command =
            CommandFuture::watch(self.shared(), |core, now| core.client.describe_table(path, now));
        TableInfo::from_answer(path.clone(), &command.await?)
    }

    /// One call with a typed request and answer.
    pub(crate) async fn call<Q: Message, A: Message + Default>(
        &self,
        api: ApiKey,
        request: &Q,
        target: Target,
        what: &str,
        repeatable: bool,
    ) -> Result<A> {
        let body = request.encode_to_vec().into();
        let mut call = Call::new(api, body, target, what).answered_by::<A>();
        call.repeatable = repeatable;
        call.limit = self.config(|c| c.command_deadline);
        decode(CommandFuture::start(self.shared(), call).await?, what)
    }

    pub(crate) fn config<R>(&self, read: impl FnOnce(&Config) -> R) -> R {
        self.shared().with(|core, _| read(core.client.config()))
    }

    /// Takes no more rows, delivers what was handed in, and ends what is left after `timeout` with
    /// a true outcome. Answers how many batches were left then. All handles are closed afterwards.
    /// Dropping the future does not take the close back.
    ///
    /// # Errors
    /// [`Error::Forked`] in the child of a fork. Closing again is no error.
    pub fn close(&self, timeout: Duration) -> Pending<usize> {
        let fluss = self.clone();
        Pending::new(self, async move {
            let shared = fluss.shared();
            let future =
                CommandFuture::watch(shared, |core, now| core.client.close(now + timeout, now));
            match future.await? {
                CommandAnswer::Left(batches) => Ok(batches),
                _ => Ok(0),
            }
        })
    }

    /// Bytes of the memory budget in use by rows without an outcome.
    #[must_use]
    pub fn memory_used(&self) -> u64 {
        self.shared().with(|core, _| core.client.memory_used())
    }

    /// How often the driver's loop was entered.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.shared().turns()
    }

    /// How often a socket took only a part of what it was given at once: the network or the peer
    /// is slower than this client.
    #[must_use]
    pub fn partial_writes(&self) -> u64 {
        self.shared().partial_writes()
    }

    /// Counters, gauges and latencies as they are now; cheap enough to be asked for every second.
    ///
    /// ```no_run
    /// # fn f(fluss: &fluss_core::Fluss) {
    /// let now = fluss.metrics();
    /// println!("{} of {} bytes in use", now.memory_used, now.memory_limit);
    /// println!("{:?} to an acknowledgement, 99 of 100", now.delivery_latency.quantile(0.99));
    /// println!("{} rows' batches unknown", now.counters.unknown);
    /// # }
    /// ```
    #[must_use]
    pub fn metrics(&self) -> crate::Metrics {
        self.shared().with(|core, _| core.metrics())
    }

    /// What the client counted so far; also part of [`Fluss::metrics`].
    #[must_use]
    pub fn counters(&self) -> crate::Counters {
        self.shared().with(|core, _| core.client.counters())
    }
}

pub(crate) fn decode<A: Message + Default>(answer: CommandAnswer, what: &str) -> Result<A> {
    let CommandAnswer::Body(body) = answer else {
        return Err(Error::misuse(format!("{what}: an answer without a body")));
    };
    A::decode(body).map_err(|e| Error::Peer {
        server: "server".into(),
        what: format!("{what}: an answer that does not parse: {e}").into(),
    })
}

pub(crate) fn parse_path(path: &str) -> Result<TablePath> {
    TablePath::parse(path).ok_or_else(|| {
        Error::misuse(format!("`{path}` is not a table path; expected database.table"))
    })
}

pub(crate) fn pb_path(path: &TablePath) -> PbTablePath {
    PbTablePath { database_name: path.database.to_string(), table_name: path.table.to_string() }
}
