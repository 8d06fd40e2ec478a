//! The one way to stderr. Rows may stand at the bottom of the terminal; whatever else is written
//! goes above them, log lines included, so that neither ever runs into the other.

use std::{
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A row at the bottom, shorter than the terminal is wide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What stands there, colours included, and nothing else that a terminal obeys.
    pub text: String,
    /// How many columns it takes.
    pub columns: usize,
}

static SCREEN: Mutex<Screen> = Mutex::new(Screen { rows: Vec::new() });

/// What stands at the bottom of the terminal now.
#[derive(Debug)]
struct Screen {
    rows: Vec<Row>,
}

/// Writes text that ends with a newline, above the rows. A stderr that is gone is no reason to fail.
pub fn write(text: &str) {
    let bytes = screen().say(text, columns());
    io::stderr().lock().write_all(&bytes).ok();
}

/// Puts these rows in the place of those that stand there; none takes them away.
pub fn draw(rows: Vec<Row>) {
    let bytes = screen().draw(rows, columns());
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

/// Without a terminal there are no rows, and it does not matter.
fn columns() -> usize {
    size().map_or(usize::MAX, |(columns, _)| columns)
}

impl Screen {
    /// The bytes that put `text` above the rows.
    fn say(&self, text: &str, columns: usize) -> Vec<u8> {
        if self.rows.is_empty() {
            return text.as_bytes().to_vec();
        }
        let mut out = self.to_the_top(columns);
        out.push_str("\x1b[J");
        out.push_str(text);
        self.put_rows(&mut out);
        out.into_bytes()
    }

    /// The bytes that turn the rows into these.
    fn draw(&mut self, rows: Vec<Row>, columns: usize) -> Vec<u8> {
        if rows == self.rows {
            return Vec::new();
        }
        let mut out = self.to_the_top(columns);
        self.rows = rows;
        self.put_rows(&mut out);
        // What is left of more rows, or of rows that a narrower terminal has folded.
        out.push_str("\x1b[J");
        out.into_bytes()
    }

    /// Moves the cursor from the end of the last row to the start of the first one. A terminal that
    /// has become narrower has folded rows that no longer fit.
    fn to_the_top(&self, columns: usize) -> String {
        let lines = |row: &Row| row.columns.div_ceil(columns.max(1)).max(1);
        match self.rows.iter().map(lines).sum::<usize>() {
            0 => String::new(),
            1 => "\r".to_owned(),
            lines => format!("\r\x1b[{}A", lines - 1),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(texts: &[&str]) -> Vec<Row> {
        let row = |text: &&str| Row { text: (*text).to_owned(), columns: text.len() };
        texts.iter().map(row).collect()
    }

    #[track_caller]
    fn check(before: &[&str], columns: usize, after: &[&str], expected: &str) {
        let mut screen = Screen { rows: rows(before) };
        let bytes = screen.draw(rows(after), columns);
        assert_eq!(String::from_utf8(bytes).expect("text"), expected);
        assert_eq!(screen.rows, rows(after));
    }

    #[test]
    fn rows_replace_each_other_in_place() {
        check(&[], 80, &["a", "b"], "a\x1b[K\r\nb\x1b[K\x1b[J");
        check(&["a", "b"], 80, &["a", "c"], "\r\x1b[1Aa\x1b[K\r\nc\x1b[K\x1b[J");
        check(&["a", "b", "c"], 80, &["d"], "\r\x1b[2Ad\x1b[K\x1b[J");
        check(&["a"], 80, &[], "\r\x1b[J");
        check(&["a"], 80, &["a"], "");
    }

    #[test]
    fn rows_that_a_narrower_terminal_has_folded_go_away_whole() {
        check(&["0123456789", "x"], 4, &["y"], "\r\x1b[3Ay\x1b[K\x1b[J");
    }

    #[test]
    fn text_goes_above_the_rows() {
        let screen = Screen { rows: rows(&["a", "b"]) };
        let bytes = screen.say("said\n", 80);
        let expected = "\r\x1b[1A\x1b[Jsaid\na\x1b[K\r\nb\x1b[K";
        assert_eq!(String::from_utf8(bytes).expect("text"), expected);
        assert_eq!(Screen { rows: Vec::new() }.say("said\n", 80), b"said\n");
    }
}
