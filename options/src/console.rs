//! The two streams of a command: data on stdout, messages on stderr. It knows nothing of what is
//! said.

use std::{
    fmt,
    io::{self, Write as _},
};

/// Where a command writes.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    quiet: bool,
}

impl Console {
    /// With `quiet`, messages are dropped; data and errors never are.
    pub fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    /// Only data and errors are wanted.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Writes a result as it is; the caller brings the newline. A reader that has left is no
    /// failure, and does not change what the exit code tells.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn data(&self, text: &str) -> io::Result<()> {
        match self.stream(text) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// Writes one part of many: a reader that has left ends the command.
    ///
    /// # Errors
    /// stdout cannot be written, or nobody reads it.
    pub fn stream(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    }

    /// Says one line. A stderr that is gone is no reason to fail.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            writeln!(io::stderr().lock(), "{}", telemetry::plain(line)).ok();
        }
    }

    /// Tells why `program` failed.
    pub fn failed(&self, program: &str, error: &dyn fmt::Display) {
        let text = telemetry::plain_lines(&error.to_string());
        writeln!(io::stderr().lock(), "{program}: failed to {text}").ok();
    }
}
