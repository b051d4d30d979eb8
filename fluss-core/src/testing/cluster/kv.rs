//! The rows of one bucket of a primary-key table.

use bytes::{BufMut, Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// A stored row: its bytes and the schema they were encoded with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) schema_id: i16,
    pub(super) bytes: Bytes,
}

impl Row {
    /// The row as lookups return it.
    pub(super) fn value(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(2 + self.bytes.len());
        out.put_i16_le(self.schema_id);
        out.put_slice(&self.bytes);
        out.freeze()
    }
}

/// Rows by encoded key. They are found by hash, as clients are measured against millions of them,
/// and listed in key order. Merges see what was written last; readers see what is below the high
/// watermark.
#[derive(Clone, Debug, Default)]
pub(super) struct Kv {
    rows: HashMap<Bytes, Row>,
    order: BTreeSet<Bytes>,
    /// What keys had before each change above the high watermark, with the offset behind the
    /// change, oldest first.
    older: BTreeMap<Bytes, VecDeque<(i64, Option<Row>)>>,
    pub(super) numbers: Numbers,
}

/// Values of the auto-increment column that the bucket may still give to new rows. Each bucket
/// draws many at once, so they ascend within a bucket only.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbers {
    next: i64,
    end: i64,
}

impl Numbers {
    /// The next value; where there is none left, of the table's next block of so many.
    pub(super) fn take(&mut self, blocks: &mut i64, length: i64) -> i64 {
        if self.next == self.end {
            (self.next, self.end) = (*blocks * length + 1, (*blocks + 1) * length + 1);
            *blocks += 1;
        }
        self.next += 1;
        self.next - 1
    }
}

impl Kv {
    /// How many rows readers see.
    pub(super) fn len(&self) -> usize {
        self.all_visible().count()
    }

    /// The row as it was written last.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Row> {
        self.rows.get(key)
    }

    /// The row as readers see it.
    pub(super) fn visible(&self, key: &[u8]) -> Option<&Row> {
        if self.older.is_empty() {
            return self.rows.get(key);
        }
        match self.older.get(key).and_then(VecDeque::front) {
            Some((_, row)) => row.as_ref(),
            None => self.rows.get(key),
        }
    }

    pub(super) fn set(&mut self, key: Bytes, row: Option<Row>) {
        match row {
            Some(row) => {
                if self.rows.insert(key.clone(), row).is_none() {
                    self.order.insert(key);
                }
            }
            None => {
                self.rows.remove(&key);
                self.order.remove(&key);
            }
        }
    }

    /// Hides changes that have been made, up to the offset `end`: what each key had before, in the
    /// order of the changes.
    pub(super) fn hide(&mut self, end: i64, before: Vec<(Bytes, Option<Row>)>) {
        for (key, row) in before {
            self.older.entry(key).or_default().push_back((end, row));
        }
    }

    /// Takes back the hidden changes behind this offset.
    pub(super) fn take_back(&mut self, end: i64) {
        let mut before = Vec::new();
        self.older.retain(|key, older| {
            if let Some(first) = older.iter().position(|(behind, _)| *behind > end) {
                before.extend(older.drain(first..).next().map(|(_, row)| (key.clone(), row)));
            }
            !older.is_empty()
        });
        before.into_iter().for_each(|(key, row)| self.set(key, row));
    }

    /// Shows the changes below the high watermark.
    pub(super) fn show(&mut self, high_watermark: i64) {
        self.older.retain(|_, older| {
            while older.front().is_some_and(|(end, _)| *end <= high_watermark) {
                older.pop_front();
            }
            !older.is_empty()
        });
    }

    /// All rows as they were written last.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Row)> {
        self.order.iter().filter_map(|key| self.rows.get_key_value(key))
    }

    fn all_visible(&self) -> impl Iterator<Item = (&Bytes, &Row)> {
        self.visible_from(Bytes::new())
    }

    /// What readers see from this key on, in key order.
    fn visible_from(&self, from: Bytes) -> impl Iterator<Item = (&Bytes, &Row)> {
        let mut rows = self.order.range(from.clone()..).peekable();
        let mut older = self.older.range(from..).map(|(key, _)| key).peekable();
        let keys = std::iter::from_fn(move || {
            let key = match (rows.peek(), older.peek()) {
                (Some(a), Some(b)) => *a.min(b),
                (a, b) => a.or(b)?,
            };
            rows.next_if_eq(&key);
            older.next_if_eq(&key);
            Some(key)
        });
        keys.filter_map(|key| Some((key, self.visible(key)?)))
    }

    /// Rows whose keys start with `prefix`, in key order.
    pub(super) fn with_prefix<'a>(&'a self, prefix: &'a [u8]) -> impl Iterator<Item = &'a Row> {
        let rows = self.visible_from(Bytes::copy_from_slice(prefix));
        rows.take_while(move |(key, _)| key.starts_with(prefix)).map(|(_, row)| row)
    }

    /// The first rows in key order as a value batch.
    pub(super) fn first_rows(&self, limit: usize) -> Bytes {
        value_batch(self.first(limit))
    }

    /// The same, row by row.
    pub(super) fn first(&self, limit: usize) -> impl Iterator<Item = &Row> {
        self.all_visible().map(|(_, row)| row).take(limit)
    }
}

/// Rows as scans bring them.
pub(super) fn value_batch<'a>(rows: impl Iterator<Item = &'a Row>) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i32_le(0);
    out.put_u8(0);
    out.put_i32_le(0);
    let mut count = 0_i32;
    for row in rows {
        out.put_i32_le(i32::try_from(2 + row.bytes.len()).unwrap_or(i32::MAX));
        out.put_i16_le(row.schema_id);
        out.put_slice(&row.bytes);
        count += 1;
    }
    let length = i32::try_from(out.len() - 4).unwrap_or(i32::MAX);
    out[..4].copy_from_slice(&length.to_le_bytes());
    out[5..9].copy_from_slice(&count.to_le_bytes());
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &'static str) -> Option<Row> {
        Some(Row { schema_id: 1, bytes: Bytes::from_static(text.as_bytes()) })
    }

    fn change(kv: &mut Kv, end: i64, key: &'static str, new: Option<Row>) {
        let key = Bytes::from_static(key.as_bytes());
        let before = kv.get(&key).cloned();
        kv.set(key.clone(), new);
        kv.hide(end, vec![(key, before)]);
    }

    fn seen(kv: &Kv) -> Vec<(&[u8], &[u8])> {
        kv.all_visible().map(|(key, row)| (&key[..], &row.bytes[..])).collect()
    }

    #[test]
    fn readers_see_each_change_once_it_is_below_the_high_watermark() {
        let mut kv = Kv::default();
        change(&mut kv, 1, "a", row("1"));
        kv.show(1);
        change(&mut kv, 2, "a", row("2"));
        change(&mut kv, 3, "b", row("3"));
        change(&mut kv, 4, "a", None);
        assert_eq!(kv.get(b"a"), None, "merges see the last change");
        assert_eq!(seen(&kv), [(&b"a"[..], &b"1"[..])]);
        kv.show(3);
        assert_eq!(seen(&kv), [(&b"a"[..], &b"2"[..]), (b"b", b"3")]);
        assert_eq!((kv.len(), kv.with_prefix(b"b").count()), (2, 1));
        let mut cut = kv.clone();
        kv.show(4);
        assert_eq!(seen(&kv), [(&b"b"[..], &b"3"[..])]);
        change(&mut cut, 5, "a", row("5"));
        cut.take_back(3);
        assert_eq!(cut.get(b"a"), row("2").as_ref(), "as before the first change behind 3");
        assert_eq!(seen(&cut), [(&b"a"[..], &b"2"[..]), (b"b", b"3")]);
    }
}
