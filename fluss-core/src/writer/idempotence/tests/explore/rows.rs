//! The worlds that are explored in full, and what was found there.
//!
//! | world (batches / in flight / server window, faults) | states | steps | depth | seconds |
//! |---|---|---|---|---|
//! | 3/2/2 close 2, shrink, transient, after, drop | 79,780 | 322,164 | 26 | 1.1 |
//! | 4/3/3 close 2, shrink | 54,985 | 182,971 | 31 | 0.7 |
//! | 3/2/2 close 2, shrink, fatal, transient, after | 175,901 | 564,974 | 27 | 2.3 |
//! | 3/2/2 close 2, give-up, truncation, shrink | 161,117 | 492,550 | 29 | 2.0 |
//! | 3/2/2 close 2, fatal, truncation | 42,272 | 104,770 | 25 | 0.5 |
//! | 3/2/2 close, expiry, fatal, shrink | 4,525 | 8,348 | 23 | 0.1 |
//! | 4/3/1 close, fatal, after | 69,253 | 169,694 | 28 | 0.9 |
//! | 3/1/1 close 2, fatal, transient, after, give-up, shrink | 37,080 | 82,320 | 22 | 0.4 |
//! | 3/2/2 leader moves, close | 6,583 | 18,308 | 20 | 0.2 |
//! | 3/2/2 leader dies, close, shrink | 3,149 | 7,827 | 20 | 0.1 |
//! | 3/2/2 unsent, close, transient | 5,315 | 13,849 | 20 | 0.1 |
//! | 3/2/2 idle, expiry, close | 1,393 | 2,338 | 22 | 0.0 |
//! | 3/2/2 closed by the caller, close, after | 2,533 | 5,742 | 18 | 0.0 |
//! | 3/2/2 close, fatal, the last one comes late | 1,583 | 3,176 | 18 | 0.0 |
//! | 3/2/2 close, shrink, after, offsets awaited | 2,653 | 6,402 | 18 | 0.1 |
//! | 3/2/2 fatal 2, after, asked twice | 679 | 1,019 | 18 | 0.0 |
//! | 3/2/2 at the last sequence, close, fatal | 751 | 1,268 | 15 | 0.0 |
//! | 4/1/1 in two buckets, close | 1,992 | 4,426 | 16 | 0.0 |
//! | 5/5/5 close | 19,008 | 52,167 | 26 | 0.4 |
//! | 5/5/5 close, shrink, fatal | 734,461 | 2,175,115 | 42 | 18.3 |
//! | 4/2/2 in two buckets, close, shrink | 81,779 | 279,409 | 19 | 2.3 |
//! | 3/2/2 in two buckets, close, fatal, transient | 58,894 | 168,011 | 18 | 1.6 |
//! | 4/2/2 in two buckets, close, shrink, fatal | 405,259 | 1,409,225 | 22 | 10.8 |
//! | 3/2/2 leader moves 2, close, shrink, after | 555,520 | 2,365,264 | 32 | 11.2 |
//! | 3/2/2 leader dies 2, close, shrink, after | 18,880 | 65,273 | 24 | 0.4 |
//! | 3/2/2 leader moves, close, fatal, give-up | 238,813 | 755,109 | 24 | 3.8 |
//! | 4/3/2 close 2, shrink, transient, after | 1,880,663 | 7,622,482 | 37 | 45.8 |
//! | 4/3/3 close 2, shrink, fatal, give-up | 2,997,665 | 10,977,820 | 35 | 73.3 |
//!
//! In all of them every invariant of §9.5 holds in every state, every batch has an end in every
//! last state, and no step leads back; in those with close, shrink, transient, after, moves,
//! unsent, drop and leaders that die only, each batch succeeds; with fatal besides, an outcome is
//! unknown only once a fatal answer met a batch in doubt in the same session. Profile `heavy`; the
//! seconds are wall time at the lowest priority beside a build: all of it takes three minutes, less
//! than two where nothing else runs, and 2.3 GB. What follows §8.6's eight is quick down to the two
//! buckets, then asked for by `FLUSS_EXPLORE=full`.

use super::{Faults, NO_FAULTS, Setup};

const SMALL: (u8, usize, u8) = (3, 2, 2);

/// The exhaustive rows of §8.6.
pub(super) const SPECIFIED: [Setup; 8] = [
    Setup::new(
        "3/2/2 close 2, shrink, transient, after, drop",
        SMALL,
        Faults { close: 2, shrink: 1, transient: 1, after: 1, drop: 1, ..NO_FAULTS },
    ),
    Setup::new("4/3/3 close 2, shrink", (4, 3, 3), Faults { close: 2, shrink: 1, ..NO_FAULTS }),
    Setup::new(
        "3/2/2 close 2, shrink, fatal, transient, after",
        SMALL,
        Faults { close: 2, shrink: 1, fatal: 1, transient: 1, after: 1, ..NO_FAULTS },
    ),
    Setup::new(
        "3/2/2 close 2, give-up, truncation, shrink",
        SMALL,
        Faults { close: 2, give_up: 1, truncate: 1, shrink: 1, ..NO_FAULTS },
    ),
    Setup::new(
        "3/2/2 close 2, fatal, truncation",
        SMALL,
        Faults { close: 2, fatal: 1, truncate: 1, ..NO_FAULTS },
    ),
    Setup::new(
        "3/2/2 close, expiry, fatal, shrink",
        SMALL,
        Faults { close: 1, expiry: 1, fatal: 1, shrink: 1, ..NO_FAULTS },
    ),
    Setup::new(
        "4/3/1 close, fatal, after",
        (4, 3, 1),
        Faults { close: 1, fatal: 1, after: 1, ..NO_FAULTS },
    ),
    Setup::new(
        "3/1/1 close 2, fatal, transient, after, give-up, shrink",
        (3, 1, 1),
        Faults { close: 2, fatal: 1, transient: 1, after: 1, give_up: 1, shrink: 1, ..NO_FAULTS },
    ),
];

/// What else is quick: all that the specification's rows leave out.
pub(super) fn quick() -> Vec<Setup> {
    let world = |name, faults| Setup::new(name, SMALL, faults);
    let f = NO_FAULTS;
    vec![
        world("3/2/2 leader moves, close", Faults { moves: 1, close: 1, ..f }),
        world("3/2/2 leader dies, close, shrink", Faults { crash: 1, close: 1, shrink: 1, ..f }),
        world("3/2/2 unsent, close, transient", Faults { unsent: 1, close: 1, transient: 1, ..f }),
        world("3/2/2 idle, expiry, close", Faults { idle: 1, expiry: 1, close: 1, ..f }),
        world(
            "3/2/2 closed by the caller, close, after",
            Faults { abort: 1, close: 1, after: 1, ..f },
        ),
        Setup {
            last_late: true,
            ..world(
                "3/2/2 close, fatal, the last one comes late",
                Faults { close: 1, fatal: 1, ..f },
            )
        },
        Setup {
            track_offsets: true,
            ..world(
                "3/2/2 close, shrink, after, offsets awaited",
                Faults { close: 1, shrink: 1, after: 1, ..f },
            )
        },
        Setup {
            fatal_confirm: 1,
            ..world("3/2/2 fatal 2, after, asked twice", Faults { fatal: 2, after: 1, ..f })
        },
        Setup {
            first_sequence: Some(i32::MAX - 1),
            ..world("3/2/2 at the last sequence, close, fatal", Faults { close: 1, fatal: 1, ..f })
        },
        Setup {
            buckets: 2,
            ..Setup::new("4/1/1 in two buckets, close", (4, 1, 1), Faults { close: 1, ..f })
        },
    ]
}

/// What takes minutes.
pub(super) fn large() -> Vec<Setup> {
    let f = NO_FAULTS;
    let lost = Faults { close: 1, shrink: 1, ..f };
    let two = |name, sizes, faults| Setup { buckets: 2, ..Setup::new(name, sizes, faults) };
    let world = Setup::new;
    vec![
        world("5/5/5 close", (5, 5, 5), Faults { close: 1, ..f }),
        world("5/5/5 close, shrink, fatal", (5, 5, 5), Faults { fatal: 1, ..lost }),
        two("4/2/2 in two buckets, close, shrink", (4, 2, 2), lost),
        two(
            "3/2/2 in two buckets, close, fatal, transient",
            SMALL,
            Faults { close: 1, fatal: 1, transient: 1, ..f },
        ),
        two("4/2/2 in two buckets, close, shrink, fatal", (4, 2, 2), Faults { fatal: 1, ..lost }),
        world(
            "3/2/2 leader moves 2, close, shrink, after",
            SMALL,
            Faults { moves: 2, after: 1, ..lost },
        ),
        world(
            "3/2/2 leader dies 2, close, shrink, after",
            SMALL,
            Faults { crash: 2, after: 1, ..lost },
        ),
        world(
            "3/2/2 leader moves, close, fatal, give-up",
            SMALL,
            Faults { moves: 1, close: 1, fatal: 1, give_up: 1, ..f },
        ),
        world(
            "4/3/2 close 2, shrink, transient, after",
            (4, 3, 2),
            Faults { close: 2, shrink: 1, transient: 1, after: 1, ..f },
        ),
        world(
            "4/3/3 close 2, shrink, fatal, give-up",
            (4, 3, 3),
            Faults { close: 2, shrink: 1, fatal: 1, give_up: 1, ..f },
        ),
    ]
}
