//! Clocks, and the object that tells what they showed.

use std::time::{Duration, Instant};

/// The start of a measurement: wall time, and CPU time of the whole process.
#[derive(Debug)]
pub(super) struct Meter {
    wall: Instant,
    cpu: Option<Duration>,
}

/// What a run showed.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    /// User and system time; None where the system does not tell.
    pub(super) cpu_seconds: Option<f64>,
    /// A sample of latencies, in any order.
    pub(super) latencies: Vec<Duration>,
    pub(super) errors: u64,
}

impl Meter {
    pub(super) fn start() -> Self {
        Self { cpu: cpu_time(), wall: Instant::now() }
    }

    /// Ends the measurement of work on so many rows.
    pub(super) fn stop(&self, rows: u64, bytes: u64) -> Measured {
        let seconds = self.wall.elapsed().as_secs_f64();
        let cpu = cpu_time().zip(self.cpu).map(|(end, start)| end.saturating_sub(start));
        Measured {
            rows,
            bytes,
            seconds,
            cpu_seconds: cpu.map(|cpu| cpu.as_secs_f64()),
            ..Measured::default()
        }
    }
}

/// User and system time of this process so far, all threads together. None where the system does
/// not tell.
#[cfg(unix)]
#[must_use]
pub fn cpu_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let nanos = u32::try_from(time.tv_nsec).ok()?;
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, nanos))
}

/// None: the system does not tell.
#[cfg(not(unix))]
#[must_use]
pub fn cpu_time() -> Option<Duration> {
    None
}

/// The most memory this process ever had, where the system tells it in its process directory.
fn max_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// The latency that this share of the sorted sample does not exceed, in microseconds.
fn percentile(sorted: &[Duration], share: f64) -> String {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    let found = sorted.get(rank.saturating_sub(1)).or(sorted.last());
    or_null(found.map(|latency| latency.as_micros().to_string()))
}

fn or_null(text: Option<String>) -> String {
    text.unwrap_or_else(|| "null".to_owned())
}

impl Measured {
    pub(super) fn json(&self) -> String {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let (rows, seconds) = (self.rows, self.seconds);
        let per_second = rows as f64 / seconds.max(1e-9);
        let per_row = self.cpu_seconds.map(|cpu| cpu * 1e9 / (rows as f64).max(1.0));
        format!(
            concat!(
                r#"{{"rows":{},"bytes":{},"seconds":{:.6},"rows_per_s":{:.0},"#,
                r#""cpu_seconds":{},"cpu_ns_per_row":{},"max_rss_bytes":{},"#,
                r#""latency_us":{{"p50":{},"p99":{},"p999":{}}},"errors":{}}}"#
            ),
            rows,
            self.bytes,
            seconds,
            per_second,
            or_null(self.cpu_seconds.map(|cpu| format!("{cpu:.6}"))),
            or_null(per_row.map(|nanos| format!("{nanos:.1}"))),
            or_null(max_rss_bytes().map(|bytes| bytes.to_string())),
            percentile(&sorted, 0.5),
            percentile(&sorted, 0.99),
            percentile(&sorted, 0.999),
            self.errors,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_has_all_fields_and_percentiles_of_the_sample() {
        let latencies = (1..=1000).rev().map(Duration::from_micros).collect();
        let measured = Measured {
            rows: 500,
            bytes: 9,
            seconds: 2.0,
            cpu_seconds: Some(0.5),
            latencies,
            errors: 1,
        };
        let json: serde_json::Value = serde_json::from_str(&measured.json()).expect("JSON");
        assert_eq!(json["rows_per_s"], 250);
        assert_eq!(json["cpu_ns_per_row"], 1_000_000.0);
        let latency = serde_json::json!({"p50": 500, "p99": 990, "p999": 999});
        assert_eq!((&json["latency_us"], &json["errors"]), (&latency, &1.into()));
        let empty = Meter::start().stop(0, 0).json();
        assert!(empty.contains(r#""p50":null"#), "{empty}");
    }
}
