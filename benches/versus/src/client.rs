//! One side's run, in a process of its own.

use std::process::Command;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

use crate::plan::{Cost, Plan, Side};
use crate::{Failure, ours, ours_read, theirs, theirs_read};

/// Started before the first row of the measurement, ended after its last acknowledgement.
pub struct Stopwatch {
    wall: Instant,
    cpu: u64,
}

/// User and system time of this process with all its threads, in nanoseconds.
pub fn cpu() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    (time.tv_sec * 1_000_000_000 + time.tv_nsec).unsigned_abs()
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu() }
    }

    pub fn stop(self) -> Cost {
        let cpu = cpu() - self.cpu;
        let wall = u64::try_from(self.wall.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Cost { cpu, wall, server: 0 }
    }
}

/// Runs what the arguments say and prints CPU and wall time.
pub fn run() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(2).collect();
    let [side, variant, threads, rows, settings, bootstrap, table] = &args[..] else {
        return Err("client SIDE VARIANT THREADS ROWS SETTINGS BOOTSTRAP TABLE".into());
    };
    let plan = Plan {
        side: side.parse()?,
        variant: variant.parse()?,
        threads: threads.parse()?,
        rows: rows.parse()?,
        settings: settings.parse()?,
        bootstrap: bootstrap.clone(),
        table: table.clone(),
    };
    let cost = match plan.side {
        Side::Theirs | Side::TheirsAlone if plan.variant.filled_by().is_some() => {
            theirs_read::run(&plan)?
        }
        Side::Theirs | Side::TheirsAlone => theirs::run(&plan)?,
        _ if plan.variant.filled_by().is_some() => ours_read::run(&plan)?,
        Side::Ours | Side::Smol | Side::Blocking => ours::run(&plan)?,
    };
    println!("{} {}", cost.cpu, cost.wall);
    Ok(())
}

/// Runs a plan in a process of its own.
pub fn spawn(plan: &Plan) -> Result<Cost, Failure> {
    let output = Command::new(std::env::current_exe()?)
        .arg("client")
        .args([plan.side.to_string(), plan.variant.to_string()])
        .args([plan.threads.to_string(), plan.rows.to_string()])
        .arg(plan.settings.to_string())
        .args([&plan.bootstrap, &plan.table])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{} failed: {}", plan.side, output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(cpu), Some(wall)) => Ok(Cost { cpu: cpu?, wall: wall?, server: 0 }),
        _ => Err(format!("{} printed {text:?}", plan.side).into()),
    }
}
