use fluss_tokio::row;
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let fluss = fluss_tokio::connect("127.0.0.1:9123").await?;
    let table = fluss.table("shop.events").await?;
    let writer = table.appender().linger(Duration::from_millis(5)).build()?;
    let ticket = writer.append(&row![1_i64, "ada", 7, 0.5]).await?; // waits for memory only
    let ack = ticket.await?; // waits for the servers
    println!("bucket {}, offset {:?}", ack.bucket, ack.offset);

    let rows = (0..1_000).map(|id| row![id as i64, "ada", 7, 0.5]);
    drop(writer.append_all(rows).await?); // many rows, one lock, one ticket for the run
    writer.flush().await?; // an error says which rows did not make it

    let mut scanner = table.scanner().from_earliest().bounded().build().await?;
    while let Some(batch) = scanner.next_batch().await? {
        println!("{} rows", batch.num_rows());
    }
    fluss.close(Duration::from_secs(10)).await?;
    Ok(())
}
