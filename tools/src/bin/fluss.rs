//! The `fluss` command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    fluss_tools::cli::main()
}
