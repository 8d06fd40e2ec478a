//! Foreign text made safe for a terminal: build logs, messages of Nix, arguments that are quoted
//! back. A terminal obeys what it is shown: titles, the clipboard, and keys it types by itself.

use std::{borrow::Cow, iter::Peekable, str::Chars};

const ESC: char = '\u{1b}';
const BEL: char = '\u{7}';
/// String terminator, as one character.
const ST: char = '\u{9c}';

/// `text` as one line without anything that a terminal obeys: no escape sequence, no control
/// character but the tab, nothing that reverses the direction of writing.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    // Once no terminator is ahead, none will be: many introducers must not take quadratic time.
    let mut terminated = true;
    while let Some(c) = rest.next() {
        let string = match c {
            ESC => skip_escape(&mut rest),
            '\u{9b}' => skip_csi(&mut rest),
            c => matches!(c, '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}'),
        };
        if string && terminated {
            terminated = skip_string(&mut rest);
        }
        if !obeyed(c) {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// [`plain`] for each line of a text; the line breaks stay.
pub fn plain_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(plain).collect();
    lines.join("\n")
}

fn obeyed(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && c != '\t')
}

/// Skips what follows an escape character, by its first character (ECMA-48); says whether a string
/// begins there.
fn skip_escape(rest: &mut Peekable<Chars<'_>>) -> bool {
    if rest.next_if_eq(&'[').is_some() {
        return skip_csi(rest);
    }
    if rest.next_if(|c| matches!(c, ']' | 'P' | 'X' | '^' | '_')).is_some() {
        return true;
    }
    while rest.next_if(|c| matches!(c, ' '..='/')).is_some() {}
    rest.next_if(|c| matches!(c, '0'..='~'));
    false
}

/// Skips parameters, then intermediate characters, then the one that ends it. No string begins.
fn skip_csi(rest: &mut Peekable<Chars<'_>>) -> bool {
    while rest.next_if(|c| matches!(c, '0'..='?')).is_some() {}
    while rest.next_if(|c| matches!(c, ' '..='/')).is_some() {}
    rest.next_if(|c| matches!(c, '@'..='~'));
    false
}

/// Skips up to the terminator. Without one only the introducer goes, and `false` is the answer: a
/// line must not be able to hide what stands behind it.
fn skip_string(rest: &mut Peekable<Chars<'_>>) -> bool {
    let mut ahead = rest.clone();
    while let Some(c) = ahead.next() {
        let ended = match c {
            BEL | ST => true,
            ESC => ahead.next_if_eq(&'\\').is_some(),
            _ => false,
        };
        if ended {
            *rest = ahead;
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_shown() {
        for (text, shown) in [
            ("plain\ttext é 日本", "plain\ttext é 日本"),
            ("\u{1b}[1;31merror:\u{1b}[0m no", "error: no"),
            ("\u{1b}[?1049h\u{1b}[2J\u{1b}[Hgone", "gone"),
            ("\u{1b}]0;title\u{7}a", "a"),
            ("\u{1b}]52;c;cm0gLXJm\u{1b}\\a", "a"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}]never ended, still shown", "never ended, still shown"),
            ("\u{1b}Pq#0\u{1b}\\a", "a"),
            ("\u{1b}(0lqk\u{1b}(B\u{1b}c\u{1b}=", "lqk"),
            ("\u{9b}31mred\u{9d}0;t\u{9c}!", "red!"),
            ("10%\r20%\u{8}\u{0}\u{7f}\n", "10%20%"),
            ("\u{1b}]a\u{1b}]b\u{1b}[1mc", "abc"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
            ("\u{1b}[31", ""),
            ("\u{1b}\u{1b}[1mx", "x"),
            ("user\u{202e}txt.exe", "usertxt.exe"),
        ] {
            assert_eq!(plain(text), shown, "{text:?}");
        }
    }

    #[test]
    fn line_breaks_survive_in_a_text_of_lines() {
        assert_eq!(plain_lines("a\u{1b}[0m\n\n b\r\n"), "a\n\n b\n");
    }
}
