//! Tables and the words of time, for people. Pure: how wide the terminal is, whether it has colours
//! and what time it is stand in the [`Page`].

use std::time::Duration;

use options::Console;
use proto::Timestamp;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// What text is made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    /// Columns of the terminal; `None` elsewhere, where nothing is cut.
    pub(crate) width: Option<usize>,
    pub(crate) colours: bool,
    pub(crate) now: Timestamp,
}

/// How a cell looks on a terminal with colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Good,
    Bad,
    Odd,
    Faint,
}

/// One cell of a table. Its text is on one line and made plain already.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

/// Narrower columns than this are not cut: nothing would be left of them.
const CUT_MIN: usize = 12;
/// Between two columns.
const GAP: usize = 2;

impl Page {
    /// What a command writes on.
    pub(crate) fn of(console: &Console) -> Self {
        let now = bus::clock::now();
        Self { width: console.width(), colours: console.colours(), now }
    }

    /// `3 min ago`.
    pub(crate) fn ago(&self, at: Timestamp) -> String {
        ago(self.now.since(at))
    }

    /// Rows in columns as wide as they need to be, one a line. On a terminal that is too narrow the
    /// widest columns are cut.
    pub(crate) fn table<const N: usize>(&self, rows: &[[Cell; N]]) -> String {
        let mut widths = [0; N];
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.text.width().max(*width);
            }
        }
        self.fit(&mut widths);
        rows.iter().map(|row| self.line(row, &widths)).collect()
    }

    /// One line of a text, cut to the terminal's width.
    pub(crate) fn cut(&self, line: &str) -> String {
        self.width.map_or_else(|| line.to_owned(), |width| cut(line, width))
    }

    /// Text in a tone, where there are colours.
    pub(crate) fn paint(&self, text: &str, tone: Tone) -> String {
        let code = match tone {
            _ if !self.colours || text.is_empty() => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Odd => "33",
            Tone::Faint => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    fn fit(&self, widths: &mut [usize]) {
        let Some(room) = self.width else { return };
        let all = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * (widths.len() - 1);
        while all(widths) > room {
            let Some(widest) = widths.iter_mut().max() else { return };
            if *widest <= CUT_MIN {
                return;
            }
            *widest -= 1;
        }
    }

    fn line(&self, row: &[Cell], widths: &[usize]) -> String {
        let mut line = String::new();
        // Blanks are written before the next text, so that no line ends with some.
        let mut blanks = 0;
        for (cell, width) in row.iter().zip(widths) {
            let text = cut(&cell.text, *width);
            if !text.is_empty() {
                line.push_str(&" ".repeat(blanks));
                blanks = 0;
            }
            blanks += width - text.width() + GAP;
            line.push_str(&self.paint(&text, cell.tone));
        }
        line + "\n"
    }
}

impl Cell {
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }

    /// A dash for what there is not.
    pub(crate) fn or_dash(text: Option<impl Into<String>>) -> Self {
        text.map_or_else(|| Self::toned("-", Tone::Faint), |text| Self::from(text.into()))
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, tone: Tone::Plain }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// A head of a table.
pub(crate) fn head<const N: usize>(names: [&str; N]) -> [Cell; N] {
    names.map(|name| Cell::toned(name, Tone::Faint))
}

fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let fits = |c: &char| {
        let wide = c.width().unwrap_or_default();
        let fits = wide <= room;
        room = room.saturating_sub(wide);
        fits
    };
    text.chars().take_while(fits).collect::<String>() + "…"
}

/// How long ago, in the one unit that matters.
fn ago(since: Duration) -> String {
    let s = since.as_secs();
    match s {
        0..5 => "just now".into(),
        5..60 => format!("{s} s ago"),
        60..3600 => format!("{} min ago", s / 60),
        3600..172_800 => format!("{} h ago", s / 3600),
        _ => format!("{} days ago", s / 86_400),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A page of that width, half a minute after the records of these tests were stored.
    pub(crate) fn page(width: Option<usize>) -> Page {
        Page { width, colours: false, now: Timestamp(1_030_000) }
    }

    #[test]
    fn columns_line_up_and_nothing_is_cut_where_there_is_no_terminal() {
        let long = "x".repeat(300);
        let rows = [head(["A", "B", "C"]), ["日本".into(), long.as_str().into(), "c".into()]];
        let text = page(None).table(&rows);
        let expected = format!("A     B{}C\n日本  {long}  c\n", " ".repeat(301));
        assert_eq!(text, expected);
    }

    #[test]
    fn a_narrow_terminal_cuts_the_widest_columns_and_no_line_is_too_long() {
        let rows = [
            head(["HOST", "STATE", "WORKER"]),
            ["web".into(), "queued: ".repeat(20).into(), "nix-cache01".into()],
            ["日本".repeat(30).into(), "built".into(), "nix-cache01".into()],
        ];
        for width in [40, 60, 79, 120] {
            let text = page(Some(width)).table(&rows);
            assert!(text.lines().all(|line| line.width() <= width), "{width}\n{text}");
            assert!(text.contains("nix-cache01") && text.contains('…'), "{text}");
        }
        // Too narrow for anything: it is left to wrap.
        assert!(page(Some(10)).table(&rows).contains("nix-cache01"));
    }

    #[test]
    fn colours_do_not_count_as_width_and_a_dash_stands_for_nothing() {
        let rows = [[Cell::toned("built", Tone::Good), Cell::or_dash(None::<String>)]];
        let painted = Page { colours: true, ..page(None) }.table(&rows);
        assert_eq!(painted, "\u{1b}[32mbuilt\u{1b}[0m  \u{1b}[2m-\u{1b}[0m\n");
        assert_eq!(page(None).table(&rows), "built  -\n");
        let empty = [[Cell::from("a"), Cell::from("")], [Cell::from("b"), Cell::from("c")]];
        assert_eq!(page(None).table(&empty), "a\nb  c\n");
    }

    #[test]
    fn how_long_ago_is_told_in_one_unit() {
        let check = |seconds, told: &str| assert_eq!(ago(Duration::from_secs(seconds)), told);
        check(4, "just now");
        check(59, "59 s ago");
        check(60, "1 min ago");
        check(7199, "1 h ago");
        check(100_000, "27 h ago");
        check(200_000, "2 days ago");
        assert_eq!(page(None).ago(Timestamp(u64::MAX)), "just now");
    }
}
