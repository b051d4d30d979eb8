//! What every machine gets with an input: the time, the jitter, the settings.

use crate::config::Config;
use crate::rng::Rng;
use crate::time::Instant;

/// The context of one input.
#[derive(Debug)]
pub(crate) struct Cx<'a> {
    /// When the input happened.
    pub(crate) now: Instant,
    /// The client's only source of chance.
    pub(crate) rng: &'a mut Rng,
    /// The client's settings.
    pub(crate) config: &'a Config,
}
