//! What an answer to one copy of a batch means, as a pure table.
//!
//! The table is printed in the documentation of [`WriteError`](crate::WriteError) too.
//!
#![doc = include_str!("retry/verdicts.md")]

use fluss_proto::ErrorCode;

/// Why the leader or the table must be looked up again after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RefreshReason {
    /// The bucket's leader may be another one.
    Leader,
    /// The table or partition may be gone or replaced: its identity must be checked.
    Identity,
    /// The server does not know the batch's schema yet, or no longer.
    Schema,
    /// A session looks lost while a batch's outcome is open: is there a newer leader to ask?
    /// Answered by `handle_leader` even if nothing changed.
    Confirm,
}

/// What an answer proves about the copy it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    /// It is in the log.
    Committed,
    /// It was refused for its sequence.
    RejectSeq,
    /// It was refused for now.
    RejectTransient,
    /// It was refused because the server's storage is under full pressure.
    RejectThrottled,
    /// It was refused; after this many such answers in all that is final.
    RejectLimited(u8),
    /// It was refused for good.
    RejectFatal,
    /// It may or may not have been appended, or may yet be.
    Ambiguous,
    /// It never left the client.
    NotSent,
}

/// Answers 3 and 14 a batch may get before they count as fatal.
const CORRUPT_TRIES: u8 = 3;
/// Answers 9 a batch may get before they count as fatal.
const SCHEMA_TRIES: u8 = 5;

/// The class of a server's code.
pub(crate) fn classify(code: ErrorCode) -> Class {
    match code.0 {
        0 | 32 => Class::Committed,
        31 | 33 => Class::RejectSeq,
        29 | 70 => Class::RejectTransient,
        72 => Class::RejectThrottled,
        3 | 14 => Class::RejectLimited(CORRUPT_TRIES),
        9 => Class::RejectLimited(SCHEMA_TRIES),
        2 | 13 | 18 | 20 | 35 | 46 | 48 | 57 | 74 => Class::RejectFatal,
        _ => Class::Ambiguous,
    }
}

/// What must be looked up again after this code.
pub(crate) fn refresh_after(code: ErrorCode) -> Option<RefreshReason> {
    match code.0 {
        1 | 12 | 26 | 44 => Some(RefreshReason::Leader),
        7 | 21 | 36 => Some(RefreshReason::Identity),
        9 => Some(RefreshReason::Schema),
        _ => None,
    }
}

/// What matters about a batch and its copy when an answer comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// It will not be sent again: failed for good, out of time or out of retries.
    pub(crate) doomed: bool,
    /// An earlier copy may have been appended.
    pub(crate) ambiguous: bool,
    /// It is the lowest one not known to be committed.
    pub(crate) floor: bool,
    /// The copy was sent when the batch was the lowest one, to a server that still leads.
    pub(crate) sent_at_floor: bool,
    /// The copy was a probe.
    pub(crate) probe: bool,
    /// Fatal answers may be asked for again.
    pub(crate) confirms_left: bool,
    /// The limit of a limited rejection is not reached.
    pub(crate) tries_left: bool,
    /// The batch may be sent again after waiting.
    pub(crate) retries_left: bool,
}

/// What to do with a batch after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Verdict {
    /// It and all before it are committed.
    Commit,
    /// Send it again as soon as its turn comes.
    Resend,
    /// The server refuses the lowest batch although all before it are committed: something behind
    /// it was appended, or the server lost the writer's state.
    Genuine,
    /// The probe was refused.
    ProbeRejected,
    /// Send it again after waiting.
    Retry,
    /// Ask again whether it is fatal, since an earlier copy may have been appended.
    Confirm,
    /// It is doomed by this answer.
    Fail,
    /// It is doomed because its retries are used up.
    GiveUp,
    /// Only the copy is closed.
    Close,
}

/// The table above.
pub(crate) fn verdict(class: Class, batch: View) -> Verdict {
    match class {
        Class::Committed => Verdict::Commit,
        _ if batch.doomed => Verdict::Close,
        Class::RejectSeq if batch.probe => Verdict::ProbeRejected,
        Class::RejectSeq if batch.floor && batch.sent_at_floor => Verdict::Genuine,
        Class::RejectSeq => Verdict::Resend,
        Class::RejectFatal => fatal(batch),
        Class::RejectLimited(_) if !batch.tries_left => fatal(batch),
        Class::NotSent => Verdict::Retry,
        _ if batch.retries_left => Verdict::Retry,
        _ => Verdict::GiveUp,
    }
}

fn fatal(batch: View) -> Verdict {
    if batch.ambiguous && batch.confirms_left { Verdict::Confirm } else { Verdict::Fail }
}

#[cfg(test)]
mod tests;
