//! The two streams of a command: data on stdout, messages on stderr. It knows nothing of what is
//! said.

use std::io::{self, Write as _};

use crate::error::Error;

/// Where a command writes.
#[derive(Debug)]
pub struct Console {
    quiet: bool,
}

impl Console {
    /// With `quiet`, messages are dropped; data and errors never are.
    pub fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    /// Only data and errors are wanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Writes a result as it is; the caller brings the newline. A reader that has left is no
    /// failure, and does not change what the exit code tells.
    pub(crate) fn data(&mut self, text: &str) -> Result<(), Error> {
        match self.stream(text) {
            Err(error) if error.is_broken_pipe() => Ok(()),
            other => other,
        }
    }

    /// Writes one part of many: a reader that has left ends the command.
    pub(crate) fn stream(&mut self, text: &str) -> Result<(), Error> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::Output)
    }

    /// Says one line. A stderr that is gone is no reason to fail.
    pub(crate) fn say(&self, line: &str) {
        if !self.quiet {
            writeln!(io::stderr().lock(), "{}", telemetry::plain(line)).ok();
        }
    }

    /// Tells why the command failed.
    pub fn failed(&self, error: &Error) {
        if !error.is_broken_pipe() {
            let text = telemetry::plain_lines(&error.to_string());
            writeln!(io::stderr().lock(), "producer: failed to {text}").ok();
        }
    }
}
