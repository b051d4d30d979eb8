//! Faults: by chance from a seed, or by name at a given request.

use std::collections::BTreeMap;
use std::time::Duration;

use super::api::{code, key};
use crate::rng::Rng;

/// Something that goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// The connection is cut within the request, which is not applied.
    CutRequest,
    /// The request is applied and the connection is cut before the first byte of the answer.
    LoseAnswer,
    /// The request is applied and the connection is cut within the answer.
    CutAnswer,
    /// The request is applied and never answered; the connection stays.
    SwallowAnswer,
    /// The request is neither applied nor answered; the connection stays.
    DropRequest,
    /// The answer comes this much later, after answers to later requests.
    DelayAnswer(Duration),
    /// The request, and all behind it, are applied this much later, even if the connection is
    /// gone by then.
    DelayRequest(Duration),
    /// Every bucket, or the whole request, is refused with this code and not applied.
    ErrorBefore(i32),
    /// The request is applied, and every bucket is answered with this code.
    ErrorAfter(i32),
    /// The first bucket of the request gets another leader before the request is looked at.
    MoveLeader,
    /// The first bucket of the request gets another leader after the request was applied and
    /// before it is answered.
    MoveLeaderAfter,
    /// The server stops cleanly and starts again: connections cut, one sequence remembered for
    /// each writer. The request is not applied.
    RestartClean,
    /// The server dies and starts again: connections cut, sequences learnt from the log. The
    /// request is not applied.
    RestartUnclean,
    /// A KV write is refused for storage pressure: 72, or 11 for clients that do not know it.
    Throttle,
    /// A KV write is answered with this pressure, between 0 and 1.
    Pressure(f32),
    /// All writers of the request's buckets are forgotten first, as after a long silence.
    ExpireWriters,
    /// The table of the request is dropped and made again, empty, under another id.
    RecreateTable,
    /// The body of the answer is rubbish; the request is applied.
    GarbageBody,
    /// The answer is a frame of a type that does not exist; the request is applied.
    GarbageFrame,
    /// The answer comes twice.
    DuplicateAnswer,
    /// From this request on the server reads and never answers on this connection.
    Silence,
    /// A write is applied, and its answer names a bucket that was not asked for, too.
    ForeignBucket,
    /// A write is applied, and its answer names its first bucket twice.
    RepeatedBucket,
    /// A write is applied, and its answer leaves its first bucket out.
    MissingBucket,
    /// A write is applied and acknowledged at a negative offset.
    NegativeOffset,
    /// The request is applied; before its answer comes one to a request that was never sent.
    UnaskedAnswer,
    /// INIT_WRITER is answered with this writer id, whether it makes sense or not.
    WriterId(i64),
}

/// The kinds of [`Fault`], without their arguments; what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is the fault of the same name")]
pub enum FaultKind {
    CutRequest,
    LoseAnswer,
    CutAnswer,
    SwallowAnswer,
    DropRequest,
    DelayAnswer,
    DelayRequest,
    ErrorBefore,
    ErrorAfter,
    MoveLeader,
    MoveLeaderAfter,
    RestartClean,
    RestartUnclean,
    Throttle,
    Pressure,
    ExpireWriters,
    RecreateTable,
    GarbageBody,
    GarbageFrame,
    DuplicateAnswer,
    Silence,
    ForeignBucket,
    RepeatedBucket,
    MissingBucket,
    NegativeOffset,
    UnaskedAnswer,
    WriterId,
}

impl Fault {
    /// The fault's kind.
    #[must_use]
    pub const fn kind(self) -> FaultKind {
        match self {
            Self::CutRequest => FaultKind::CutRequest,
            Self::LoseAnswer => FaultKind::LoseAnswer,
            Self::CutAnswer => FaultKind::CutAnswer,
            Self::SwallowAnswer => FaultKind::SwallowAnswer,
            Self::DropRequest => FaultKind::DropRequest,
            Self::DelayAnswer(_) => FaultKind::DelayAnswer,
            Self::DelayRequest(_) => FaultKind::DelayRequest,
            Self::ErrorBefore(_) => FaultKind::ErrorBefore,
            Self::ErrorAfter(_) => FaultKind::ErrorAfter,
            Self::MoveLeader => FaultKind::MoveLeader,
            Self::MoveLeaderAfter => FaultKind::MoveLeaderAfter,
            Self::RestartClean => FaultKind::RestartClean,
            Self::RestartUnclean => FaultKind::RestartUnclean,
            Self::Throttle => FaultKind::Throttle,
            Self::Pressure(_) => FaultKind::Pressure,
            Self::ExpireWriters => FaultKind::ExpireWriters,
            Self::RecreateTable => FaultKind::RecreateTable,
            Self::GarbageBody => FaultKind::GarbageBody,
            Self::GarbageFrame => FaultKind::GarbageFrame,
            Self::DuplicateAnswer => FaultKind::DuplicateAnswer,
            Self::Silence => FaultKind::Silence,
            Self::ForeignBucket => FaultKind::ForeignBucket,
            Self::RepeatedBucket => FaultKind::RepeatedBucket,
            Self::MissingBucket => FaultKind::MissingBucket,
            Self::NegativeOffset => FaultKind::NegativeOffset,
            Self::UnaskedAnswer => FaultKind::UnaskedAnswer,
            Self::WriterId(_) => FaultKind::WriterId,
        }
    }
}

/// Requests a fault may hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum On {
    /// PRODUCE_LOG and PUT_KV.
    Write,
    /// FETCH_LOG.
    Fetch,
    /// LOOKUP and PREFIX_LOOKUP.
    Lookup,
    /// GET_METADATA.
    Metadata,
    /// INIT_WRITER.
    InitWriter,
    /// API_VERSIONS and AUTHENTICATE.
    Handshake,
    /// Everything else.
    Other,
    /// Requests with this API key.
    Api(i16),
    /// Every request.
    Any,
}

impl On {
    fn of(api: i16) -> Self {
        match api {
            key::PRODUCE_LOG | key::PUT_KV => Self::Write,
            key::FETCH_LOG => Self::Fetch,
            key::LOOKUP | key::PREFIX_LOOKUP => Self::Lookup,
            key::GET_METADATA => Self::Metadata,
            key::INIT_WRITER => Self::InitWriter,
            key::API_VERSIONS | key::AUTHENTICATE => Self::Handshake,
            _ => Self::Other,
        }
    }

    fn covers(self, api: i16) -> bool {
        self == Self::Any || self == Self::Api(api) || self == Self::of(api)
    }
}

/// Which faults come by chance, and how often.
///
/// ```
/// use fluss_core::testing::cluster::{Fault, Faults, On};
/// let faults = Faults::new(7)
///     .one_in(50, On::Write, Fault::LoseAnswer)
///     .one_in(100, On::Any, Fault::CutRequest);
/// ```
#[derive(Clone, Debug)]
pub struct Faults {
    rng: Rng,
    chances: Vec<(On, u64, Fault)>,
    planned: Vec<Planned>,
    counts: BTreeMap<FaultKind, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Planned {
    on: On,
    skip: u64,
    fault: Fault,
}

impl Faults {
    /// No faults yet; chance comes from this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            chances: Vec::new(),
            planned: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Lets `fault` hit one in `n` of these requests on average; at most one fault hits a request,
    /// and the one named first has the first chance.
    #[must_use]
    pub fn one_in(mut self, n: u64, on: On, fault: Fault) -> Self {
        self.chances.push((on, n, fault));
        self
    }

    /// Lets `fault` hit one request once, after `skip` requests of the kind.
    pub fn plan(&mut self, on: On, skip: u64, fault: Fault) {
        self.planned.push(Planned { on, skip, fault });
    }

    /// How often each kind has fired.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<FaultKind, u64> {
        &self.counts
    }

    /// How often this kind has fired.
    #[must_use]
    pub fn count(&self, kind: FaultKind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    /// Ends all faults by chance; planned ones stay.
    pub fn heal(&mut self) {
        self.chances.clear();
    }

    /// Takes over chances and plans of another set; counts and chance go on.
    pub(super) fn replace(&mut self, other: Self) {
        self.rng = other.rng;
        self.chances = other.chances;
        self.planned = other.planned;
    }

    /// The fault for the request that has just come in.
    pub(super) fn draw(&mut self, api: i16) -> Option<Fault> {
        let mut drawn = None;
        self.planned.retain_mut(|planned| {
            if !planned.on.covers(api) {
                return true;
            }
            if planned.skip == 0 && drawn.is_none() {
                drawn = Some(planned.fault);
                return false;
            }
            planned.skip = planned.skip.saturating_sub(1);
            true
        });
        if drawn.is_none() {
            for &(on, n, fault) in &self.chances {
                if on.covers(api) && fits(api, fault) && self.rng.one_in(n) {
                    drawn = Some(fault);
                    break;
                }
            }
        }
        drawn
    }

    pub(super) fn fired(&mut self, fault: Fault) {
        *self.counts.entry(fault.kind()).or_insert(0) += 1;
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }
}

/// Whether the fault can do anything to a request of this kind.
fn fits(api: i16, fault: Fault) -> bool {
    match fault {
        Fault::Throttle | Fault::Pressure(_) => api == key::PUT_KV,
        Fault::WriterId(_) => api == key::INIT_WRITER,
        Fault::ForeignBucket
        | Fault::RepeatedBucket
        | Fault::MissingBucket
        | Fault::NegativeOffset => matches!(api, key::PRODUCE_LOG | key::PUT_KV),
        Fault::MoveLeader
        | Fault::MoveLeaderAfter
        | Fault::ExpireWriters
        | Fault::RecreateTable => {
            matches!(
                api,
                key::PRODUCE_LOG | key::PUT_KV | key::FETCH_LOG | key::LOOKUP | key::SCAN_KV
            )
        }
        _ => true,
    }
}

impl Fault {
    /// The code every bucket is refused with, if that is what the fault does.
    pub(super) fn refusal(self, version: i16) -> Option<i32> {
        match self {
            Self::ErrorBefore(code) => Some(code),
            Self::Throttle if version < 2 => Some(code::KV_STORAGE),
            Self::Throttle => Some(code::BACKPRESSURE),
            _ => None,
        }
    }
}
