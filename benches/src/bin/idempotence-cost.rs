//! What idempotence costs: instructions a row with it on and off, counted by callgrind.
//!
//! ```console
//! $ cargo run --release -p fluss-benches --bin idempotence-cost
//! ```
//!
//! It starts itself under `valgrind --tool=callgrind`, once with and once without idempotence for
//! each size of batches, on the same rows, and counts what the client does: encoding and sealing
//! rows, opening and handing in the batch, building the request, reading the answer. What the fake
//! cluster does is not counted. It fails when full batches cost more than 3 % more with it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use fluss_benches::sim::Sim;
use fluss_benches::{schema, tuple};
use fluss_core::batch::{ArrowBatchBuilder, ArrowBatchOptions};
use fluss_core::config::WriterConfig;
use fluss_proto::record::SealedBatch;

/// Rows of a batch, and batches of a run.
const SIZES: [(u64, u64); 4] = [(1, 400), (10, 400), (1000, 100), (40_000, 8)];
/// The most that idempotence may cost, in percent, for batches of this many rows.
const LIMIT: (u64, f64) = (40_000, 3.0);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &args[..] {
        [] => compare(),
        [on, rows, batches] => write(on == "on", rows, batches),
        _ => Err("no arguments are expected".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Writes batches of rows, the first of which is to be left out of the count.
fn write(on: bool, rows: &str, batches: &str) -> Result<(), String> {
    let number = |text: &str| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
    let (rows, batches) = (number(rows)?, number(batches)?);
    let mut config = WriterConfig::default();
    config.idempotence = on;
    let options = ArrowBatchOptions::default();
    let builder = ArrowBatchBuilder::new(schema(false), options).map_err(|e| e.to_string())?;
    let (mut builder, mut sim) = (builder, Sim::with(config));
    for batch in 0..=batches {
        let sealed = measured_encode(&mut builder, batch * rows..(batch + 1) * rows)?;
        sim.batch(sealed);
    }
    Ok(())
}

/// Encodes rows and seals their batch. A function of its own, as callgrind finds it by its name.
#[inline(never)]
fn measured_encode(
    builder: &mut ArrowBatchBuilder,
    rows: std::ops::Range<u64>,
) -> Result<SealedBatch, String> {
    for row in rows {
        builder.try_push(&tuple(row)).map_err(|e| e.to_string())?;
    }
    builder.seal(1, Vec::new()).map_err(|e| e.to_string())
}

fn compare() -> Result<(), String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    println!("instructions a row, counted by callgrind");
    println!("{:>12} {:>12} {:>12} {:>9}", "rows a batch", "off", "on", "cost");
    let mut limited = None;
    for (rows, batches) in SIZES {
        let per_row = |on| {
            let counted = count(&program, on, rows, batches)?;
            Ok::<f64, String>(counted as f64 / (rows * (batches + 1)) as f64)
        };
        let (off, on) = (per_row(false)?, per_row(true)?);
        let cost = (on / off - 1.0) * 100.0;
        println!("{rows:>12} {off:>12.1} {on:>12.1} {cost:>7.2} %");
        if rows == LIMIT.0 {
            limited = Some(cost);
        }
    }
    match limited {
        Some(cost) if cost <= LIMIT.1 => Ok(()),
        Some(cost) => Err(format!("{cost:.2} % for full batches, at most {} % allowed", LIMIT.1)),
        None => Err(format!("batches of {} rows were not measured", LIMIT.0)),
    }
}

/// The instructions of the measured functions in one run.
fn count(program: &Path, on: bool, rows: u64, batches: u64) -> Result<u64, String> {
    let name = format!("fluss-callgrind-{}", std::process::id());
    let file: PathBuf = std::env::temp_dir().join(name);
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*measured_*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args([if on { "on" } else { "off" }, &rows.to_string(), &batches.to_string()])
        .output()
        .map_err(|e| format!("valgrind cannot be started ({e}); is it installed?"))?;
    let said = String::from_utf8_lossy(&out.stderr);
    // The file may not be there if the run failed, which is said below.
    let _ = std::fs::remove_file(&file);
    let line = said.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, n)| n.trim());
    match line.and_then(|number| number.parse().ok()) {
        Some(number) if out.status.success() && number > 0 => Ok(number),
        _ => Err(format!("callgrind counted nothing:\n{said}")),
    }
}
