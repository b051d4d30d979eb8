//! What a server says when it refuses something, without what no two clusters have in common.

use fluss_proto::message::{ListOffsetsRequest, ProduceLogRequest};
use prost::Message;

use super::normal::Symbols;

/// Begins the trace below a Java exception, which is of the lines of the server's source.
const TRACE: &str = "\n\tat ";
/// Begins the description of a buffer in a server's memory.
const BUFFER: &str = "PooledSlicedByteBuf(";
/// Where the checksum of a log batch is.
const CRC_AT: std::ops::Range<usize> = 21..25;

/// What a request said that its answer may repeat, and that is another time or made of other ids
/// on another cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// The stored checksums of log batches.
    checksums: Vec<i64>,
    /// The time of a LIST_OFFSETS.
    time: Option<i64>,
}

impl Asked {
    pub(super) fn new(api: i16, body: &[u8]) -> Self {
        let mut asked = Self::default();
        match api {
            1014 => {
                let request = ProduceLogRequest::decode(body).unwrap_or_default();
                let checksum = |records: &[u8]| {
                    let crc = records.get(CRC_AT)?.try_into().ok()?;
                    Some(i64::from(u32::from_le_bytes(crc)))
                };
                let buckets = request.buckets_req.iter();
                asked.checksums.extend(buckets.filter_map(|bucket| checksum(&bucket.records)));
            }
            1021 => {
                asked.time = ListOffsetsRequest::decode(body).ok().and_then(|q| q.start_timestamp);
            }
            _ => {}
        }
        asked
    }
}

impl Symbols {
    /// Maps a text by the rules in the [documentation](super) of the scripts.
    pub(super) fn words(&self, message: &mut Option<String>) {
        if let Some(text) = message {
            *message = Some(self.said(text));
        }
    }

    fn said(&self, text: &str) -> String {
        let text = text.split(TRACE).next().unwrap_or_default();
        let text = match text.find(BUFFER) {
            Some(at) => &text[..at + BUFFER.len()],
            None => text,
        };
        let table = |id: i64| (id == self.table).then(|| "table".to_owned());
        let text = text.replace(&self.table_name, "table");
        let text = numbers(&text, "tableId=", table);
        let text = numbers(&text, "table ID ", table);
        let text = numbers(&text, "for writer ", |id| Some(self.writer(id)));
        let text = numbers(&text, "stored crc = ", |crc| {
            let sent = self.asked.checksums.iter().position(|sent| *sent == crc)?;
            Some(format!("as sent in {sent}"))
        });
        let text = numbers(&text, "fetch timestamp ", |at| {
            (self.asked.time == Some(at)).then(|| "as asked".to_owned())
        });
        numbers(&text, "current timestamp ", |at| (self.time(at) == 1).then(|| "now".to_owned()))
    }
}

/// Replaces numbers behind a mark where there is something to put in their place.
fn numbers(text: &str, mark: &str, replace: impl Fn(i64) -> Option<String>) -> String {
    let mut pieces = text.split(mark);
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let negative = usize::from(piece.starts_with('-'));
        let digits = piece[negative..].find(|c: char| !c.is_ascii_digit());
        let (number, rest) = piece.split_at(digits.map_or(piece.len(), |at| negative + at));
        let replaced = number.parse().ok().and_then(&replace);
        out += mark;
        out += replaced.as_deref().unwrap_or(number);
        out += rest;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn numbers_behind_a_mark_are_replaced_where_they_are_known_and_others_stay() {
        let known = |number: i64| (number == -7).then(|| "seven".to_owned());
        let map = |text: &str| numbers(text, "id=", known);
        assert_eq!(map("id=-7, id=8 and 7, id=-7"), "id=seven, id=8 and 7, id=seven");
        assert_eq!(map("id=, id=x, -7"), "id=, id=x, -7");
        assert_eq!(map(""), "");
    }
}
