//! The example `std_net` does what it says, against the fake cluster on loopback ports.

// Its `main` is not used here.
#[path = "../examples/std_net.rs"]
#[expect(dead_code, reason = "only `run` is wanted of the example")]
mod example;

use fluss_core::ids::ServerId;
use fluss_core::testing::loopback::{Loopback, LoopbackOptions};
use fluss_core::testing::shop::shop;

#[test]
fn the_example_is_as_short_as_the_readme_says() {
    let example = include_str!("../examples/std_net.rs").lines().map(str::trim);
    let code = example.filter(|line| !line.is_empty() && !line.starts_with("//")).count();
    assert!(code <= 90, "{code} lines");
    assert!(include_str!("../../README.md").contains("`std::net` and ninety lines of code"));
}

#[test]
fn the_example_appends_rows() {
    let fake = Loopback::start(shop(), LoopbackOptions::default()).unwrap();
    let bootstrap = fake.address(ServerId::Tablet(0)).unwrap().to_string();
    assert_eq!(example::run(&bootstrap, "shop.events").unwrap(), 0);
    assert_eq!(example::run(&bootstrap, "shop.events").unwrap(), 3);
    assert_eq!(fake.with(|cluster| cluster.rows_appended()), 6);
    assert!(example::run(&bootstrap, "shop.nothing").is_err());
}
