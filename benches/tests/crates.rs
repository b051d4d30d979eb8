//! How many crates an application gets with the client: each is a thing to build, to review and to
//! trust.

use std::collections::BTreeSet;
use std::process::Command;

/// The crates in a normal build of a package with its default features, itself included.
fn crates(package: &str) -> BTreeSet<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none"])
        .args(["--format", "{p}", "--package", package])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    // Name and version; what follows are marks such as the path or `(*)`.
    let name = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    text.lines().filter(|line| !line.is_empty()).map(name).collect()
}

fn at_most(package: &str, limit: usize) {
    let crates = crates(package);
    println!("{package}: {} crates", crates.len());
    assert!(crates.iter().any(|name| name.starts_with(package)), "{crates:?}");
    assert!(crates.len() <= limit, "{} crates, at most {limit}: {crates:#?}", crates.len());
}

#[test]
fn the_core_with_arrow_and_codecs_needs_at_most_55_crates() {
    at_most("fluss-core", 55);
}

#[test]
fn the_client_on_tokio_needs_at_most_62_crates() {
    at_most("fluss-tokio", 62);
}
