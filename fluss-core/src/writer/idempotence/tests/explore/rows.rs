//! The worlds that are explored in full, and what was found there.
//!
//! | world (batches / in flight / server window, faults) | states | steps | depth | seconds |
//! |---|---|---|---|---|
//! | 3/2/2 close 2, shrink, transient, after, drop | 79,257 | 320,241 | 24 | 1.2 |
//! | 4/3/3 close 2, shrink | 53,591 | 178,595 | 28 | 0.8 |
//! | 3/2/2 close 2, shrink, fatal, transient, after | 174,792 | 561,720 | 27 | 2.6 |
//! | 3/2/2 close 2, give-up, truncation, shrink | 158,646 | 484,064 | 29 | 2.6 |
//! | 3/2/2 close 2, fatal, truncation | 41,693 | 103,035 | 25 | 0.5 |
//! | 3/2/2 close, expiry, fatal, shrink | 4,469 | 8,233 | 23 | 0.0 |
//! | 4/3/1 close, fatal, after | 69,250 | 169,715 | 28 | 0.7 |
//! | 3/1/1 close 2, fatal, transient, after, give-up, shrink | 37,080 | 82,320 | 22 | 0.3 |
//! | 3/2/2 leader moves, close | 6,583 | 18,308 | 20 | 0.1 |
//! | 3/2/2 unsent, close, transient | 5,315 | 13,849 | 20 | 0.0 |
//! | 3/2/2 idle, expiry, close | 1,373 | 2,300 | 22 | 0.0 |
//! | 3/2/2 closed by the caller, close, after | 2,533 | 5,742 | 18 | 0.0 |
//! | 3/2/2 close, fatal, the last one comes late | 1,583 | 3,176 | 18 | 0.0 |
//! | 3/2/2 close, shrink, after, offsets awaited | 2,651 | 6,400 | 18 | 0.0 |
//! | 3/2/2 fatal 2, after, asked twice | 679 | 1,019 | 18 | 0.0 |
//! | 3/2/2 at the last sequence, close, fatal | 751 | 1,268 | 15 | 0.0 |
//! | 4/1/1 in two buckets, close | 1,992 | 4,426 | 16 | 0.0 |
//! | 5/5/5 close | 19,008 | 52,167 | 26 | 0.2 |
//! | 5/5/5 close, shrink, fatal | 734,461 | 2,175,115 | 42 | 10.8 |
//! | 4/2/2 in two buckets, close, shrink | 81,779 | 279,409 | 19 | 1.1 |
//! | 3/2/2 in two buckets, close, fatal, transient | 58,894 | 168,011 | 18 | 0.7 |
//! | 4/2/2 in two buckets, close, shrink, fatal | 405,259 | 1,409,225 | 22 | 6.8 |
//! | 3/2/2 leader moves 2, close, shrink, after | 552,647 | 2,354,402 | 31 | 9.1 |
//! | 3/2/2 leader moves, close, fatal, give-up | 238,813 | 755,109 | 24 | 2.7 |
//! | 4/3/2 close 2, shrink, transient, after | 1,819,332 | 7,385,702 | 36 | 32.0 |
//! | 4/3/3 close 2, shrink, fatal, give-up | 2,936,024 | 10,754,472 | 34 | 50.7 |
//!
//! In all of them every invariant of §9.5 holds in every state, every batch has an end in every
//! last state, and no step leads back; in those with close, shrink, transient, after, moves, unsent
//! and drop only, each batch succeeds; with fatal besides, an outcome is unknown only once a fatal
//! answer met a batch in doubt in the same session. Profile `heavy`; the seconds are wall time on
//! two cores that had other work: all of it takes less than two minutes, and 2.3 GB. What follows
//! §8.6's eight is quick down to the two buckets, then asked for by `FLUSS_EXPLORE=full`.

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
