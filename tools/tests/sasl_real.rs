//! A real listener that asks for a password: who is let in, and what the others are told.

use std::process::Command;
use std::time::{Duration, Instant};

use fluss_embedded::config::Config;
use fluss_embedded::row::{DataType, Schema, TableDescriptor};
use fluss_embedded::{Error, Fluss, Result, row};
use fluss_tools::cluster::{ClusterOptions, RealCluster, Sasl, TableLosses, real_cluster_or_skip};
use fluss_tools::main_job::nothing_held;

static LOSSES: TableLosses = TableLosses::new();

/// Within which everybody has to be let in or told off; far above what it takes.
const LIMIT: Duration = Duration::from_secs(8);

/// Starts a client and waits for its first answer.
type Start<'a> = &'a dyn Fn(Config) -> Result<Fluss>;

fn config(bootstrap: &str) -> Config {
    let seed = fluss_embedded::random_seed();
    Config::new(bootstrap).expect("addresses").connect_timeout(LIMIT).seed(seed)
}

/// What somebody is told who is not let in, within the limit.
fn told_off(start: Start<'_>, config: Config) -> Error {
    let since = Instant::now();
    let error = start(config).expect_err("nobody is let in like that");
    assert!(
        since.elapsed() < LIMIT + Duration::from_secs(2),
        "{error} after {:?}",
        since.elapsed()
    );
    error
}

/// All three cases on one runtime, which keeps a table of its own.
fn meets_the_listener(cluster: &RealCluster, name: &str, start: Start<'_>) {
    let bootstrap = &cluster.bootstrap().join(",");
    let error = told_off(start, config(bootstrap).credentials("root", "guess"));
    let text = error.to_string();
    assert_eq!(error.code().map(|code| code.0), Some(46), "{text}");
    assert!(text.contains("root") && !text.contains("guess"), "{text}");

    let text = told_off(start, config(bootstrap)).to_string();
    assert!(text.contains("credentials"), "{text}");

    let fluss = start(config(bootstrap).credentials("root", "rootpw")).expect("let in");
    let columns = Schema::builder().column("id", DataType::BIGINT);
    let mut descriptor = TableDescriptor::new(columns.build().expect("a schema"));
    descriptor.bucket_count = Some(1);
    let opened = LOSSES.open(cluster, &fluss, &format!("fluss.{name}"), &descriptor, None);
    let opened = opened.expect("root may do it");
    let writer = opened.appender().linger(Duration::ZERO).build().expect("a writer");
    for id in 0..10_i64 {
        let ack = writer.append(&row![id]).wait().expect("it fits").wait().expect("written");
        assert_eq!(ack.offset, Some(id));
    }
    let mut scanner = opened.scanner().bounded().build().wait().expect("a scanner");
    let batches = scanner.blocking_iter().map(|batch| batch.expect("readable").num_rows());
    assert_eq!(batches.sum::<usize>(), 10);
    nothing_held(&fluss);
    fluss.close(Duration::from_secs(5)).wait().expect("closed");
}

/// The command line: its exit code and what it says.
fn ping(bootstrap: &str, who: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fluss"));
    command.env_remove("FLUSS_USER").env_remove("FLUSS_PASSWORD");
    command.args(["ping", "--bootstrap", bootstrap]).args(who);
    let output = command.output().expect("it can be started");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("text"))
}

#[test]
fn a_real_listener_lets_the_right_password_in_and_tells_the_others_why() {
    let name = "a_real_listener_lets_the_right_password_in_and_tells_the_others_why";
    if !real_cluster_or_skip(name) {
        return;
    }
    let options = ClusterOptions::default().sasl(Sasl::default());
    let cluster = RealCluster::start(options).expect("a cluster");
    let bootstrap = cluster.bootstrap().join(",");

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    meets_the_listener(&cluster, "tokio", &|config| runtime.block_on(fluss_tokio::start(config)));
    meets_the_listener(&cluster, "smol", &|config| smol::block_on(fluss_smol::start(config)));
    meets_the_listener(&cluster, "embedded", &fluss_embedded::start);

    let (code, text) = ping(&bootstrap, &["--user=root", "--password=rootpw"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = ping(&bootstrap, &["--user=root", "--password=guess"]);
    assert!(code == Some(1) && text.contains("root") && !text.contains("guess"), "{text}");
    let (code, text) = ping(&bootstrap, &[]);
    assert!(code == Some(1) && text.contains("credentials"), "{text}");
}
