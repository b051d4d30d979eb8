//! What is known of a row that was read: its outcome, or where to wait for it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use fluss_core::row::OwnedRow;
use fluss_core::{Ack, RunPart, RunTicket, Ticket, WriteError};

use super::super::failure::Problem;
use super::writer::Writer;

pub(super) enum Outcome {
    Written(Ack),
    NotWritten(Problem),
    Unknown(Problem),
}

impl From<Result<Ack, WriteError>> for Outcome {
    fn from(outcome: Result<Ack, WriteError>) -> Self {
        match outcome {
            Ok(ack) => Self::Written(ack),
            Err(error @ WriteError::NotWritten(_)) => Self::NotWritten((&error).into()),
            // Anything else that may come is no proof that the row is not there.
            Err(error) => Self::Unknown((&error).into()),
        }
    }
}

/// The claim to a row's outcome.
pub(super) enum Claim {
    Sent(Ticket),
    Refused(Problem),
    /// The row with this number of a run.
    Run(Rc<RefCell<Batch>>, usize),
}

impl Claim {
    pub(super) fn of(handed_in: fluss_core::Result<Ticket>) -> Self {
        match handed_in {
            Ok(ticket) => Self::Sent(ticket),
            Err(error) => Self::Refused((&error).into()),
        }
    }

    /// The outcome, or the claim again if it is not known and not to be waited for.
    pub(super) fn settle(self, wait: bool) -> Result<Outcome, Self> {
        match self {
            Self::Refused(problem) => Ok(Outcome::NotWritten(problem)),
            Self::Sent(ticket) => match ticket.outcome() {
                Some(outcome) => Ok(outcome.into()),
                None if wait => Ok(ticket.wait().into()),
                None => Err(Self::Sent(ticket)),
            },
            Self::Run(batch, index) => {
                let outcome = batch.borrow_mut().outcome(index, wait);
                outcome.ok_or(Self::Run(batch, index))
            }
        }
    }
}

/// Rows that become one Arrow record batch, and what became of it.
pub(super) enum Batch {
    Open(Vec<OwnedRow>),
    /// Rows that are in no part were not handed in, for this reason.
    Sent(RunTicket, Option<Problem>),
    Done(Vec<RunPart>, Option<Problem>),
    /// There is no such batch: the rows went in one by one.
    Rows(Vec<Option<Claim>>),
}

impl Batch {
    /// Takes another row; how many there are before it.
    pub(super) fn push(&mut self, row: OwnedRow) -> usize {
        let Self::Open(rows) = self else { return 0 };
        rows.push(row);
        rows.len() - 1
    }

    /// Hands the rows in.
    pub(super) fn hand_in(&mut self, writer: &Writer) {
        let Self::Open(rows) = self else { return };
        *self = match writer.put_batch(rows) {
            Ok(Ok(ticket)) => Self::Sent(ticket, None),
            Ok(Err(early)) => Self::Sent(*early.ticket, Some((&early.error).into())),
            // A row does not fit: handed in one by one, it is the only one to fail.
            Err(_) => {
                let claims = rows.iter().map(|row| Some(Claim::of(writer.put_at_last(row))));
                Self::Rows(claims.collect())
            }
        };
    }

    fn outcome(&mut self, index: usize, wait: bool) -> Option<Outcome> {
        if let Self::Sent(ticket, rest) = self {
            let parts = if wait {
                std::mem::take(ticket).wait()
            } else {
                let mut context = Context::from_waker(Waker::noop());
                match Pin::new(ticket).poll(&mut context) {
                    Poll::Ready(parts) => parts,
                    Poll::Pending => return None,
                }
            };
            *self = Self::Done(parts, rest.take());
        }
        match self {
            Self::Done(parts, rest) => {
                // There may be as many parts as rows, and they are in the order of the rows.
                let row = index as u64;
                let at = parts.partition_point(|part| part.rows.end <= row);
                let told = parts.get(at).and_then(|part| of_row(part, row));
                told.or_else(|| rest.clone().map(Outcome::NotWritten))
            }
            Self::Rows(claims) => {
                let place = claims.get_mut(index)?;
                match place.take()?.settle(wait) {
                    Ok(outcome) => Some(outcome),
                    Err(claim) => {
                        *place = Some(claim);
                        None
                    }
                }
            }
            Self::Open(_) | Self::Sent(..) => None,
        }
    }
}

/// The outcome of a row if it is part of this part of its run.
fn of_row(part: &RunPart, row: u64) -> Option<Outcome> {
    if !part.rows.contains(&row) {
        return None;
    }
    let mut outcome = part.outcome.clone();
    if let Ok(ack) = &mut outcome {
        // The rows of a part follow each other in the log.
        ack.offset = ack.offset.map(|offset| offset + (row - part.rows.start) as i64);
    }
    Some(outcome.into())
}
