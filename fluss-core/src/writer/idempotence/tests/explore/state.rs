//! A state of a search: a client, its buckets, what travels between them, and what may still fail.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::checks::{Broken, Seen};
use super::client::{Client, Renamed, Timer};
use super::network::{BatchNo, BucketNo, Conn, Replica, Reply, Request, Response, Sent};
use super::{Faults, Setup};

/// What a fault does to one entry of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Inject {
    None,
    /// Refused for now, before the append.
    Transient(u8),
    /// Refused for good, before the append.
    Fatal(u8),
    /// Appended, but answered with an error that does not tell.
    After(u8),
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// The last batch is handed in.
    Append,
    /// One request with the next copy of each of these buckets, as bits.
    Send(u8),
    /// The server takes the oldest request of a connection.
    Execute(u8, Inject),
    /// A response arrives.
    Deliver(u8),
    /// Metadata with the present leader arrives.
    Learn(u8),
    Fire(u8, Timer),
    /// A connection breaks.
    Close(u8),
    /// A connection breaks before its newest request left.
    Unsent(u8),
    /// The oldest request of a broken connection never reaches the server.
    Drop(u8),
    /// A clean restart: windows keep their last batch.
    Shrink(u8),
    /// The server forgets the session's writer.
    Expire(u8),
    /// The last entry is lost although it was replicated.
    Truncate(u8),
    /// The other node leads; it has this many entries. Answers about these that the former leader
    /// has not given yet are errors if so said.
    Move(u8, u8, bool),
    /// The leader dies with its connections and leads again, with this many entries.
    Crash(u8, u8),
    /// A batch's deadline passes.
    GiveUp(BatchNo),
    /// The client is closed.
    Abort,
    /// A bucket of the same writer that is not part of the world loses its session.
    Elsewhere,
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct State<C> {
    pub(super) client: C,
    pub(super) setup: Arc<Setup>,
    pub(super) queues: Vec<Vec<BatchNo>>,
    pub(super) replicas: Vec<Replica>,
    pub(super) conns: Vec<Conn>,
    pub(super) responses: Vec<Response>,
    /// The leader of each bucket as the client knows it.
    view: Vec<(u8, u8)>,
    /// The server named there leads no more, and the client heard so. The wait before it asks
    /// again is longer than the look for the new leader takes.
    misled: Vec<bool>,
    pub(super) left: Faults,
    aborted: bool,
    to_come: u8,
    pub(super) seen: Seen,
    /// A replay writes down what happens.
    pub(super) notes: Option<Vec<String>>,
}

impl<C: Client> State<C> {
    pub(super) fn new(setup: &Arc<Setup>) -> Self {
        let mut queues = vec![Vec::new(); setup.buckets];
        let to_come = u8::from(setup.last_late);
        for batch in 0..setup.batches - to_come {
            queues[setup.bucket_of(batch)].push(batch);
        }
        let mut replica = Replica::new(setup.window);
        if let Some(floor) = setup.first_sequence {
            replica.start_after(6, floor - 1);
        }
        let mut state = Self {
            client: C::new(setup),
            setup: Arc::clone(setup),
            queues,
            replicas: vec![replica; setup.buckets],
            conns: Vec::new(),
            responses: Vec::new(),
            view: vec![(0, 0); setup.buckets],
            misled: vec![false; setup.buckets],
            left: setup.faults,
            aborted: false,
            to_come,
            seen: Seen::new(setup),
            notes: None,
        };
        state.rename();
        state
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(notes) = &mut self.notes {
            notes.push(text());
        }
    }

    /// The connection the client would use for a bucket.
    fn conn_of(&self, bucket: BucketNo) -> u8 {
        let node = self.view[bucket].0;
        self.conns.iter().position(|c| c.open && c.node == node).unwrap_or(self.conns.len()) as u8
    }

    fn can_send(&self, bucket: BucketNo) -> bool {
        let may = !self.aborted && !self.misled[bucket];
        may && self.client.can_send(bucket, self.conn_of(bucket), &self.queues[bucket])
    }

    /// All that can happen now.
    pub(super) fn events(&self) -> Vec<Event> {
        let mut events = Vec::with_capacity(16);
        if self.to_come > 0 && !self.aborted {
            events.push(Event::Append);
        }
        let ready = (0..self.setup.buckets).filter(|b| self.can_send(*b)).map(|b| 1u8 << b);
        let ready: Vec<u8> = ready.collect();
        events.extend(ready.iter().map(|bit| Event::Send(*bit)));
        if ready.len() > 1 && self.view.iter().all(|v| v.0 == self.view[0].0) {
            events.push(Event::Send(ready.iter().sum()));
        }
        for (i, conn) in self.conns.iter().enumerate() {
            self.conn_events(i as u8, conn, &mut events);
        }
        events.extend((0..self.responses.len() as u8).map(Event::Deliver));
        for bucket in 0..self.setup.buckets {
            self.bucket_events(bucket, &mut events);
        }
        if self.left.give_up > 0 && !self.aborted {
            let late = (0..self.setup.batches).filter(|b| self.can_be_late(*b));
            events.extend(late.map(Event::GiveUp));
        }
        if self.left.abort > 0 {
            events.push(Event::Abort);
        }
        if self.left.elsewhere > 0 {
            events.push(Event::Elsewhere);
        }
        events
    }

    fn conn_events(&self, i: u8, conn: &Conn, events: &mut Vec<Event>) {
        let awaited = self.responses.iter().any(|r| r.conn == i);
        let used = awaited || !conn.queue.is_empty() || self.client.remembers(i);
        if conn.open && used && self.left.close > 0 {
            events.push(Event::Close(i));
        }
        let Some(head) = conn.queue.front() else { return };
        events.push(Event::Execute(i, Inject::None));
        for entry in 0..head.len() as u8 {
            let mut inject = |left: u8, what: fn(u8) -> Inject| {
                if left > 0 && conn.open {
                    events.push(Event::Execute(i, what(entry)));
                }
            };
            inject(self.left.transient, Inject::Transient);
            inject(self.left.fatal, Inject::Fatal);
            inject(self.left.after, Inject::After);
        }
        if conn.open && self.left.unsent > 0 {
            events.push(Event::Unsent(i));
        }
        if !conn.open && self.left.drop > 0 {
            events.push(Event::Drop(i));
        }
    }

    fn bucket_events(&self, bucket: BucketNo, events: &mut Vec<Event>) {
        let (b, replica) = (bucket as u8, &self.replicas[bucket]);
        let confirm = self.client.has_timer(bucket, Timer::Confirm);
        let stale = self.view[bucket] != (replica.node, replica.epoch);
        if !self.aborted && (confirm || stale) {
            events.push(Event::Learn(b));
        }
        for timer in [Timer::Confirm, Timer::Upward, Timer::Moved] {
            // Metadata about a new leader comes before the wait for it is over.
            let early = timer == Timer::Confirm && stale;
            if self.client.has_timer(bucket, timer) && !early {
                events.push(Event::Fire(b, timer));
            }
        }
        // Time goes so far only where deadlines pass.
        if self.setup.faults.give_up > 0 && self.client.has_timer(bucket, Timer::Tell) {
            events.push(Event::Fire(b, Timer::Tell));
        }
        if self.left.idle > 0 && self.client.has_timer(bucket, Timer::Idle) {
            events.push(Event::Fire(b, Timer::Idle));
        }
        if self.left.shrink > 0 && replica.can_shrink() {
            events.push(Event::Shrink(b));
        }
        if self.left.expiry > 0 && self.can_expire(bucket) {
            events.push(Event::Expire(b));
        }
        if self.left.truncate > 0 && !replica.log.is_empty() {
            events.push(Event::Truncate(b));
        }
        let kept = replica.acked..=replica.log.len() as u8;
        if self.left.crash > 0 {
            events.extend(kept.clone().map(|kept| Event::Crash(b, kept)));
        }
        if self.left.moves > 0 {
            let moves =
                kept.flat_map(|kept| [Event::Move(b, kept, false), Event::Move(b, kept, true)]);
            events.extend(moves);
        }
    }

    fn can_be_late(&self, batch: BatchNo) -> bool {
        let bucket = self.setup.bucket_of(batch);
        self.queues[bucket].contains(&batch) || self.client.holds(bucket, batch)
    }

    /// As deadlines and idle rotation guarantee: no copy of the writer is left anywhere.
    fn can_expire(&self, bucket: BucketNo) -> bool {
        let Some(writer) = self.client.resting_writer(bucket) else { return false };
        let of_it = |c: &Sent| usize::from(c.bucket) == bucket && c.writer == writer;
        self.replicas[bucket].knows(writer) && !self.copies().any(of_it)
    }

    /// Copies that were not executed yet, also those on broken connections.
    pub(super) fn unexecuted(&self) -> impl Iterator<Item = &Sent> {
        self.conns.iter().flat_map(|c| c.queue.iter().flatten())
    }

    /// Copies that were not executed, or whose answer is on the way.
    pub(super) fn copies(&self) -> impl Iterator<Item = &Sent> {
        let answered = self.responses.iter().flat_map(|r| r.entries.iter().map(|(c, _)| c));
        self.unexecuted().chain(answered)
    }

    /// Does a step and checks what must hold afterwards.
    pub(super) fn apply(&mut self, event: Event) -> Result<(), Broken> {
        self.happen(event)?;
        self.check()?;
        self.rename();
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), Broken> {
        match event {
            Event::Append => {
                self.to_come -= 1;
                let batch = self.setup.batches - 1;
                self.queues[self.setup.bucket_of(batch)].push(batch);
                self.note(|| format!("b{batch} is handed in"));
            }
            Event::Send(mask) => return self.send(mask),
            Event::Execute(conn, inject) => return self.execute(usize::from(conn), inject),
            Event::Deliver(i) => return self.deliver(usize::from(i)),
            Event::Close(conn) => {
                self.left.close -= 1;
                return self.close(usize::from(conn), None);
            }
            Event::Unsent(conn) => {
                self.left.unsent -= 1;
                let last = self.conns[usize::from(conn)].queue.pop_back();
                return self.close(usize::from(conn), last);
            }
            Event::Crash(b, kept) => return self.crash(usize::from(b), usize::from(kept)),
            Event::Learn(b) => self.learn(usize::from(b)),
            Event::Fire(b, timer) => {
                self.left.idle -= u8::from(timer == Timer::Idle);
                self.note(|| format!("timer of bucket {b}: {timer:?}"));
                let bucket = usize::from(b);
                if self.client.fire(bucket, timer, &self.queues[bucket]) {
                    self.completed()?;
                    return self.close_former(bucket);
                }
            }
            Event::GiveUp(batch) => {
                self.left.give_up -= 1;
                self.seen.grave += 1;
                self.note(|| format!("the deadline of b{batch} passes"));
                let bucket = self.setup.bucket_of(batch);
                let queued = self.queues[bucket].len();
                self.queues[bucket].retain(|b| *b != batch);
                if self.queues[bucket].len() < queued {
                    return self.finish(batch, super::client::End::NotWritten);
                }
                self.client.give_up(bucket, batch, &self.queues[bucket]);
            }
            Event::Abort => {
                self.left.abort -= 1;
                self.note(|| "the client is closed".into());
                self.aborted = self.client.abort();
                for queue in std::mem::take(&mut self.queues) {
                    for batch in queue {
                        self.finish(batch, super::client::End::NotWritten)?;
                    }
                    self.queues.push(Vec::new());
                }
                while self.queues.len() < self.setup.buckets {
                    self.queues.push(Vec::new());
                }
                self.queues.truncate(self.setup.buckets);
            }
            Event::Elsewhere => {
                self.left.elsewhere -= 1;
                self.seen.grave += 1;
                self.note(|| "another bucket of the writer loses its session".into());
                self.client.reset_elsewhere();
            }
            fault => self.server_fault(fault),
        }
        self.completed()
    }

    fn server_fault(&mut self, event: Event) {
        self.note(|| format!("fault: {event:?}"));
        match event {
            Event::Drop(conn) => {
                self.left.drop -= 1;
                self.conns[usize::from(conn)].queue.pop_front();
            }
            Event::Shrink(b) => {
                self.left.shrink -= 1;
                self.replicas[usize::from(b)].shrink();
            }
            Event::Expire(b) => {
                self.left.expiry -= 1;
                self.seen.grave += 1;
                if let Some(writer) = self.client.resting_writer(usize::from(b)) {
                    self.replicas[usize::from(b)].expire(writer);
                }
            }
            Event::Truncate(b) => {
                self.left.truncate -= 1;
                self.seen.grave += 1;
                let replica = &mut self.replicas[usize::from(b)];
                if let Some(last) = replica.log.last() {
                    replica.lost |= 1 << last.batch;
                    replica.truncate(replica.log.len() - 1);
                }
            }
            Event::Move(b, kept, all) => self.lead_elsewhere(b, kept, all),
            _ => {}
        }
    }

    fn lead_elsewhere(&mut self, b: u8, kept: u8, all: bool) {
        self.left.moves -= 1;
        let replica = &mut self.replicas[usize::from(b)];
        replica.node = 1 - replica.node;
        replica.epoch += 1;
        replica.truncate(usize::from(kept));
        // The former leader cannot acknowledge what it could not replicate.
        for (copy, reply) in self.responses.iter_mut().flat_map(|r| &mut r.entries) {
            if copy.bucket == b && matches!(reply, Reply::Written(at) if *at >= kept || all) {
                *reply = Reply::Code(12);
            }
        }
    }

    fn crash(&mut self, bucket: BucketNo, kept: usize) -> Result<(), Broken> {
        self.left.crash -= 1;
        self.note(|| format!("the leader of bucket {bucket} starts again with {kept} entries"));
        self.replicas[bucket].truncate(kept);
        let node = self.replicas[bucket].node;
        for i in (0..self.conns.len()).filter(|i| self.conns[*i].node == node).collect::<Vec<_>>() {
            if self.conns[i].open {
                self.close(i, None)?;
            }
            self.conns[i].queue.clear();
        }
        self.completed()
    }

    fn learn(&mut self, bucket: BucketNo) {
        let leader = (self.replicas[bucket].node, self.replicas[bucket].epoch);
        self.view[bucket] = leader;
        self.misled[bucket] = false;
        self.note(|| format!("metadata: node {} leads, epoch {}", leader.0, leader.1));
        self.client.lead(bucket, leader, &self.queues[bucket]);
    }

    fn send(&mut self, mask: u8) -> Result<(), Broken> {
        let mut request = Request::new();
        let mut on = 0;
        for bucket in (0..self.setup.buckets).filter(|b| mask & (1 << b) != 0) {
            let conn = self.conn_of(bucket);
            on = usize::from(conn);
            let copy = self.client.pick(bucket, conn, &mut self.queues[bucket]);
            self.completed()?;
            let Some(copy) = copy else {
                return Err(Broken::new("contract", format!("no copy for bucket {bucket}")));
            };
            self.note(|| format!("send {copy} on c{conn}"));
            self.check_copy(&copy, conn)?;
            request.push(copy);
        }
        if on == self.conns.len() {
            let node = request.first().map_or(0, |c| self.view[usize::from(c.bucket)].0);
            self.conns.push(Conn { node, open: true, queue: VecDeque::new() });
        }
        self.conns[on].queue.push_back(request);
        Ok(())
    }

    fn execute(&mut self, i: usize, inject: Inject) -> Result<(), Broken> {
        match inject {
            Inject::None => {}
            Inject::Transient(_) => self.left.transient -= 1,
            Inject::Fatal(_) => {
                self.left.fatal -= 1;
                self.seen.grave += 1;
            }
            Inject::After(_) => self.left.after -= 1,
        }
        let Some(request) = self.conns[i].queue.pop_front() else { return Ok(()) };
        let (node, open) = (self.conns[i].node, self.conns[i].open);
        let mut entries = Vec::with_capacity(request.len());
        for (k, copy) in request.into_iter().enumerate() {
            let k = k as u8;
            let replica = &mut self.replicas[usize::from(copy.bucket)];
            let reply = if replica.node != node {
                Reply::Code(12)
            } else if inject == Inject::Transient(k) {
                Reply::Code(29)
            } else if inject == Inject::Fatal(k) {
                Reply::Code(57)
            } else {
                self.append(&copy, inject == Inject::After(k))?
            };
            self.note(|| {
                let gone = if open { "" } else { " (nobody hears it)" };
                format!("server takes {copy} of c{i}: {reply:?}{gone}")
            });
            entries.push((copy, reply));
        }
        if open {
            self.responses.push(Response { conn: i as u8, entries });
        }
        Ok(())
    }

    fn append(&mut self, copy: &Sent, fail: bool) -> Result<Reply, Broken> {
        let replica = &mut self.replicas[usize::from(copy.bucket)];
        let had = replica.has(copy.batch);
        let length = replica.log.len();
        let reply = replica.append(copy);
        let appended = replica.log.len() > length;
        self.check_append(copy, reply, appended, had)?;
        let hide = fail && matches!(reply, Reply::Written(_));
        Ok(if hide { Reply::Code(25) } else { reply })
    }

    fn deliver(&mut self, i: usize) -> Result<(), Broken> {
        let response = self.responses.remove(i);
        for (copy, reply) in response.entries {
            self.note(|| format!("answer to {copy}: {reply:?}"));
            self.hand_in(&copy, reply)?;
        }
        Ok(())
    }

    fn hand_in(&mut self, copy: &Sent, reply: Reply) -> Result<(), Broken> {
        let before = self.client.clone();
        self.seen.answered(copy, reply);
        if let Reply::Written(at) = reply {
            let replica = &mut self.replicas[usize::from(copy.bucket)];
            if usize::from(at) < replica.log.len() {
                replica.acked = replica.acked.max(at + 1);
            }
        }
        if reply == Reply::Code(12) {
            let replica = &self.replicas[usize::from(copy.bucket)];
            let bucket = usize::from(copy.bucket);
            self.misled[bucket] = self.view[bucket] != (replica.node, replica.epoch);
        }
        self.client.answer(copy, reply, &self.queues[usize::from(copy.bucket)]);
        self.check_answer(&before, copy, reply)?;
        self.completed()
    }

    fn close(&mut self, i: usize, unsent: Option<Request>) -> Result<(), Broken> {
        self.note(|| format!("c{i} breaks"));
        self.conns[i].open = false;
        let mut broken: Vec<(Sent, Reply)> = Vec::new();
        let mut kept = Vec::new();
        for response in std::mem::take(&mut self.responses) {
            if usize::from(response.conn) == i {
                broken.extend(response.entries.iter().map(|(c, _)| (*c, Reply::Lost)));
            } else {
                kept.push(response);
            }
        }
        self.responses = kept;
        broken.extend(self.conns[i].queue.iter().flatten().map(|c| (*c, Reply::Lost)));
        broken.extend(unsent.into_iter().flatten().map(|c| (c, Reply::NotSent)));
        broken.sort_by_key(|(c, _)| c.serial);
        if self.aborted {
            return Ok(());
        }
        for (copy, reply) in broken {
            self.hand_in(&copy, reply)?;
        }
        Ok(())
    }

    /// Closes the connections of a bucket's open copies.
    fn close_former(&mut self, bucket: BucketNo) -> Result<(), Broken> {
        let Some(view) = self.client.view(bucket) else { return Ok(()) };
        let mut conns: Vec<u8> = view.slots.iter().filter_map(|s| s.1).map(|o| o.1).collect();
        conns.dedup();
        for conn in conns {
            if self.conns.get(usize::from(conn)).is_some_and(|c| c.open) {
                self.close(usize::from(conn), None)?;
            }
        }
        Ok(())
    }

    fn completed(&mut self) -> Result<(), Broken> {
        for (batch, end) in self.client.ended() {
            self.finish(batch, end)?;
        }
        Ok(())
    }

    /// Names copies and connections anew, so that states differ only in what matters.
    fn rename(&mut self) {
        let mut serials: Vec<u32> = self.copies().map(|c| c.serial).collect();
        serials.sort_unstable();
        serials.dedup();
        let mut conns = vec![None; self.conns.len()];
        let mut next = 0u8;
        for (i, conn) in self.conns.iter().enumerate() {
            let awaited = self.responses.iter().any(|r| usize::from(r.conn) == i);
            let remembered = conn.open && self.client.remembers(i as u8);
            if awaited || !conn.queue.is_empty() || remembered {
                conns[i] = Some(next);
                next += 1;
            }
        }
        self.client.rename(&Renamed { serials: &serials, conns: &conns });
        let mut i = 0;
        self.conns.retain(|_| {
            i += 1;
            conns[i - 1].is_some()
        });
        for response in &mut self.responses {
            response.conn = conns[usize::from(response.conn)].unwrap_or(u8::MAX);
        }
        let queued = self.conns.iter_mut().flat_map(|c| c.queue.iter_mut().flatten());
        let answered =
            self.responses.iter_mut().flat_map(|r| r.entries.iter_mut().map(|e| &mut e.0));
        for copy in queued.chain(answered) {
            copy.serial = serials.binary_search(&copy.serial).unwrap_or(usize::MAX) as u32;
        }
        self.responses.sort();
    }

    /// Adds the state to a hash.
    pub(super) fn fingerprint(&self, hasher: &mut impl Hasher) {
        self.client.fingerprint(hasher);
        self.queues.hash(hasher);
        self.replicas.hash(hasher);
        self.conns.hash(hasher);
        self.responses.hash(hasher);
        (&self.view, &self.misled).hash(hasher);
        self.left.hash(hasher);
        (self.aborted, self.to_come).hash(hasher);
        self.seen.hash(hasher);
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let probe = if self.probe { " as a probe" } else { "" };
        write!(f, "b{} as ({},{}){probe}", self.batch, self.writer, self.seq)
    }
}
