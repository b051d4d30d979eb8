//! Requests and responses as a client sees them; [`crate::server`] has the other direction.

use bytes::{Buf, Bytes};
use prost::Message;

use crate::api::ApiKey;
use crate::error_code::ServerError;
use crate::header::{DecodeError, EncodeError, LENGTH_BYTES, RequestHeader, ResponseHeader};
use crate::message;

/// A message that is the request of an API.
///
/// It ties together the three things that belong to a request: its number, its body and the body
/// of the answer. A response names none of them, so a client must remember per request id what
/// it asked.
pub trait Request: Message + Default {
    /// The API.
    const API: ApiKey;
    /// The answer of the server, unless it answers with an error.
    type Response: Message + Default;
}

macro_rules! requests {
    ($($api:ident: $request:ident => $response:ident;)+) => {
        $(impl Request for message::$request {
            const API: ApiKey = ApiKey::$api;
            type Response = message::$response;
        })+

        #[cfg(test)]
        const ALL: &[ApiKey] = &[$(<message::$request as Request>::API),+];
    };
}

requests! {
    ApiVersions: ApiVersionsRequest => ApiVersionsResponse;
    CreateDatabase: CreateDatabaseRequest => CreateDatabaseResponse;
    DropDatabase: DropDatabaseRequest => DropDatabaseResponse;
    ListDatabases: ListDatabasesRequest => ListDatabasesResponse;
    DatabaseExists: DatabaseExistsRequest => DatabaseExistsResponse;
    CreateTable: CreateTableRequest => CreateTableResponse;
    DropTable: DropTableRequest => DropTableResponse;
    GetTableInfo: GetTableInfoRequest => GetTableInfoResponse;
    ListTables: ListTablesRequest => ListTablesResponse;
    ListPartitionInfos: ListPartitionInfosRequest => ListPartitionInfosResponse;
    TableExists: TableExistsRequest => TableExistsResponse;
    GetTableSchema: GetTableSchemaRequest => GetTableSchemaResponse;
    GetMetadata: MetadataRequest => MetadataResponse;
    ProduceLog: ProduceLogRequest => ProduceLogResponse;
    FetchLog: FetchLogRequest => FetchLogResponse;
    PutKv: PutKvRequest => PutKvResponse;
    Lookup: LookupRequest => LookupResponse;
    ListOffsets: ListOffsetsRequest => ListOffsetsResponse;
    GetLatestKvSnapshots: GetLatestKvSnapshotsRequest => GetLatestKvSnapshotsResponse;
    GetKvSnapshotMetadata: GetKvSnapshotMetadataRequest => GetKvSnapshotMetadataResponse;
    GetFileSystemSecurityToken:
        GetFileSystemSecurityTokenRequest => GetFileSystemSecurityTokenResponse;
    InitWriter: InitWriterRequest => InitWriterResponse;
    GetLakeSnapshot: GetLakeSnapshotRequest => GetLakeSnapshotResponse;
    LimitScan: LimitScanRequest => LimitScanResponse;
    PrefixLookup: PrefixLookupRequest => PrefixLookupResponse;
    GetDatabaseInfo: GetDatabaseInfoRequest => GetDatabaseInfoResponse;
    CreatePartition: CreatePartitionRequest => CreatePartitionResponse;
    DropPartition: DropPartitionRequest => DropPartitionResponse;
    Authenticate: AuthenticateRequest => AuthenticateResponse;
    CreateAcls: CreateAclsRequest => CreateAclsResponse;
    ListAcls: ListAclsRequest => ListAclsResponse;
    DropAcls: DropAclsRequest => DropAclsResponse;
    AlterTable: AlterTableRequest => AlterTableResponse;
    DescribeClusterConfigs: DescribeClusterConfigsRequest => DescribeClusterConfigsResponse;
    AlterClusterConfigs: AlterClusterConfigsRequest => AlterClusterConfigsResponse;
    AddServerTag: AddServerTagRequest => AddServerTagResponse;
    RemoveServerTag: RemoveServerTagRequest => RemoveServerTagResponse;
    Rebalance: RebalanceRequest => RebalanceResponse;
    ListRebalanceProgress: ListRebalanceProgressRequest => ListRebalanceProgressResponse;
    CancelRebalance: CancelRebalanceRequest => CancelRebalanceResponse;
    RegisterProducerOffsets: RegisterProducerOffsetsRequest => RegisterProducerOffsetsResponse;
    GetProducerOffsets: GetProducerOffsetsRequest => GetProducerOffsetsResponse;
    DeleteProducerOffsets: DeleteProducerOffsetsRequest => DeleteProducerOffsetsResponse;
    AcquireKvSnapshotLease: AcquireKvSnapshotLeaseRequest => AcquireKvSnapshotLeaseResponse;
    ReleaseKvSnapshotLease: ReleaseKvSnapshotLeaseRequest => ReleaseKvSnapshotLeaseResponse;
    DropKvSnapshotLease: DropKvSnapshotLeaseRequest => DropKvSnapshotLeaseResponse;
    GetTableStats: GetTableStatsRequest => GetTableStatsResponse;
    AlterDatabase: AlterDatabaseRequest => AlterDatabaseResponse;
    ScanKv: ScanKvRequest => ScanKvResponse;
    GetClusterHealth: GetClusterHealthRequest => GetClusterHealthResponse;
    ListRemoteLogManifests: ListRemoteLogManifestsRequest => ListRemoteLogManifestsResponse;
    ListKvSnapshots: ListKvSnapshotsRequest => ListKvSnapshotsResponse;
    AddServerTagByRack: AddServerTagByRackRequest => AddServerTagByRackResponse;
    RemoveServerTagByRack: RemoveServerTagByRackRequest => RemoveServerTagByRackResponse;
}

/// An answer of a server.
#[derive(Debug, Clone, PartialEq)]
pub struct Response<T> {
    /// Says which request is answered, if any.
    pub header: ResponseHeader,
    /// The message of the API, or the error for the request or the connection.
    pub result: Result<T, ServerError>,
}

/// A whole request on the wire: length, header and body.
///
/// Requests that carry record batches have a cheaper way, [`crate::write`], that does not copy
/// the batches.
///
/// # Errors
///
/// [`EncodeError::TooLong`] if the request exceeds the 2 GiB of the protocol. Servers have lower
/// limits, by default 100 MiB for the whole frame.
///
/// ```
/// use fluss_proto::message::ApiVersionsRequest;
/// use fluss_proto::request::encode_request;
///
/// let request = ApiVersionsRequest {
///     client_software_name: "fl".into(),
///     client_software_version: "1".into(),
/// };
/// let wire = encode_request(0, 0, &request)?;
/// assert_eq!(&wire[..], b"\0\0\0\x0f\x03\xe8\0\0\0\0\0\0\x0a\x02fl\x12\x011");
/// # Ok::<(), fluss_proto::header::EncodeError>(())
/// ```
pub fn encode_request<R: Request>(
    request_id: i32,
    version: i16,
    request: &R,
) -> Result<Bytes, EncodeError> {
    let header = RequestHeader { api_key: R::API.number(), api_version: version, request_id };
    let body = request.encoded_len();
    let prefix = header.to_wire(body)?;
    let mut wire = Vec::with_capacity(LENGTH_BYTES + RequestHeader::BYTES + body);
    wire.extend_from_slice(&prefix);
    request.encode_raw(&mut wire);
    Ok(wire.into())
}

/// Decodes a response frame to a request of type `R`.
///
/// `bytes` fields of the result are slices of the frame and keep it alive.
///
/// # Errors
///
/// [`DecodeError`]; it tells whether the connection is lost with it.
pub fn decode_response<R: Request>(frame: Bytes) -> Result<Response<R::Response>, DecodeError> {
    let (header, body) = ResponseHeader::split(frame)?;
    Ok(Response { header, result: decode_response_body::<R>(header, body)? })
}

/// Decodes the body of a response whose header was split off before, with
/// [`ResponseHeader::split`], in order to find out what `R` is.
///
/// # Errors
///
/// [`DecodeError::Body`] if the body is not the expected message.
pub fn decode_response_body<R: Request>(
    header: ResponseHeader,
    body: Bytes,
) -> Result<Result<R::Response, ServerError>, DecodeError> {
    match header {
        ResponseHeader::Success { .. } => decode_message(body).map(Ok),
        ResponseHeader::Error { .. } | ResponseHeader::ServerFailure => decode_error(body).map(Err),
    }
}

/// Decodes the body of an error response or of a server failure.
///
/// # Errors
///
/// [`DecodeError::Body`] if the body is not such an error.
pub fn decode_error(body: Bytes) -> Result<ServerError, DecodeError> {
    decode_message::<message::ErrorResponse>(body).map(ServerError::from)
}

pub(crate) fn decode_message<M: Message + Default>(body: impl Buf) -> Result<M, DecodeError> {
    M::decode(body).map_err(|source| DecodeError::Body { message: short_name::<M>(), source })
}

/// The name of a message without its module.
fn short_name<M>() -> &'static str {
    let name = std::any::type_name::<M>();
    name.rsplit("::").next().unwrap_or(name)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
