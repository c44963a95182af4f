//! The program: parse, then settings and dispatch, then one clear message where it could not run.

use std::io::Write;

use consolidator::cli;

/// Rows and batches are many small pieces that live for different times.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let status = run();
    // Nothing is left to be written then.
    let _ = std::io::stdout().flush();
    // SAFETY: ends the process, at once. Threads of a Kafka client that did not end in time may still run, and what OpenSSL does
    // when a process ends in the ordinary way takes from under them what they use.
    unsafe { libc::_exit(status.into()) }
}

/// Gives the exit status.
fn run() -> u8 {
    let arguments = match cli::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    // What FAILPOINTS asks for, in a build with fail points.
    let _fail_points = fail::FailScenario::setup();
    match cli::dispatch(arguments) {
        Ok(outcome) => outcome.status(),
        Err(failure) => cli::output::fail(&failure),
    }
}
