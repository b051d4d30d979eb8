//! How a command ends when it does not end well.

use std::fmt::Write as _;

use fluss_core::{Error, WriteError};

use super::field_names::explained;
use super::json;

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments are wrong, whatever the cluster holds. An option that does not suit the kind
    /// of a table is no such thing: it may suit the next one.
    #[error("{0}")]
    Usage(String),
    /// The work failed, for a reason of the command line itself.
    #[error("{0}")]
    Failed(String),
    /// The client said why.
    #[error(transparent)]
    Client(Error),
    /// A signal came.
    #[error("interrupted")]
    Interrupted,
    /// Nobody reads standard output any more.
    #[error("standard output was closed")]
    OutputClosed,
}

impl Failure {
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }

    /// The exit code of the process.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) | Self::Client(_) => 1,
            Self::Interrupted => 130,
            Self::OutputClosed => 0,
        }
    }
}

impl From<Error> for Failure {
    /// Settings come from the arguments, under other names than the client has for them.
    fn from(error: Error) -> Self {
        let Error::Config(problems) = &error else { return Self::Client(error) };
        let problems: Vec<String> = problems.iter().map(|problem| explained(problem)).collect();
        Self::Usage(format!("invalid settings: {}", problems.join("; ")))
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

/// The result of a step of a command.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// How a command ended that ran to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Done,
    /// Part of the work failed; the output or standard error has said so.
    Partly,
}

impl Status {
    pub(crate) fn of(all_done: bool) -> Self {
        if all_done { Self::Done } else { Self::Partly }
    }
}

/// What a row or key that did not make it says in the output.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Problem {
    pub(crate) code: Option<i32>,
    pub(crate) name: &'static str,
    pub(crate) message: String,
}

/// The names of errors that no server made, with what they mean; `fluss help errors` prints them.
pub(crate) const NAMES: &[(&str, &str)] = &[
    ("INVALID_JSON", "the line is no JSON object"),
    ("ROW_DOES_NOT_FIT", "the row does not fit the table: an unknown field, a wrong type or value"),
    ("MISUSE", "the call cannot be made in this way; the message says what to do instead"),
    ("INVALID_SETTINGS", "settings contradict each other or the rules"),
    ("INVALID_BATCH", "a batch cannot be encoded or decoded"),
    ("NO_VERSION_IN_COMMON", "a server and this client have no version of an API in common"),
    ("NO_SERVER", "none of the servers is of use, for different reasons; the message tells each"),
    ("PROTOCOL_VIOLATION", "a server sent something that is no answer of a Fluss server"),
    ("REMOTE_STORAGE", "an old segment of a log cannot be read where the servers moved it"),
    ("DEADLINE_EXCEEDED", "nobody answered in time, or the delivery timeout passed"),
    ("DISCONNECTED", "the connection was lost or could not be made"),
    ("MEMORY_FULL", "the memory budget is used up"),
    ("CLOSED", "the client was closed first"),
    ("UNKNOWN_CODE", "a server's code that this client does not know; `code` holds the number"),
];

impl Problem {
    pub(crate) fn invalid_json(message: impl Into<String>) -> Self {
        Self { code: None, name: "INVALID_JSON", message: message.into() }
    }

    pub(crate) fn does_not_fit(message: impl Into<String>) -> Self {
        Self { code: None, name: "ROW_DOES_NOT_FIT", message: message.into() }
    }

    /// Appends `{"code":…,"name":…,"message":…}`.
    pub(crate) fn push_json(&self, out: &mut String) {
        out.push_str("{\"code\":");
        match self.code {
            // Writing to a String cannot fail.
            Some(code) => drop(write!(out, "{code}")),
            None => out.push_str("null"),
        }
        out.push_str(",\"name\":");
        json::push_text(out, self.name);
        out.push_str(",\"message\":");
        json::push_text(out, &self.message);
        out.push('}');
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let code = error.code().map(|code| code.0);
        Self { code, name: error.name(), message: error.to_string() }
    }
}

impl From<&WriteError> for Problem {
    fn from(error: &WriteError) -> Self {
        error.cause().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_client_has_a_null_code_and_one_of_a_server_its_number() {
        let mut out = String::new();
        Problem::from(&Error::Closed("client")).push_json(&mut out);
        assert_eq!(out, r#"{"code":null,"name":"CLOSED","message":"the client is closed"}"#);
        let rejected = Error::Rejected {
            what: "PRODUCE_LOG".into(),
            code: fluss_core::ErrorCode(48),
            message: "no \"write\" right".into(),
        };
        let problem = Problem::from(&WriteError::NotWritten(rejected.into()));
        assert_eq!((problem.code, problem.name), (Some(48), "AUTHORIZATION_EXCEPTION"));
        assert!(problem.message.contains("no \"write\" right"), "{}", problem.message);
    }
}
