//! What lies between a client and its buckets, and the server's side of both: connections whose
//! requests stay queued after they broke, answers in any order, append validation, lost state.

use std::collections::VecDeque;

/// Index of a bucket in a search.
pub(super) type BucketNo = usize;
/// Index of a batch in a search; also its payload.
pub(super) type BatchNo = u8;

/// One copy of a batch, as the client named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Sent {
    pub(super) bucket: u8,
    pub(super) batch: BatchNo,
    pub(super) writer: i64,
    pub(super) seq: i32,
    pub(super) serial: u32,
    pub(super) probe: bool,
}

/// What a copy is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Reply {
    /// In the log at this offset, now or before.
    Written(u8),
    /// The server's error code.
    Code(i32),
    /// The connection broke.
    Lost,
    /// The connection broke before a byte was written.
    NotSent,
}

impl Reply {
    /// Whether it leaves open if the copy was or will be appended.
    pub(super) fn is_ambiguous(self) -> bool {
        match self {
            Self::Written(_) | Self::NotSent => false,
            // As the server's answers are classified in the specification, not as the client does.
            Self::Code(code) => matches!(code, 12 | 25),
            Self::Lost => true,
        }
    }
}

/// At most one copy per bucket.
pub(super) type Request = Vec<Sent>;

/// The answers to a request, held until the network delivers them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Response {
    pub(super) conn: u8,
    pub(super) entries: Vec<(Sent, Reply)>,
}

/// A connection. What a closed one still has queued may be executed later.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Conn {
    pub(super) node: u8,
    pub(super) open: bool,
    pub(super) queue: VecDeque<Request>,
}

/// One appended batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) writer: i64,
    pub(super) seq: i32,
    pub(super) batch: BatchNo,
}

/// The last sequences of a writer with their offsets, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Window {
    writer: i64,
    last: VecDeque<(i32, u8)>,
}

/// The leader's replica of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Replica {
    pub(super) log: Vec<Entry>,
    windows: Vec<Window>,
    /// All that a leader ever appended, as bits.
    pub(super) ever: u32,
    /// Acknowledged batches that a fault removed, as bits.
    pub(super) lost: u32,
    /// Offsets below this were acknowledged to the client: every later leader has them.
    pub(super) acked: u8,
    pub(super) node: u8,
    pub(super) epoch: u8,
    keep: u8,
}

impl Replica {
    /// An empty one that remembers `keep` batches of a writer.
    pub(super) fn new(keep: u8) -> Self {
        Self {
            log: Vec::new(),
            windows: Vec::new(),
            ever: 0,
            lost: 0,
            acked: 0,
            node: 0,
            epoch: 0,
            keep,
        }
    }

    /// A writer of which all sequences up to this one were written and deleted again.
    pub(super) fn start_after(&mut self, writer: i64, seq: i32) {
        self.windows.push(Window { writer, last: VecDeque::from([(seq, u8::MAX)]) });
    }

    /// Whether the payload is in the log.
    pub(super) fn has(&self, batch: BatchNo) -> bool {
        self.log.iter().any(|e| e.batch == batch)
    }

    /// Whether the stamp is in the log.
    pub(super) fn has_stamp(&self, writer: i64, seq: i32) -> bool {
        self.log.iter().any(|e| (e.writer, e.seq) == (writer, seq))
    }

    /// Validates as a leader does (§9.2) and appends.
    pub(super) fn append(&mut self, copy: &Sent) -> Reply {
        let offset = self.log.len() as u8;
        let found = self.windows.iter().position(|w| w.writer == copy.writer);
        if let Some(i) = found
            && let Some((_, at)) = self.windows[i].last.iter().find(|(s, _)| *s == copy.seq)
        {
            return Reply::Written(*at);
        }
        let last = found.and_then(|i| self.windows[i].last.back()).map(|(s, _)| *s);
        let next = i64::from(copy.seq) == last.map_or(-1, i64::from) + 1;
        let wrapped = copy.seq == 0 && last == Some(i32::MAX);
        if !next && !wrapped {
            return Reply::Code(31);
        }
        self.remember(copy.writer, copy.seq, offset);
        self.log.push(Entry { writer: copy.writer, seq: copy.seq, batch: copy.batch });
        self.ever |= 1 << copy.batch;
        Reply::Written(offset)
    }

    fn remember(&mut self, writer: i64, seq: i32, offset: u8) {
        let i = self.windows.iter().position(|w| w.writer == writer).unwrap_or_else(|| {
            self.windows.push(Window { writer, last: VecDeque::new() });
            self.windows.len() - 1
        });
        let last = &mut self.windows[i].last;
        if last.len() == usize::from(self.keep) {
            last.pop_front();
        }
        last.push_back((seq, offset));
    }

    /// Whether a clean restart would change anything.
    pub(super) fn can_shrink(&self) -> bool {
        self.windows.iter().any(|w| w.last.len() > 1)
    }

    /// A clean restart: each writer keeps its last batch.
    pub(super) fn shrink(&mut self) {
        for window in &mut self.windows {
            window.last.drain(..window.last.len() - 1);
        }
    }

    /// Whether this writer has state.
    pub(super) fn knows(&self, writer: i64) -> bool {
        self.windows.iter().any(|w| w.writer == writer)
    }

    /// Forgets a writer.
    pub(super) fn expire(&mut self, writer: i64) {
        self.windows.retain(|w| w.writer != writer);
    }

    /// Keeps the first `end` entries and rebuilds the windows from them.
    pub(super) fn truncate(&mut self, end: usize) {
        self.log.truncate(end);
        self.acked = self.acked.min(end as u8);
        self.windows.clear();
        for at in 0..end {
            let Entry { writer, seq, .. } = self.log[at];
            self.remember(writer, seq, at as u8);
        }
    }
}
