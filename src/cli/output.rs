//! What goes to stdout. A reader that has gone away (`| head`) is no error; a disk that is full is one.

use std::io::{self, ErrorKind, Write};

use crate::error::Failure;

/// Writes the text as it is and flushes it.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    written(
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush()),
    )
}

/// With a newline.
pub fn print_line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// The message of a failure, to stderr; gives the exit status of a program that could not run.
pub fn fail(failure: &Failure) -> u8 {
    // Where stderr is gone too, the exit status still tells.
    let _ = writeln!(io::stderr(), "{failure}");
    Failure::EXIT_STATUS
}

/// Nobody reads on: what was asked for was answered as far as anyone wanted, so the program ends here, quietly.
pub fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::new(format!(
            "cannot write to standard output: {error}"
        ))),
        Ok(()) => Ok(()),
    }
}
