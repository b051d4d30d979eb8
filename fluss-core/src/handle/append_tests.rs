use super::super::testkit::Stage;
use crate::row;
use crate::row::{DataType, Schema, TableDescriptor};

#[test]
fn a_row_right_after_connecting_to_a_coordinator_gets_its_offset() {
    // The first bootstrap address may be the coordinator, which gives no writer ids.
    let mut stage = Stage::new();
    let schema = Schema::builder().column("id", DataType::BIGINT).build().expect("a sound schema");
    let table = TableDescriptor::new(schema);
    let admin = stage.fluss.admin();
    stage.run(admin.create_database("shop", true)).expect("a database");
    stage.run(admin.create_table("shop.events", &table, false)).expect("a table");
    let opening = stage.fluss.table("shop.events");
    let table = stage.run(opening).expect("it is there");
    let writer = table.appender().build().expect("a writer");
    for id in 0..3_i64 {
        let ticket = stage.run(writer.append(&row![id])).expect("room");
        let ack = stage.run(ticket).expect("written");
        assert_eq!(ack.offset, Some(id));
    }
    assert_eq!(stage.fluss.memory_used(), 0);
}
