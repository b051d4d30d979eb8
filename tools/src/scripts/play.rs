//! Plays scripts to a cluster.

use fluss_proto::message::*;
use prost::Message;

use super::data::Shape;
use super::must;
use super::normal::Symbols;
use super::request;
use super::step::{Event, Step, Table, To, USERS, produce};
use super::wire::{At, Got, Wire};
use super::words::Asked;
use super::{Group, Played, Script};

/// Looks at something that is not there yet: 10 s and more on a real cluster.
const LOOKS: usize = 200;
/// The same for what takes a session that has to end, and a server that has to start.
const LONG_LOOKS: usize = 3 * LOOKS;
/// Names tried for a table whose creation gets lost.
const NAMES: usize = 4;
/// Tables made until one of them has the leader that is wanted, which is one in three.
const THROWS: usize = 40;

/// Plays a group of scripts to a cluster and returns their answers. `tag` keeps the tables of
/// several runs on one cluster apart.
///
/// # Panics
/// If the cluster does not do what every script relies on: tables get leaders, servers come back.
pub fn play(group: &Group, tag: &str, wire: &mut dyn Wire) -> Vec<Played> {
    let mut players: Vec<Player<'_>> =
        group.scripts.iter().map(|script| Player::new(script, tag, wire)).collect();
    // All tables first: their leaders come while the others are made.
    for player in &mut players {
        player.create(wire);
    }
    choose_leaders(&mut players, group.cluster.leader(), wire);
    loop {
        for player in &mut players {
            player.until_event(wire);
        }
        let events: Vec<_> = players.iter().map(|player| player.event()).collect();
        let Some(event) = events[0] else { break };
        assert!(events.iter().all(|other| *other == Some(event)), "a group has the same events");
        wire.event(event, players[0].symbols.leader as usize);
        for player in &mut players {
            player.pass(event, wire);
        }
    }
    players.into_iter().map(|player| player.played).collect()
}

/// Waits until all tables have leaders, those that are wanted if it matters: tables are made again
/// under other names until each has one of them.
fn choose_leaders(players: &mut [Player<'_>], wanted: Option<i32>, wire: &mut dyn Wire) {
    for throw in 0..THROWS {
        let mut astray = Vec::new();
        for (index, player) in players.iter_mut().enumerate() {
            player.await_leaders(wire);
            if wanted.is_some_and(|wanted| player.symbols.leader != wanted) {
                astray.push(index);
            }
        }
        if astray.is_empty() {
            return;
        }
        // In another order each time, as a cluster may choose leaders in turn.
        let first = throw % astray.len();
        astray.rotate_left(first);
        for index in astray {
            players[index].rename(&throw.to_string());
            players[index].make(wire);
        }
    }
    panic!("no table of {} is led by {wanted:?}", players[0].script.name);
}

struct Player<'a> {
    script: &'a Script,
    next: usize,
    symbols: Symbols,
    user: &'static str,
    /// Whether all replicas are meant to be there.
    complete: bool,
    played: Played,
}

impl<'a> Player<'a> {
    fn new(script: &'a Script, tag: &str, wire: &dyn Wire) -> Self {
        let name = format!("{}_{tag}", script.name.replace(['/', '.'], "_"));
        let symbols = Symbols {
            shape: None,
            table_name: name,
            about: None,
            table: -2,
            writers: Vec::new(),
            addresses: wire.addresses(),
            started_ms: wire.now_ms(),
            now_ms: wire.now_ms(),
            leader: 0,
            former: None,
            projection: None,
            asked: Asked::default(),
        };
        let played = Played { name: script.name.clone(), lines: Vec::new() };
        Self { script, next: 0, symbols, user: USERS[0].0, complete: true, played }
    }

    fn event(&self) -> Option<Event> {
        match self.script.steps.get(self.next) {
            Some(Step::Event(event)) => Some(*event),
            _ => None,
        }
    }

    /// An event has happened: waits until the script's table shows it.
    fn pass(&mut self, event: Event, wire: &mut dyn Wire) {
        match event {
            Event::PauseFollowers | Event::KillFollowers => self.complete = false,
            Event::ResumeFollowers | Event::StartFollowers => self.complete = true,
            _ => {}
        }
        let passed = match event {
            Event::Restart(_) => {
                self.await_leaders(wire);
                true
            }
            Event::PauseFollowers | Event::KillFollowers => true,
            // It knows none of its buckets until the coordinator has told it of them.
            Event::StartFormer => until(wire, LONG_LOOKS, |wire| self.former_knows(wire)),
            Event::MissFollowers => until(wire, LONG_LOOKS, |wire| self.probe(wire) == Some(29)),
            Event::ResumeFollowers | Event::StartFollowers => self.await_in_sync(wire),
            Event::KillLeader => {
                let former = self.symbols.leader;
                self.symbols.former = Some(former);
                until(wire, LONG_LOOKS, |wire| self.has_moved(wire, former))
                    && self.await_in_sync(wire)
            }
        };
        assert!(passed, "{} waits for {event:?} in vain", self.script.name);
        self.record("");
    }

    fn has_moved(&mut self, wire: &mut dyn Wire, former: i32) -> bool {
        let Some(Step::Create(table)) = self.script.steps.first() else { return true };
        self.is_led(wire, &table.clone()) && self.symbols.leader != former
    }

    /// Whether the former leader follows in all buckets of the table. Before that it does not know
    /// them, and then that it is nothing there.
    fn former_knows(&mut self, wire: &mut dyn Wire) -> bool {
        let Some(Step::Create(table)) = self.script.steps.first() else { return true };
        let former =
            At::Tablet(must("a former leader", self.symbols.former.ok_or("none")) as usize);
        wire.act_as(USERS[0].0);
        (0..table.buckets).all(|bucket| {
            let fetch = self.symbols.fetch(&super::step::fetch(0), Some(bucket));
            let Got::Answer(body) = wire.call(former, 1015, 0, &fetch.encode_to_vec()) else {
                return false;
            };
            let answer = must("a fetch", FetchLogResponse::decode(body));
            let bucket = &answer.tables_resp[0].buckets_resp[0];
            let said = bucket.error_message.as_deref().unwrap_or_default();
            bucket.error_code != Some(21) && !said.contains("is not leader or follower")
        })
    }

    /// Waits until as many replicas are in sync as a write with acks −1 needs.
    fn await_in_sync(&mut self, wire: &mut dyn Wire) -> bool {
        until(wire, LONG_LOOKS, |wire| {
            self.probe(wire).is_some_and(|code| !matches!(code, 12 | 21 | 29))
        })
    }

    /// The code of a write with acks −1 that appends nothing.
    fn probe(&self, wire: &mut dyn Wire) -> Option<i32> {
        wire.act_as(USERS[0].0);
        self.append(wire, &self.symbols.probe())
    }

    fn record(&mut self, answer: &str) {
        let step = super::text::short(&self.script.steps[self.next]);
        let step = step.strip_suffix("()").unwrap_or(&step).to_owned();
        self.played.lines.push((step, answer.to_owned()));
        self.next += 1;
    }

    fn rename(&mut self, name: &str) {
        self.symbols.table_name = format!("{}_{name}", self.symbols.table_name);
    }

    /// The first step, if it makes a table.
    fn create(&mut self, wire: &mut dyn Wire) {
        if let Some(Step::Create(table)) = self.script.steps.first() {
            let table = table.clone();
            self.symbols.shape = Some(Shape::new(&table));
            let answer = self.make(wire);
            self.record(&answer);
        }
    }

    /// Makes the script's table.
    fn make(&mut self, wire: &mut dyn Wire) -> String {
        wire.made();
        self.ask_create(wire, false)
    }

    fn ask_create(&mut self, wire: &mut dyn Wire, ignore_if_exists: bool) -> String {
        let shape = must("a table", self.symbols.shape.as_ref().ok_or("no shape"));
        let json = shape.json.clone();
        self.ask_table(wire, self.symbols.path(), json, ignore_if_exists)
    }

    fn ask_table(
        &mut self,
        wire: &mut dyn Wire,
        table_path: PbTablePath,
        json: String,
        ignore_if_exists: bool,
    ) -> String {
        let request = CreateTableRequest { table_path, table_json: json.into(), ignore_if_exists };
        self.ask(wire, At::Coordinator, 1005, &request.encode_to_vec())
    }

    fn ask(&mut self, wire: &mut dyn Wire, at: At, api: i16, body: &[u8]) -> String {
        wire.act_as(self.user);
        self.symbols.asked = Asked::new(api, body);
        let got = self.call(wire, at, api, body);
        self.symbols.now_ms = wire.now_ms();
        if api == 1026
            && let Got::Answer(body) = &got
        {
            let answer = InitWriterResponse::decode(body.clone());
            self.symbols.writers.push(must("a writer", answer).writer_id);
        }
        self.symbols.normal(api, got)
    }

    /// One request. A follower that has just come back may be out of sync for a moment more; what
    /// is refused for it with 29 is not written, so asking again changes no later answer.
    fn call(&self, wire: &mut dyn Wire, at: At, api: i16, body: &[u8]) -> Got {
        let mut got = wire.call(at, api, 0, body);
        for _ in 0..LOOKS {
            if !(self.complete && lacks_replicas(api, &got)) {
                break;
            }
            wire.pause();
            got = wire.call(at, api, 0, body);
        }
        got
    }

    /// Waits until every bucket answers a fetch; makes the table again where its creation got lost.
    fn await_leaders(&mut self, wire: &mut dyn Wire) {
        let Some(Step::Create(table)) = self.script.steps.first() else { return };
        let table = table.clone();
        for name in 1..=NAMES {
            if until(wire, LOOKS, |wire| self.is_led(wire, &table)) {
                return;
            }
            assert!(self.next <= 1 && wire.repair(), "{} has no leaders", self.symbols.table_name);
            self.rename(&format!("again{name}"));
            self.make(wire);
        }
        panic!("{} never got leaders", self.symbols.table_name);
    }

    /// What the first tablet server that is there says about the table.
    fn metadata(&mut self, wire: &mut dyn Wire) -> Option<PbTableMetadata> {
        let request = request::metadata(self.symbols.path());
        for server in 0..self.symbols.servers() {
            match wire.call(At::Tablet(server), 1012, 0, &request) {
                Got::Closed => {}
                Got::Answer(body) => {
                    let answer = must("metadata", MetadataResponse::decode(body));
                    return answer.table_metadata.into_iter().next();
                }
                _ => return None,
            }
        }
        None
    }

    fn is_led(&mut self, wire: &mut dyn Wire, table: &Table) -> bool {
        wire.act_as(USERS[0].0);
        let Some(meta) = self.metadata(wire) else { return false };
        self.symbols.table = meta.table_id;
        let leader = |bucket: i32| {
            let bucket = meta.bucket_metadata.iter().find(|b| b.bucket_id == bucket);
            bucket.and_then(|b| b.leader_id).filter(|&id| id >= 0)
        };
        (0..table.buckets).all(|bucket| {
            let Some(leader) = leader(bucket) else { return false };
            if bucket == 0 {
                self.symbols.leader = leader;
            }
            let fetch = self.symbols.fetch(&super::step::fetch(0), Some(bucket));
            let got = wire.call(At::Tablet(leader as usize), 1015, 0, &fetch.encode_to_vec());
            let Got::Answer(body) = got else { return false };
            let answer = must("a fetch", FetchLogResponse::decode(body));
            answer.tables_resp[0].buckets_resp[0].error_code.unwrap_or(0) == 0
        })
    }

    fn until_event(&mut self, wire: &mut dyn Wire) {
        while let Some(step) = self.script.steps.get(self.next) {
            if matches!(step, Step::Event(_)) {
                return;
            }
            let answer = self.step(wire, step);
            self.record(&answer);
        }
    }

    fn leader(&self) -> At {
        At::Tablet(self.symbols.leader as usize)
    }

    fn at(&self, to: To) -> At {
        let symbols = &self.symbols;
        let other = |id: &usize| *id as i32 != symbols.leader && Some(*id as i32) != symbols.former;
        At::Tablet(match to {
            To::Follower => must("a follower", (0..symbols.servers()).find(other).ok_or("none")),
            To::Former => must("a former leader", symbols.former.ok_or("none")) as usize,
        })
    }

    fn step(&mut self, wire: &mut dyn Wire, step: &Step) -> String {
        match step {
            Step::Create(_) | Step::Event(_) => panic!("{step:?} cannot be here"),
            Step::CreateAgain(_, ignore) => self.ask_create(wire, *ignore),
            Step::CreateOther(number, table) => {
                let mut path = self.symbols.path();
                path.table_name += &format!("_{number}");
                self.ask_table(wire, path, Shape::new(table).json, false)
            }
            Step::BadLength(length, bytes) => self.bad_length(wire, *length, *bytes),
            Step::As(user) => {
                self.user = user;
                String::new()
            }
            Step::Grant(right) => {
                let request = self.symbols.grant(self.user, *right);
                self.change_rights(wire, 1039, &request, true)
            }
            Step::Revoke(right) => {
                let request = self.symbols.revoke(self.user, *right);
                self.change_rights(wire, 1041, &request, false)
            }
            Step::Forget(writer, sequence) => {
                let again = Step::Produce(produce(*writer, *sequence));
                let (_, _, body) = self.symbols.request(&again);
                let forgotten =
                    until(wire, LONG_LOOKS, |wire| self.append(wire, &body) == Some(31));
                if forgotten { "" } else { "never" }.to_owned()
            }
            Step::About(database, table, step) => {
                self.symbols.about = Some(self.symbols.path_of(*database, *table));
                let answer = self.step(wire, step);
                self.symbols.about = None;
                answer
            }
            Step::To(to, step) => {
                let at = self.at(*to);
                self.request(wire, step, Some(at))
            }
            other => self.request(wire, other, None),
        }
    }

    /// Sends a request where it belongs, or to somebody else.
    fn request(&mut self, wire: &mut dyn Wire, step: &Step, to: Option<At>) -> String {
        if let Step::Fetch(fetch) = step {
            self.symbols.projection = fetch
                .projection
                .as_ref()
                .map(|columns| columns.iter().filter_map(|&at| usize::try_from(at).ok()).collect());
        }
        let (api, at, body) = self.symbols.request(step);
        self.ask(wire, to.unwrap_or(at), api, &body)
    }

    /// The first bytes of a frame whose length is not allowed, and where that is not enough for an
    /// answer, the rest.
    fn bad_length(&mut self, wire: &mut dyn Wire, length: i32, sent: usize) -> String {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.resize(4 + sent, 0);
        let announced = usize::try_from(length).unwrap_or(0);
        let leader = self.leader();
        wire.act_as(self.user);
        if sent >= announced {
            let got = wire.send(leader, &bytes);
            return self.symbols.normal(0, got);
        }
        if let Some(got) = wire.begin(leader, &bytes) {
            return format!("at once: {}", self.symbols.normal(0, got));
        }
        let got = wire.send(leader, &vec![0; announced - sent]);
        format!("with the rest: {}", self.symbols.normal(0, got))
    }

    /// The first user changes the rights of the present one; waits until that one sees the table,
    /// or sees it no more.
    fn change_rights(&mut self, wire: &mut dyn Wire, api: i16, body: &[u8], sees: bool) -> String {
        wire.act_as(USERS[0].0);
        let got = wire.call(At::Coordinator, api, 0, body);
        let answer = self.symbols.normal(api, got);
        let seen = until(wire, LOOKS, |wire| {
            wire.act_as(self.user);
            self.metadata(wire).is_some() == sees
        });
        assert!(seen, "{answer} changes nothing for {}", self.user);
        answer
    }

    /// The code of an append to bucket 0.
    fn append(&self, wire: &mut dyn Wire, body: &[u8]) -> Option<i32> {
        let Got::Answer(body) = wire.call(self.leader(), 1014, 0, body) else { return None };
        let answer = must("an answer", ProduceLogResponse::decode(body));
        Some(answer.buckets_resp[0].error_code.unwrap_or(0))
    }
}

/// Whether a write met too few replicas in sync.
fn lacks_replicas(api: i16, got: &Got) -> bool {
    let Got::Answer(body) = got else { return false };
    let short = Some(29);
    match api {
        1014 => {
            let answer = must("an answer", ProduceLogResponse::decode(body.clone()));
            answer.buckets_resp.iter().any(|bucket| bucket.error_code == short)
        }
        1016 => {
            let answer = must("an answer", PutKvResponse::decode(body.clone()));
            answer.buckets_resp.iter().any(|bucket| bucket.error_code == short)
        }
        _ => false,
    }
}

/// Looks so many times whether something holds.
fn until(wire: &mut dyn Wire, looks: usize, mut holds: impl FnMut(&mut dyn Wire) -> bool) -> bool {
    for _ in 0..looks {
        if holds(wire) {
            return true;
        }
        wire.pause();
    }
    false
}
