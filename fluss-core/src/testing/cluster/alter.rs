//! Changes of tables: columns that are added.

use fluss_proto::message::{AlterTableRequest, AlterTableResponse, PbAddColumn};
use serde_json::{Value, json};

use super::api::code;
use super::catalog::{Descriptor, Table};
use super::ddl::{no_table, path_of};
use super::{Answer, Failure, FakeCluster, names, words};
use crate::row::{DataType, Schema};

/// The only place for a new column: behind the last one.
const LAST: i32 = 0;

fn refused(message: impl Into<String>) -> Failure {
    Failure::new(code::UNKNOWN, message)
}

impl FakeCluster {
    pub(super) fn alter_table(
        &mut self,
        request: &AlterTableRequest,
    ) -> Answer<AlterTableResponse> {
        let path = path_of(&request.table_path);
        names::check_path(&path)?;
        let Some(table) = self.catalog.tables.get_mut(&path) else {
            return match request.ignore_if_not_exists {
                true => Ok(AlterTableResponse {}),
                false => Err(no_table(&path)),
            };
        };
        if request.add_columns.is_empty() {
            return Err(refused("the fake only adds columns"));
        }
        let mut descriptor = table.descriptor.value().clone();
        for column in &request.add_columns {
            add_column(&mut descriptor["schema"], column)?;
        }
        let schema = Schema::from_value(&descriptor["schema"]);
        let schema = schema.map_err(|error| refused(error.to_string()))?.with_field_ids();
        descriptor["schema"] =
            serde_json::from_str(&schema.to_json()).map_err(|error| refused(error.to_string()))?;
        let old = std::mem::replace(&mut table.schema, schema);
        let Table { older, schema_id, .. } = table;
        older.push(old);
        *schema_id += 1;
        table.descriptor = Descriptor::new(descriptor);
        Ok(AlterTableResponse {})
    }
}

fn add_column(schema: &mut Value, column: &PbAddColumn) -> Answer<()> {
    let data_type = DataType::from_json(&column.data_type_json);
    let data_type = data_type.map_err(|error| refused(error.to_string()))?;
    let name = column.column_name.as_str();
    if !data_type.nullable {
        return Err(refused(words::new_column_not_null(name)));
    }
    if column.column_position_type != LAST {
        return Err(refused("a new column is the last one"));
    }
    let id = schema["highest_field_id"].as_i64().unwrap_or(-1) + 1;
    schema["highest_field_id"] = id.into();
    let data_type: Value = serde_json::from_slice(&column.data_type_json)
        .map_err(|error| refused(error.to_string()))?;
    let Some(columns) = schema["columns"].as_array_mut() else {
        return Err(refused("a schema without columns"));
    };
    if columns.iter().any(|known| known["name"] == name) {
        return Err(Failure::new(code::INVALID_ALTER_TABLE, words::column_is_there(name)));
    }
    columns.push(json!({ "name": name, "data_type": data_type, "id": id }));
    Ok(())
}
