//! Starts a real Fluss cluster on loopback ports and takes it down again.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fluss_tools::cluster::{
    ClusterError, ClusterOptions, Parent, RealCluster, Sasl, Server, interrupt_flag,
};

const USAGE: &str = "\
fluss-cluster [--tablet-servers N] [--sasl] [--set KEY=VALUE]… [--dir DIR] [--until-eof]

Starts a real Fluss cluster (ZooKeeper, coordinator, tablet servers) on free ports of 127.0.0.1,
prints its addresses as one line of JSON when tables can be created, and runs until it is
interrupted or its parent process ends. Needs Java, and Maven the first time.

  --tablet-servers N  how many tablet servers, 1 to 16 (default 1)
  --sasl              clients log in by SASL/PLAIN: root with password rootpw may do everything,
                      alice with password apw only what she is granted; the listeners under
                      \"internal\" in the output are open and not authorized
  --set KEY=VALUE     a setting of the servers; zoo.KEY goes to ZooKeeper
  --dir DIR           a new or empty directory for configuration, data and logs, which is kept;
                      without it a temporary one is deleted at the end
  --until-eof         end also when standard input closes
  -h, --help          this text

Environment: FLUSS_SERVER_JARS names a directory of other server jars, FLUSS_CLUSTER_CACHE the
directory for fetched ones, JAVA_HOME the Java to use.
Exit codes: 0 standard input or the parent ended, 1 the cluster failed, 2 wrong usage,
130 interrupted.
";

/// How often the ends of the run are looked at.
const PAUSE: Duration = Duration::from_millis(100);

struct Arguments {
    options: ClusterOptions,
    sasl: bool,
    until_eof: bool,
}

enum Parsed {
    Run(Arguments),
    Help,
}

fn main() -> ExitCode {
    let parent = Parent::current();
    match parse(lexopt::Parser::from_env()) {
        Ok(Parsed::Help) => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Ok(Parsed::Run(arguments)) => run(parent, arguments),
        Err(error) => {
            eprintln!("fluss-cluster: {error}\nSee fluss-cluster --help.");
            ExitCode::from(2)
        }
    }
}

fn parse(mut parser: lexopt::Parser) -> Result<Parsed, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = ClusterOptions::default();
    let (mut sasl, mut until_eof) = (false, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("tablet-servers") => {
                options = options.tablet_servers(parser.value()?.parse()?);
            }
            Long("sasl") => sasl = true,
            Long("set") => {
                let setting = parser.value()?.string()?;
                let (key, value) = setting
                    .split_once('=')
                    .ok_or_else(|| format!("--set wants KEY=VALUE, not {setting:?}"))?;
                options = options.set(key.trim(), value.trim());
            }
            Long("dir") => options = options.dir(parser.value()?),
            Long("until-eof") => until_eof = true,
            Long("help") | Short('h') => return Ok(Parsed::Help),
            _ => return Err(argument.unexpected()),
        }
    }
    if sasl {
        options = options.sasl(Sasl::default());
    }
    Ok(Parsed::Run(Arguments { options, sasl, until_eof }))
}

/// What ends a run, the failure of the cluster apart.
struct Ends {
    interrupted: Arc<AtomicBool>,
    /// Input and parent end a run that is still starting too.
    cancelled: Arc<AtomicBool>,
}

impl Ends {
    fn watch(parent: Parent, until_eof: bool) -> io::Result<Self> {
        let interrupted = interrupt_flag()?;
        let cancelled = Arc::new(AtomicBool::new(false));
        let (signal, cancel) = (Arc::clone(&interrupted), Arc::clone(&cancelled));
        std::thread::spawn(move || {
            while !signal.load(Ordering::Relaxed) && !parent.is_gone() {
                std::thread::sleep(PAUSE);
            }
            cancel.store(true, Ordering::Relaxed);
        });
        if until_eof {
            let cancel = Arc::clone(&cancelled);
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                let mut input = io::stdin().lock();
                loop {
                    match input.read(&mut buffer) {
                        Ok(0) => break,
                        Err(error) if error.kind() != io::ErrorKind::Interrupted => break,
                        _ => {}
                    }
                }
                cancel.store(true, Ordering::Relaxed);
            });
        }
        Ok(Self { interrupted, cancelled })
    }

    fn code(&self) -> ExitCode {
        let interrupted = self.interrupted.load(Ordering::Relaxed);
        if interrupted { ExitCode::from(130) } else { ExitCode::SUCCESS }
    }
}

fn run(parent: Parent, arguments: Arguments) -> ExitCode {
    let failed = |error: &dyn std::fmt::Display| {
        eprintln!("fluss-cluster: {error}");
        ExitCode::FAILURE
    };
    let ends = match Ends::watch(parent, arguments.until_eof) {
        Ok(ends) => ends,
        Err(error) => return failed(&error),
    };
    let options = arguments.options.cancelled_by(Arc::clone(&ends.cancelled));
    let cluster = match RealCluster::start(options) {
        Ok(cluster) => cluster,
        Err(ClusterError::Cancelled) => return ends.code(),
        Err(error @ ClusterError::InvalidOption(_)) => {
            failed(&error);
            return ExitCode::from(2);
        }
        Err(error) => return failed(&error),
    };
    if let Err(error) = announce(&cluster, arguments.sasl) {
        return failed(&format_args!("cannot write to standard output: {error}"));
    }
    while !ends.cancelled.load(Ordering::Relaxed) {
        if let Err(error) = cluster.check() {
            eprintln!("fluss-cluster: {error}");
            // A server may be killed on purpose, to see what clients do then. Nothing works
            // without ZooKeeper.
            if matches!(error, ClusterError::Exited { server: Server::ZooKeeper, .. }) {
                return ExitCode::FAILURE;
            }
        }
        std::thread::sleep(PAUSE);
    }
    ends.code()
}

/// Prints the line that other tools wait for.
fn announce(cluster: &RealCluster, sasl: bool) -> io::Result<()> {
    let mut line = serde_json::json!({
        "bootstrap": cluster.bootstrap(),
        "coordinator": cluster.coordinator(),
        "tablet_servers": cluster.tablet_servers(),
    });
    if sasl {
        line["internal"] = cluster.internal_bootstrap().into();
    }
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}
