//! Keeps `src/message/generated.rs` in step with `proto/fluss_api.proto`.
//!
//! The code is generated here, in pure Rust, so that neither users nor contributors need `protoc`.
//! `FLUSS_REGENERATE=1 cargo test -p fluss-proto --test generated` rewrites the checked-in file.

use std::path::{Path, PathBuf};

use prost_build::{Config, Module};

fn generate(root: &Path) -> String {
    let proto = root.join("proto");
    let files = protox::compile(["fluss_api.proto"], [proto]).expect("the schema compiles");
    let module = Module::from_parts(["generated"]);
    let requests = files.file.into_iter().map(|file| (module.clone(), file)).collect();
    let mut config = Config::new();
    // Every `bytes` field becomes a slice of the frame it arrived in, so that records are not
    // copied while decoding.
    config.bytes(["."]);
    let mut generated = config.generate(requests).expect("code generation succeeds");
    generated.remove(&module).expect("the schema has messages")
}

#[test]
fn the_generated_messages_match_the_schema() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("src/message/generated.rs");
    let expected = generate(&root);
    if std::env::var_os("FLUSS_REGENERATE").is_some() {
        std::fs::write(&path, &expected).expect("the generated file is writable");
    }
    let actual = std::fs::read_to_string(&path).expect("the generated file is checked in");
    assert!(
        actual == expected,
        "src/message/generated.rs is stale; run FLUSS_REGENERATE=1 cargo test -p fluss-proto \
         --test generated"
    );
}
