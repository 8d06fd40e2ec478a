//! Tables and lines for people. Pure: how wide the terminal is, what it can show and what time it is
//! stand in the [`Page`].

use proto::Timestamp;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::{Console, console::shown, times::ago};

/// What text is made for.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Columns of the terminal; `None` elsewhere, where nothing is cut.
    pub width: Option<usize>,
    /// It shows characters beyond ASCII.
    pub utf8: bool,
    /// It has colours, and they are wanted.
    pub colours: bool,
    /// What is told as so long ago is so long before this.
    pub now: Timestamp,
}

/// How a cell looks on a terminal with colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Like any other text.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Somebody has to do something.
    Bad,
    /// Not as it should be, but nobody has to do anything yet.
    Odd,
    /// Not worth a look.
    Faint,
}

/// One cell of a table. Its text is on one line and made plain already.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    tone: Tone,
}

/// Narrower columns than this are not cut while there is another way.
const CUT_MIN: usize = 16;
/// And narrower ones than this never: nothing would be left of them.
const CUT_LEAST: usize = 8;
/// Between two columns.
const GAP: usize = 2;
/// A line of running text is not made shorter than this, however narrow the terminal.
const WRAP_MIN: usize = 24;

impl Page {
    /// What a command writes on.
    pub fn of(console: &Console) -> Self {
        Self {
            width: console.width(),
            utf8: console.utf8(),
            colours: console.colours(),
            now: bus::clock::now(),
        }
    }

    /// `3 min ago`.
    pub fn ago(&self, at: Timestamp) -> String {
        ago(self.now.since(at))
    }

    /// Rows in columns as wide as they need to be, one a line; the first row is the head. On a
    /// terminal that is too narrow the widest columns are cut, and when that is not enough the
    /// `spare` ones are left out, the first of them first.
    pub fn table<const N: usize>(&self, rows: &[[Cell; N]], spare: &[&str]) -> String {
        let texts =
            |row: &[Cell; N]| row.each_ref().map(|it| shown(&it.text, self.utf8).into_owned());
        let texts: Vec<[String; N]> = rows.iter().map(texts).collect();
        let wide = |at: usize| texts.iter().map(|row| row[at].width()).max().unwrap_or_default();
        let mut columns: Vec<(usize, usize)> = (0..N).map(|at| (at, wide(at))).collect();
        let mut spare = spare.iter();
        while !self.fit(&mut columns, CUT_MIN) {
            let Some(name) = spare.next() else {
                self.fit(&mut columns, CUT_LEAST);
                break;
            };
            columns.retain(|(at, _)| texts.first().is_none_or(|head| head[*at] != *name));
            // There is room again for what was cut.
            columns.iter_mut().for_each(|(at, width)| *width = wide(*at));
        }
        let line = |(row, texts): (&[Cell; N], &[String; N])| self.line(row, texts, &columns);
        rows.iter().zip(&texts).map(line).collect()
    }

    /// One line of a text, cut to the terminal's width.
    pub fn cut(&self, line: &str) -> String {
        let line = shown(line, self.utf8);
        self.width.map_or_else(|| line.to_string(), |width| self.cut_to(&line, width))
    }

    /// `start` and a text behind it, with as many lines as it takes on this terminal: the others
    /// begin below the text. Each ends with a newline.
    pub fn wrap(&self, start: &str, text: &str) -> String {
        let indent = start.width();
        let room = self.width.map_or(usize::MAX, |it| it.saturating_sub(indent).max(WRAP_MIN));
        let text = shown(text, self.utf8);
        let (mut lines, mut line) = (start.to_owned(), String::new());
        for word in text.split(' ') {
            if !line.is_empty() && line.width() + 1 + word.width() > room {
                lines.push_str(&format!("{line}\n{:indent$}", ""));
                line.clear();
            } else if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines + &line + "\n"
    }

    /// Text in a tone, where there are colours.
    pub fn paint(&self, text: &str, tone: Tone) -> String {
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

    /// Cuts columns that are wider than `least` until all fit; says whether they do.
    fn fit(&self, columns: &mut [(usize, usize)], least: usize) -> bool {
        let Some(room) = self.width else { return true };
        let gaps = GAP * columns.len().saturating_sub(1);
        while columns.iter().map(|(_, width)| width).sum::<usize>() + gaps > room {
            let widest = columns.iter_mut().map(|(_, width)| width).max();
            match widest {
                Some(widest) if *widest > least => *widest -= 1,
                _ => return false,
            }
        }
        true
    }

    fn line<const N: usize>(
        &self,
        row: &[Cell; N],
        texts: &[String; N],
        columns: &[(usize, usize)],
    ) -> String {
        let mut line = String::new();
        // Blanks are written before the next text, so that no line ends with some.
        let mut blanks = 0;
        for (at, width) in columns {
            let text = self.cut_to(&texts[*at], *width);
            if !text.is_empty() {
                line.push_str(&" ".repeat(blanks));
                blanks = 0;
            }
            blanks += width.saturating_sub(text.width()) + GAP;
            line.push_str(&self.paint(&text, row[*at].tone));
        }
        line + "\n"
    }

    fn cut_to(&self, text: &str, width: usize) -> String {
        if text.width() <= width {
            return text.to_owned();
        }
        let mark = shown("…", self.utf8);
        let mut room = width.saturating_sub(mark.width());
        let fits = |c: &char| {
            let wide = c.width().unwrap_or_default();
            let fits = wide <= room;
            room = room.saturating_sub(wide);
            fits
        };
        let mut kept: String = text.chars().take_while(fits).collect();
        // Some signs are wider together than each for itself.
        while kept.width() + mark.width() > width && kept.pop().is_some() {}
        kept + &mark
    }
}

impl Cell {
    /// A text in a tone.
    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }

    /// A dash for what there is not.
    pub fn or_dash(text: Option<impl Into<String>>) -> Self {
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
pub fn head<const N: usize>(names: [&str; N]) -> [Cell; N] {
    names.map(|name| Cell::toned(name, Tone::Faint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(width: Option<usize>) -> Page {
        Page { width, utf8: true, colours: false, now: Timestamp(1_030_000) }
    }

    #[test]
    fn columns_line_up_and_nothing_is_cut_where_there_is_no_terminal() {
        let long = "x".repeat(300);
        let rows = [head(["A", "B", "C"]), ["日本".into(), long.as_str().into(), "c".into()]];
        let text = page(None).table(&rows, &["A"]);
        let expected = format!("A     B{}C\n日本  {long}  c\n", " ".repeat(301));
        assert_eq!(text, expected);
    }

    #[test]
    fn a_narrow_terminal_cuts_the_widest_columns_then_leaves_spare_ones_out() {
        let rows = [
            head(["HOST", "STATE", "QUEUE", "WORKER"]),
            ["web".into(), "queued: ".repeat(20).into(), "1m 2s".into(), "nix-cache01".into()],
            ["日本".repeat(30).into(), "built → x".into(), "9s".into(), "nix-cache01".into()],
        ];
        for utf8 in [true, false] {
            for (width, left) in [(40, 2), (60, 4), (72, 4), (80, 4), (120, 4)] {
                let page = Page { utf8, ..page(Some(width)) };
                let text = page.table(&rows, &["QUEUE", "WORKER"]);
                assert!(text.lines().all(|line| line.width() <= width), "{width}\n{text}");
                assert!(text.contains(if utf8 { '…' } else { '.' }), "{text}");
                assert!(!text.is_ascii(), "others' words are theirs: {text}");
                assert_eq!(!utf8, !text.contains(['…', '→']), "{text}");
                let names = text.lines().next().expect("a head").split_whitespace();
                assert_eq!(names.count(), left, "{width}\n{text}");
            }
        }
        // A sign that another one widens: ⚠ and a variation selector.
        let signs = [head(["A", "B"]), ["\u{26a0}\u{fe0f}".repeat(40).into(), "b".into()]];
        let text = page(Some(20)).table(&signs, &[]);
        assert!(text.lines().all(|line| line.width() <= 20), "{text}");
        // Too narrow for anything: it is left to wrap.
        assert!(page(Some(10)).table(&rows, &[]).contains("nix-cac…"));
    }

    #[test]
    fn colours_do_not_count_as_width_and_a_dash_stands_for_nothing() {
        let rows = [[Cell::toned("built", Tone::Good), Cell::or_dash(None::<String>)]];
        let painted = Page { colours: true, ..page(None) }.table(&rows, &[]);
        assert_eq!(painted, "\u{1b}[32mbuilt\u{1b}[0m  \u{1b}[2m-\u{1b}[0m\n");
        assert_eq!(page(None).table(&rows, &[]), "built  -\n");
        let empty = [[Cell::from("a"), Cell::from("")], [Cell::from("b"), Cell::from("c")]];
        assert_eq!(page(None).table(&empty, &[]), "a\nb  c\n");
    }

    #[test]
    fn long_text_goes_on_below_itself() {
        let text = "one two three four five six seven";
        assert_eq!(page(None).wrap("  why: ", text), format!("  why: {text}\n"));
        let expected = "  why: one two three four five\n       six seven\n";
        assert_eq!(page(Some(33)).wrap("  why: ", text), expected);
        assert_eq!(page(Some(3)).wrap("  why: ", text), expected, "too narrow for anything");
        let word = "x".repeat(99);
        assert_eq!(page(Some(40)).wrap("", &format!("a {word} b")), format!("a\n{word}\nb\n"));
    }
}
