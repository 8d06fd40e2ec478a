//! A board as rows for a terminal of some size. Pure.
//!
//! What does not fit is counted, and no row is ever as wide as the terminal.

use std::time::Duration;

use proto::Timestamp;
use telemetry::{plain, screen::Row};
use unicode_width::UnicodeWidthChar as _;

use crate::board::{Board, Mood, Running};

/// A terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) lines: usize,
    pub(crate) colours: bool,
}

/// Rows for why hosts wait; the most common reasons.
const REASONS_MAX: usize = 3;
/// Columns of the longest name that is shown whole.
const NAME_MAX: usize = 24;
/// Columns of the bar.
const BAR: usize = 20;

/// The rows of a board, at most as many as leave one line of the terminal free.
pub(crate) fn frame(board: &Board, size: Size, now: Timestamp) -> Vec<Row> {
    let reasons = reasons(board);
    let room = size.lines.saturating_sub(2 + reasons.len());
    let all = board.running.len();
    // One row says how many there are more.
    let shown = if all <= room { all } else { room.saturating_sub(1) };
    let (running, more) = (&board.running[..shown], all - shown);
    let columns = Columns::of(running, now);
    let mut rows: Vec<Line> = running.iter().map(|it| columns.line(it, now)).collect();
    if more > 0 && room > 0 {
        rows.push(Line::plain(format!("... and {more} more running")));
    }
    rows.extend(reasons.into_iter().map(Line::plain));
    rows.push(total(board, now));
    rows.into_iter().map(|line| line.cut(size)).collect()
}

fn reasons(board: &Board) -> Vec<String> {
    let mut reasons: Vec<(&String, &usize)> = board.waiting.iter().collect();
    reasons.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let more: usize = reasons.iter().skip(REASONS_MAX).map(|(_, hosts)| **hosts).sum();
    let mut lines: Vec<String> =
        reasons.iter().take(REASONS_MAX).map(|(why, hosts)| format!("{hosts} {why}")).collect();
    if let (Some(last), true) = (lines.last_mut(), more > 0) {
        last.push_str(&format!("; {more} more wait for other reasons"));
    }
    lines
}

fn total(board: &Board, now: Timestamp) -> Line {
    let finished = board.finished();
    let full = (BAR * finished).checked_div(board.expected).unwrap_or(0).min(BAR);
    let mut line = Line::plain(format!("[{:<BAR$}] ", "#".repeat(full)));
    line.push(format!("{finished}/{}", board.expected), Style::Bold);
    for (mood, name, hosts) in &board.ended {
        let style = match mood {
            Mood::Good => Style::Good,
            Mood::Bad => Style::Bad,
            Mood::Unclear => Style::Unclear,
        };
        line.push("  ".to_owned(), Style::None);
        line.push(format!("{hosts} {name}"), style);
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
}

impl Columns {
    fn of(running: &[Running], now: Timestamp) -> Self {
        let widest = |text: &dyn Fn(&Running) -> String| {
            running.iter().map(|it| text(it).chars().count()).max().unwrap_or(0)
        };
        Self {
            name: widest(&|it| it.name.clone()).min(NAME_MAX),
            phase: widest(&|it| it.phase.name().to_owned()),
            progress: widest(&progress),
            clock: widest(&|it| clocks(it, now)),
            worker: widest(&worker),
        }
    }

    fn line(&self, it: &Running, now: Timestamp) -> Line {
        let name: String = it.name.chars().take(NAME_MAX).collect();
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
    match it.silent {
        true => format!("{} is silent", it.worker),
        false => it.worker.to_string(),
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

    /// As much as leaves the last column free: a terminal folds behind it.
    fn cut(self, size: Size) -> Row {
        let room = size.columns.saturating_sub(1);
        let mut row = Row { text: String::new(), columns: 0 };
        for (text, style) in self.0 {
            let mut kept = String::new();
            for c in text.chars() {
                let width = c.width().unwrap_or(0);
                if row.columns + width > room {
                    break;
                }
                row.columns += width;
                kept.push(c);
            }
            match (size.colours, style.code()) {
                (true, code) if !code.is_empty() => {
                    row.text.push_str(&format!("{code}{kept}\x1b[0m"));
                }
                _ => row.text.push_str(&kept),
            }
        }
        // Blanks at the end are nothing to see.
        if !size.colours {
            let kept = row.text.trim_end().len();
            row.columns -= row.text.len() - kept;
            row.text.truncate(kept);
        }
        row
    }
}

#[cfg(test)]
mod tests;
