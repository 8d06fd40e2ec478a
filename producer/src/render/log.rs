//! Log chunks as lines: what each line came from, what is missing between them. Pure.
//!
//! It takes chunks in the order of the stream and remembers where in an attempt it is, so that a
//! chunk that was stored twice is shown once and a lost one leaves a mark.

use bus::StoredChunk;
use proto::{
    Epoch,
    log::{LogLine, short_name},
};
use serde::Serialize;
use telemetry::plain;

/// How lines are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For a terminal: control sequences are stripped.
    Plain,
    /// As the builder wrote them.
    Raw,
    /// One JSON object per line.
    Json,
}

/// Where in a log its reader is.
#[derive(Debug, Default)]
pub(crate) struct LogWalk {
    epoch: Option<Epoch>,
    next: u64,
    ended: bool,
}

/// One line of a log as it is shown. Its texts are foreign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// What a builder, Nix or the worker said.
    Line(LogLine),
    /// What is known to be missing, or begins here.
    Mark(String),
}

impl LogWalk {
    /// Begins in the middle of an attempt: what is before chunk `next` is left out on purpose.
    pub(crate) fn at(epoch: Epoch, next: u64) -> Self {
        Self { epoch: Some(epoch), next, ended: false }
    }

    /// The newest attempt that was read, and whether its last chunk was.
    pub(crate) fn shown(&self) -> Option<(Epoch, bool)> {
        Some((self.epoch?, self.ended))
    }

    /// The number of the chunk that is expected next.
    pub(crate) fn next_chunk(&self) -> u64 {
        self.next
    }

    /// The lines of one more chunk.
    pub(crate) fn pieces(&mut self, stored: StoredChunk) -> Vec<Piece> {
        let StoredChunk { epoch, chunk, .. } = stored;
        let mut pieces = Vec::new();
        if self.epoch != Some(epoch) {
            // A frozen worker that wakes up may still flush the log of an attempt that is over.
            if self.epoch.is_some_and(|shown| shown > epoch) {
                return pieces;
            }
            if self.epoch.is_some() {
                pieces.push(Piece::Mark(format!("the next attempt begins (epoch {epoch})")));
            }
            *self = Self::at(epoch, 0);
        }
        if chunk.seq < self.next {
            return pieces;
        }
        if chunk.seq > self.next {
            let lost = chunk.seq - self.next;
            pieces.push(Piece::Mark(format!("{lost} parts of the log are not kept")));
        }
        if chunk.dropped > 0 {
            pieces.push(Piece::Mark(format!("{} lines dropped", chunk.dropped)));
        }
        pieces.extend(chunk.lines.into_iter().map(Piece::Line));
        self.next = chunk.seq.saturating_add(1);
        self.ended = chunk.end;
        pieces
    }
}

/// What stands in the place of a chunk that nobody can read.
pub(crate) fn unreadable() -> Piece {
    Piece::Mark("a part of the log cannot be read".into())
}

/// A log as it is being printed.
#[derive(Debug)]
pub(crate) struct LogText {
    form: Form,
    walk: LogWalk,
}

#[derive(Serialize)]
struct Line<'a> {
    epoch: Epoch,
    drv: Option<&'a str>,
    text: Option<&'a str>,
    missing: Option<&'a str>,
}

impl LogText {
    pub(crate) fn new(form: Form) -> Self {
        Self { form, walk: LogWalk::default() }
    }

    /// The newest attempt that was shown, and whether its last chunk was.
    pub(crate) fn shown(&self) -> Option<(Epoch, bool)> {
        self.walk.shown()
    }

    /// The lines of one more chunk, each with its newline.
    pub(crate) fn lines(&mut self, stored: StoredChunk) -> Vec<String> {
        let epoch = stored.epoch;
        let pieces = self.walk.pieces(stored);
        pieces.iter().map(|piece| self.piece(epoch, piece)).collect()
    }

    /// The mark of a chunk that nobody can read.
    pub(crate) fn unreadable(&self) -> String {
        let epoch = self.shown().map(|(epoch, _)| epoch);
        self.piece(epoch.unwrap_or_default(), &unreadable())
    }

    fn piece(&self, epoch: Epoch, piece: &Piece) -> String {
        match piece {
            Piece::Line(line) => self.line(epoch, line),
            Piece::Mark(what) if self.form == Form::Json => {
                super::json::line(&Line { epoch, drv: None, text: None, missing: Some(what) })
            }
            Piece::Mark(what) => format!("[… {what} …]\n"),
        }
    }

    fn line(&self, epoch: Epoch, line: &LogLine) -> String {
        let name = line.drv.as_deref().map(|drv| format!("{}> ", short_name(drv)));
        let name = name.unwrap_or_default();
        match self.form {
            Form::Plain => format!("{}{}\n", plain(&name), plain(&line.text)),
            Form::Raw => format!("{name}{}\n", line.text),
            Form::Json => {
                let (drv, text) = (line.drv.as_deref(), Some(line.text.as_str()));
                super::json::line(&Line { epoch, drv, text, missing: None })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::log::LogChunk;

    use super::*;

    const DRV: &str = "/nix/store/0000000000000000000000000000000a-nginx-1.27.drv";

    fn chunk(epoch: u64, seq: u64, text: &str) -> StoredChunk {
        let lines = vec![LogLine { drv: Some(DRV.into()), text: text.into() }];
        let chunk = LogChunk { seq, lines, ..LogChunk::default() };
        StoredChunk { sequence: 1, epoch: Epoch(epoch), chunk }
    }

    #[track_caller]
    fn check(form: Form, chunks: &[StoredChunk], expected: &[&str]) {
        let mut log = LogText::new(form);
        let lines: Vec<_> = chunks.iter().flat_map(|chunk| log.lines(chunk.clone())).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn each_line_says_which_derivation_spoke() {
        let mut untagged = chunk(1, 1, "fetching");
        untagged.chunk.lines[0].drv = None;
        let chunks = [chunk(1, 0, "a\u{1b}[2Jb"), untagged];
        check(Form::Plain, &chunks, &["nginx-1.27> ab\n", "fetching\n"]);
        check(Form::Raw, &chunks[..1], &["nginx-1.27> a\u{1b}[2Jb\n"]);
        let text = r#""text":"a\u001b[2Jb","missing":null"#;
        check(Form::Json, &chunks[..1], &[&format!("{{\"epoch\":1,\"drv\":\"{DRV}\",{text}}}\n")]);
        let mark = LogText::new(Form::Json).unreadable();
        let expected = serde_json::json!({"epoch": 0, "drv": null, "text": null,
            "missing": "a part of the log cannot be read"});
        let mark: serde_json::Value = serde_json::from_str(&mark).expect("JSON");
        assert_eq!(mark, expected);
        options::check_documented("logs", &mark);
    }

    #[test]
    fn nothing_is_shown_twice_and_what_is_missing_is_marked() {
        let mut dropped = chunk(1, 4, "d");
        dropped.chunk.dropped = 123;
        let chunks = [chunk(1, 1, "b"), chunk(1, 1, "b"), chunk(1, 2, "c"), dropped];
        check(
            Form::Plain,
            &chunks,
            &[
                "[… 1 parts of the log are not kept …]\n",
                "nginx-1.27> b\n",
                "nginx-1.27> c\n",
                "[… 1 parts of the log are not kept …]\n",
                "[… 123 lines dropped …]\n",
                "nginx-1.27> d\n",
            ],
        );
    }

    #[test]
    fn the_next_attempt_follows_and_the_old_one_is_heard_no_more() {
        let chunks = [chunk(1, 0, "a"), chunk(2, 0, "b"), chunk(1, 1, "late"), chunk(2, 1, "c")];
        let next = "[… the next attempt begins (epoch 2) …]\n";
        let (a, b, c) = ("nginx-1.27> a\n", "nginx-1.27> b\n", "nginx-1.27> c\n");
        check(Form::Plain, &chunks, &[a, next, b, c]);
    }

    #[test]
    fn a_store_path_has_a_short_name() {
        for (drv, name) in [
            (DRV, "nginx-1.27"),
            ("/nix/store/0000000000000000000000000000000a-a-b", "a-b"),
            ("/nix/store/x-y", "/nix/store/x-y"),
            ("", ""),
        ] {
            assert_eq!(short_name(drv), name);
        }
    }
}
