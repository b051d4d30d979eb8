//! The rules of the house, held to by a test: what the pure crates may name, how long files,
//! functions and lines may be, which crates a user of the client has to compile.
//!
//! It reads the workspace around this crate, which is why no package contains it.

#[path = "purity/rules.rs"]
mod rules;
#[path = "purity/source.rs"]
mod source;
#[path = "purity/tree.rs"]
mod tree;

use std::path::Path;

use rules::{OF_ONE_SYSTEM, Room, check, knows_systems};
use source::{Source, blank, workspace};
use tree::Tree;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in a workspace")
}

#[test]
fn every_file_keeps_the_rules_of_its_room() {
    let sources = workspace(root());
    let pure = sources.iter().filter(|source| Room::of(source) == Room::Pure).count();
    assert!(pure > 50, "only {pure} pure files found: has the tree moved?");
    let breaches: Vec<String> = sources.iter().flat_map(check).collect();
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
}

#[test]
fn an_adapter_has_fewer_than_a_thousand_lines() {
    let sources = workspace(root());
    // Lines of code, as what explains them shall not be saved on, and without tests; all of it,
    // also what is there for one platform only.
    for adapter in ["runtime-tokio/src/", "runtime-smol/src/", "runtime-embedded/src/"] {
        let of_it = sources.iter().filter(|source| source.path.starts_with(adapter));
        let lines: usize = of_it.map(Source::lines_of_code).sum();
        assert!(lines > 0, "{adapter} has no source");
        assert!(lines < 1000, "{adapter} has {lines} lines of code");
    }
}

#[test]
fn a_breach_is_found_in_each_room() {
    let pure = "fluss-core/src/client/mod.rs";
    let handle = "fluss-core/src/handle/shared.rs";
    let loopback = "fluss-core/src/testing/loopback.rs";
    let long = format!("fn long() {{\n{}}}\n", "    step();\n".repeat(70));
    let cases = [
        (pure, "use std::net::TcpStream;", true),
        (pure, "let now = std::time::Instant::now();", true),
        (pure, "static N: AtomicU64 = AtomicU64::new(0);", true),
        (pure, "let x = y.unwrap();", true),
        (pure, "use std::sync::Arc;", false),
        (handle, "use std::sync::Mutex;", false),
        (handle, "std::thread::park();", true),
        (loopback, "std::thread::spawn(f); let t = Instant::now();", false),
        (loopback, "tokio::spawn(f);", true),
        ("tools/src/bin/fluss.rs", "let t = Instant::now();", false),
        ("tools/src/bin/fluss.rs", "#[allow(dead_code)] fn f() {}", true),
        ("tools/src/bin/fluss.rs", "fn get_name() {}", true),
        ("tools/src/bin/fluss.rs", "// TODO: later", true),
        ("tools/src/bin/fluss.rs", &"x".repeat(101), true),
        ("tools/src/bin/fluss.rs", &"x;\n".repeat(600), true),
        ("tools/src/bin/fluss.rs", &long, true),
        (handle, "log::warn!(\"lost\");", true),
        (handle, "info!(target: \"other\", \"lost\");", true),
        (handle, "log::warn!(\n    target: \"fluss\",\n    \"lost\"\n);", false),
        (handle, "log::log!(target: LOG_TARGET, level, \"lost\"); compile_error!(\"no\");", false),
        ("runtime-tokio/src/net.rs", "log::error!(\"lost\");", true),
        ("fluss-core/tests/rows.rs", "let t = Instant::now(); x.unwrap();", false),
    ];
    for (path, text, breach) in cases {
        let found = check(&Source::new(path, text));
        assert_eq!(!found.is_empty(), breach, "{path}: {text}: {found:?}");
    }
}

#[test]
fn an_adapter_keeps_no_state_and_knows_no_message() {
    for (text, breach) in [
        ("static CLIENTS: Mutex<Vec<u8>> = Mutex::new(Vec::new());", true),
        ("pub(crate) static mut N: u8 = 0;", true),
        ("thread_local!(static HERE: Cell<u8> = const { Cell::new(0) });", true),
        ("thread_local! { static LAST: RefCell<Vec<u8>> = RefCell::default(); }", true),
        ("use fluss_proto::message::PutKvRequest;", true),
        ("fn f(answer: ProduceLogResponse) {}", true),
        ("fn f(table: PbTablePath) {}", true),
        ("fn f(text: &'static str) {}", false),
        ("fn f() { thread_local!(static HERE: u8 = const { 0 }); }", false),
        ("#[cfg(test)]\nmod tests { static N: u8 = 0; }", false),
    ] {
        for adapter in ["runtime-tokio", "runtime-smol", "runtime-embedded"] {
            let found = check(&Source::new(&format!("{adapter}/src/net.rs"), text));
            assert_eq!(!found.is_empty(), breach, "{text}: {found:?}");
        }
    }
}

#[test]
fn code_for_one_system_stands_where_it_is_said_to() {
    for text in [
        "#[cfg(unix)]\nfn f() {}",
        "#[cfg(not(unix))]\nfn f() {}",
        "#[cfg(any(unix, test))]\nfn f() {}",
        "#[cfg(target_os = \"linux\")]\nfn f() {}",
        "#[cfg(windows)]\nfn f() {}",
        "use std::os::unix::process::parent_id;",
        "use std::os::fd::AsFd;",
        "use rustix::process::Pid;",
        "use signal_hook::consts::SIGINT;",
    ] {
        for place in ["runtime-tokio/src/net.rs", "tools/src/cli/lookup.rs", "tools/tests/new.rs"] {
            assert_eq!(check(&Source::new(place, text)).len(), 1, "{place}: {text}");
        }
        let kept = Source::new("runtime-embedded/src/sys/epoll.rs", text);
        assert_eq!(check(&kept), [] as [String; 0], "{text}");
    }
    let sources = workspace(root());
    for place in OF_ONE_SYSTEM {
        let mut of_it = sources.iter().filter(|source| source.path.starts_with(place));
        assert!(of_it.any(knows_systems), "{place} has no such code: take it from the list");
    }
}

#[test]
fn comments_literals_and_tests_are_not_code() {
    let text = "// std::net\nlet a = \"std::net \\\" std::net\"; let c = '\"';\n\
                /* std::net /* */ */\n\
                let r = r#\"std::net \"# ; fn f<'a>(x: &'a u8) {}\n";
    let code = blank(text);
    assert_eq!(code.len(), text.len());
    assert!(!code.contains("std::net"), "{code}");
    assert!(code.contains("fn f<'a>(x: &'a u8) {}"), "{code}");

    let pure = "fluss-core/src/client/mod.rs";
    let tested = "#[cfg(test)]\nmod tests {\n    fn f() { x.unwrap(); }\n}\n";
    assert_eq!(check(&Source::new(pure, tested)), Vec::<String>::new());
    let behind = format!("{tested}fn g() {{ x.unwrap(); }}\n");
    assert_eq!(check(&Source::new(pure, &behind)).len(), 1);
}

#[test]
fn the_core_compiles_no_runtime_and_few_crates() {
    let core = Tree::of(root(), "fluss-core");
    for name in ["async-io", "mio", "polling", "rand", "smol", "socket2", "tokio"] {
        assert!(!core.has(name), "fluss-core depends on {name}: {core:?}");
    }
    assert!(core.has("arrow-array"), "{core:?}");
    assert!(core.len() <= 55, "fluss-core needs {} crates: {core:?}", core.len());
}

#[test]
fn an_adapter_brings_its_own_runtime_only() {
    let tokio = Tree::of(root(), "fluss-tokio");
    assert!(tokio.has("tokio") && !tokio.has("async-io"), "{tokio:?}");
    assert!(tokio.len() <= 62, "fluss-tokio needs {} crates: {tokio:?}", tokio.len());
    let smol = Tree::of(root(), "fluss-smol");
    assert!(smol.has("async-io") && !smol.has("tokio"), "{smol:?}");
    let embedded = Tree::of(root(), "fluss-embedded");
    for name in ["async-io", "smol", "tokio"] {
        assert!(!embedded.has(name), "fluss-embedded depends on {name}: {embedded:?}");
    }
}

#[test]
fn s3_brings_few_crates_and_no_runtime() {
    for (adapter, runtime) in
        [("fluss-tokio", "tokio"), ("fluss-smol", "async-io"), ("fluss-embedded", "rustix")]
    {
        let (without, with) = (Tree::of(root(), adapter), Tree::with(root(), adapter, &["s3"]));
        assert!(!without.has("ureq") && with.has("ureq"), "{without:?}");
        assert!(with.has(runtime) && with.has("fluss-storage-s3"), "{with:?}");
        for other in ["async-io", "tokio", "hyper", "reqwest"] {
            assert_eq!(with.has(other), without.has(other), "{adapter}, {other}: {with:?}");
        }
        let more = with.len() - without.len();
        assert!(more <= 20, "{adapter} needs {more} crates more: {with:?}");
    }
}

#[test]
fn each_feature_names_tests_that_there_are() {
    let sources = workspace(root());
    let cases =
        sources.iter().filter(|s| s.path.starts_with("fluss-core/src/testing/conformance/"));
    let cases: String = cases.map(|source| source.text.as_str()).collect();
    let table = include_str!("../src/features.md");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 15, "only {} features found: has the table moved?", rows.len());
    for row in rows {
        let tests = row.rsplit(" | ").next().expect("a last column");
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            let head = format!("fn {name}()");
            let is_test = |text: &str| {
                let before = text.find(&head).map(|at| text[..at].trim_end());
                before.is_some_and(|before| before.ends_with("#[test]"))
            };
            let of_suite = cases.contains(&format!("pub fn {name}<H: Harness>()"));
            let found = of_suite || sources.iter().any(|source| is_test(&source.text));
            assert!(found, "no test `{name}`: {row}");
        }
    }
}
