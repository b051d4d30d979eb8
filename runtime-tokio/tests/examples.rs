//! The examples do what they say, against the fake cluster on loopback ports.

use fluss_core::testing::loopback::{Loopback, LoopbackOptions};
use fluss_core::testing::shop::shop;

mod readme {
    use std::sync::OnceLock;

    use super::*;

    /// Where the fake cluster is.
    static BOOTSTRAP: OnceLock<String> = OnceLock::new();

    /// The crate as the example sees it: the fake cluster is at the address that it names.
    mod fluss_tokio {
        pub(super) use ::fluss_tokio::row;
        use ::fluss_tokio::{Fluss, Result};

        pub(super) async fn connect(bootstrap: &str) -> Result<Fluss> {
            assert_eq!(bootstrap, "127.0.0.1:9123");
            ::fluss_tokio::connect(super::BOOTSTRAP.get().expect("the test sets it")).await
        }
    }

    include!("examples/readme.rs");

    #[test]
    fn the_readme_shows_what_is_run_here() {
        let (readme, example) =
            (include_str!("../../README.md"), include_str!("examples/readme.rs"));
        assert!(readme.contains(&format!("```rust,no_run\n{example}```\n")));
    }

    #[test]
    fn the_example_of_the_readme_runs() {
        let fake = Loopback::start(shop(), LoopbackOptions::default()).expect("loopback ports");
        BOOTSTRAP.set(fake.bootstrap()).expect("one test sets it");
        main().expect("no trouble");
        // One row, a thousand more, and all of them read back.
        assert_eq!(fake.with(|cluster| cluster.rows_appended()), 1_001);
    }
}
