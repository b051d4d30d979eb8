//! The rules of the house that a look at the text can check.

use super::source::{Source, body, is_word};

const MAX_FILE: usize = 599;
const MAX_FUNCTION: usize = 70;
const MAX_COLUMNS: usize = 100;

/// Sockets, name resolution, files, processes.
const IO: &[&str] = &[
    "std::net",
    "std::fs",
    "std::process",
    "std::env",
    "std::os",
    "Tcp*",
    "Udp*",
    "Unix*",
    "ToSocketAddrs",
    "stdin",
    "stdout",
    "stderr",
];
const CLOCKS: &[&str] = &["Instant::now", "SystemTime", "UNIX_EPOCH", "std::time::Instant"];
const THREADS: &[&str] = &["std::thread", "thread::*", "JoinHandle", "thread_local", "mpsc"];
const LOCKS: &[&str] =
    &["Mutex*", "RwLock*", "Condvar", "Atomic*", "Waker", "OnceLock", "OnceCell", "LazyLock"];
const RUNTIMES: &[&str] = &[
    "tokio",
    "async_io",
    "async_std",
    "smol",
    "mio",
    "polling",
    "socket2",
    "futures_lite",
    "futures_util",
    "parking_lot",
    "crossbeam*",
];
const RANDOM: &[&str] = &["rand", "fastrand", "getrandom", "RandomState", "DefaultHasher"];
const PRINTS: &[&str] = &["println", "eprintln", "print!", "eprint!"];
const LOGS: &[&str] = &["log!", "error!", "warn!", "info!", "debug!", "trace!"];
/// Unfinished or hidden work, in any crate, tests included.
const UNFINISHED: &[&str] = &[
    "todo!",
    "unimplemented!",
    "dbg!",
    "#[ignore*",
    "allow(dead_code",
    "allow(clippy::too_many*",
    "allow(unused*",
];

/// Where code for one system only may stand; the README tells of the same places.
pub(crate) const OF_ONE_SYSTEM: &[&str] = &[
    "benches/versus/src/client.rs",
    "runtime-embedded/src/sys/",
    "runtime-embedded/src/driver.rs",
    "runtime-embedded/src/reactor.rs",
    "runtime-embedded/tests/foreign_loop.rs",
    "tools/src/cli/mod.rs",
    "tools/src/cli/perf/meter.rs",
    "tools/src/cluster/mod.rs",
    "tools/src/cluster/real.rs",
    "tools/src/cluster/unix.rs",
    "tools/tests/chaos.rs",
    "tools/tests/cli_fake.rs",
    "tools/tests/cli_fake/ends.rs",
    "tools/tests/cli_fake/snapshot.rs",
    "tools/tests/common/mod.rs",
    "tools/tests/fork.rs",
    "tools/tests/launcher.rs",
    "tools/tests/launcher_environment.rs",
];
const SYSTEMS: &[&str] = &[
    "target_os",
    "target_family",
    "unix)",
    "unix,",
    "cfg(windows",
    "os::fd",
    "os::linux",
    "os::unix",
    "os::windows",
    "rustix",
    "signal_hook",
];

/// What tells threads apart by its address, and holds nothing that could change.
const MARK: &str = "thread_local!(static HERE: u8 = const { 0 });";

/// What a part of the tree may name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Room {
    /// Bytes and state machines: nothing of the outside world.
    Pure,
    /// The handles: locks, wakers and atomics, as callers on any thread share them.
    Handle,
    /// The one file for loopback servers: sockets, threads, a clock and locks.
    Loopback,
    /// Adapters, tools, benches, tests.
    Outside,
}

impl Room {
    pub(crate) fn of(source: &Source) -> Self {
        let pure = ["fluss-proto/src/", "fluss-core/src/"];
        match source.path.as_str() {
            _ if source.is_test => Self::Outside,
            "fluss-core/src/testing/loopback.rs" => Self::Loopback,
            path if path.starts_with("fluss-core/src/handle/") => Self::Handle,
            path if pure.iter().any(|root| path.starts_with(root)) => Self::Pure,
            _ => Self::Outside,
        }
    }

    fn forbidden(self) -> Vec<(&'static str, &'static [&'static str])> {
        let world: [(&str, &[&str]); 3] =
            [("I/O", IO), ("a clock", CLOCKS), ("a thread or channel", THREADS)];
        let mut rules: Vec<(&'static str, &'static [&'static str])> = Vec::new();
        if self != Self::Outside {
            rules.extend([("a runtime", RUNTIMES), ("randomness", RANDOM), ("printing", PRINTS)]);
            rules.push(("unwrap: say what is wrong instead", &[".unwrap()"]));
        }
        if matches!(self, Self::Pure | Self::Handle) {
            rules.extend(world);
        }
        if self == Self::Pure {
            rules.push(("a lock, atomic or waker", LOCKS));
        }
        rules
    }
}

/// Every breach in a file, as `path:line: what`.
pub(crate) fn check(source: &Source) -> Vec<String> {
    let mut found = sizes(source);
    let is_rule_book = source.path.starts_with("fluss-core/tests/purity");
    for at in UNFINISHED.iter().flat_map(|word| find(&source.code, word)) {
        found.push(say(source, at, "unfinished or hidden work"));
    }
    for word in ["TODO", "FIXME", "XXX"] {
        for at in find(&source.text, word).into_iter().filter(|_| !is_rule_book) {
            found.push(say(source, at, "a note to do something: do it or open an issue"));
        }
    }
    for (at, _) in source.code.match_indices("fn get_") {
        found.push(say(source, at, "a getter is named after what it returns, without `get_`"));
    }
    for (what, words) in Room::of(source).forbidden() {
        for (word, at) in
            words.iter().flat_map(|w| find(&source.code, w).into_iter().map(move |at| (w, at)))
        {
            if !source.in_tests(at) {
                found.push(say(source, at, &format!("`{word}`: no place for {what}")));
            }
        }
    }
    found.extend(of_one_system(source).map(|at| say(source, at, "no place for one system's code")));
    found.extend(adapter(source));
    found.extend(log_targets(source));
    found
}

/// All lines in the log are under the one target that the README names.
fn log_targets(source: &Source) -> Vec<String> {
    let of = |word: &'static str| find(&source.code, word).into_iter().map(move |at| (at, word));
    let places = LOGS.iter().copied().flat_map(of);
    let is_named = |at: usize, word: &str| {
        let arguments = source.text[at + word.len()..].trim_start_matches(['(', ' ', '\n']);
        arguments.starts_with("target: \"fluss\",") || arguments.starts_with("target: LOG_TARGET,")
    };
    let places = places.filter(|(at, word)| !source.in_tests(*at) && !is_named(*at, word));
    places.map(|(at, _)| say(source, at, "a line in the log without the target `fluss`")).collect()
}

/// Where a file outside of [`OF_ONE_SYSTEM`] has code for one system.
fn of_one_system(source: &Source) -> impl Iterator<Item = usize> {
    let allowed = OF_ONE_SYSTEM.iter().any(|place| source.path.starts_with(place));
    let words = if allowed { &[] } else { SYSTEMS };
    words.iter().flat_map(|word| find(&source.code, word))
}

/// Whether the file has code for one system, allowed or not.
pub(crate) fn knows_systems(source: &Source) -> bool {
    SYSTEMS.iter().any(|word| !find(&source.code, word).is_empty())
}

/// Adapters keep no state outside of their values and know nothing of the protocol.
fn adapter(source: &Source) -> Vec<String> {
    let is_adapter = source.path.starts_with("runtime-") && source.path.contains("/src/");
    if !is_adapter || source.is_test {
        return Vec::new();
    }
    let code = source.code.replace(MARK, &" ".repeat(MARK.len()));
    // A tick before it makes it a lifetime.
    let is_static = |at: &usize| !code[..*at].ends_with('\'');
    let statics = ["static", "thread_local"].iter().flat_map(|word| find(&code, word));
    let statics = statics.filter(is_static).collect();
    let of_proto = find(&code, "fluss_proto");
    let types = words(&code).filter(|(_, word)| {
        let message = ["Request", "Response"].iter().any(|end| word.ends_with(end));
        message || word.strip_prefix("Pb").is_some_and(|rest| rest.starts_with(char::is_uppercase))
    });
    let types = types.map(|(at, _)| at).collect();
    let mut found = Vec::new();
    for (what, places) in [
        ("an adapter has no global state", statics),
        ("an adapter knows no messages of the protocol", [of_proto, types].concat()),
    ] {
        let places = places.into_iter().filter(|at| !source.in_tests(*at));
        found.extend(places.map(|at| say(source, at, what)));
    }
    found
}

/// All words, with their places.
fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let place = move |word: &str| word.as_ptr().addr() - code.as_ptr().addr();
    let words = code.split(|c: char| !c.is_ascii() || !is_word(c as u8));
    words.filter(|word| !word.is_empty()).map(move |word| (place(word), word))
}

fn sizes(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let lines = source.text.lines().count();
    if lines > MAX_FILE {
        found.push(format!("{}: {lines} lines, at most {MAX_FILE}", source.path));
    }
    for (number, line) in source.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > MAX_COLUMNS {
            found.push(format!("{}:{}: {columns} columns", source.path, number + 1));
        }
    }
    for at in find(&source.code, "fn") {
        let name = source.code[at + 2..].trim_start();
        if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            continue; // the type of a function pointer
        }
        let lines = source.code[at..body(&source.code, at).end].lines().count();
        if lines > MAX_FUNCTION {
            let name: String = name.chars().take_while(|&c| is_word(c as u8)).collect();
            let what = format!("`{name}` has {lines} lines, at most {MAX_FUNCTION}");
            found.push(say(source, at, &what));
        }
    }
    found
}

fn say(source: &Source, at: usize, what: &str) -> String {
    format!("{}:{}: {what}", source.path, source.line(at))
}

/// Where a word stands by itself; with `*` behind it, also as the beginning of a longer one.
pub(crate) fn find(text: &str, word: &str) -> Vec<usize> {
    let (stem, open) = word.strip_suffix('*').map_or((word, false), |stem| (stem, true));
    let bytes = text.as_bytes();
    let alone = |at: usize| {
        let before = at > 0 && is_word(stem.as_bytes()[0]) && is_word(bytes[at - 1]);
        let last = is_word(stem.as_bytes()[stem.len() - 1]);
        let after = last && !open && bytes.get(at + stem.len()).copied().is_some_and(is_word);
        !before && !after
    };
    text.match_indices(stem).map(|(at, _)| at).filter(|&at| alone(at)).collect()
}
