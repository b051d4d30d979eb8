//! What a script asks for, one request a step.

/// Columns of every table: `a INT`, `b STRING`, `c BIGINT`.
pub const COLUMNS: [&str; 3] = ["a", "b", "c"];

/// The table of a script.
#[derive(Clone, Debug)]
pub struct Table {
    /// Primary key columns; empty for a log table.
    pub key: &'static [&'static str],
    /// Bucket key columns; empty for the server's choice.
    pub bucket_key: &'static [&'static str],
    /// Buckets, 1 unless said.
    pub buckets: i32,
    /// Partition key columns.
    pub partition_by: &'static [&'static str],
    /// Properties besides the compression, which is NONE.
    pub properties: &'static [(&'static str, &'static str)],
    /// Column `b` is NOT NULL.
    pub strict: bool,
    /// The column of which the server makes the values, if any.
    pub auto_increment: &'static [&'static str],
}

/// A log table with one bucket.
pub const LOG: Table = Table {
    key: &[],
    bucket_key: &[],
    buckets: 1,
    partition_by: &[],
    properties: &[],
    strict: false,
    auto_increment: &[],
};
/// A primary-key table with one bucket.
pub const KV: Table = Table { key: &["a"], ..LOG };

/// The name of a database or a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// That of the script's table with this behind it, which no other script uses.
    Own(&'static str),
    /// This one.
    Plain(&'static str),
}

/// Keys and values of a partition.
pub type Pairs = &'static [(&'static str, &'static str)];

/// Who stamps a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// Nobody: the batch carries −1.
    None,
    /// The n-th writer the script has got by [`Step::Init`], from 0.
    Got(usize),
}

/// What is wrong with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Nothing.
    None,
    /// A byte of the payload is flipped under the old checksum.
    Payload,
    /// The version byte says 9.
    Magic,
    /// The version byte says 1, statistics, under the layout of 0.
    Statistics,
    /// The length field is negative.
    Length,
    /// Bytes are missing at the end.
    Cut,
    /// All bytes are missing.
    Empty,
    /// Only ten bytes are left.
    Short,
    /// Another schema id, under a right checksum.
    Schema(i16),
}

/// A row of a write.
#[derive(Clone, Copy, Debug)]
pub enum Row {
    /// The values of the three columns.
    Set(i32, Option<&'static str>, Option<i64>),
    /// The key columns of a delete.
    Delete(i32, &'static str),
}

/// The batch for one bucket.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The bucket.
    pub bucket: i32,
    /// The stamp's writer.
    pub writer: Writer,
    /// The stamp's sequence.
    pub sequence: i32,
    /// The rows.
    pub rows: Vec<Row>,
    /// What is wrong with it.
    pub damage: Damage,
}

/// A PRODUCE_LOG or PUT_KV.
#[derive(Clone, Debug)]
pub struct Write {
    /// The acknowledgements asked for.
    pub acks: i32,
    /// How long the server may wait for replicas, in milliseconds.
    pub timeout_ms: i32,
    /// The target columns of a partial update.
    pub targets: Vec<i32>,
    /// The batches.
    pub batches: Vec<Batch>,
    /// Another table id than the script's.
    pub stranger: bool,
    /// A partition id that does not belong there.
    pub partition: Option<i64>,
    /// The merge mode of a PUT_KV: 1 for past the merge engine.
    pub mode: Option<i32>,
}

/// Who is asked instead of the leader of bucket 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// A tablet server that does not lead it and never did.
    Follower,
    /// The tablet server that led it before.
    Former,
}

/// A FETCH_LOG of one table.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Bucket and offset.
    pub from: Vec<(i32, i64)>,
    /// Bytes for the whole answer.
    pub max_bytes: i32,
    /// Bytes for each bucket.
    pub bucket_bytes: i32,
    /// Projected columns.
    pub projection: Option<Vec<i32>>,
    /// Least bytes and the wait for them, in milliseconds.
    pub wait: Option<(i32, i32)>,
    /// Another table id than the script's.
    pub stranger: bool,
    /// The follower that asks; −1 for a client.
    pub follower: i32,
}

/// How a tablet server goes down before it comes up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// SIGTERM.
    Clean,
    /// SIGKILL.
    Kill,
}

/// What happens to the cluster. All scripts of a group meet it together, and all their tables
/// have the same leader. The scripts go on once the cluster has come to terms with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The leader goes down and comes up again.
    Restart(Stop),
    /// The followers are frozen. They count as in sync until somebody notices.
    PauseFollowers,
    /// The frozen followers go on.
    ResumeFollowers,
    /// The followers are killed. They count as in sync until somebody notices.
    KillFollowers,
    /// Somebody has noticed.
    MissFollowers,
    /// The killed followers come up again and catch up.
    StartFollowers,
    /// The leader is killed, and a follower takes over.
    KillLeader,
    /// The former leader comes up again, as a follower.
    StartFormer,
}

/// What a user may be granted on the script's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Everything.
    All = 2,
    /// Reading.
    Read = 3,
    /// Writing.
    Write = 4,
    /// Changing the table.
    Alter = 7,
    /// Seeing that it exists.
    Describe = 8,
}

/// Users of a cluster that asks who one is, with their passwords. The first one may do everything
/// and is who a script begins as; the others may do what the script grants them.
pub const USERS: [(&str, &str); 3] = [("root", "rootpw"), ("alice", "apw"), ("bob", "bpw")];

/// One step of a script.
#[derive(Clone, Debug)]
pub enum Step {
    /// Makes the script's table and waits until it can be used.
    Create(Table),
    /// Asks again for the table, which exists; true to have that ignored.
    CreateAgain(Table, bool),
    /// Asks for another table, whose name ends in this number.
    CreateOther(u8, Table),
    /// Drops the table.
    Drop,
    /// The same, no matter whether it is there.
    DropIfThere,
    /// ALTER_TABLE: a column of this name and type; true if it allows null.
    AddColumn(&'static str, &'static str, bool),
    /// The same request about the table with this name in this database.
    About(Name, Name, Box<Step>),
    /// CREATE_DATABASE; true to have it ignored that there is one.
    CreateDatabase(Name, bool),
    /// DROP_DATABASE; true to have it ignored that there is none, true to drop its tables too.
    DropDatabase(Name, bool, bool),
    /// DATABASE_EXISTS.
    DatabaseExists(Name),
    /// GET_DATABASE_INFO.
    DatabaseInfo(Name),
    /// LIST_TABLES.
    Tables(Name),
    /// CREATE_PARTITION; true to have it ignored that there is one.
    CreatePartition(Pairs, bool),
    /// DROP_PARTITION; true to have it ignored that there is none.
    DropPartition(Pairs, bool),
    /// LIST_PARTITION_INFOS of partitions with these values.
    Partitions(Pairs),
    /// GET_METADATA of a partition by its name, from a tablet server.
    PartitionMetadata(Option<&'static str>),
    /// GET_METADATA of a partition by an id that none has.
    PartitionMetadataStranger,
    /// AUTHENTICATE: mechanism and token, to a tablet server. A user that is not one of [`USERS`]
    /// has a connection on which nobody has logged in yet.
    Login(&'static str, &'static str),
    /// Gets a writer id.
    Init,
    /// Asks for a writer id without naming a table.
    InitNothing,
    /// PRODUCE_LOG.
    Produce(Write),
    /// PUT_KV.
    Put(Write),
    /// FETCH_LOG.
    Fetch(Fetch),
    /// LOOKUP in a bucket, of the keys with these values of the key columns.
    Lookup(i32, Vec<(i32, &'static str)>),
    /// LOOKUP of a key of arbitrary bytes.
    LookupBytes(i32, &'static [u8]),
    /// LOOKUP in a bucket that inserts what it does not find, with these acks.
    Insert(i32, Vec<(i32, &'static str)>, Option<i32>),
    /// The same with another table id than the script's.
    InsertStranger,
    /// The same of a key of arbitrary bytes.
    InsertBytes(i32, &'static [u8]),
    /// LOOKUP with another table id than the script's.
    LookupStranger,
    /// PREFIX_LOOKUP in a bucket, of keys that begin with these values of column `a`.
    Prefix(i32, Vec<i32>),
    /// LIMIT_SCAN: bucket and limit.
    Scan(i32, i32),
    /// LIMIT_SCAN with another table id than the script's.
    ScanStranger,
    /// LIST_OFFSETS: type (0 earliest, 1 latest, 2 by time), buckets, time against now in ms.
    Offsets(i32, Vec<i32>, Option<i64>),
    /// LIST_OFFSETS of the latest offset of a bucket, as a follower asks for it.
    EndOffset(i32),
    /// GET_METADATA of the table, from a tablet server.
    Metadata,
    /// GET_METADATA of a table that does not exist.
    MetadataStranger,
    /// GET_TABLE_INFO.
    Info,
    /// GET_TABLE_SCHEMA with this schema id.
    Schema(Option<i32>),
    /// TABLE_EXISTS.
    Exists,
    /// A request of arbitrary bytes to a tablet server.
    Raw(i16, &'static [u8]),
    /// A length field with as many zero bytes behind it as the second number says; where that
    /// gets no answer, with the missing ones. To a tablet server, which then closes.
    BadLength(i32, usize),
    /// The same request to somebody else.
    To(To, Box<Step>),
    /// The requests from here on come from this user; from nobody if there is none of that name.
    As(&'static str),
    /// The first user grants the present one something, which lasts once the tablet server knows.
    Grant(Right),
    /// The first user takes from the present one what had been granted.
    Revoke(Right),
    /// Something happens to the cluster.
    Event(Event),
    /// Waits until the leader has forgotten this writer, whose last sequence this is.
    Forget(usize, i32),
}

impl Step {
    /// The same request to a tablet server that does not lead.
    #[must_use]
    pub fn to_follower(self) -> Self {
        Self::To(To::Follower, Box::new(self))
    }

    /// The same request to the former leader.
    #[must_use]
    pub fn to_former(self) -> Self {
        Self::To(To::Former, Box::new(self))
    }
}

/// An append by a writer with this sequence of two rows.
#[must_use]
pub fn produce(writer: usize, sequence: i32) -> Write {
    rows(Writer::Got(writer), sequence, 2)
}

/// An append without stamp.
#[must_use]
pub fn plain(count: i32) -> Write {
    rows(Writer::None, -1, count)
}

const NAMES: [&str; 4] = ["ada", "bob", "", "grace hopper"];

fn rows(writer: Writer, sequence: i32, count: i32) -> Write {
    let row = |a: i32| {
        Row::Set(a, Some(NAMES[a.unsigned_abs() as usize % 4]), Some(i64::from(sequence) * 1000))
    };
    let batch = Batch {
        bucket: 0,
        writer,
        sequence,
        rows: (0..count).map(row).collect(),
        damage: Damage::None,
    };
    Write {
        acks: -1,
        timeout_ms: 30_000,
        targets: Vec::new(),
        batches: vec![batch],
        stranger: false,
        partition: None,
        mode: None,
    }
}

/// An upsert or delete of rows by a writer with this sequence.
#[must_use]
pub fn put(writer: usize, sequence: i32, rows: &[Row]) -> Write {
    let mut write = produce(writer, sequence);
    write.batches[0].rows = rows.to_vec();
    write
}

/// A row of a primary-key table.
#[must_use]
pub const fn set(a: i32, b: &'static str, c: i64) -> Row {
    Row::Set(a, Some(b), Some(c))
}

/// A delete in a table whose key is `a`.
#[must_use]
pub const fn delete(a: i32) -> Row {
    Row::Delete(a, "")
}

impl Write {
    /// With this number of rows in every batch.
    #[must_use]
    pub fn count(mut self, count: i32) -> Self {
        for batch in &mut self.batches {
            let again = rows(batch.writer, batch.sequence, count);
            batch.rows.clone_from(&again.batches[0].rows);
        }
        self
    }

    /// With other acknowledgements.
    #[must_use]
    pub fn acks(mut self, acks: i32) -> Self {
        self.acks = acks;
        self
    }

    /// With a wait for replicas.
    #[must_use]
    pub fn timeout_ms(mut self, millis: i32) -> Self {
        self.timeout_ms = millis;
        self
    }

    /// In a merge mode.
    #[must_use]
    pub fn mode(mut self, mode: i32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// For another bucket.
    #[must_use]
    pub fn bucket(mut self, bucket: i32) -> Self {
        self.batches[0].bucket = bucket;
        self
    }

    /// Together with the batches of another write.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.batches.extend(other.batches);
        self
    }

    /// As a partial update.
    #[must_use]
    pub fn targets(mut self, targets: &[i32]) -> Self {
        self.targets = targets.to_vec();
        self
    }

    /// With damaged batches.
    #[must_use]
    pub fn damage(mut self, damage: Damage) -> Self {
        for batch in &mut self.batches {
            batch.damage = damage;
        }
        self
    }

    /// To a table that does not exist.
    #[must_use]
    pub fn stranger(mut self) -> Self {
        self.stranger = true;
        self
    }

    /// With a partition id.
    #[must_use]
    pub fn partition(mut self, id: i64) -> Self {
        self.partition = Some(id);
        self
    }
}

/// A fetch of bucket 0 from this offset.
#[must_use]
pub fn fetch(offset: i64) -> Fetch {
    Fetch {
        from: vec![(0, offset)],
        max_bytes: 1 << 20,
        bucket_bytes: 1 << 20,
        projection: None,
        wait: None,
        stranger: false,
        follower: -1,
    }
}

impl Fetch {
    /// From further buckets.
    #[must_use]
    pub fn and(mut self, bucket: i32, offset: i64) -> Self {
        self.from.push((bucket, offset));
        self
    }

    /// With limits for the answer and each bucket.
    #[must_use]
    pub fn bytes(mut self, max: i32, bucket: i32) -> Self {
        (self.max_bytes, self.bucket_bytes) = (max, bucket);
        self
    }

    /// With a projection.
    #[must_use]
    pub fn project(mut self, columns: &[i32]) -> Self {
        self.projection = Some(columns.to_vec());
        self
    }

    /// With least bytes and the wait for them.
    #[must_use]
    pub fn wait(mut self, min_bytes: i32, millis: i32) -> Self {
        self.wait = Some((min_bytes, millis));
        self
    }

    /// Of a table that does not exist.
    #[must_use]
    pub fn stranger(mut self) -> Self {
        self.stranger = true;
        self
    }

    /// As a follower.
    #[must_use]
    pub fn follower(mut self, id: i32) -> Self {
        self.follower = id;
        self
    }
}
