//! The nearest known word to one that is unknown.

/// The candidate that differs least from `word`, if any is near enough to be meant.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let found = closest(word, candidates)?;
    is_near(word, found).then_some(found)
}

/// The candidate that differs least from `word`, however much that is.
pub(crate) fn closest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates.into_iter().min_by_key(|candidate| distance(word, candidate))
}

/// Beyond half of its letters, a word is another word.
pub(crate) fn is_near(word: &str, found: &str) -> bool {
    distance(word, found) * 2 <= found.chars().count().max(2)
}

/// The number of letters to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_what_was_meant() {
        let known = ["client.writer.acks", "client.writer.retries", "client.id"];
        assert_eq!(nearest("client.writer.ack", known), Some("client.writer.acks"));
        assert_eq!(nearest("client.writer.retires", known), Some("client.writer.retries"));
        assert_eq!(nearest("x", known), None);
        assert_eq!(nearest("x", []), None);
        assert_eq!(closest("client.ip", known), Some("client.id"));
        assert_eq!(closest("x", known), Some("client.id"));
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
