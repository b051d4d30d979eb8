//! Servers, databases and the end of tables.

use std::fmt::Write as _;

use fluss_core::ids::ServerId;
use fluss_core::{ApiRange, Ping};

use super::Work;
use super::args::Args;
use super::failure::{Failure, Problem, Result, Status};
use super::json::quoted;
use super::output::Output;
use super::session::Session;

/// The APIs between servers, which clients have no other use for than their names here.
const BETWEEN_SERVERS: [(i32, &str); 13] = [
    (1013, "UPDATE_METADATA"),
    (1018, "NOTIFY_LEADER_AND_ISR"),
    (1019, "STOP_REPLICA"),
    (1020, "ADJUST_ISR"),
    (1022, "COMMIT_KV_SNAPSHOT"),
    (1027, "COMMIT_REMOTE_LOG_MANIFEST"),
    (1028, "NOTIFY_REMOTE_LOG_OFFSETS"),
    (1029, "NOTIFY_KV_SNAPSHOT_OFFSET"),
    (1030, "COMMIT_LAKE_TABLE_SNAPSHOT"),
    (1031, "NOTIFY_LAKE_TABLE_OFFSET"),
    (1042, "LAKE_TIERING_HEARTBEAT"),
    (1043, "CONTROLLED_SHUTDOWN"),
    (1052, "PREPARE_LAKE_TABLE_SNAPSHOT"),
];

/// The name of an API; its number if it is of servers to come.
fn api_name(api: &ApiRange) -> String {
    let between = || BETWEEN_SERVERS.iter().find(|(number, _)| *number == api.number);
    let name = api.name.or_else(|| between().map(|(_, name)| *name));
    name.map_or_else(|| api.number.to_string(), str::to_owned)
}

pub(crate) fn ping(session: &Session, out: &mut Output) -> Result<Status> {
    let pings = session.call(session.fluss.admin().ping())?;
    for ping in &pings {
        out.line(&ping_line(ping))?;
    }
    Ok(Status::of(pings.iter().all(|ping| ping.apis.is_ok())))
}

/// An object with the server's APIs, or with the reason why it did not tell them.
fn ping_line(ping: &Ping) -> String {
    let info = &ping.info;
    let role = match info.server {
        ServerId::Coordinator => "coordinator",
        ServerId::Tablet(_) | ServerId::Bootstrap(_) => "tablet_server",
    };
    let address = quoted(&info.address.to_string());
    let mut line = format!(r#"{{"address":{address},"role":"{role}","id":{}"#, info.node_id);
    match &ping.apis {
        Ok(apis) => {
            line.push_str(",\"apis\":{");
            for (index, api) in apis.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                let name = quoted(&api_name(api));
                // Writing to a String cannot fail.
                let _ = write!(line, "{comma}{name}:[{},{}]", api.min, api.max);
            }
            line.push('}');
        }
        Err(error) => {
            line.push_str(",\"error\":");
            Problem::from(error).push_json(&mut line);
        }
    }
    line.push('}');
    line
}

pub(crate) fn databases(session: &Session, out: &mut Output) -> Result<Status> {
    print_names(out, &session.call(session.fluss.admin().list_databases())?)
}

fn print_names(out: &mut Output, names: &[String]) -> Result<Status> {
    names.iter().try_for_each(|name| out.line(name))?;
    Ok(Status::Done)
}

fn database(args: &Args) -> Result<String> {
    match args.argument(0) {
        "" => Err(Failure::usage("the name of a database cannot be empty")),
        name => Ok(name.to_owned()),
    }
}

pub(crate) fn tables(args: &Args) -> Result<Work<'_>> {
    let database = database(args)?;
    Ok(Box::new(move |session, out| {
        print_names(out, &session.call(session.fluss.admin().list_tables(&database))?)
    }))
}

pub(crate) fn create_database(args: &Args) -> Result<Work<'_>> {
    let (database, ignore) = (database(args)?, args.has("if-not-exists"));
    Ok(Box::new(move |session, _| {
        session.call(session.fluss.admin().create_database(&database, ignore))?;
        Ok(Status::Done)
    }))
}

pub(crate) fn drop_database(args: &Args) -> Result<Work<'_>> {
    let (database, ignore) = (database(args)?, args.has("if-exists"));
    let cascade = args.has("cascade");
    Ok(Box::new(move |session, _| {
        session.call(session.fluss.admin().drop_database(&database, ignore, cascade))?;
        Ok(Status::Done)
    }))
}

pub(crate) fn drop_table(args: &Args) -> Result<Work<'_>> {
    let (table, ignore) = (args.table()?, args.has("if-exists"));
    Ok(Box::new(move |session, _| {
        session.call(session.fluss.admin().drop_table(table, ignore))?;
        Ok(Status::Done)
    }))
}
