//! The servers of the cluster, one by one.

use fluss_proto::api::ApiKey;
use fluss_proto::message::{ApiVersionsRequest, ApiVersionsResponse, PbApiVersion};
use prost::Message;

use super::admin::{Admin, ServerInfo};
use super::fluss::decode;
use super::pending::{CommandFuture, Pending};
use crate::command::{Call, Target};
use crate::error::Result;
use crate::time::Duration;

/// The answer of one server to a ping.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Ping {
    /// The server.
    pub info: ServerInfo,
    /// The APIs it offers, by number, or why it did not answer.
    pub apis: Result<Vec<ApiRange>>,
}

/// An API as a server offers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiRange {
    /// Its number.
    pub number: i32,
    /// Its name; None for one this client does not know.
    pub name: Option<&'static str>,
    /// The lowest version the server accepts.
    pub min: i32,
    /// The highest version the server accepts.
    pub max: i32,
    /// The version this client uses with that server; None if they have none in common.
    pub used: Option<i16>,
}

impl Admin {
    /// The coordinator and the tablet servers that are alive.
    ///
    /// # Errors
    /// [`Error::Peer`](crate::Error::Peer) for a server listed at a port that cannot be; see also
    /// [`Admin`].
    pub fn servers(&self) -> Pending<Vec<ServerInfo>> {
        let fluss = self.fluss.clone();
        Pending::new(&self.fluss, async move { fluss.list_servers().await })
    }

    /// Asks every server for its APIs, over a connection to that very server. A server that does
    /// not answer within [`Config::connect_timeout`](crate::config::Config::connect_timeout) and a
    /// second has its reason in [`Ping::apis`].
    ///
    /// # Errors
    /// If no server tells who is in the cluster.
    pub fn ping(&self) -> Pending<Vec<Ping>> {
        let fluss = self.fluss.clone();
        Pending::new(&self.fluss, async move {
            let servers = fluss.list_servers().await?;
            let limit = fluss.config(|c| c.connect_timeout) + Duration::from_secs(1);
            let start = |info: ServerInfo| {
                let request = ApiVersionsRequest {
                    client_software_name: "fluss-core".to_owned(),
                    client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
                };
                let body = request.encode_to_vec().into();
                let target = Target::Server(info.server);
                let call = Call::new(ApiKey::ApiVersions, body, target, "API_VERSIONS");
                let mut call = call.answered_by::<ApiVersionsResponse>();
                call.limit = limit;
                (info, CommandFuture::start(fluss.shared(), call))
            };
            let futures: Vec<_> = servers.into_iter().map(start).collect();
            let mut pings = Vec::with_capacity(futures.len());
            for (info, future) in futures {
                let answer = future.await.and_then(|answer| decode(answer, "API_VERSIONS"));
                pings.push(Ping { info, apis: answer.map(|answer| api_ranges(&answer)) });
            }
            Ok(pings)
        })
    }
}

fn api_ranges(answer: &ApiVersionsResponse) -> Vec<ApiRange> {
    let range = |offer: &PbApiVersion| {
        let api = i16::try_from(offer.api_key).ok().and_then(ApiKey::from_number);
        let used = api.and_then(|api| {
            let ours = api.versions();
            let highest = i16::try_from(offer.max_version.min(i32::from(ours.max))).ok()?;
            (highest >= ours.min && i32::from(highest) >= offer.min_version).then_some(highest)
        });
        ApiRange {
            number: offer.api_key,
            name: api.map(ApiKey::name),
            min: offer.min_version,
            max: offer.max_version,
            used,
        }
    };
    let mut ranges: Vec<ApiRange> = answer.api_versions.iter().map(range).collect();
    ranges.sort_by_key(|range| range.number);
    ranges
}
