//! An application without a runtime that tests itself against a fake cluster: `orders` holds both.
//! One thread runs the application and the client's driver in turns.
//!
//! `cargo run -p fluss-embedded --example self_test` runs it,
//! `cargo test -p fluss-embedded --example self_test` as a test.

use std::error::Error;
use std::time::Duration;

#[path = "../../fluss-core/examples/orders/mod.rs"]
mod orders;

fn main() -> Result<(), Box<dyn Error>> {
    let fake = orders::fake()?;
    let (fluss, mut driver) = fluss_embedded::connect_with(orders::settings(&fake)?)?;
    driver.block_on(orders::check(&fluss, &fake))??;
    assert_eq!(driver.block_on(fluss.close(Duration::from_secs(5)))??, 0);
    println!("each order is in the log once");
    Ok(())
}

#[test]
fn the_shop_keeps_its_promises_whatever_goes_wrong() {
    main().expect("each order in the log once");
}
