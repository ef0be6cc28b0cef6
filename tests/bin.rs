//! The binary under test: the same entry point as `zooark`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
