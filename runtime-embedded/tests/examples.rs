//! The examples do what they say, against the fake cluster on loopback ports.

use fluss_core::testing::loopback::{Loopback, LoopbackOptions};
use fluss_core::testing::shop::shop;
use fluss_tools::main_job::nothing_held;

// Its `main` is not used here.
#[path = "../examples/blocking.rs"]
#[expect(dead_code, reason = "only `run` is wanted of the example")]
mod blocking;

#[test]
fn the_example_with_threads_appends_its_rows() {
    let fake = Loopback::start(shop(), LoopbackOptions::default()).expect("loopback ports");
    blocking::run(&fake.bootstrap(), "shop.events").expect("no trouble");
    // Four threads, and one row more.
    assert_eq!(fake.with(|cluster| cluster.rows_appended()), 40_001);
}

mod readme {
    use std::sync::OnceLock;

    use super::*;

    /// Where the fake cluster is.
    static BOOTSTRAP: OnceLock<String> = OnceLock::new();
    /// The client of the example, to be looked at when it is over.
    static CLIENT: OnceLock<::fluss_embedded::Fluss> = OnceLock::new();

    /// The crate as the example sees it: the fake cluster is at the address that it names.
    mod fluss_embedded {
        pub(super) use ::fluss_embedded::row;
        use ::fluss_embedded::{Fluss, Result};

        pub(super) fn connect(bootstrap: &str) -> Result<Fluss> {
            assert_eq!(bootstrap, "127.0.0.1:9123");
            let bootstrap = super::BOOTSTRAP.get().expect("the test sets it");
            let fluss = ::fluss_embedded::connect(bootstrap)?;
            super::CLIENT.set(fluss.clone()).expect("one client");
            Ok(fluss)
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
        nothing_held(CLIENT.get().expect("the example has one"));
        assert_eq!(fake.with(|cluster| cluster.rows_appended()), 1);
    }
}
