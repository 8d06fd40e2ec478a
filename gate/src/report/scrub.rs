//! Secrets taken out of text that other people will read: build logs, messages of Nix and git.
//!
//! Two nets. What the gate itself holds (its token, the passwords of its credentials file) is found
//! by its bytes, in every form that a tool might print it in. Other people's secrets are found by
//! their shape. Hand-written scanners instead of regular expressions: nearly every rule looks at
//! what stands around a match, and each runs in linear time over a log that somebody else wrote.

use std::{borrow::Cow, fmt, ops::Range};

mod forms;
mod shapes;

/// What stands where a secret stood. Without a blank, so that it is one word wherever one was.
pub(crate) const REMOVED: &str = "[secret-removed]";

/// Removes secrets from any text.
#[derive(Clone, Default)]
pub(crate) struct Scrub {
    /// Every spelling of every secret that is known by its bytes.
    forms: Vec<forms::Form>,
}

/// The forms are secrets themselves.
impl fmt::Debug for Scrub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scrub({} forms)", self.forms.len())
    }
}

impl Scrub {
    /// Knows secrets by their bytes. One of fewer than [`forms::SECRET_BYTES_MIN`] bytes is left
    /// to the shapes: blanking every "a" hides a log and tells the secret.
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut forms: Vec<forms::Form> = secrets.into_iter().flat_map(forms::of).collect();
        forms.sort();
        forms.dedup();
        Self { forms }
    }

    /// The text without secrets. A secret that is wrapped over lines is one secret, and its lines
    /// become one; otherwise line breaks stay.
    pub(crate) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut found = self.known(text);
        found.extend(shapes::found(text));
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        found.sort_by_key(|range| range.start);
        let mut clean = String::with_capacity(text.len());
        let mut done = 0;
        for Range { start, end } in found {
            if start >= done {
                clean.push_str(&text[done..start]);
                clean.push_str(REMOVED);
            }
            done = done.max(end);
        }
        clean.push_str(&text[done..]);
        Cow::Owned(clean)
    }

    /// Where the known secrets stand, looked for as if there were no line breaks.
    fn known(&self, text: &str) -> Vec<Range<usize>> {
        if self.forms.is_empty() {
            return Vec::new();
        }
        let joined = Joined::of(text);
        let mut found = Vec::new();
        for form in &self.forms {
            for (start, matched) in joined.text.match_indices(&form.text) {
                // From the first byte to behind the last one, not to before what follows it.
                let end = joined.place(start + matched.len() - 1) + 1;
                found.push(form.whole(text, joined.place(start)..end));
            }
        }
        found
    }
}

/// A text without its line breaks, which still knows where each byte stood.
struct Joined<'a> {
    text: Cow<'a, str>,
    /// For each line break, how much of the joined text stands before it.
    breaks: Vec<usize>,
}

impl<'a> Joined<'a> {
    fn of(text: &'a str) -> Self {
        let is_break = |c: char| matches!(c, '\n' | '\r');
        if !text.contains(is_break) {
            return Self { text: Cow::Borrowed(text), breaks: Vec::new() };
        }
        let (mut joined, mut breaks) = (String::with_capacity(text.len()), Vec::new());
        for piece in text.split_inclusive(is_break) {
            match piece.strip_suffix(is_break) {
                Some(line) => {
                    joined.push_str(line);
                    breaks.push(joined.len());
                }
                None => joined.push_str(piece),
            }
        }
        Self { text: Cow::Owned(joined), breaks }
    }

    /// Where a byte of the joined text stands in the text as it was.
    fn place(&self, at: usize) -> usize {
        at + self.breaks.partition_point(|before| *before <= at)
    }
}

#[cfg(test)]
mod tests;
