//! One run: a client, a fake cluster, the network between them, and the clock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use fluss_proto::ApiKey;

use crate::ids::{ConnId, ServerId, WriterKey};
use crate::output::{Action, BatchOutcome, Event, Written};
use crate::rng::Rng;
use crate::testing::cluster::{FakeCluster, Faults, On};
use crate::time::{Duration, Instant};
use crate::writer::WaiterId;

use super::app::{Lane, Table};
use super::check::Checker;
use super::clients::{CLIENTS, Clients};
use super::line::Line;
use super::net::Link;
use super::plan::{End, Plan, Trouble};
use super::stats::{Oddity, Seed, Thing};
use super::watch::Watch;
use super::{Options, Run};

/// Something that is due at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// The application does something.
    App,
    /// A batch is handed in.
    Submit(u64),
    /// A connection attempt ends; the link's number.
    Connect(usize),
    /// A piece of a request arrives.
    Up(usize),
    /// The server learns that the client is gone.
    UpEnd(usize),
    /// A piece of an answer arrives, or the end of the connection.
    Down(usize),
    /// The socket takes bytes again.
    Writable(usize),
    /// The next trouble of the plan.
    Trouble,
    /// A stopped server starts again.
    Start(ServerId),
    /// Too few in-sync replicas are enough again.
    InSync(crate::ids::BucketKey),
    /// A dropped table comes back.
    Restore(usize),
    /// A caller has waited for memory for as long as it would.
    LeaveLine(WaiterId),
    /// Faults end, or the client is told to stop.
    Heal,
}

/// Tells the choice of a second client from all others of a seed.
const TWO_CLIENTS: u64 = 0x7477_6f20_636c_6965;

/// All of a run.
#[derive(Debug)]
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) rng: Rng,
    pub(super) now: Instant,
    pub(super) client: Clients,
    pub(super) cluster: FakeCluster,
    pub(super) links: Vec<Link>,
    /// Link numbers by the client's and by the servers' names of connections.
    pub(super) near: BTreeMap<ConnId, usize>,
    pub(super) far: BTreeMap<ConnId, usize>,
    due: BinaryHeap<Reverse<(Instant, u64, Due)>>,
    next_due: u64,
    pub(super) tables: Vec<Table>,
    pub(super) lanes: Vec<Lane>,
    pub(super) writers: Vec<WriterKey>,
    /// Who stands in line for memory, of each client.
    pub(super) lines: [Line; CLIENTS],
    /// Batches still to be opened.
    pub(super) to_open: u64,
    pub(super) next_trouble: usize,
    /// A trouble that needs silence, and how often that is looked for.
    pub(super) silence_wanted: Option<(Trouble, u32)>,
    pub(super) healed: bool,
    /// The client is closed or aborted.
    pub(super) over: bool,
    pub(super) closing: bool,
    /// When a close that is under way must have ended.
    close_at: Option<Instant>,
    pub(super) check: Checker,
    pub(super) seed: Seed,
    pub(super) watch: Watch,
}

impl World {
    pub(super) fn new(seed: u64, options: &Options) -> Self {
        let mut rng = Rng::new(seed);
        let mut plan = Plan::draw(&mut rng, options);
        plan.add_nonsense(seed, options.profile);
        plan.add_unreplicated(seed);
        plan.add_late_refusals(seed);
        // Drawn apart, so that the seeds with one client are what they were without the others.
        let two = Rng::new(seed ^ TWO_CLIENTS).one_in(8);
        if two {
            plan.add_second_client();
        } else {
            plan.add_writer_ids(seed);
        }
        let mut cluster = FakeCluster::new(plan.cluster.clone());
        let tables = super::app::make_tables(&mut cluster, &plan.tables);
        let addresses = plan.bootstrap.iter().filter_map(|s| cluster.address(*s).cloned());
        plan.client.bootstrap = addresses.collect();
        let mut faults = Faults::new(rng.next_u64());
        for (on, rarity, fault) in &plan.faults {
            faults = faults.one_in(*rarity, *on, *fault);
        }
        for (skip, fault) in &plan.planned {
            faults.plan(On::Api(ApiKey::PutKv.number()), *skip, *fault);
        }
        cluster.set_faults(faults);
        cluster.watch_appends();
        if let Some((skip, bug)) = options.bug {
            cluster.misbehave(skip, bug);
        }
        let client = Clients::new(&plan.client, if two { 2 } else { 1 });
        let mut world = Self {
            rng,
            now: Instant::ZERO,
            client,
            cluster,
            links: Vec::new(),
            near: BTreeMap::new(),
            far: BTreeMap::new(),
            due: BinaryHeap::new(),
            next_due: 0,
            tables,
            lanes: Vec::new(),
            writers: Vec::new(),
            lines: Default::default(),
            to_open: plan.batches,
            next_trouble: 0,
            silence_wanted: None,
            healed: false,
            over: false,
            closing: false,
            close_at: None,
            check: Checker::new(),
            seed: Seed::new(&plan),
            watch: Watch::new(options),
            plan,
        };
        if world.client.count() > 1 {
            world.seed.count(Oddity::TwoClients);
        }
        world.open_writers(options);
        world.at(Instant::ZERO, Due::App);
        if let Some((at, _)) = world.plan.troubles.first() {
            world.at(*at, Due::Trouble);
        }
        world
    }

    pub(super) fn at(&mut self, at: Instant, what: Due) {
        self.next_due += 1;
        self.due.push(Reverse((at, self.next_due, what)));
    }

    pub(super) fn after(&mut self, wait: Duration, what: Due) {
        self.at(self.now + wait, what);
    }

    /// A pause of at most this many microseconds.
    pub(super) fn pause(&mut self, micros: u64) -> Duration {
        Duration::from_micros(self.rng.below(micros + 1))
    }

    /// One in `n`; never once everything is healed.
    pub(super) fn strikes(&mut self, n: u64) -> bool {
        !self.healed && self.rng.one_in(n)
    }

    /// Runs until nothing is left to do.
    pub(super) fn run(mut self) -> Run {
        let mut steps = 0_u64;
        self.settle();
        while self.check.broken.is_none() && self.step() {
            steps += 1;
            if steps > 2_000_000 + 1000 * self.plan.batches {
                self.check.rule("I16", false, || "the run does not end".into());
            }
        }
        if self.check.broken.is_none() {
            self.check.finish(&self.cluster);
            self.finish();
        }
        self.into_run()
    }

    /// Moves to the next moment at which something is due; false when nothing is.
    fn step(&mut self) -> bool {
        let next = self.due.peek().map(|Reverse((at, ..))| *at);
        let servers = self.cluster.poll_timeout();
        let client = self.client.poll_timeout().filter(|_| !self.over).map(|(at, _)| at);
        let Some(at) = [next, servers, client].into_iter().flatten().min() else { return false };
        if self.over && next.is_none() && servers.is_none() {
            return false;
        }
        self.now = self.now.max(at);
        if servers == Some(at) {
            self.cluster.handle_timeout(self.now);
        } else if next == Some(at) {
            if let Some(Reverse((_, _, what))) = self.due.pop() {
                self.handle(what);
            }
        } else {
            self.note_timer();
            self.check.anything_may_change();
            self.client.handle_timeout(self.now);
        }
        self.settle();
        self.advance();
        true
    }

    fn note_timer(&mut self) {
        let (watch, client) = (&mut self.watch, &mut self.client);
        watch.note(self.now, || format!("timer {:?}", client.poll_timeout()));
    }

    fn handle(&mut self, what: Due) {
        match what {
            Due::App => self.app_step(),
            Due::Submit(batch) => self.submit(batch),
            Due::Connect(link) => self.connect(link),
            Due::Up(link) => self.up(link),
            Due::UpEnd(link) => self.up_end(link),
            Due::Down(link) => self.down(link),
            Due::Writable(link) => {
                self.links[link].full = false;
                self.transmit(link);
            }
            Due::Trouble => self.trouble(),
            Due::Start(server) => self.cluster.start(server),
            Due::InSync(bucket) => {
                let replicas = self.plan.cluster.tablet_servers.into();
                self.cluster.set_in_sync(bucket, replicas);
            }
            Due::Restore(table) => self.restore(table),
            Due::LeaveLine(waiter) => self.leave_line(waiter),
            Due::Heal => self.heal(),
        }
    }

    /// Does what the client asks for, until it wants nothing more, and looks at everything.
    pub(super) fn settle(&mut self) {
        loop {
            let mut quiet = true;
            // What was decided is known before what is sent because of it.
            while let Some(event) = self.client.poll_event() {
                quiet = false;
                self.event(event);
            }
            while let Some(action) = self.client.poll_action() {
                quiet = false;
                self.obey(action);
            }
            while let Some(conn) = self.cluster.poll_ready() {
                self.collect(conn);
            }
            if quiet {
                break;
            }
        }
        while let Some(append) = self.cluster.poll_append() {
            self.watch.note(self.now, || format!("server: {}", super::watch::appended(&append)));
            self.check.appended(&append);
        }
        while let Some((bucket, writer_id, sequence)) = self.cluster.poll_forgotten() {
            self.check.forgotten(bucket, writer_id, sequence);
        }
        self.look();
        for who in 0..self.client.count() {
            self.check.check_memory(who, self.client.memory_used_by(who));
        }
        if !self.is_line_empty() {
            self.check_line();
        }
    }

    /// Reads the windows, as far as they may have changed since.
    pub(super) fn look(&mut self) {
        let (check, now) = (&mut self.check, self.now);
        self.client.look_at_changed(|writer, limit, window| {
            check.look(writer, limit, now, window);
        });
        if cfg!(debug_assertions) {
            let check = &self.check;
            self.client.look_inside(|writer, _, window| {
                debug_assert!(check.has_seen(writer, &window), "changed without an input");
            });
        }
    }

    fn obey(&mut self, action: Action) {
        match action {
            Action::Connect { conn, address } => self.dial(conn, address.port),
            Action::Disconnect { conn } => self.hang_up(conn),
            Action::Flush { conn } => {
                if let Some(link) = self.near.get(&conn).copied() {
                    self.transmit(link);
                }
            }
            // Its clients only write.
            Action::ReadRemote { .. } | Action::AbandonRemote { .. } => {}
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Seal { batch, .. } => self.asked_to_seal(batch.0),
            Event::BatchDone { batch, outcome } => {
                self.watch.note(self.now, || format!("batch {batch}: {outcome:?}"));
                self.watch.digest(&[batch.0, self.now.as_micros()]);
                let table = self.check.batches.get(batch.0 as usize).map(|b| b.bucket);
                let gone = table.is_none_or(|bucket| self.cluster.truth(bucket).is_none());
                if let BatchOutcome::Written(Written { inferred: true, .. }) = &outcome {
                    let unheard = gone || self.is_unheard(batch.0);
                    self.check.inferred(batch.0, self.now, unheard);
                }
                self.check.outcome(batch.0, &outcome, self.now, gone);
                self.seed.ended(&outcome);
                self.learn_table(&outcome);
            }
            Event::MemoryGranted { waiter } => self.granted(waiter),
            Event::FlushDone { command } => {
                self.watch.note(self.now, || format!("flush {command} done"));
                self.check.flushed(command);
            }
            Event::Closed => {
                self.watch.note(self.now, || "client closed".into());
                self.over = true;
                let left = self.check.unresolved;
                // Outcomes come before the news of the end.
                self.check.rule("I5", left == 0, || format!("closed with {left} batches"));
            }
            _ => {}
        }
    }

    /// Whether the client will hear no answer to a batch's copy: it gave the connection up, or is
    /// closed with what is left.
    fn is_unheard(&mut self, batch: u64) -> bool {
        let ended = self.closing && self.close_at.is_none_or(|at| self.now >= at);
        ended || self.check.open_on(batch).is_none_or(|conn| !self.client.uses(conn))
    }

    /// Goes on to the next phase when the present one is done.
    fn advance(&mut self) {
        self.check.check_bounds(self.now);
        let late = !self.over && self.close_at.is_some_and(|at| self.now > at);
        self.check.rule("I5", !late, || "the close does not end".into());
        if !self.healed || self.over || self.closing {
            return;
        }
        if self.check.unresolved == 0 && self.check.flushes() == 0 && self.is_line_empty() {
            self.closing = true;
            self.watch.note(self.now, || "all done: close".into());
            self.client.close(self.now + Duration::from_secs(1), self.now);
            self.settle();
            let over = self.over;
            self.check.rule("I23", over, || "an idle client does not close at once".into());
        }
    }

    /// All faults end; whatever was planned for the end happens.
    fn heal(&mut self) {
        self.watch.note(self.now, || format!("end of faults: {:?}", self.plan.end));
        if self.plan.end == End::Abort {
            self.closing = true;
            let left = self.client.abort(self.now);
            self.watch.note(self.now, || format!("abort, {left} batches left"));
            self.healed = true;
            return self.settle();
        }
        self.healed = true;
        let seed = self.rng.next_u64();
        self.count_faults();
        self.cluster.set_faults(Faults::new(seed));
        let servers: Vec<ServerId> = self.cluster.servers().collect();
        servers.into_iter().for_each(|server| self.cluster.start(server));
        match self.plan.end {
            End::Flush | End::Abort => {
                for writer in self.writers.clone() {
                    let command = self.client.flush(writer, self.now);
                    self.check.flush(command, writer);
                }
            }
            End::Close(limit) => {
                self.closing = true;
                self.close_at = Some(self.now + limit);
                self.client.close(self.now + limit, self.now);
            }
            End::Drop => self.drop_free_lanes(),
        }
        self.settle();
    }

    pub(super) fn count_faults(&mut self) {
        for (kind, count) in self.cluster.faults().counts() {
            self.seed.counted(Thing::Fault(*kind), *count);
        }
    }

    /// What must hold when everything has ended.
    fn finish(&mut self) {
        let (over, used) = (self.over, self.client.memory_used());
        let unfinished = self.client.unfinished_batches();
        let violations = self.client.invariant_violations();
        self.check.rule("I5", over, || "the client never closed".into());
        self.check.rule("I22", used == 0, || format!("{used} bytes are still held"));
        let served = self.is_line_empty();
        self.check.rule("I22", served, || format!("still in line: {:?}", self.lines));
        self.check.rule("I5", unfinished == 0, || format!("{unfinished} batches are left"));
        self.check.rule("I11", violations == 0 || self.seed.has(Oddity::LostAcknowledged), || {
            format!("the client counted {violations} contradictions")
        });
        if self.plan.benign {
            self.check.check_survived();
        }
    }

    fn into_run(mut self) -> Run {
        if !self.healed {
            self.count_faults();
        }
        self.seed.rules |= self.client.fired_rules();
        self.seed.batches = self.check.batches.len() as u64;
        self.seed.copies = self.client.copies();
        self.seed.micros = self.now.as_micros();
        Run {
            violation: self.check.broken,
            seed: self.seed,
            trace: self.watch.trace,
            digest: self.watch.digest,
        }
    }
}
