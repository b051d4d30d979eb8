//! What most tests of an application need of a fake cluster, in one call each.
//!
//! Tables are named by their paths here, and errors say what was wrong with a call. Everything else
//! is done with [`Loopback::with`], which gives the whole [`FakeCluster`].

use std::io;

use super::cluster::{ClusterOptions, FakeCluster, Fault, LogRow, On};
use super::loopback::{Loopback, LoopbackOptions};
use crate::error::{Error, Result};
use crate::ids::{BucketKey, TableId, TablePath};
use crate::row::{OwnedRow, TableDescriptor};

impl Loopback {
    /// A fake cluster with default settings, three tablet servers among them, on free ports of
    /// `127.0.0.1`.
    ///
    /// # Errors
    /// A port cannot be opened.
    pub fn new() -> io::Result<Self> {
        Self::start(FakeCluster::new(ClusterOptions::default()), LoopbackOptions::default())
    }

    /// Makes a table; its database is made with it.
    ///
    /// # Errors
    /// [`Error::Misuse`] with what is wrong with the path or the descriptor.
    pub fn create_table(&self, path: &str, table: &TableDescriptor) -> Result<TableId> {
        let path = parse(path)?;
        let json = table.to_json();
        self.with(|cluster| cluster.add_database(&path.database)).map_err(Error::misuse)?;
        self.with(|cluster| cluster.add_table(&path, &json)).map_err(Error::misuse)
    }

    /// Lets `fault` hit one request of this kind, after `skip` of them.
    pub fn inject(&self, on: On, skip: u64, fault: Fault) {
        self.with(|cluster| cluster.inject(on, skip, fault));
    }

    /// Gives a bucket of an unpartitioned table another leader, and answers the number of that
    /// tablet server.
    ///
    /// # Errors
    /// [`Error::Misuse`] if there is no such bucket, or no other server to lead it.
    pub fn move_leader(&self, path: &str, bucket: i32) -> Result<i32> {
        let table = self.id(path)?;
        let key = BucketKey { table, partition: None, bucket };
        let moved = self.with(|cluster| cluster.move_leader(key, None));
        moved.ok_or_else(|| Error::misuse(format!("no other server can lead {path}, {key}")))
    }

    /// All rows in the log of a table, bucket after bucket, in the order of their offsets. The log
    /// of a primary-key table is its changelog.
    ///
    /// # Errors
    /// [`Error::Misuse`] if there is no such table or its rows cannot be decoded.
    pub fn rows(&self, path: &str) -> Result<Vec<LogRow>> {
        self.read(path, FakeCluster::rows)
    }

    /// The live rows of a primary-key table, bucket after bucket, in the order of their keys.
    ///
    /// # Errors
    /// [`Error::Misuse`] if there is no such table or its rows cannot be decoded.
    pub fn live_rows(&self, path: &str) -> Result<Vec<OwnedRow>> {
        self.read(path, FakeCluster::live_rows)
    }

    fn read<T>(
        &self,
        path: &str,
        read: impl Fn(&FakeCluster, BucketKey) -> Result<Vec<T>, String>,
    ) -> Result<Vec<T>> {
        let table = self.id(path)?;
        self.with(|cluster| {
            let mut all = Vec::new();
            for bucket in cluster.buckets(table) {
                all.append(&mut read(cluster, bucket).map_err(Error::misuse)?);
            }
            Ok(all)
        })
    }

    fn id(&self, path: &str) -> Result<TableId> {
        let found = parse(path)?;
        let id = self.with(|cluster| cluster.table_id(&found));
        id.ok_or_else(|| Error::misuse(format!("there is no table {path}")))
    }
}

fn parse(path: &str) -> Result<TablePath> {
    let parsed = TablePath::parse(path);
    parsed.ok_or_else(|| Error::misuse(format!("`{path}` is not of the form database.table")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{DataType, Schema};

    #[test]
    fn a_table_is_made_with_its_database_and_what_cannot_be_is_named() {
        let fake = Loopback::new().expect("loopback ports");
        let schema = Schema::builder().column("id", DataType::BIGINT).build().expect("a schema");
        let table = TableDescriptor::new(schema);
        fake.create_table("shop.orders", &table).expect("it is new");
        fake.create_table("shop.users", &table).expect("the database exists");
        for (path, said) in [("shop", "database.table"), ("shop.orders", "exists")] {
            let error = fake.create_table(path, &table).expect_err("it cannot be");
            assert!(error.to_string().contains(said), "{error}");
        }
        assert_eq!(fake.rows("shop.orders").map(|rows| rows.len()), Ok(0));
        let error = fake.rows("shop.nothing").expect_err("there is none");
        assert!(error.to_string().contains("shop.nothing"), "{error}");
        let error = fake.move_leader("shop.orders", 9).expect_err("there is none");
        assert!(error.to_string().contains("bucket 9"), "{error}");
        let before = fake.move_leader("shop.orders", 0).expect("three servers");
        assert_ne!(fake.move_leader("shop.orders", 0), Ok(before));
    }
}
