//! The authorizer: who may do what, where
//! [`super_users`](super::ClusterOptions::super_users) says that anybody asks.

use fluss_proto::message::{
    AlterTableRequest, CreateAclsRequest, CreateAclsResponse, CreatePartitionRequest,
    CreateTableRequest, DropAclsRequest, DropAclsResponse, DropDatabaseRequest,
    DropPartitionRequest, DropTableRequest, GetDatabaseInfoRequest, GetTableInfoRequest,
    GetTableSchemaRequest, GetTableStatsRequest, InitWriterRequest, LimitScanRequest,
    ListOffsetsRequest, ListPartitionInfosRequest, LookupRequest, PbAclFilter, PbAclInfo,
    PbCreateAclRespInfo, PbDropAclsFilterResult, PbDropAclsMatchingAcl, PbTablePath,
    ProduceLogRequest, PutKvRequest,
};
use prost::Message;

use super::api::{code, key};
use super::conn::Request;
use super::ddl::path_of;
use super::dispatch::inserts;
use super::write::tablet;
use super::{Answer, Failure, FakeCluster, Release, names, words};
use crate::ids::{ConnId, TablePath};

/// Operations as access control entries name them.
pub(super) mod operation {
    pub(crate) const ALL: i32 = 2;
    pub(crate) const READ: i32 = 3;
    pub(crate) const WRITE: i32 = 4;
    pub(crate) const CREATE: i32 = 5;
    pub(crate) const DROP: i32 = 6;
    pub(crate) const ALTER: i32 = 7;
    pub(crate) const DESCRIBE: i32 = 8;
}
use operation::*;

/// What fits everything: the name, and in filters the number.
const ANY_NAME: &str = "*";
const ANY: i32 = 1;

/// What an operation is done to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Resource<'a> {
    Cluster,
    Database(&'a str),
    Table(&'a TablePath),
}

impl Resource<'_> {
    /// Whether an entry is about this or about what contains it.
    fn is_covered_by(self, acl: &PbAclInfo) -> bool {
        let database = match self {
            Self::Cluster => None,
            Self::Database(name) => Some(name),
            Self::Table(path) => Some(&*path.database),
        };
        let named = |name: &str| acl.resource_name == ANY_NAME || acl.resource_name == name;
        match acl.resource_type {
            2 => true,
            3 => database.is_some_and(named),
            4 => matches!(self, Self::Table(path) if named(&path.to_string())),
            _ => false,
        }
    }
}

/// Whether an entry for one operation allows another one.
fn implies(granted: i32, wanted: i32) -> bool {
    let describes = matches!(granted, READ | WRITE | CREATE | DROP | ALTER);
    granted == ALL || granted == wanted || (wanted == DESCRIBE && describes)
}

impl FakeCluster {
    /// Whether the user of a connection may do this.
    pub(super) fn may(&self, conn: ConnId, operation: i32, resource: Resource<'_>) -> bool {
        let Some(super_users) = &self.options.super_users else { return true };
        let user = self.conns.get(&conn).map_or("", |conn| &conn.user);
        super_users.iter().any(|name| name == user)
            || self.catalog.acls.iter().any(|acl| {
                (acl.principal_name == ANY_NAME || acl.principal_name == user)
                    && resource.is_covered_by(acl)
                    && implies(acl.operation_type, operation)
            })
    }

    fn authorize(&self, conn: ConnId, operation: i32, resource: Resource<'_>) -> Answer<()> {
        if self.may(conn, operation, resource) {
            return Ok(());
        }
        let user = self.conns.get(&conn).map_or("", |conn| &conn.user);
        let message = words::not_authorized(user, operation, resource);
        Err(Failure::new(code::AUTHORIZATION, message))
    }

    /// The same for a table of which the id is known: 21 if no table has it.
    pub(super) fn authorize_table(&self, conn: ConnId, operation: i32, table: i64) -> Answer<()> {
        if self.options.super_users.is_none() {
            return Ok(());
        }
        let path = self.path_for(conn, table)?;
        self.authorize(conn, operation, Resource::Table(path))
    }

    /// The same for a request that reads from several tables or buckets, of which each is answered.
    pub(super) fn may_read(&self, conn: ConnId, table: i64) -> Answer<()> {
        if self.options.super_users.is_none() {
            return Ok(());
        }
        let path = self.path_for(conn, table)?;
        if self.may(conn, READ, Resource::Table(path)) {
            return Ok(());
        }
        Err(Failure::new(code::AUTHORIZATION, words::no_permission(READ, path)))
    }

    fn path_for(&self, conn: ConnId, table: i64) -> Answer<&TablePath> {
        let server = self.conns.get(&conn).map_or(-1, |conn| tablet(conn.server));
        let unknown = || words::unknown_table(server, table);
        let path = self.catalog.paths.get(&table);
        path.ok_or_else(|| Failure::new(code::UNKNOWN_TABLE_OR_BUCKET, unknown()))
    }

    /// Refuses requests that are refused as a whole. Those that read from several buckets are
    /// answered for each, and lists leave out what the user may not see.
    pub(super) fn authorize_request(&self, conn: ConnId, request: &Request) -> Answer<()> {
        if self.options.super_users.is_none() {
            return Ok(());
        }
        // A body that cannot be read is dropped later.
        self.authorized(conn, request).unwrap_or(Ok(()))
    }

    fn authorized(&self, conn: ConnId, request: &Request) -> Option<Answer<()>> {
        let body = request.body.clone();
        let on = |operation, path: &PbTablePath| {
            self.authorize(conn, operation, Resource::Table(&path_of(path)))
        };
        Some(match request.api {
            key::PRODUCE_LOG => {
                let id = ProduceLogRequest::decode(body).ok()?.table_id;
                self.authorize_table(conn, WRITE, id)
            }
            key::PUT_KV => {
                self.authorize_table(conn, WRITE, PutKvRequest::decode(body).ok()?.table_id)
            }
            key::LOOKUP if inserts(&request.body) => {
                self.authorize_table(conn, WRITE, LookupRequest::decode(body).ok()?.table_id)
            }
            key::INIT_WRITER => self.may_init(conn, &InitWriterRequest::decode(body).ok()?),
            key::LIMIT_SCAN => {
                self.authorize_table(conn, READ, LimitScanRequest::decode(body).ok()?.table_id)
            }
            key::GET_TABLE_STATS => {
                self.authorize_table(conn, READ, GetTableStatsRequest::decode(body).ok()?.table_id)
            }
            key::LIST_OFFSETS if self.options.release >= Release::V1_0 => {
                let id = ListOffsetsRequest::decode(body).ok()?.table_id;
                self.authorize_table(conn, DESCRIBE, id)
            }
            key::GET_TABLE_INFO => {
                on(DESCRIBE, &GetTableInfoRequest::decode(body).ok()?.table_path)
            }
            key::GET_TABLE_SCHEMA => {
                on(DESCRIBE, &GetTableSchemaRequest::decode(body).ok()?.table_path)
            }
            key::LIST_PARTITION_INFOS => {
                on(DESCRIBE, &ListPartitionInfosRequest::decode(body).ok()?.table_path)
            }
            key::CREATE_PARTITION => {
                on(WRITE, &CreatePartitionRequest::decode(body).ok()?.table_path)
            }
            key::DROP_PARTITION => on(WRITE, &DropPartitionRequest::decode(body).ok()?.table_path),
            key::DROP_TABLE => on(DROP, &DropTableRequest::decode(body).ok()?.table_path),
            // A wrong path is refused whoever asks.
            key::CREATE_TABLE => {
                let path = path_of(&CreateTableRequest::decode(body).ok()?.table_path);
                names::check_path(&path)
                    .and_then(|()| self.authorize(conn, CREATE, Resource::Database(&path.database)))
            }
            key::ALTER_TABLE => {
                let path = path_of(&AlterTableRequest::decode(body).ok()?.table_path);
                names::check_path(&path)
                    .and_then(|()| self.authorize(conn, ALTER, Resource::Table(&path)))
            }
            key::CREATE_DATABASE => self.authorize(conn, CREATE, Resource::Cluster),
            key::DROP_DATABASE => {
                let name = DropDatabaseRequest::decode(body).ok()?.database_name;
                self.authorize(conn, DROP, Resource::Database(&name))
            }
            key::GET_DATABASE_INFO => {
                let name = GetDatabaseInfoRequest::decode(body).ok()?.database_name;
                self.authorize(conn, DESCRIBE, Resource::Database(&name))
            }
            _ => Ok(()),
        })
    }

    /// One table that may be written is enough; none is not, whoever asks.
    fn may_init(&self, conn: ConnId, request: &InitWriterRequest) -> Answer<()> {
        let paths: Vec<TablePath> = request.table_path.iter().map(path_of).collect();
        if paths.iter().any(|path| self.may(conn, WRITE, Resource::Table(path))) {
            return Ok(());
        }
        Err(Failure::new(code::AUTHORIZATION, words::none_writable(&paths)))
    }

    fn needs_authorizer(&self) -> Answer<()> {
        match self.options.super_users {
            Some(_) => Ok(()),
            None => Err(Failure::new(code::SECURITY_DISABLED, words::NO_AUTHORIZER)),
        }
    }

    /// Whether the user may change who may do what to the resource of an entry.
    fn authorize_acl(&self, conn: ConnId, resource_type: i32, name: &str) -> Answer<()> {
        let needed = if self.options.release >= Release::V1_0 { ALL } else { ALTER };
        match (resource_type, name.split_once('.')) {
            (3, _) => self.authorize(conn, needed, Resource::Database(name)),
            (4, Some((database, table))) => {
                let path = TablePath::new(database, table);
                self.authorize(conn, needed, Resource::Table(&path))
            }
            _ => self.authorize(conn, needed, Resource::Cluster),
        }
    }

    pub(super) fn create_acls(
        &mut self,
        conn: ConnId,
        request: CreateAclsRequest,
    ) -> Answer<CreateAclsResponse> {
        self.needs_authorizer()?;
        let mut acl_res = Vec::with_capacity(request.acl.len());
        for acl in request.acl {
            let allowed = self.authorize_acl(conn, acl.resource_type, &acl.resource_name);
            if allowed.is_ok() && !self.catalog.acls.contains(&acl) {
                self.catalog.acls.push(acl.clone());
            }
            let (error_code, error_message) = super::bucket_error(&allowed);
            let error_code = error_code.or(Some(0));
            acl_res.push(PbCreateAclRespInfo { acl, error_code, error_message });
        }
        Ok(CreateAclsResponse { acl_res })
    }

    pub(super) fn drop_acls(
        &mut self,
        conn: ConnId,
        request: &DropAclsRequest,
    ) -> Answer<DropAclsResponse> {
        self.needs_authorizer()?;
        let filter_results = request.acl_filter.iter().map(|filter| {
            let acls = self.catalog.acls.iter().filter(|acl| fits(filter, acl)).cloned();
            let matching_acls = acls.collect::<Vec<_>>().into_iter().map(|acl| {
                let allowed = self.authorize_acl(conn, acl.resource_type, &acl.resource_name);
                if allowed.is_ok() {
                    self.catalog.acls.retain(|other| *other != acl);
                }
                let (error_code, error_message) = super::bucket_error(&allowed);
                PbDropAclsMatchingAcl { acl, error_code, error_message }
            });
            PbDropAclsFilterResult { matching_acls: matching_acls.collect(), ..Default::default() }
        });
        Ok(DropAclsResponse { filter_results: filter_results.collect() })
    }
}

fn fits(filter: &PbAclFilter, acl: &PbAclInfo) -> bool {
    let name = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|w| w == name);
    let number = |wanted: i32, number: i32| wanted == ANY || wanted == number;
    let principal = match (&filter.principal_name, &filter.principal_type) {
        (Some(name), Some(kind)) => *name == acl.principal_name && *kind == acl.principal_type,
        _ => true,
    };
    principal
        && name(&filter.resource_name, &acl.resource_name)
        && name(&filter.host, &acl.host)
        && number(filter.resource_type, acl.resource_type)
        && number(filter.operation_type, acl.operation_type)
        && number(filter.permission_type, acl.permission_type)
}
