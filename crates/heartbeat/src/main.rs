//! The binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    heartbeat::cli::main()
}
