//! Whether servers threw an acknowledged row away.
//!
//! A lost row counts as ours. The one excuse is that the server which leads the bucket at the end
//! wrote in its log, after the row was acknowledged, that it truncated the bucket to the row's
//! offset or below.
//! Servers that become followers do that all the time and fetch again what they dropped; a leader
//! that did it and does not have the row is what loses it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use fluss_core::Table;

use super::ChaosError;
use super::check::Lost;
use super::report::Report;
use crate::cluster::RealCluster;

/// The words of the server, before the offset and between offset and bucket.
const BEGINS: &str = "Truncating to offset ";
const GOES_ON: &str = " for bucket ";
/// The most of a log that is read.
const MOST: u64 = 64 << 20;
/// Lines quoted for a table.
const QUOTED: usize = 5;

/// Where the logs of the tablet servers ended.
pub(super) struct Marks(Vec<u64>);

pub(super) fn marks(cluster: &RealCluster) -> Result<Marks, ChaosError> {
    let lengths = (0..cluster.tablet_servers().len()).map(|server| {
        let path = cluster.log(server)?;
        Ok(std::fs::metadata(path)?.len())
    });
    lengths.collect::<Result<_, ChaosError>>().map(Marks)
}

/// Looks for excuses for lost rows, and quotes them.
pub(super) fn look(
    cluster: &RealCluster,
    marks: &Marks,
    table: &Table,
    lost: &[Lost],
    report: &mut Report,
) -> Result<(), ChaosError> {
    if lost.is_empty() {
        return Ok(());
    }
    let info = table.info();
    let leaders = cluster.leaders("fluss", &info.path.table)?;
    let mut quoted = Vec::new();
    for (server, begin) in marks.0.iter().enumerate() {
        let text = tail(&cluster.log(server)?, *begin)?;
        let leads = |bucket| {
            leaders.iter().any(|leader| leader.bucket == bucket && leader.server == Some(server))
        };
        let mine: Vec<Lost> = lost.iter().filter(|lost| leads(lost.bucket)).copied().collect();
        let (excused, lines) = excuses(&text, info.id.0, &mine);
        report.excused += excused;
        quoted.extend(lines.into_iter().map(|line| format!("tablet server {server}: {line}")));
    }
    report.notes.extend(quoted.into_iter().take(QUOTED));
    Ok(())
}

fn tail(path: &Path, begin: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// How many of the lost rows the text explains, and the lines that do.
fn excuses(text: &str, table: i64, lost: &[Lost]) -> (u64, Vec<String>) {
    let truncations: Vec<(i32, i64, u64, &str)> = text
        .lines()
        .filter_map(|line| {
            let (head, rest) = line.split_once(BEGINS)?;
            let (_, at) = head.split_once('(')?;
            let (at, _) = at.split_once(')')?;
            let (to, rest) = rest.split_once(GOES_ON)?;
            let bucket = rest.strip_prefix(&format!("TableBucket{{tableId={table}, bucket="))?;
            let (bucket, _) = bucket.split_once('}')?;
            Some((bucket.parse().ok()?, to.parse().ok()?, at.parse().ok()?, line))
        })
        .collect();
    let mut lines = Vec::new();
    let explained = lost.iter().filter(|lost| {
        let Some(offset) = lost.offset else { return false };
        let found = truncations
            .iter()
            .find(|(bucket, to, at, _)| *bucket == lost.bucket && *to <= offset && *at >= lost.by);
        lines.extend(found.map(|(.., line)| (*line).to_owned()));
        found.is_some()
    });
    let explained = explained.count() as u64;
    lines.dedup();
    (explained, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_later_truncation_of_the_bucket_to_the_row_or_below_is_an_excuse() {
        let text = "\
            12:00:00,000 (5000) INFO  LogTablet - Truncating to offset 40 for bucket \
            TableBucket{tableId=7, bucket=1}\n\
            12:00:00,000 (5000) INFO  LogTablet - Truncating to offset 10 for bucket \
            TableBucket{tableId=8, bucket=2}\n\
            12:00:00,000 (5000) INFO  LogTablet - Truncate to 5 for bucket \
            TableBucket{tableId=7, bucket=3} has no \
            effect as the largest offset in the log is 5.\n";
        let lost = |bucket, offset, by| Lost { bucket, offset, by };
        for (row, excused) in [
            (lost(1, Some(41), 4000), true),
            (lost(1, Some(40), 5000), true),
            (lost(1, Some(39), 4000), false),
            (lost(1, Some(41), 5001), false),
            (lost(1, None, 4000), false),
            (lost(2, Some(50), 4000), false),
            (lost(3, Some(50), 4000), false),
        ] {
            assert_eq!(excuses(text, 7, &[row]).0, u64::from(excused), "{row:?}");
        }
        let (_, lines) = excuses(text, 7, &[lost(1, Some(41), 0), lost(1, Some(42), 0)]);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("offset 40"), "{lines:?}");
    }
}
