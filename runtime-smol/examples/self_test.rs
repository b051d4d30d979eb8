//! An application on smol that tests itself against a fake cluster: `orders` holds both.
//!
//! `cargo run -p fluss-smol --example self_test` runs it,
//! `cargo test -p fluss-smol --example self_test` as a test.

use std::error::Error;
use std::time::Duration;

#[path = "../../fluss-core/examples/orders/mod.rs"]
mod orders;

fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(async {
        let fake = orders::fake()?;
        let fluss = fluss_smol::start(orders::settings(&fake)?).await?;
        orders::check(&fluss, &fake).await?;
        assert_eq!(fluss.close(Duration::from_secs(5)).await?, 0);
        println!("each order is in the log once");
        Ok(())
    })
}

#[test]
fn the_shop_keeps_its_promises_whatever_goes_wrong() {
    main().expect("each order in the log once");
}
