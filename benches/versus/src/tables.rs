//! Tables for the runs, made and measured by fluss-rs: a judge from the other side.

use std::time::{Duration, Instant};

use fluss::client::FlussConnection;
use fluss::config::Config;
use fluss::metadata::{DataTypes, Schema, TableDescriptor};
use fluss::rpc::message::OffsetSpec;
use fluss_tools::cluster::{RealCluster, TableLosses};
use tokio::runtime::Runtime;

use crate::Failure;
use crate::plan::{BUCKETS, Codec, Variant};
use crate::theirs::path;

const DATABASE: &str = "versus";
/// Patience with a table whose leaders are not there yet.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes tables on one cluster and counts what is in them.
pub struct Tables {
    runtime: Runtime,
    connection: FlussConnection,
    made: u64,
    /// Sets the names of this run apart from those of an earlier one.
    run: u32,
    losses: TableLosses,
}

impl Tables {
    pub fn connect(bootstrap: &str) -> Result<Self, Failure> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let config = Config { bootstrap_servers: bootstrap.to_owned(), ..Config::default() };
        let connection = runtime.block_on(FlussConnection::new(config))?;
        let admin = connection.get_admin()?;
        runtime.block_on(admin.create_database(DATABASE, None, true))?;
        Ok(Self {
            runtime,
            connection,
            made: 0,
            run: std::process::id(),
            losses: TableLosses::new(),
        })
    }

    fn name(&mut self) -> String {
        self.made += 1;
        format!("{DATABASE}.t{}_{}", self.run, self.made)
    }

    /// A new table, ready to be written.
    pub fn make(&mut self, variant: Variant, codec: Codec) -> Result<String, Failure> {
        let name = self.name();
        self.create(&name, variant, codec)?;
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.rows(&name) {
            if Instant::now() > deadline {
                return Err(format!("{name} has no leaders: {error}").into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(name)
    }

    /// The same on a real cluster, which loses the creation of a table now and then.
    pub fn make_on(&mut self, cluster: &RealCluster, variant: Variant) -> Result<String, Failure> {
        let name = self.name();
        let create =
            |name: &str| self.create(name, variant, Codec::Default).map_err(std::io::Error::other);
        let led = |name: &str, _: &()| Ok(self.rows(name).is_ok());
        Ok(self.losses.make(cluster, &name, create, led)?.0)
    }

    fn create(&self, name: &str, variant: Variant, codec: Codec) -> Result<(), Failure> {
        let columns = Schema::builder()
            .column("id", DataTypes::bigint())
            .column("name", DataTypes::string())
            .column("a", DataTypes::int())
            .column("b", DataTypes::double());
        let schema = match variant.has_key() {
            true => columns.primary_key(["id"])?.build()?,
            false => columns.build()?,
        };
        let mut descriptor = TableDescriptor::builder()
            .schema(schema)
            .distributed_by(Some(BUCKETS), Vec::new())
            .property("table.replication.factor", "1");
        if codec != Codec::Default {
            descriptor = descriptor.property("table.log.arrow.compression.type", codec.to_string());
        }
        let descriptor = descriptor.build()?;
        let admin = self.connection.get_admin()?;
        Ok(self.runtime.block_on(admin.create_table(&path(name)?, &descriptor, false))?)
    }

    /// The records in the table's log: one per row, and one more where its key was there already.
    pub fn rows(&self, name: &str) -> Result<u64, Failure> {
        let buckets: Vec<i32> = (0..BUCKETS).collect();
        let admin = self.connection.get_admin()?;
        let path = path(name)?;
        let ends =
            self.runtime.block_on(admin.list_offsets(&path, &buckets, OffsetSpec::Latest))?;
        if ends.len() != buckets.len() {
            return Err(format!("{} of {BUCKETS} buckets answered", ends.len()).into());
        }
        Ok(ends.values().map(|end| end.unsigned_abs()).sum())
    }

    /// Drops a table.
    pub fn drop(&self, name: &str) -> Result<(), Failure> {
        let admin = self.connection.get_admin()?;
        Ok(self.runtime.block_on(admin.drop_table(&path(name)?, false))?)
    }
}
