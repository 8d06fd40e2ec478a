//! The one way to stderr. Rows may stand at the bottom of the terminal; whatever else is written
//! goes above them, log lines included, so that neither ever runs into the other.

use std::{
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use unicode_width::UnicodeWidthChar as _;

/// A row at the bottom, shorter than the terminal is wide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What stands there, colours included, and nothing else that a terminal obeys.
    pub text: String,
    /// How many columns it takes.
    pub columns: usize,
}

static SCREEN: Mutex<Screen> = Mutex::new(Screen::new());

/// Bytes of text that are kept for writing it anew: more than stands on any terminal.
const SAID_MAX: usize = 64 * 1024;

/// Clears from the start of this line on. Some terminals (tmux) keep for scrolling back what is
/// cleared from the very first column and line, so that is done from the second column.
const CLEAR: &str = " \x1b[J\r\x1b[K";

/// What stands at the bottom of the terminal now.
///
/// A terminal that loses lines moves the first rows out of sight, to what can be scrolled back to,
/// and one that gets lines back moves them into sight again. From top to bottom there are then
/// `stale` lines, the text that was `said` since, and the rows; `above` lines of it are out of sight.
#[derive(Debug)]
struct Screen {
    rows: Vec<Row>,
    /// At the last write.
    size: Size,
    /// Lines of rows that were moved out of sight, and still stand there.
    stale: usize,
    /// What was written below them, to be written again when they go away; and its lines.
    said: String,
    said_lines: usize,
    above: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    columns: usize,
    lines: usize,
}

/// Writes text that ends with a newline, above the rows. A stderr that is gone is no reason to fail.
pub fn write(text: &str) {
    // Held until they are written: what comes after counts on where the cursor stands.
    let mut screen = screen();
    let bytes = screen.say(text, Size::now());
    io::stderr().lock().write_all(&bytes).ok();
}

/// Puts these rows in the place of those that stand there; none takes them away.
pub fn draw(rows: Vec<Row>) {
    let mut screen = screen();
    let bytes = screen.draw(rows, Size::now());
    io::stderr().lock().write_all(&bytes).ok();
}

/// Columns and lines of the terminal at stderr, if there is one that says.
pub fn size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// For the log.
pub(crate) struct AboveRows;

impl Write for AboveRows {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Also after a panic: what stands there is only looks.
fn screen() -> MutexGuard<'static, Screen> {
    SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Size {
    /// Without a terminal there are no rows, and it does not matter.
    fn now() -> Self {
        let (columns, lines) = size().unwrap_or((usize::MAX, usize::MAX));
        Self { columns, lines }
    }

    /// Lines that so many columns are folded to.
    fn folded(self, columns: usize) -> usize {
        columns.div_ceil(self.columns.max(1)).max(1)
    }
}

impl Screen {
    const fn new() -> Self {
        let size = Size { columns: 0, lines: 0 };
        Self { rows: Vec::new(), size, stale: 0, said: String::new(), said_lines: 0, above: 0 }
    }

    /// The bytes that put `text` above the rows.
    fn say(&mut self, text: &str, size: Size) -> Vec<u8> {
        if self.rows.is_empty() {
            return text.as_bytes().to_vec();
        }
        let mut out = self.go_to_the_top(size);
        out.push_str(CLEAR);
        out.push_str(text);
        self.remember(text);
        self.put_rows(&mut out);
        out.into_bytes()
    }

    /// The bytes that turn the rows into these.
    fn draw(&mut self, rows: Vec<Row>, size: Size) -> Vec<u8> {
        if rows == self.rows && (rows.is_empty() || size == self.size) {
            return Vec::new();
        }
        let mut out = self.go_to_the_top(size);
        self.rows = rows;
        if self.rows.is_empty() {
            self.forget();
            out.push_str(CLEAR);
            return out.into_bytes();
        }
        self.put_rows(&mut out);
        // What is left of more rows, or of rows that a narrower terminal has folded.
        out.push_str("\x1b[J");
        out.into_bytes()
    }

    /// Moves the cursor from the end of the last row to the start of the first one, or to where that
    /// is to stand from now on. A terminal that has become narrower has folded rows that no longer
    /// fit.
    fn go_to_the_top(&mut self, size: Size) -> String {
        let rows: usize = self.rows.iter().map(|row| size.folded(row.columns)).sum();
        let lost = self.resize(rows, size);
        self.drop_rows(lost);
        let mut lines = rows - lost;
        let in_sight = self.stale - self.above.min(self.stale);
        let mut anew = String::new();
        if in_sight > 0 {
            lines += self.said_lines + in_sight;
            anew = format!("{CLEAR}{}", self.said);
            self.stale -= in_sight;
        }
        if self.stale == 0 {
            self.forget();
        }
        match lines {
            0 => anew,
            1 => format!("\r{anew}"),
            lines => format!("\r\x1b[{}A{anew}", lines - 1),
        }
    }

    /// Takes note of the terminal's size, and says how many lines of the rows went out of sight.
    fn resize(&mut self, rows: usize, size: Size) -> usize {
        if size.columns != self.size.columns {
            // It may have folded all anew: better old rows than words of somebody else taken away.
            self.forget();
        }
        let before = self.stale + self.said_lines;
        let beyond = |lines: usize| (before + rows).saturating_sub(lines);
        let back = size.lines.saturating_sub(self.size.lines);
        self.above = self.above.max(beyond(self.size.lines));
        self.above = self.above.saturating_sub(back).max(beyond(size.lines));
        self.size = size;
        let lost = self.above.saturating_sub(before);
        if lost > 0 {
            // Those before the text stay where they are: it cannot be written anew from there.
            let stale = if self.said.is_empty() { self.stale } else { 0 };
            self.forget();
            self.stale = stale + lost;
            self.above = self.stale;
        }
        lost
    }

    /// Rows of which so many lines are out of sight are not written again.
    fn drop_rows(&mut self, mut lines: usize) {
        while lines > 0 && !self.rows.is_empty() {
            let first = self.rows.remove(0);
            lines = lines.saturating_sub(self.size.folded(first.columns));
        }
    }

    /// Notes what is written between old rows and those that stand there.
    fn remember(&mut self, text: &str) {
        if self.stale == 0 {
            return;
        }
        if self.said.len() + text.len() > SAID_MAX {
            return self.forget();
        }
        self.said.push_str(text);
        self.said_lines += text.lines().map(|line| self.size.folded(columns(line))).sum::<usize>();
    }

    /// Gives up what is out of sight.
    fn forget(&mut self) {
        (self.stale, self.said_lines, self.above) = (0, 0, 0);
        self.said.clear();
    }

    /// The cursor stays at the end of the last row: a newline there would scroll.
    fn put_rows(&self, out: &mut String) {
        for (n, row) in self.rows.iter().enumerate() {
            if n > 0 {
                out.push_str("\r\n");
            }
            out.push_str(&row.text);
            out.push_str("\x1b[K");
        }
    }
}

/// Columns of a line that may have colours.
fn columns(line: &str) -> usize {
    let mut colour = false;
    let shown = line.chars().filter(|c| {
        let was = colour;
        colour = *c == '\x1b' || (colour && *c != 'm');
        !was && !colour
    });
    shown.map(|c| c.width().unwrap_or(0)).sum()
}

#[cfg(test)]
mod tests;
