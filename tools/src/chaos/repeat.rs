//! Rounds that broke off before they began, and which of them are begun again.
//!
//! The published servers end by themselves now and then while they start or while a table is made,
//! the more often the busier the machine is. A round that met this has tried nothing yet: it is
//! played again with its seed on a new cluster. As little as possible may hide behind that:
//!
//! * only if no cluster came up, or a server ended that nobody had killed or stopped;
//! * never once the threads that hand rows in have been started;
//! * a round at most once, and of any hundred rounds at most 3; of fewer, as many in proportion,
//!   but one;
//! * each is printed when it happens and counted at the end, with what the log of the server said
//!   last.
//!
//! A round that broke off otherwise, or once more, has failed.

use std::fmt;

use super::ChaosError;
use super::report::Report;
use crate::cluster::ClusterError;

/// So many consecutive rounds are looked at.
const SPAN: u64 = 100;
/// Of those so many may be repeated.
const MOST: u64 = 3;
/// Lines of a log that the final table quotes.
const QUOTED: usize = 5;

/// A round that was not played to its end.
#[derive(Debug)]
pub(super) struct BrokenOff {
    error: ChaosError,
    /// Whether there was no cluster to play on.
    at_start: bool,
    /// Whether rows may have been handed in.
    handed_in: bool,
    /// What the servers did by themselves.
    cause: Option<String>,
}

impl BrokenOff {
    /// No cluster could be started.
    pub(super) fn at_start(error: ChaosError) -> Self {
        let cause = match &error {
            ChaosError::Cluster(error) => did_not_start(error),
            _ => None,
        };
        Self { error, at_start: true, handed_in: false, cause }
    }

    /// The round ended with this error, whether after rows `handed_in` or not; `check` is what the
    /// cluster said when it was asked for servers that ended by themselves.
    pub(super) fn on_the_way(
        error: ChaosError,
        handed_in: bool,
        check: Result<(), ClusterError>,
    ) -> Self {
        let found = match &error {
            ChaosError::Cluster(error) => ended(error),
            _ => None,
        };
        let cause = found.or_else(|| check.as_ref().err().and_then(ended));
        Self { error, at_start: false, handed_in, cause }
    }

    /// The same after the user ended the run: whatever the servers did, it is no reason to go on.
    pub(super) fn interrupted(self) -> Self {
        Self { cause: None, ..self }
    }
}

/// Says which server ended by itself, if that is the error.
fn ended(error: &ClusterError) -> Option<String> {
    let ClusterError::Exited { server, status, tail } = error else { return None };
    let lines: Vec<&str> = tail.lines().collect();
    let mut text = format!("the {server} ended by itself ({status})");
    for line in &lines[lines.len().saturating_sub(QUOTED)..] {
        text.push_str("\n          ");
        text.push_str(line);
    }
    Some(text)
}

/// The same for a start, whose servers may also just not come up. What is missing on this machine
/// will be missing the next time, too.
fn did_not_start(error: &ClusterError) -> Option<String> {
    match error {
        ClusterError::NotReady { limit, missing, .. } => {
            Some(format!("the cluster was not ready after {} s: {missing}", limit.as_secs()))
        }
        _ => ended(error),
    }
}

/// Why a round is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    HandedIn,
    NoServer,
    Again,
    TooMany(u64),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not repeated: ")?;
        match self {
            Self::HandedIn => f.write_str("rows had been handed in"),
            Self::NoServer => f.write_str("no server had ended by itself"),
            Self::Again => f.write_str("it had been repeated already"),
            Self::TooMany(most) => write!(f, "{most} of the rounds before had been, the most"),
        }
    }
}

/// What came of a round and its repetition.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) report: Report,
    /// Without a cluster the next round would fare no better.
    pub(super) fatal: Option<ChaosError>,
}

/// The repetitions of a run.
#[derive(Debug)]
pub(super) struct Repeats {
    most: u64,
    /// Rounds begun, not counting repetitions.
    begun: u64,
    /// Which of those were repeated.
    repeated: Vec<u64>,
}

impl Repeats {
    /// None so far, of so many rounds to come.
    pub(super) fn new(rounds: u64) -> Self {
        let most = (rounds.min(SPAN) * MOST / SPAN).max(1);
        Self { most, begun: 0, repeated: Vec::new() }
    }

    /// Plays a round, a second time if that is allowed. `play` is told whether it is the second
    /// time; `tell` hears why it is, and what the first one met; `fail` makes the report of a round
    /// that broke off.
    ///
    /// # Errors
    /// Those of `tell`.
    pub(super) fn play(
        &mut self,
        mut play: impl FnMut(bool) -> Result<Report, BrokenOff>,
        mut tell: impl FnMut(&str, &ChaosError) -> Result<(), ChaosError>,
        fail: impl Fn(&ChaosError) -> Report,
    ) -> Result<Played, ChaosError> {
        self.begun += 1;
        let mut repeated = None;
        loop {
            let broken = match play(repeated.is_some()) {
                Ok(mut report) => {
                    report.repeated = repeated;
                    return Ok(Played { report, fatal: None });
                }
                Err(broken) => broken,
            };
            match self.allow(&broken, repeated.is_some()) {
                Ok(cause) => {
                    tell(&cause, &broken.error)?;
                    repeated = Some(cause);
                }
                Err(refusal) => {
                    let mut report = fail(&broken.error);
                    report.repeated = repeated;
                    report.problem(refusal.to_string());
                    let fatal = broken.at_start.then_some(broken.error);
                    return Ok(Played { report, fatal });
                }
            }
        }
    }

    /// Whether the round that broke off may be played again, and then what caused that.
    fn allow(&mut self, broken: &BrokenOff, again: bool) -> Result<String, Refusal> {
        if broken.handed_in {
            return Err(Refusal::HandedIn);
        }
        let Some(cause) = &broken.cause else { return Err(Refusal::NoServer) };
        if again {
            return Err(Refusal::Again);
        }
        let near = self.repeated.iter().filter(|round| self.begun - **round < SPAN).count() as u64;
        if near >= self.most {
            return Err(Refusal::TooMany(near));
        }
        self.repeated.push(self.begun);
        Ok(cause.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::plan::{Kind, Plan};
    use super::super::report::summary;
    use super::*;
    use crate::cluster::{Server, Unavailable};
    use fluss_core::Error;

    fn report(error: Option<&ChaosError>) -> Report {
        let plan = Plan::new(Kind::Kill, 7, 100);
        match error {
            Some(error) => Report::broken_off(5, &plan, 100, error),
            None => Report::new(5, &plan, 100),
        }
    }

    fn exited() -> ClusterError {
        let tail = (1..=9).map(|n| format!("line {n}\n")).collect();
        ClusterError::Exited { server: Server::Coordinator, status: "exit status: 1".into(), tail }
    }

    fn no_table() -> ChaosError {
        ChaosError::Table("it could not be made".to_owned())
    }

    /// A table that could not be made, as the coordinator had ended.
    fn before_rows() -> BrokenOff {
        BrokenOff::on_the_way(no_table(), false, Err(exited()))
    }

    /// Plays a round whose attempts end so, and tells what was told meanwhile.
    fn played(repeats: &mut Repeats, attempts: Vec<Option<BrokenOff>>) -> (Played, Vec<String>) {
        let (mut told, mut begun, all) = (Vec::new(), 0, attempts.len());
        let mut attempts = attempts.into_iter();
        let play = |again| {
            assert_eq!(again, begun > 0);
            begun += 1;
            attempts
                .next()
                .expect("one attempt more than there should be")
                .map_or(Ok(report(None)), Err)
        };
        let tell = |cause: &str, error: &ChaosError| {
            told.push(format!("{error}; {cause}"));
            Ok(())
        };
        let played = repeats.play(play, tell, |error| report(Some(error))).expect("all was told");
        assert_eq!(begun, all, "attempts");
        (played, told)
    }

    #[test]
    fn a_round_before_whose_first_row_a_server_ended_by_itself_is_played_again_and_says_so() {
        let breaks = [
            before_rows(),
            BrokenOff::on_the_way(exited().into(), false, Ok(())),
            BrokenOff::at_start(exited().into()),
        ];
        for broken in breaks {
            let error = broken.error.to_string();
            let mut repeats = Repeats::new(10);
            let (first, told) = played(&mut repeats, vec![None]);
            assert!(first.report.repeated.is_none() && told.is_empty());
            let (second, told) = played(&mut repeats, vec![Some(broken), None]);
            assert!(told.len() == 1 && told[0].starts_with(&error), "{told:?}");
            assert!(told[0].ends_with("line 9"), "{told:?}");
            assert!(second.report.passed() && second.fatal.is_none());
            let line = second.report.line();
            assert!(line.ends_with("ok, when it was repeated"), "{line}");
            let text = summary(&[first.report, second.report]);
            assert!(text.starts_with("2 rounds, 0 failed, 1 repeated: "), "{text}");
            let why = "\n      round 5 was repeated before its first row: the coordinator ended by \
                       itself (exit status: 1)\n          line 5\n          line 6";
            assert!(text.contains(why) && text.ends_with("line 9"), "{text}");
        }
    }

    #[test]
    fn a_cluster_that_does_not_come_up_is_started_once_more_and_then_ends_the_run() {
        let late = || ClusterError::NotReady {
            limit: Duration::from_secs(60),
            missing: "the coordinator does not listen".to_owned(),
            logs: "--- log of the coordinator:\nline 1".to_owned(),
        };
        let broken = || Some(BrokenOff::at_start(late().into()));
        let mut repeats = Repeats::new(10);
        let (played, told) = played(&mut repeats, vec![broken(), broken()]);
        assert_eq!(told.len(), 1);
        assert!(!played.report.passed() && played.report.repeated.is_some());
        assert!(played.report.problems.contains(&Refusal::Again.to_string()));
        assert!(matches!(played.fatal, Some(ChaosError::Cluster(error)) if error == late()));
    }

    #[test]
    fn a_round_in_which_a_row_was_handed_in_is_never_repeated() {
        for error in [no_table(), exited().into()] {
            let broken = BrokenOff::on_the_way(error, true, Err(exited()));
            let (played, told) = played(&mut Repeats::new(100), vec![Some(broken)]);
            assert!(told.is_empty() && played.fatal.is_none());
            assert!(!played.report.passed() && played.report.repeated.is_none());
            assert!(played.report.problems.contains(&Refusal::HandedIn.to_string()));
        }
    }

    #[test]
    fn a_round_that_broke_off_for_another_reason_is_not_repeated() {
        let client = ChaosError::Client { what: "connecting", error: Error::misuse("nonsense") };
        let late = ClusterError::NotReady {
            limit: Duration::from_secs(60),
            missing: String::new(),
            logs: String::new(),
        };
        let breaks = [
            BrokenOff::on_the_way(client, false, Ok(())),
            BrokenOff::on_the_way(late.into(), false, Ok(())),
            BrokenOff::on_the_way(no_table(), false, Err(ClusterError::Cancelled)),
            BrokenOff::at_start(ClusterError::from(Unavailable::NoMaven).into()),
            BrokenOff::at_start(ClusterError::InvalidOption("no".to_owned()).into()),
            BrokenOff::at_start(no_table()),
            before_rows().interrupted(),
        ];
        for broken in breaks {
            let (played, told) = played(&mut Repeats::new(100), vec![Some(broken)]);
            assert!(told.is_empty() && !played.report.passed());
            assert!(played.report.problems.contains(&Refusal::NoServer.to_string()));
        }
    }

    #[test]
    fn a_round_is_repeated_once_and_whatever_happens_then_counts() {
        for second in [before_rows(), BrokenOff::on_the_way(exited().into(), true, Ok(()))] {
            let mut repeats = Repeats::new(100);
            let (played, told) = played(&mut repeats, vec![Some(before_rows()), Some(second)]);
            assert_eq!(told.len(), 1);
            assert!(!played.report.passed() && played.report.repeated.is_some());
            assert!(played.report.line().ends_with("FAILED"));
        }
    }

    #[test]
    fn of_a_hundred_rounds_at_most_three_are_repeated_and_of_fewer_in_proportion_but_one() {
        for (rounds, most) in [(1, 1), (3, 1), (66, 1), (67, 2), (99, 2), (100, 3), (5000, 3)] {
            let mut repeats = Repeats::new(rounds);
            for n in 0..rounds.min(SPAN) {
                let attempts = match n < most {
                    true => vec![Some(before_rows()), None],
                    false => vec![Some(before_rows())],
                };
                let (played, _) = played(&mut repeats, attempts);
                assert_eq!(played.report.passed(), n < most, "round {n} of {rounds}");
            }
        }
        // Of any hundred, not of the first, the second and so on.
        let mut repeats = Repeats::new(1000);
        let mut repeated = Vec::new();
        for n in 0..1000_u64 {
            let is_near = |round: &&u64| n - **round < SPAN;
            let allowed = repeated.iter().filter(is_near).count() < 3;
            let breaks = n % 7 == 3;
            let attempts = match (breaks, allowed) {
                (false, _) => vec![None],
                (true, true) => vec![Some(before_rows()), None],
                (true, false) => vec![Some(before_rows())],
            };
            let (played, _) = played(&mut repeats, attempts);
            assert_eq!(played.report.passed(), !breaks || allowed, "round {n}");
            if played.report.repeated.is_some() {
                repeated.push(n);
            }
        }
        assert_eq!(repeated.len(), 30);
    }
}
