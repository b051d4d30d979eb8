//! What is known of a table, and how it is asked for.

use fluss_proto::message::{GetTableInfoRequest, GetTableInfoResponse, PbTablePath};
use prost::Message;

use crate::command::{Call, Target};
use crate::error::{Error, Result};
use crate::ids::{BucketKey, TableId, TablePath};
use crate::output::CommandAnswer;
use crate::row::{Schema, TableDescriptor};
use fluss_proto::ApiKey;

/// What the server told about a table when it was opened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TableInfo {
    /// Database and name.
    pub path: TablePath,
    /// The table's id.
    pub id: TableId,
    /// The id of its current schema.
    pub schema_id: i32,
    /// Schema, keys, buckets, properties.
    pub descriptor: TableDescriptor,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it was last changed, in milliseconds since 1970.
    pub modified_ms: i64,
}

impl TableInfo {
    /// Reads the answer to [`Client::describe_table`](crate::Client::describe_table).
    ///
    /// # Errors
    /// [`Error::Misuse`] for the answer to something else.
    pub fn from_answer(path: TablePath, answer: &CommandAnswer) -> Result<Self> {
        let CommandAnswer::Body(body) = answer else {
            return Err(Error::misuse(format!("{path}: an answer without a body")));
        };
        let (answer, descriptor) =
            parse(body).map_err(|e| Error::misuse(format!("no description of {path}: {e}")))?;
        Ok(Self {
            path,
            id: TableId(answer.table_id),
            schema_id: answer.schema_id,
            descriptor,
            created_ms: answer.created_time,
            modified_ms: answer.modified_time,
        })
    }

    /// The columns and the primary key.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.descriptor.schema
    }

    /// Whether it has a primary key.
    #[must_use]
    pub fn has_primary_key(&self) -> bool {
        !self.schema().primary_key().is_empty()
    }

    /// The number of its buckets, or of those of a partition that does not say otherwise.
    pub(crate) fn buckets(&self) -> i32 {
        self.descriptor.bucket_count.and_then(|n| i32::try_from(n).ok()).unwrap_or(1).max(1)
    }

    /// A bucket of the table, from 0, if the table has no partitions.
    #[must_use]
    pub fn bucket(&self, bucket: i32) -> BucketKey {
        BucketKey { table: self.id, partition: None, bucket }
    }
}

/// The call whose answer [`TableInfo::from_answer`] reads.
pub(crate) fn describe(path: &TablePath) -> Call {
    let table_path = PbTablePath {
        database_name: path.database.to_string(),
        table_name: path.table.to_string(),
    };
    let body = GetTableInfoRequest { table_path }.encode_to_vec().into();
    let what = format!("GET_TABLE_INFO {path}");
    let mut call = Call::new(ApiKey::GetTableInfo, body, Target::AnyServer, &what);
    call.check = Some(|body| parse(body).map(drop));
    call
}

fn parse(body: &[u8]) -> Result<(GetTableInfoResponse, TableDescriptor), String> {
    let unread = |e: &dyn std::fmt::Display| format!("an answer that does not parse: {e}");
    let answer = GetTableInfoResponse::decode(body).map_err(|e| unread(&e))?;
    let descriptor = TableDescriptor::from_json(&answer.table_json)
        .map_err(|e| format!("a description that does not parse: {}", e.to_text()))?;
    Ok((answer, descriptor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_cannot_be_read_is_told_with_the_column_and_the_reason() {
        let path = TablePath::new("shop", "events");
        for (data_type, reason) in [
            (r#"{"type":"VARIANT"}"#, "column `extra`: the type `VARIANT` is unknown"),
            (r#"{"type":"CHAR"}"#, "column `extra`: a type lacks `length`"),
            (
                r#"{"type":"DECIMAL","precision":99,"scale":2}"#,
                "the type of column `extra` is invalid: DECIMAL precision 99 is out of range",
            ),
        ] {
            let columns = format!(r#"[{{"name":"extra","data_type":{data_type}}}]"#);
            let json = format!(r#"{{"schema":{{"columns":{columns}}}}}"#);
            let answer =
                GetTableInfoResponse { table_json: json.into(), ..GetTableInfoResponse::default() };
            let body = answer.encode_to_vec();
            // What a client says of the answer, and what is said to whoever reads it later.
            let check = describe(&path).check.expect("the answer is looked at");
            let error = check(&body).expect_err("no table");
            assert!(error.contains(reason), "{error}");
            let error = TableInfo::from_answer(path.clone(), &CommandAnswer::Body(body.into()));
            let error = error.expect_err("no table").to_string();
            assert!(error.contains("shop.events") && error.contains(reason), "{error}");
        }
    }
}
