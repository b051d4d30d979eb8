//! What can be said on the command line: one table, for parsing and for the help.

/// A command.
#[derive(Debug)]
pub(crate) struct CommandSpec {
    pub(crate) name: &'static str,
    /// The positional arguments, all required.
    pub(crate) arguments: &'static [&'static str],
    pub(crate) options: &'static [OptionSpec],
    /// One sentence.
    pub(crate) about: &'static str,
}

/// An option of a command, or one of all.
#[derive(Debug)]
pub(crate) struct OptionSpec {
    pub(crate) long: &'static str,
    pub(crate) short: Option<char>,
    /// What its value is called; None for a switch.
    pub(crate) value: Option<&'static str>,
    /// Whether it may be given several times.
    pub(crate) many: bool,
    /// What it does; empty for an option that help and hints keep quiet about.
    pub(crate) about: &'static str,
}

const fn switch(long: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec { long, short: None, value: None, many: false, about }
}

const fn value(long: &'static str, value: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec { long, short: None, value: Some(value), many: false, about }
}

const fn many(long: &'static str, value: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec { long, short: None, value: Some(value), many: true, about }
}

/// Options of every command.
pub(crate) const GLOBAL: &[OptionSpec] = &[
    OptionSpec {
        long: "bootstrap",
        short: Some('b'),
        value: Some("HOST:PORT[,HOST:PORT…]"),
        many: false,
        about: "servers to ask first, coordinator or tablet servers (or FLUSS_BOOTSTRAP)",
    },
    value("user", "U", "log in by SASL/PLAIN (or FLUSS_USER)"),
    value("password", "P", "the password of --user (or FLUSS_PASSWORD)"),
    OptionSpec {
        long: "config",
        short: Some('c'),
        value: Some("KEY=VALUE"),
        many: true,
        about: "a client setting; `fluss help settings` lists them",
    },
    switch("quiet", "no progress, no summary"),
    OptionSpec { long: "help", short: Some('h'), value: None, many: false, about: "this text" },
];

const IF_EXISTS: OptionSpec = switch("if-exists", "no error if there is none");
const IF_NOT_EXISTS: OptionSpec = switch("if-not-exists", "no error if it exists");
const COLUMNS: OptionSpec = value("columns", "a,b", "only these columns");
const PARTITION: OptionSpec = value("partition", "k=v[/k=v]", "only this partition");

const TABLE: &[&str] = &["DB.TABLE"];
const PARTITION_OF: &[&str] = &["DB.TABLE", "k=v[/k=v]"];

const CREATE: &[OptionSpec] = &[
    many("column", "'NAME TYPE [NOT NULL]'", "a column; at least one"),
    value("primary-key", "a,b", "the columns of the primary key"),
    value("bucket-key", "a,b", "the columns that place a row in a bucket"),
    value("buckets", "N", "the number of buckets; default: the server's"),
    value("partition-by", "p,q", "the partition columns"),
    many("agg", "'COLUMN=FUNCTION[(k=v)]'", "the aggregation function of a column"),
    value("auto-increment", "COLUMN", "the column whose values the server makes"),
    many("property", "K=V", "a table property, `table.…`"),
    many("custom-property", "K=V", "a property of one's own"),
    value("comment", "TEXT", "a comment"),
    IF_NOT_EXISTS,
];

const PRODUCE: &[OptionSpec] = &[
    switch("delete", "delete the rows with these keys"),
    value("columns", "a,b", "write only these columns: a partial update or delete"),
    value("merge-mode", "default|overwrite", "overwrite: past the merge engine of the table"),
    value("arrow", "N", "send Arrow record batches of N rows"),
    switch("report", "print an outcome for each row, in input order"),
    value("dead-letter", "FILE", "where rows go that were not written, as they came"),
];

const CONSUME: &[OptionSpec] = &[
    value("from", "earliest|latest|TIMESTAMP_MS", "where to begin; default earliest"),
    value("bucket", "N", "only this bucket"),
    value("offset", "N", "begin at this offset of --bucket"),
    PARTITION,
    COLUMNS,
    value("count", "N", "end after so many records over all buckets"),
    switch("follow", "go on until interrupted"),
    switch("snapshot", "first the rows as they are, as +I at their offset, then what changes them"),
    switch("arrow", "accepted; rows come as Arrow columns anyway, and the output is the same"),
];

const PERF: &[OptionSpec] = &[
    value("rows", "N", "how many rows, or keys to look up; required"),
    value("threads", "N", "threads with a writer or lookup handle each; default 1; not: consume"),
    value("bulk", "N", "produce: hand in runs of N rows in one call; default: one by one"),
    value("arrow", "N", "produce: Arrow record batches of N rows, made outside the clock"),
    value("keys", "N", "keys 0 to N-1 in turn; default: all different; not: consume"),
    value("in-flight", "N", "lookup: keys outstanding per thread; default 1"),
    value(
        "string-bytes",
        "N",
        "length of strings and bytes, 16 MiB at most; default 16; not: consume",
    ),
    value("seed", "N", "what the rows are made from; default 0; not: consume"),
    value("warmup", "N", "rows before the clock starts; default 0"),
];

/// All commands, in the order of the help.
pub(crate) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "ping",
        arguments: &[],
        options: &[],
        about: "asks every server which APIs it offers",
    },
    CommandSpec { name: "databases", arguments: &[], options: &[], about: "lists the databases" },
    CommandSpec {
        name: "tables",
        arguments: &["DB"],
        options: &[],
        about: "lists the tables of a database",
    },
    CommandSpec {
        name: "create-database",
        arguments: &["DB"],
        options: &[IF_NOT_EXISTS],
        about: "makes a database",
    },
    CommandSpec {
        name: "drop-database",
        arguments: &["DB"],
        options: &[switch("cascade", "drop its tables too"), IF_EXISTS],
        about: "drops a database",
    },
    CommandSpec { name: "create", arguments: TABLE, options: CREATE, about: "makes a table" },
    CommandSpec { name: "drop", arguments: TABLE, options: &[IF_EXISTS], about: "drops a table" },
    CommandSpec {
        name: "describe",
        arguments: TABLE,
        options: &[switch("json", "one JSON object, with the schema JSON of the protocol")],
        about: "tells what a table is",
    },
    CommandSpec {
        name: "partitions",
        arguments: TABLE,
        options: &[],
        about: "lists the partitions of a table",
    },
    CommandSpec {
        name: "create-partition",
        arguments: PARTITION_OF,
        options: &[],
        about: "makes a partition",
    },
    CommandSpec {
        name: "drop-partition",
        arguments: PARTITION_OF,
        options: &[],
        about: "drops a partition",
    },
    CommandSpec {
        name: "offsets",
        arguments: TABLE,
        options: &[
            PARTITION,
            value("at", "earliest|latest|TIMESTAMP_MS", "which offset; default latest"),
        ],
        about: "prints an offset of each bucket",
    },
    CommandSpec {
        name: "produce",
        arguments: TABLE,
        options: PRODUCE,
        about: "writes the rows on standard input, a JSON object a line",
    },
    CommandSpec {
        name: "consume",
        arguments: TABLE,
        options: CONSUME,
        about: "prints the records of a table's log",
    },
    CommandSpec {
        name: "lookup",
        arguments: TABLE,
        options: &[
            switch("prefix", "keys are prefixes; prints an array of rows for each"),
            switch("insert-if-not-exists", "the server makes a row where there is none"),
        ],
        about: "prints the rows with the keys on standard input, a JSON object a line",
    },
    CommandSpec {
        name: "scan",
        arguments: TABLE,
        options: &[
            value("limit", "N", "at most so many rows; of a log table the last N, required there"),
            COLUMNS,
            PARTITION,
        ],
        about: "prints rows: of a primary-key table as they are now, of a log table the last ones",
    },
    CommandSpec {
        name: "demo",
        arguments: &[],
        options: &[
            value("rows", "N", "rows to write; default 1000000"),
            value("seed", "N", "repeats the faults of an earlier run; default: drawn"),
            switch("lose-row", ""),
            switch("double-row", ""),
        ],
        about: "writes through a cluster that keeps failing, and proves every row there once",
    },
    CommandSpec {
        name: "perf",
        arguments: &["produce|consume|lookup", "DB.TABLE"],
        options: PERF,
        about: "measures writing, reading or looking up rows; prints one JSON object",
    },
    CommandSpec {
        name: "help",
        arguments: &[],
        options: &[],
        about: "explains a command, `errors`, `settings` or `values`",
    },
];

/// The command of this name.
pub(crate) fn command(name: &str) -> Option<&'static CommandSpec> {
    COMMANDS.iter().find(|command| command.name == name)
}
