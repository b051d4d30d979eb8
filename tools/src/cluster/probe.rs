//! The few requests the launcher needs to know whether a cluster is ready.
//!
//! One blocking connection a request, on the open listener: this must work without the client
//! whose tests it serves.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use fluss_proto::message::{
    CreateTableRequest, ErrorResponse, MetadataRequest, MetadataResponse, PbBucketMetadata,
    PbPhysicalTablePath, PbTablePath,
};
use prost::Message;

use super::ClusterError;
use super::place::chance;

const CREATE_TABLE: i16 = 1005;
const GET_METADATA: i16 = 1012;

const CONNECT_LIMIT: Duration = Duration::from_secs(2);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The metadata of a few servers and one table is far below this.
const MAX_ANSWER: u32 = 16 * 1024 * 1024;

/// `DATABASE_NOT_EXIST`.
const NO_DATABASE: i32 = 4;

/// Whether something accepts connections at the port.
pub(super) fn is_open(port: u16) -> bool {
    TcpStream::connect_timeout(&loopback(port), CONNECT_LIMIT).is_ok()
}

/// What the server at `port` says about the cluster and, if given, about one table.
pub(super) fn metadata(
    port: u16,
    table: Option<&PbPhysicalTablePath>,
) -> Result<MetadataResponse, ClusterError> {
    let mut request = MetadataRequest::default();
    match table {
        Some(path) if path.partition_name.is_some() => request.partitions_path.push(path.clone()),
        Some(path) => request.table_path.push(PbTablePath {
            database_name: path.database_name.clone(),
            table_name: path.table_name.clone(),
        }),
        None => {}
    }
    let body = call(port, GET_METADATA, "metadata", &request.encode_to_vec())?;
    MetadataResponse::decode(body.as_slice()).map_err(|error| ClusterError::Answer {
        address: loopback(port).to_string(),
        what: format!("metadata that does not parse: {error}"),
    })
}

/// What an answer says of the buckets of the table or partition.
pub(super) fn buckets<'a>(
    answer: &'a MetadataResponse,
    table: &PbPhysicalTablePath,
) -> Vec<&'a PbBucketMetadata> {
    match &table.partition_name {
        None => {
            let tables = answer.table_metadata.iter();
            tables
                .filter(|t| {
                    t.table_path.database_name == table.database_name
                        && t.table_path.table_name == table.table_name
                })
                .flat_map(|t| &t.bucket_metadata)
                .collect()
        }
        Some(name) => {
            let partitions = answer.partition_metadata.iter();
            partitions
                .filter(|p| p.partition_name == *name)
                .flat_map(|p| &p.bucket_metadata)
                .collect()
        }
    }
}

/// Asks the coordinator for a table with one replica on each of `tablet_servers`, in a database
/// that does not exist: it refuses the number of replicas while it knows fewer servers, and only
/// then looks for the database. So nothing is made that would have to be dropped again, which the
/// server does badly just after a creation. Returns what is missing.
pub(super) fn missing_for_tables(
    port: u16,
    tablet_servers: usize,
) -> Result<Option<String>, ClusterError> {
    let request = CreateTableRequest {
        table_path: PbTablePath {
            database_name: format!("launcher-probe-{:016x}", chance()),
            table_name: "probe".to_owned(),
        },
        table_json: probe_table(tablet_servers).into(),
        ignore_if_exists: false,
    };
    let what = "the creation of a probe table";
    match call(port, CREATE_TABLE, what, &request.encode_to_vec()) {
        Err(ClusterError::Refused { code: NO_DATABASE, .. }) => Ok(None),
        // Besides too few servers (17), newer coordinators are not the leader yet (65).
        Err(error @ (ClusterError::Refused { .. } | ClusterError::Io { .. })) => {
            Ok(Some(error.to_string()))
        }
        Err(error) => Err(error),
        Ok(_) => Err(ClusterError::Answer {
            address: loopback(port).to_string(),
            what: format!("{what} in a database that does not exist with success"),
        }),
    }
}

/// The descriptor of a log table of one BIGINT column and one bucket.
fn probe_table(replicas: usize) -> String {
    format!(
        r#"{{"version":1,"schema":{{"version":1,"columns":[
        {{"name":"id","data_type":{{"type":"BIGINT"}},"id":0}}],"highest_field_id":0}},
        "partition_key":[],"bucket_key":[],"bucket_count":1,
        "properties":{{"table.replication.factor":"{replicas}"}},"custom_properties":{{}}}}"#
    )
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn call(port: u16, key: i16, what: &str, body: &[u8]) -> Result<Vec<u8>, ClusterError> {
    let frame = exchange(port, key, body).map_err(|error| {
        ClusterError::io(format!("{what}: no answer from {}", loopback(port)), &error)
    })?;
    interpret(&frame, what).unwrap_or_else(|| {
        Err(ClusterError::Answer {
            address: loopback(port).to_string(),
            what: format!("{what} with something that is no Fluss frame"),
        })
    })
}

/// Sends one request and returns the answer behind its length field.
fn exchange(port: u16, key: i16, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&loopback(port), CONNECT_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    stream.write_all(&request_frame(key, body)?)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_ANSWER {
        let text = format!("an answer of {length} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut frame = Vec::new();
    // The buffer grows with what arrives, whatever the length field says.
    stream.take(u64::from(length)).read_to_end(&mut frame)?;
    if frame.len() < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(frame)
}

fn request_frame(key: i16, body: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(8 + body.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "request too long"))?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(&key.to_be_bytes());
    // Version 0 of every request, and id 0: there is one request a connection.
    frame.extend_from_slice(&[0; 6]);
    frame.extend_from_slice(body);
    Ok(frame)
}

/// The body of a success frame or the error of the others; none for anything else.
fn interpret(frame: &[u8], what: &str) -> Option<Result<Vec<u8>, ClusterError>> {
    let error = match frame {
        [0, _, _, _, _, body @ ..] => return Some(Ok(body.to_vec())),
        [1, _, _, _, _, body @ ..] | [2, body @ ..] => ErrorResponse::decode(body).ok()?,
        _ => return None,
    };
    Some(Err(ClusterError::Refused {
        what: what.to_owned(),
        code: error.error_code,
        message: error.error_message.unwrap_or_default(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_frame_has_the_length_of_what_follows() {
        let frame = request_frame(GET_METADATA, &[]).unwrap();
        assert_eq!(frame, [0, 0, 0, 8, 3, 0xf4, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn success_error_and_failure_frames_are_told_apart() {
        assert_eq!(interpret(&[0, 0, 0, 0, 0, 7], "it"), Some(Ok(vec![7])));
        let refused = |code| {
            Some(Err(ClusterError::Refused { what: "it".to_owned(), code, message: String::new() }))
        };
        assert_eq!(interpret(&[1, 0, 0, 0, 0, 8, 17], "it"), refused(17));
        let failure = [2, 8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        assert_eq!(interpret(&failure, "it"), refused(-1));
        for bad in [&[][..], &[0, 0], &[3, 0, 0, 0, 0], &[1, 0, 0, 0, 0, 255]] {
            assert_eq!(interpret(bad, "it"), None, "{bad:?}");
        }
    }

    #[test]
    fn the_probe_table_is_valid_json() {
        let value: serde_json::Value = serde_json::from_str(&probe_table(3)).unwrap();
        assert_eq!(value["properties"]["table.replication.factor"], "3");
    }
}
