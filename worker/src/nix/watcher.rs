//! Follows the events of one realisation and knows, at any time, how it is going.
//!
//! Pure: time comes as a parameter, on any clock that only goes forward. It gathers facts and
//! judges none: that is the classifier's. All memory is bounded.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use proto::{Work, record::Progress};

use super::{
    classify::{self, Blame},
    events::{
        self, ACTIVITY_BUILD, ACTIVITY_BUILD_WAITING, ACTIVITY_BUILDS, ACTIVITY_SUBSTITUTE, Event,
    },
};

/// Lines kept of each derivation's log, for the failure excerpt (DESIGN section 7).
pub const TAIL_LINES: usize = 100;
/// Longest line of an excerpt.
const TAIL_LINE_BYTES_MAX: usize = 2 << 10;
/// Derivations whose tail is kept. Nix runs far fewer at once, and reports a failure right after
/// its last line; the one that was silent for longest is forgotten first.
const TAILS_MAX: usize = 32;
/// Activities followed at once. A larger host has some hundred downloads open; beyond it new ones
/// are not followed, which costs nothing but tags.
const ACTIVITIES_MAX: usize = 16_384;
/// Error messages kept: the first ones name the cause, the rest repeat it upwards.
const ERRORS_MAX: usize = 64;
/// Longest error message; newer Nix puts 25 log lines into it.
const ERROR_BYTES_MAX: usize = 16 << 10;
/// Messages up to this verbosity go into the log: `info`, what a person sees without `-v`.
const LEVEL_SHOWN: u64 = 3;

/// See the module.
#[derive(Debug, Default)]
pub struct Watcher {
    activities: HashMap<u64, Activity>,
    builds_open: usize,
    waits_open: usize,
    progress: Option<Progress>,
    work: Work,
    last_sign: Duration,
    waiting_since: Option<Duration>,
    waited: Duration,
    log_bytes: u64,
    tails: Vec<Tail>,
    errors: Vec<String>,
    blame: Option<Blame>,
    last_build: Option<Arc<str>>,
}

#[derive(Debug)]
enum Activity {
    Build { drv: Arc<str> },
    Download,
    Builds,
    Wait,
    Other,
}

impl Activity {
    fn builds(&self, of: &str) -> bool {
        matches!(self, Self::Build { drv } if **drv == *of)
    }
}

/// The last lines of one derivation.
#[derive(Debug)]
struct Tail {
    drv: Arc<str>,
    lines: VecDeque<String>,
}

/// What belongs into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said<'a> {
    /// The derivation that said it; none: Nix itself.
    pub drv: Option<Arc<str>>,
    /// The line.
    pub text: Cow<'a, str>,
}

impl Watcher {
    /// Takes one line of stderr and returns what belongs into the log.
    pub fn line<'a>(&mut self, now: Duration, line: &'a str) -> Option<Said<'a>> {
        let said = match events::parse(line) {
            Event::LogLine { id, text } => {
                self.last_sign = now;
                self.log_bytes = self.log_bytes.saturating_add(text.len() as u64 + 1);
                let drv = self.drv_of(id);
                if let Some(drv) = &drv {
                    self.keep(drv, &text);
                }
                Some(Said { drv, text })
            }
            Event::Start { id, kind, level, text, subject } => {
                self.start(now, id, kind, subject);
                let shown = level <= LEVEL_SHOWN && !text.is_empty();
                shown.then(|| Said { drv: self.drv_of(id), text })
            }
            Event::Stop { id } => {
                self.stop(now, id);
                None
            }
            Event::Progress { id, done, expected } => {
                if matches!(self.activities.get(&id), Some(Activity::Builds)) {
                    let progress = Some(Progress { done, expected });
                    // Nix repeats unchanged counts; those are no sign of life.
                    if self.progress != progress {
                        self.last_sign = now;
                    }
                    self.progress = progress;
                }
                None
            }
            Event::Sign { .. } => {
                self.last_sign = now;
                None
            }
            Event::Message { level, text } => {
                if level == 0 {
                    self.error(&text);
                }
                (level <= LEVEL_SHOWN).then_some(Said { drv: None, text })
            }
            Event::Plain(text) => {
                self.error(text);
                self.log_bytes = self.log_bytes.saturating_add(text.len() as u64 + 1);
                Some(Said { drv: None, text: text.into() })
            }
            Event::Other => {
                // Possibly a log line too long to be read whole: it counts, and it is life.
                self.last_sign = now;
                self.log_bytes = self.log_bytes.saturating_add(line.len() as u64);
                None
            }
        };
        self.account(now);
        said
    }

    /// Adds bytes that a line had beyond what was kept of it.
    pub fn cut_off(&mut self, bytes: u64) {
        self.log_bytes = self.log_bytes.saturating_add(bytes);
    }

    /// Derivations done and expected, once Nix said so.
    pub fn progress(&self) -> Option<Progress> {
        self.progress
    }

    /// What was begun so far. Progress says less: a rebuild that differs is counted as failed there,
    /// and what is copied to another machine as a download.
    pub fn work(&self) -> Work {
        self.work
    }

    /// Nothing is being built here: somebody else builds the same and holds the lock.
    pub fn waits_for_lock(&self) -> bool {
        self.waits_open > 0 && self.builds_open == 0
    }

    /// Time spent so in all.
    pub fn waited(&self, now: Duration) -> Duration {
        let open = self.waiting_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        self.waited + open
    }

    /// For how long a builder of ours has been silent. Zero when none runs.
    pub fn silent_for(&self, now: Duration) -> Duration {
        match self.builds_open {
            0 => Duration::ZERO,
            _ => now.saturating_sub(self.last_sign),
        }
    }

    /// Bytes of build log seen.
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// Error messages in their order, without control sequences.
    pub fn errors(&self) -> &[String] {
        &self.errors
    }

    /// The first derivation that Nix blamed.
    pub fn blame(&self) -> Option<&Blame> {
        self.blame.as_ref()
    }

    /// The derivation that is being built, or was last: whom to name when we end it.
    pub fn last_build(&self) -> Option<&str> {
        self.last_build.as_deref()
    }

    /// The derivations that are being built.
    pub fn building(&self) -> Vec<String> {
        let drv = |activity: &Activity| match activity {
            Activity::Build { drv } => Some(drv.to_string()),
            _ => None,
        };
        self.activities.values().filter_map(drv).collect()
    }

    /// The last lines of a derivation's log.
    pub fn tail(&self, drv: &str) -> Vec<String> {
        let tail = self.tails.iter().find(|tail| &*tail.drv == drv);
        tail.map_or(Vec::new(), |tail| tail.lines.iter().cloned().collect())
    }

    fn start(&mut self, now: Duration, id: u64, kind: u64, subject: Option<Cow<'_, str>>) {
        let activity = match (kind, subject) {
            (ACTIVITY_BUILD, Some(drv)) => Activity::Build { drv: drv.into() },
            (ACTIVITY_SUBSTITUTE, _) => Activity::Download,
            (ACTIVITY_BUILDS, _) => Activity::Builds,
            (ACTIVITY_BUILD_WAITING, _) => Activity::Wait,
            _ => Activity::Other,
        };
        // An id seen twice: the former is over.
        self.stop(now, id);
        match &activity {
            // A machine that Nix delegates to tells of the same build inside of ours.
            Activity::Build { drv } if self.activities.values().any(|it| it.builds(drv)) => {}
            Activity::Build { .. } => self.work.add(Work { derivations: 1, downloads: 0 }),
            Activity::Download => self.work.add(Work { derivations: 0, downloads: 1 }),
            Activity::Builds | Activity::Wait | Activity::Other => {}
        }
        if self.activities.len() >= ACTIVITIES_MAX {
            return;
        }
        match &activity {
            Activity::Build { drv } => {
                self.builds_open += 1;
                self.last_sign = now;
                self.last_build = Some(Arc::clone(drv));
            }
            Activity::Wait => self.waits_open += 1,
            Activity::Download | Activity::Builds | Activity::Other => {}
        }
        self.activities.insert(id, activity);
    }

    fn stop(&mut self, now: Duration, id: u64) {
        match self.activities.remove(&id) {
            Some(Activity::Build { .. }) => {
                self.builds_open -= 1;
                self.last_sign = now;
            }
            Some(Activity::Wait) => self.waits_open -= 1,
            Some(Activity::Download | Activity::Builds | Activity::Other) | None => {}
        }
    }

    fn account(&mut self, now: Duration) {
        match (self.waits_for_lock(), self.waiting_since) {
            (true, None) => self.waiting_since = Some(now),
            (false, Some(since)) => {
                self.waited += now.saturating_sub(since);
                self.waiting_since = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    fn drv_of(&self, id: u64) -> Option<Arc<str>> {
        match self.activities.get(&id) {
            Some(Activity::Build { drv }) => Some(Arc::clone(drv)),
            _ => None,
        }
    }

    fn keep(&mut self, drv: &Arc<str>, text: &str) {
        // Sorted by last use: the first is the one to forget.
        let at = self.tails.iter().rposition(|tail| tail.drv == *drv);
        let mut tail = match at {
            Some(at) => self.tails.remove(at),
            None => Tail { drv: Arc::clone(drv), lines: VecDeque::new() },
        };
        let full = tail.lines.len() == TAIL_LINES;
        let mut line = full.then(|| tail.lines.pop_front()).flatten().unwrap_or_default();
        line.clear();
        push_cut(&mut line, text, TAIL_LINE_BYTES_MAX);
        tail.lines.push_back(line);
        if self.tails.len() == TAILS_MAX {
            self.tails.remove(0);
        }
        self.tails.push(tail);
    }

    fn error(&mut self, text: &str) {
        let text = cut(&events::plain(text), ERROR_BYTES_MAX);
        if self.blame.is_none() {
            self.blame = classify::blamed(&text);
        }
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(text);
        }
    }
}

/// At most `bytes_max` bytes of `text`, ended between two characters and marked.
pub fn cut(text: &str, bytes_max: usize) -> String {
    let mut cut = String::new();
    push_cut(&mut cut, text, bytes_max);
    cut
}

fn push_cut(to: &mut String, text: &str, bytes_max: usize) {
    to.push_str(&text[..text.floor_char_boundary(bytes_max)]);
    if text.len() > bytes_max {
        to.push('…');
    }
}

#[cfg(test)]
mod tests;
