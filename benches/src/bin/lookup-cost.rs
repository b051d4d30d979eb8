//! What a lookup costs where 1,024 are on their way on one handle, one by one and in runs of 128:
//! with a server that is a function call, all on one thread (see [`fluss_benches::lookups`]).
//!
//! ```console
//! $ cargo run --release -p fluss-benches --bin lookup-cost -- [LOOKUPS [ROUNDS]]
//! ```
//!
//! A word behind them, `one` or `runs`, has only those made: under `valgrind --tool=callgrind`, the
//! difference of two lengths gives the instructions of one.

use std::time::Instant;

use fluss_benches::lookups::Lookups;

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default| args.next().and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let (count, rounds): (usize, usize) = (number(1_000_000), number(5));
    let only = args.next();
    let mut lookups = Lookups::new();
    for (name, make) in
        [("one", Lookups::one_by_one as fn(&mut Lookups, usize)), ("runs", Lookups::in_runs)]
    {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let time = |_| {
            let start = Instant::now();
            make(&mut lookups, count);
            start.elapsed().as_nanos() / count.max(1) as u128
        };
        let mut times: Vec<u128> = (0..rounds.max(1)).map(time).collect();
        times.sort_unstable();
        println!("{name:<5} {:>6} ns a lookup, at best {}", times[times.len() / 2], times[0]);
    }
}
