//! A text that is kept up to date in place, where standard output is a terminal. Knows nothing of what it says.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::text::Paint;

/// Standard output. On a terminal the text shown last is replaced by the next; it stays when this is dropped.
#[derive(Clone, Debug)]
pub struct Screen {
    /// None where standard output is no terminal.
    live: Option<ProgressBar>,
}

impl Screen {
    pub fn of_stdout() -> Screen {
        Screen {
            live: io::stdout().is_terminal().then(|| {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
                bar.set_style(ProgressStyle::with_template("{msg}").expect("a sound template"));
                bar
            }),
        }
    }

    /// A text can be replaced.
    pub fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Colours on a terminal, unless NO_COLOR is set (<https://no-color.org>).
    pub fn paint(&self) -> Paint {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Paint {
            colour: self.is_live() && !refused,
        }
    }

    /// In place of what was shown before; below it where that cannot be.
    ///
    /// # Errors
    /// Standard output is gone or full.
    pub fn show(&self, text: &str) -> io::Result<()> {
        match &self.live {
            Some(bar) => {
                bar.set_message(text.trim_end().to_owned());
                bar.tick();
                rest_cursor()
            }
            None => print(text),
        }
    }

    /// A text that stays, above the one that is replaced.
    ///
    /// # Errors
    /// As for [`show`](Screen::show).
    pub fn say(&self, text: &str) -> io::Result<()> {
        self.aside(|| print(text))
    }

    /// Runs what writes to the terminal itself while the text is out of its way.
    pub fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.live {
            Some(bar) => {
                let written = bar.suspend(write);
                // Whoever cannot write any more hears of it from what was to be written.
                let _ = rest_cursor();
                written
            }
            None => write(),
        }
    }

    /// Takes the text away.
    pub fn clear(&self) {
        if let Some(bar) = &self.live {
            bar.finish_and_clear();
        }
    }

    /// Leaves the text where it is.
    pub fn leave(&self) {
        if let Some(bar) = &self.live {
            bar.abandon();
        }
    }
}

/// The last line is drawn to its end, and the `^C` that a terminal shows there would begin another line, which nobody knows of.
fn rest_cursor() -> io::Result<()> {
    print("\r")
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
