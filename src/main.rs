//! The `exitpool` program: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    exitpool::cli::main()
}
