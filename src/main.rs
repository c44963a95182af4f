//! The program: parse, then settings and dispatch, then one clear message where it could not run.

use std::process::ExitCode;

use consolidator::cli;

/// Rows and batches are many small pieces that live for different times.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = match cli::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(status) => return ExitCode::from(status),
    };
    // What FAILPOINTS asks for, in a build with fail points.
    let _fail_points = fail::FailScenario::setup();
    match cli::dispatch(arguments) {
        Ok(outcome) => outcome.into(),
        Err(failure) => cli::output::fail(&failure),
    }
}
