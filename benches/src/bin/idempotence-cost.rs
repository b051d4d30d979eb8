//! What idempotence costs: instructions a row with it on and off, counted by callgrind.
//!
//! ```console
//! $ cargo run --release -p fluss-benches --bin idempotence-cost
//! ```
//!
//! It starts itself under `valgrind --tool=callgrind`, once with and once without idempotence for
//! each size of batches, on the same rows, and counts what the client does: encoding and sealing
//! rows, opening and handing in the batch, building the request, reading the answer. What the fake
//! cluster does is not counted, nor what handles and sockets cost, which is the same for both.
//!
//! What idempotence does, it does for each batch, so it is the batch's size that decides. By
//! default a batch is sent when it has 2 MiB, or after 100 ms with what it has by then: it may be
//! of any size. So batches of one row up to full ones are measured, uncompressed and with the ZSTD
//! that servers ask for by default, which costs several times as much as all the rest. The command
//! fails if any of them costs more than 3 % more.
//!
//! It is about 200 instructions a batch: for batches of one row 0.5 % uncompressed and 0.3 % with
//! ZSTD, for 100 rows 0.3 % and 0.01 %, for 1,000 rows 0.1 % and 0.01 %, for full ones less.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use fluss_benches::sim::Sim;
use fluss_benches::{schema, tuple};
use fluss_core::batch::{ArrowBatchBuilder, ArrowBatchOptions, ArrowCompression, Push};
use fluss_core::config::WriterConfig;
use fluss_proto::record::SealedBatch;

/// Rows of the batches that are measured, besides full ones.
const SIZES: [u64; 6] = [1, 10, 100, 1000, 10_000, 20_000];
/// How they are compressed.
const CODECS: [&str; 2] = ["NONE", "ZSTD"];
/// The most that idempotence may cost, in percent of the instructions without it.
const LIMIT: f64 = 3.0;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &args[..] {
        [] => compare(),
        [codec, on, rows, batches] => write(codec, on == "on", rows, batches),
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
fn write(codec: &str, on: bool, rows: &str, batches: &str) -> Result<(), String> {
    let number = |text: &str| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
    let (rows, batches) = (number(rows)?, number(batches)?);
    let mut config = WriterConfig::default();
    config.idempotence = on;
    let (mut builder, mut sim) = (builder(codec)?, Sim::with(config));
    for batch in 0..=batches {
        let sealed = measured_encode(&mut builder, batch * rows..(batch + 1) * rows)?;
        sim.batch(sealed);
    }
    Ok(())
}

/// A builder of batches of the size that writers have by default.
fn builder(codec: &str) -> Result<ArrowBatchBuilder, String> {
    let max_bytes = WriterConfig::default().batch_bytes;
    let compression = match codec {
        "NONE" => ArrowCompression::None,
        _ => ArrowBatchOptions::default().compression,
    };
    let options = ArrowBatchOptions { max_bytes, compression, ..Default::default() };
    ArrowBatchBuilder::new(schema(false), options).map_err(|e| e.to_string())
}

/// The rows of a full batch.
fn full(codec: &str) -> Result<u64, String> {
    let mut builder = builder(codec)?;
    for rows in 0.. {
        if builder.try_push(&tuple(rows)).map_err(|e| e.to_string())? == Push::Full {
            return Ok(rows);
        }
    }
    unreachable!("a batch gets full")
}

/// Encodes rows and seals their batch. A function of its own, as callgrind finds it by its name.
#[inline(never)]
fn measured_encode(
    builder: &mut ArrowBatchBuilder,
    rows: std::ops::Range<u64>,
) -> Result<SealedBatch, String> {
    for row in rows {
        if builder.try_push(&tuple(row)).map_err(|e| e.to_string())? == Push::Full {
            return Err("that many rows do not fit into a batch".to_owned());
        }
    }
    builder.seal(1, Vec::new()).map_err(|e| e.to_string())
}

fn compare() -> Result<(), String> {
    println!("instructions, counted by callgrind");
    println!("codec rows a batch   a row, off           on      cost   more a batch");
    let mut too_much = Vec::new();
    for codec in CODECS {
        for rows in SIZES.into_iter().chain([full(codec)?]) {
            let cost = cost(codec, rows)?;
            if cost > LIMIT {
                too_much.push(format!("{cost:.2} % for batches of {rows} rows, {codec}"));
            }
        }
    }
    if !too_much.is_empty() {
        return Err(format!("at most {LIMIT} % allowed: {}", too_much.join("; ")));
    }
    println!("at most {LIMIT} % for all of them");
    Ok(())
}

/// What idempotence costs with batches of so many rows, in percent.
fn cost(codec: &str, rows: u64) -> Result<f64, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let batches = (100_000 / rows).clamp(8, 400);
    let of_batch = |on| {
        let counted = count(&program, codec, on, rows, batches)?;
        Ok::<f64, String>(counted as f64 / (batches + 1) as f64)
    };
    let (off, on) = (of_batch(false)?, of_batch(true)?);
    let cost = (on / off - 1.0) * 100.0;
    let (off_row, on_row, more) = (off / rows as f64, on / rows as f64, on - off);
    println!("{codec:<5} {rows:>12} {off_row:>12.1} {on_row:>12.1} {cost:>7.2} % {more:>14.0}");
    Ok(cost)
}

/// The instructions of the measured functions in one run.
fn count(program: &Path, codec: &str, on: bool, rows: u64, batches: u64) -> Result<u64, String> {
    let name = format!("fluss-callgrind-{}", std::process::id());
    let file: PathBuf = std::env::temp_dir().join(name);
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*measured_*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args([codec, if on { "on" } else { "off" }])
        .args([rows, batches].map(|number| number.to_string()))
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
