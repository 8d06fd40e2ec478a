//! The two streams of a command: data on stdout, messages on stderr. It knows nothing of what is
//! said, only of who reads it: a terminal of some width, with colours or without, or a program.

use std::{
    borrow::Cow,
    fmt,
    io::{self, IsTerminal as _, Write as _},
};

use rustix::termios::tcgetwinsize;

use crate::{Voice, terminal::Terminal};

/// Where a command writes.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    quiet: bool,
    utf8: bool,
    colours: bool,
    width: Option<usize>,
    messages: Reader,
}

/// Who reads the messages.
#[derive(Clone, Copy, Debug, Default)]
struct Reader {
    watched: bool,
    colours: bool,
    folds: bool,
}

/// What our own words have beyond ASCII, and what stands for it where that cannot be shown.
const SYMBOLS: [(char, &str); 4] = [('…', "..."), ('→', "->"), ('×', "x"), ('–', "-")];

impl Console {
    /// As the command line and the terminal want it. With `-q`, messages are dropped; data and
    /// errors never are.
    pub fn new(voice: &Voice) -> Self {
        let (is_terminal, terminal) = (io::stdout().is_terminal(), Terminal::of_environment());
        let watched = io::stderr().is_terminal();
        Self {
            quiet: voice.is_quiet(),
            utf8: terminal.utf8(),
            colours: voice.colours(is_terminal && terminal.colours()),
            width: is_terminal.then(columns).flatten(),
            messages: Reader {
                watched: watched && terminal.moves_its_cursor() && !terminal.is_ci(),
                colours: voice.colours(watched && terminal.colours()),
                folds: terminal.folds(),
            },
        }
    }

    /// Somebody sees messages as they come: they go to a terminal that can move its cursor, and
    /// whose log no CI keeps.
    pub fn watched(&self) -> bool {
        self.messages.watched
    }

    /// Characters beyond ASCII are shown.
    pub fn utf8(&self) -> bool {
        self.utf8
    }

    /// Messages may have colours.
    pub fn paints_messages(&self) -> bool {
        self.messages.colours
    }

    /// Messages go to the log of a CI that folds groups (`::group::`).
    pub fn folds(&self) -> bool {
        self.messages.folds
    }

    /// Only data and errors are wanted.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Columns of the terminal that data goes to; `None` when it goes elsewhere, where lines may be
    /// as long as they are.
    pub fn width(&self) -> Option<usize> {
        self.width
    }

    /// Data may have colours.
    pub fn colours(&self) -> bool {
        self.colours
    }

    /// Writes a result; the caller brings the newline. A reader that has left is no failure, and
    /// does not change what the exit code tells.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn data(&self, text: &str) -> io::Result<()> {
        match self.stream(&self.shown(text)) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// Writes one part of many as it is: a reader that has left ends the command.
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
            let line = telemetry::plain(line);
            telemetry::screen::write(&format!("{}\n", self.shown(&line)));
        }
    }

    /// Tells why `program` failed.
    pub fn failed(&self, program: &str, error: &dyn fmt::Display) {
        let text = telemetry::plain_lines(&error.to_string());
        telemetry::screen::write(&format!("{program}: failed to {}\n", self.shown(&text)));
    }

    fn shown<'a>(&self, text: &'a str) -> Cow<'a, str> {
        shown(text, self.utf8)
    }
}

/// Text as a terminal can show it: where that is ASCII alone, our own symbols are replaced. What
/// others wrote stays as it is.
pub(crate) fn shown(text: &str, utf8: bool) -> Cow<'_, str> {
    if utf8 || text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match SYMBOLS.iter().find(|(symbol, _)| *symbol == c) {
            Some((_, plain)) => shown.push_str(plain),
            None => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Columns of the terminal at stdout. One that says zero does not know.
fn columns() -> Option<usize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_symbols_become_ascii_where_nothing_else_is_shown() {
        assert_eq!(shown("a → b…", true), "a → b…");
        assert_eq!(shown("a → b… é", false), "a -> b... é");
    }
}
