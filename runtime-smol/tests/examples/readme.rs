use fluss_smol::row;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    smol::block_on(async {
        let fluss = fluss_smol::connect("127.0.0.1:9123").await?;
        let table = fluss.table("shop.users").await?;
        let writer = table.upserter().build()?;
        drop(writer.upsert(&row![1_i64, "ada"]).await?); // a ticket that nobody waits for
        drop(writer.delete(&row![2_i64]).await?);
        writer.flush().await?;
        let found = table.lookuper()?.lookup(&row![1_i64]).await?;
        println!("{found:?}");
        fluss.close(Duration::from_secs(10)).await?;
        Ok(())
    })
}
