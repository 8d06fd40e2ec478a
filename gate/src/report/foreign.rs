//! Text of builders, flakes and servers, made fit to be shown at all: nothing that a terminal or a
//! reader's eye is deceived by, no secrets, and no more than there is room for.

use telemetry::plain;

use super::scrub::Scrub;

/// Longest line of a log that is shown. Command lines of compilers are longer, and are in the
/// attached log.
pub(crate) const LINE_CHARS_MAX: usize = 400;
/// Longest name of a host, an input, a branch or a derivation.
pub(crate) const NAME_CHARS_MAX: usize = 250;
/// Longest message.
pub(crate) const MESSAGE_CHARS_MAX: usize = 800;

/// Makes foreign text fit to be shown.
#[derive(Clone, Copy)]
pub(crate) struct Foreign<'a> {
    pub(crate) scrub: &'a Scrub,
}

impl Foreign<'_> {
    /// A name, on one line.
    pub(crate) fn name(&self, text: &str) -> String {
        self.line(text, NAME_CHARS_MAX)
    }

    /// A message, on one line.
    pub(crate) fn message(&self, text: &str) -> String {
        self.line(text, MESSAGE_CHARS_MAX)
    }

    fn line(&self, text: &str, chars_max: usize) -> String {
        let line = visible(&text.replace(['\n', '\r', '\t'], " "));
        cut(self.scrub.text(&line).trim(), chars_max)
    }

    /// The last lines of a log. Secrets are looked for in all of them at once: a key has several.
    pub(crate) fn lines<'b>(
        &self,
        lines: impl IntoIterator<Item = &'b str>,
        lines_max: usize,
    ) -> Vec<String> {
        let clean = self.text(lines);
        let clean = clean.trim_matches('\n');
        let lines: Vec<&str> = if clean.is_empty() { vec![] } else { clean.split('\n').collect() };
        let spare = lines.len().saturating_sub(lines_max);
        lines[spare..].iter().map(|line| cut(line.trim_end(), LINE_CHARS_MAX)).collect()
    }

    /// All lines, whole.
    pub(crate) fn text<'b>(&self, lines: impl IntoIterator<Item = &'b str>) -> String {
        let lines = lines.into_iter().flat_map(|line| line.split('\n'));
        let lines: Vec<String> = lines.map(visible).collect();
        self.scrub.text(&lines.join("\n")).into_owned()
    }
}

/// Without what nobody sees: control sequences, and characters that turn, join or hide others.
fn visible(line: &str) -> String {
    let line: String = line.chars().filter(|c| !unseen(*c)).collect();
    plain(&line).into_owned()
}

/// Format characters and odd line breaks. Joiners inside emoji and some scripts fall as well; that
/// harms no log.
fn unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_unseen_is_left() {
        let foreign = Foreign { scrub: &Scrub::default() };
        assert_eq!(foreign.name(" a\u{200b}b\u{202e}c\u{1b}[31md\ne\u{2028}\u{feff} "), "abcd e");
        assert_eq!(foreign.name("\u{1b}\u{200b}[31mx"), "x");
        assert_eq!(foreign.name(&"é".repeat(300)), "é".repeat(NAME_CHARS_MAX) + "…");
        assert_eq!(foreign.message("https://a:b@c"), "https://[secret-removed]@c");
    }

    #[test]
    fn the_end_of_a_log_counts() {
        let foreign = Foreign { scrub: &Scrub::new(["hunter22"]) };
        let lines = ["1", "2\u{7}\n3", "hunt\u{1b}[0mer22  ", "", ""];
        assert_eq!(foreign.lines(lines, 2), ["3", "[secret-removed]"]);
        assert_eq!(foreign.lines([], 2), [""; 0]);
        assert_eq!(foreign.lines([""], 2), [""; 0]);
    }
}
