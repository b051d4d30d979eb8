//! What rows of 200 columns, of 10 levels and with texts of 1 MiB cost, in instructions for each of
//! their bytes, against smaller ones: counted by callgrind.
//!
//! ```console
//! $ cargo run --release -p fluss-benches --bin scale-cost
//! ```
//!
//! It starts itself under `valgrind --tool=callgrind` and counts what encoding and decoding does.
//! It fails where instructions grow more than one and a half times as fast as columns, levels or
//! bytes.

use std::path::Path;
use std::process::{Command, ExitCode};

use fluss_benches::scale::{Large, Load, Way};

const ROWS: usize = 4;
/// How much faster than the data instructions may grow.
const LIMIT: f64 = 1.5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &arguments[..] {
        [] => compare(),
        [large, size, way] => travel(large, size, way),
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

fn travel(large: &str, size: &str, way: &str) -> Result<(), String> {
    let number = |text: &str| text.parse::<usize>().map_err(|e| format!("{text}: {e}"));
    let large = Large::ALL.get(number(large)?).ok_or("there is no such way to be large")?.0;
    let way = *Way::ALL.get(number(way)?).ok_or("there is no such way to travel")?;
    println!("{}", Load::new(large, number(size)?, ROWS).measured_trip(way));
    Ok(())
}

fn compare() -> Result<(), String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    println!("instructions for {ROWS} rows, there and back, counted by callgrind");
    let mut worst = Ok(());
    for (index, (large, small, big)) in Large::ALL.into_iter().enumerate() {
        for (way_index, way) in Way::ALL.into_iter().enumerate() {
            let count = |size| count(&program, &[index, size, way_index]);
            let ((few, before), (many, after)) = (count(small)?, count(big)?);
            let grown = (many / few).max(big as f64 / small as f64);
            let times = after / before;
            let share = times / grown;
            println!("{large:?} {small} to {big}, {way:?}: {before} to {after}, {share:.2}");
            if share > LIMIT {
                worst = Err(format!("{large:?}, {way:?}: {times:.1} times, the data {grown:.1}"));
            }
        }
    }
    worst
}

/// The bytes that travelled and the instructions that it took.
fn count(program: &Path, arguments: &[usize; 3]) -> Result<(f64, f64), String> {
    let name = format!("fluss-callgrind-{}", std::process::id());
    let file = std::env::temp_dir().join(name);
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*measured_*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args(arguments.map(|argument| argument.to_string()))
        .output()
        .map_err(|e| format!("valgrind cannot be started ({e}); is it installed?"))?;
    // The file may not be there if the run failed, which is said below.
    let _ = std::fs::remove_file(&file);
    let (said, bytes) =
        (String::from_utf8_lossy(&out.stderr), String::from_utf8_lossy(&out.stdout));
    let line = said.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, n)| n.trim());
    match (line.and_then(|n| n.parse::<f64>().ok()), bytes.trim().parse::<f64>().ok()) {
        (Some(instructions), Some(bytes)) if instructions > 0.0 => Ok((bytes, instructions)),
        _ => Err(format!("callgrind counted nothing:\n{said}")),
    }
}
