//! A board as rows for a terminal of some size. Pure.
//!
//! What does not fit is counted or ends with a mark, no row is ever as wide as the terminal, and there
//! are never more rows than lines.

use std::time::Duration;

use proto::Timestamp;
use stand::reasons::most_common;
use telemetry::{plain, screen::Row};
use unicode_width::UnicodeWidthChar as _;

use crate::board::{Board, Mood, Running};

/// A terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) lines: usize,
    pub(crate) colours: bool,
    pub(crate) utf8: bool,
}

impl Size {
    /// Columns of a row. A terminal folds behind the last one, so that stays free.
    fn room(self) -> usize {
        self.columns.saturating_sub(1)
    }

    /// Stands for what was cut off.
    fn mark(self) -> &'static str {
        if self.utf8 { "…" } else { "..." }
    }
}

/// Rows for why hosts wait; the most common reasons.
const REASONS_MAX: usize = 3;
/// Columns of the longest name that is shown whole.
const NAME_MAX: usize = 24;
/// Columns of the bar, and of one that makes room for numbers: it says nothing that they do not.
const BAR: usize = 20;
const BAR_NARROW: usize = 5;

/// The rows of a board, at most as many as leave one line of the terminal free. On one with next to
/// no lines the total stays, then the most common reasons.
pub(crate) fn frame(board: &Board, size: Size, now: Timestamp) -> Vec<Row> {
    let above_total = size.lines.saturating_sub(2);
    let reasons = most_common(&board.waiting, REASONS_MAX.min(above_total));
    let room = above_total - reasons.len();
    let all = board.running.len();
    // One row says how many there are more.
    let shown = if all <= room { all } else { room.saturating_sub(1) };
    let (running, more) = (&board.running[..shown], all - shown);
    let columns = Columns::of(running, size, now);
    let mut rows: Vec<Line> = running.iter().map(|it| columns.line(it, now)).collect();
    if more > 0 && room > 0 {
        rows.push(Line::plain(format!("... and {more} more running")));
    }
    rows.extend(reasons.into_iter().map(Line::plain));
    rows.push(total(board, size, now));
    rows.into_iter().map(|line| line.cut(size)).collect()
}

/// Its parts stand there whole or not at all: a number that was cut is another number.
fn total(board: &Board, size: Size, now: Timestamp) -> Line {
    let parts = counts(board, now);
    let width: usize = parts.0.iter().map(|(text, _)| columns(text)).sum();
    let mut line = finished(board, BAR);
    if line.columns() + width > size.room() {
        line = finished(board, BAR_NARROW);
    }
    let all = line.columns() + width <= size.room();
    let dropped = format!("  {}", size.mark());
    for (text, style) in parts.0 {
        if !all && line.columns() + columns(&text) + columns(&dropped) > size.room() {
            line.push(dropped, Style::None);
            break;
        }
        line.push(text, style);
    }
    line
}

fn finished(board: &Board, bar: usize) -> Line {
    let finished = board.finished();
    let full = (bar * finished).checked_div(board.expected).unwrap_or(0).min(bar);
    let mut line = Line::plain(format!("[{:<bar$}] ", "#".repeat(full)));
    line.push(format!("{finished}/{}", board.expected), Style::Bold);
    line
}

/// How many of what, each with the blanks before it, and for how long.
fn counts(board: &Board, now: Timestamp) -> Line {
    let mut line = Line::default();
    for (mood, name, hosts) in &board.ended {
        let style = match mood {
            Mood::Good => Style::Good,
            Mood::Bad => Style::Bad,
            Mood::Unclear => Style::Unclear,
        };
        line.push(format!("  {hosts} {name}"), style);
    }
    let waiting: usize = board.waiting.values().sum();
    for (hosts, what) in [(board.running.len(), "running"), (waiting, "waiting")] {
        if hosts > 0 {
            line.push(format!("  {hosts} {what}"), Style::None);
        }
    }
    line.push(format!("  {}", clock(now.since(board.since))), Style::Faint);
    line
}

/// How wide the columns of the shown hosts are.
struct Columns {
    name: usize,
    phase: usize,
    progress: usize,
    clock: usize,
    worker: usize,
    mark: &'static str,
}

impl Columns {
    fn of(running: &[Running], size: Size, now: Timestamp) -> Self {
        let widest = |text: &dyn Fn(&Running) -> String| {
            running.iter().map(|it| text(it).chars().count()).max().unwrap_or(0)
        };
        Self {
            name: widest(&|it| it.name.clone()).min(NAME_MAX),
            phase: widest(&|it| it.phase.name().to_owned()),
            progress: widest(&progress),
            clock: widest(&|it| clocks(it, now)),
            worker: widest(&worker),
            mark: size.mark(),
        }
    }

    fn line(&self, it: &Running, now: Timestamp) -> Line {
        let name = match columns(&it.name) > NAME_MAX {
            true => start(&it.name, NAME_MAX - columns(self.mark)) + self.mark,
            false => it.name.clone(),
        };
        let mut line = Line::default();
        line.push(format!("{name:<0$}", self.name), Style::Bold);
        line.push(format!("  {:<1$}", it.phase.name(), self.phase), Style::None);
        if self.progress > 0 {
            line.push(format!(" {:>1$}", progress(it), self.progress), Style::None);
        }
        line.push(format!("  {:>1$}", clocks(it, now), self.clock), Style::None);
        let style = if it.silent { Style::Bad } else { Style::Faint };
        line.push(format!("  {:<1$}", worker(it), self.worker), style);
        if let Some(said) = &it.said {
            line.push(format!("  {}", plain(said).trim_start()), Style::Faint);
        }
        line
    }
}

fn progress(it: &Running) -> String {
    it.progress.map_or_else(String::new, |it| format!("{}/{}", it.done, it.expected))
}

fn clocks(it: &Running, now: Timestamp) -> String {
    let elapsed = clock(now.since(it.since));
    match it.usual {
        Some(usual) => format!("{elapsed} of ~{}", clock(usual)),
        None => elapsed,
    }
}

fn worker(it: &Running) -> String {
    match (it.silent, it.unwanted) {
        (true, _) => format!("{} is silent", it.worker),
        (false, true) => format!("{}, being cancelled", it.worker),
        (false, false) => it.worker.to_string(),
    }
}

/// `7s`, `12m 07s`, `3h 04m`: of a length that changes once a second at most.
fn clock(duration: Duration) -> String {
    match duration.as_secs() {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m {:02}s", s / 60, s % 60),
        s => format!("{}h {:02}m", s / 3600, s % 3600 / 60),
    }
}

#[derive(Clone, Copy)]
enum Style {
    None,
    Bold,
    Faint,
    Good,
    Bad,
    Unclear,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Bold => "\x1b[1m",
            Self::Faint => "\x1b[2m",
            Self::Good => "\x1b[32m",
            Self::Bad => "\x1b[31m",
            Self::Unclear => "\x1b[33m",
        }
    }
}

/// A row before it is cut.
#[derive(Default)]
struct Line(Vec<(String, Style)>);

impl Line {
    fn plain(text: String) -> Self {
        Self(vec![(text, Style::None)])
    }

    fn push(&mut self, text: String, style: Style) {
        self.0.push((text, style));
    }

    fn columns(&self) -> usize {
        self.0.iter().map(|(text, _)| columns(text)).sum()
    }

    /// Blanks at the end are nothing to see, and nothing to mark as cut off.
    fn trim_end(&mut self) {
        while let Some((text, _)) = self.0.last_mut() {
            text.truncate(text.trim_end().len());
            if !text.is_empty() {
                break;
            }
            self.0.pop();
        }
    }

    /// As much as there is room for, and a mark if that is not all.
    fn cut(mut self, size: Size) -> Row {
        self.trim_end();
        let all = self.columns() <= size.room();
        let mark = if all { String::new() } else { start(size.mark(), size.room()) };
        let mut left = size.room() - columns(&mark);
        let mut row = Row { text: String::new(), columns: 0 };
        for (text, style) in self.0 {
            let mut kept = start(&text, left);
            // What comes behind a letter that does not fit is not put in its place.
            let ends = kept.len() < text.len();
            if ends {
                kept.push_str(&mark);
            }
            row.columns += columns(&kept);
            match (size.colours, style.code()) {
                (true, code) if !code.is_empty() => {
                    row.text.push_str(&format!("{code}{kept}\x1b[0m"));
                }
                _ => row.text.push_str(&kept),
            }
            if ends {
                break;
            }
            left -= columns(&kept);
        }
        row
    }
}

/// Columns that a text takes.
fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// As much of the start of a text as so many columns hold.
fn start(text: &str, columns: usize) -> String {
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= columns
    };
    text.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests;
