use fluss_embedded::row;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let fluss = fluss_embedded::connect("127.0.0.1:9123")?;
    let table = fluss.table("shop.events").wait()?;
    let writer = table.appender().build()?;
    let ticket = writer.append(&row![1_i64, "ada", 7, 0.5]).wait()?;
    println!("{:?}", ticket.wait()?);
    writer.flush().wait()?;
    fluss.close(Duration::from_secs(10)).wait()?;
    Ok(())
}
