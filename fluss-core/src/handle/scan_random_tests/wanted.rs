//! Which rows a random reader asks for.

use crate::rng::Rng;
use crate::{Filter, col};

/// Rows of which about so many are written.
const IDS: u64 = 300;

/// What holds of the ids that are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// There is no filter.
    All,
    /// From the first up to the second, exclusive.
    Within(i64, i64),
    /// All but those.
    Outside(i64, i64),
    /// These only.
    Few([i64; 4]),
}

impl Wanted {
    pub(super) fn random(rng: &mut Rng) -> Self {
        let mut id = |below: u64| rng.below(below) as i64;
        let (from, length) = (id(IDS), id(IDS / 2));
        match id(6) {
            0 => Self::Within(from, from + length),
            1 => Self::Outside(from, from + length),
            2 => Self::Few([(); 4].map(|()| id(IDS))),
            _ => Self::All,
        }
    }

    pub(super) fn is_all(self) -> bool {
        matches!(self, Self::All)
    }

    pub(super) fn holds(self, id: i64) -> bool {
        match self {
            Self::All => true,
            Self::Within(from, to) => (from..to).contains(&id),
            Self::Outside(from, to) => !(from..to).contains(&id),
            Self::Few(ids) => ids.contains(&id),
        }
    }

    pub(super) fn filter(self) -> Option<Filter> {
        match self {
            Self::All => None,
            Self::Within(from, to) => Some(col("id").ge(from).and(col("id").lt(to))),
            Self::Outside(from, to) => Some(col("id").lt(from).or(col("id").ge(to))),
            Self::Few(ids) => Some(col("id").is_in(ids)),
        }
    }
}
