//! Breadth first over all states, so that what is found first took the fewest steps.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::Setup;
use super::checks::Broken;
use super::client::Client;
use super::state::{Event, State};

/// Two independent 64-bit hashes at once.
struct Wide {
    a: u64,
    b: u64,
}

impl Wide {
    fn word(&mut self, x: u64) {
        self.a = fold(self.a ^ x, 0x9e37_79b9_7f4a_7c15);
        self.b = fold(self.b.rotate_left(29) ^ x, 0xd6e8_feb8_6659_fd93);
    }
}

fn fold(x: u64, k: u64) -> u64 {
    let wide = u128::from(x ^ k.rotate_left(32)) * u128::from(k);
    (wide as u64) ^ ((wide >> 64) as u64) ^ x.rotate_left(17)
}

impl Hasher for Wide {
    fn finish(&self) -> u64 {
        self.a
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0u8; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word) ^ ((chunk.len() as u64) << 56));
        }
    }

    fn write_u8(&mut self, x: u8) {
        self.word(u64::from(x) | 1 << 40);
    }

    fn write_u32(&mut self, x: u32) {
        self.word(u64::from(x) | 1 << 41);
    }

    fn write_u64(&mut self, x: u64) {
        self.word(x);
    }

    fn write_usize(&mut self, x: usize) {
        self.word(x as u64);
    }
}

fn name_of<C: Client>(state: &State<C>) -> u128 {
    let mut hasher = Wide { a: 0x2545_f491_4f6c_dd1d, b: 0x6a09_e667_f3bc_c908 };
    state.fingerprint(&mut hasher);
    u128::from(fold(hasher.a, 0xff51_afd7_ed55_8ccd)) << 64
        | u128::from(fold(hasher.b, 0xc4ce_b9fe_1a85_ec53))
}

/// The names are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u128(&mut self, x: u128) {
        self.0 = x as u64;
    }
}

/// A way to a broken invariant.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) broken: Broken,
    pub(super) steps: usize,
    /// What happens on the way, in words.
    pub(super) trace: String,
}

/// What a search saw.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) states: usize,
    pub(super) steps: usize,
    pub(super) ends: usize,
    pub(super) depth: usize,
    pub(super) found: Option<Found>,
}

struct Search<C> {
    setup: Arc<Setup>,
    known: HashMap<u128, u32, BuildHasherDefault<AsIs>>,
    /// How each state was reached first.
    from: Vec<(u32, Event)>,
    /// Steps out of state i are those from `first[i]` on.
    first: Vec<u32>,
    to: Vec<u32>,
    next: VecDeque<State<C>>,
    ends: usize,
}

/// The state in which a search begins.
fn begin<C: Client>(setup: &Arc<Setup>) -> State<C> {
    let mut state = State::new(setup);
    for event in setup.begin {
        state.apply(*event).expect("a story begins with nothing broken");
    }
    state
}

/// Explores all states of a setup; stops at the first broken invariant.
pub(super) fn explore<C: Client>(setup: &Setup, limit: usize) -> Report {
    let setup = Arc::new(setup.clone());
    let start = begin::<C>(&setup);
    let mut search = Search {
        setup,
        known: HashMap::default(),
        from: vec![(0, Event::Append)],
        first: Vec::new(),
        to: Vec::new(),
        next: VecDeque::new(),
        ends: 0,
    };
    search.known.insert(name_of(&start), 0);
    search.next.push_back(start);
    let found = search.run(limit).or_else(|| search.cycle());
    let depth = search.path(search.from.len() - 1).len();
    Report { states: search.from.len(), steps: search.to.len(), ends: search.ends, depth, found }
}

impl<C: Client> Search<C> {
    fn run(&mut self, limit: usize) -> Option<Found> {
        let mut at = 0u32;
        while let Some(state) = self.next.pop_front() {
            self.first.push(self.to.len() as u32);
            let events = state.events();
            if events.is_empty() {
                self.ends += 1;
                if let Err(broken) = state.check_end() {
                    return Some(self.explain(broken, self.path(at as usize)));
                }
            }
            for event in events {
                let mut after = state.clone();
                if let Err(broken) = after.apply(event) {
                    let mut path = self.path(at as usize);
                    path.push(event);
                    return Some(self.explain(broken, path));
                }
                let fresh = self.from.len() as u32;
                let to = *self.known.entry(name_of(&after)).or_insert(fresh);
                self.to.push(to);
                if to == fresh {
                    self.from.push((at, event));
                    self.next.push_back(after);
                }
            }
            if self.from.len() > limit {
                let text = format!("more than {limit} states");
                return Some(self.explain(Broken::new("limit", text), Vec::new()));
            }
            at += 1;
        }
        self.first.push(self.to.len() as u32);
        None
    }

    fn path(&self, mut at: usize) -> Vec<Event> {
        let mut path = Vec::new();
        while at != 0 {
            let (from, event) = self.from[at];
            path.push(event);
            at = from as usize;
        }
        path.reverse();
        path
    }

    /// Replays a path and tells it.
    fn explain(&self, broken: Broken, path: Vec<Event>) -> Found {
        let path = [self.setup.begin.to_vec(), path].concat();
        let mut state = State::<C>::new(&self.setup);
        let mut trace = String::new();
        for (i, event) in path.iter().enumerate() {
            state.notes = Some(Vec::new());
            let ended = state.apply(*event).is_err();
            let notes = state.notes.take().unwrap_or_default();
            let _ = writeln!(trace, "  {:>3} {}", i + 1, notes.join("; "));
            if ended {
                break;
            }
        }
        let _ = writeln!(trace, "      {broken}");
        Found { broken, steps: path.len(), trace }
    }

    fn targets(&self, at: usize) -> &[u32] {
        &self.to[self.first[at] as usize..self.first[at + 1] as usize]
    }

    /// I16: a way back to a state, nearest to the start.
    fn cycle(&self) -> Option<Found> {
        let n = self.from.len();
        let mut into = vec![0u32; n];
        self.to.iter().for_each(|t| into[*t as usize] += 1);
        let mut free: Vec<u32> = (0..n as u32).filter(|i| into[*i as usize] == 0).collect();
        let mut left = n;
        while let Some(at) = free.pop() {
            left -= 1;
            for to in self.targets(at as usize) {
                into[*to as usize] -= 1;
                if into[*to as usize] == 0 {
                    free.push(*to);
                }
            }
        }
        if left == 0 {
            return None;
        }
        // What is left lies on cycles or behind them.
        (0..n).filter(|i| into[*i] > 0).find_map(|at| {
            let round = self.way_back(at, &into)?;
            let mut path = self.path(at);
            let before = path.len();
            path.extend(&round);
            let text = format!("after step {before}, {} steps lead back", round.len());
            Some(self.explain(Broken::new("I16", text), path))
        })
    }

    fn way_back(&self, start: usize, into: &[u32]) -> Option<Vec<Event>> {
        let mut came: HashMap<u32, u32> = HashMap::new();
        let mut queue = VecDeque::from([start as u32]);
        while let Some(at) = queue.pop_front() {
            for to in self.targets(at as usize).iter().filter(|t| into[**t as usize] > 0) {
                if *to as usize == start {
                    let mut nodes = vec![start as u32, at];
                    while nodes.last().is_some_and(|n| *n as usize != start) {
                        nodes.push(came[&nodes[nodes.len() - 1]]);
                    }
                    nodes.reverse();
                    if nodes.len() > 2 && nodes[0] == nodes[1] {
                        nodes.remove(0);
                    }
                    return Some(self.events_along(&nodes));
                }
                if !came.contains_key(to) {
                    came.insert(*to, at);
                    queue.push_back(*to);
                }
            }
        }
        None
    }

    /// The events that lead from each of these states to the next.
    fn events_along(&self, nodes: &[u32]) -> Vec<Event> {
        let mut state = begin::<C>(&self.setup);
        for event in self.path(nodes[0] as usize) {
            let _ = state.apply(event);
        }
        let mut events = Vec::new();
        for pair in nodes.windows(2) {
            let all = state.events();
            let position = self.targets(pair[0] as usize).iter().position(|t| *t == pair[1]);
            let Some(event) = position.and_then(|i| all.get(i)).copied() else { break };
            events.push(event);
            let _ = state.apply(event);
        }
        events
    }
}
