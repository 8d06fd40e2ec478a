//! What a Nix call's end means: the one place that tells the flake's faults from ours.
//!
//! Pure. The order is the rule (DESIGN section 6): our own stop, our own limits, structured
//! evidence, then loosely matched messages. Exit codes say too little: `nix build` always gives 1,
//! and through the daemon every code is 1. Nix's wording drifts, so each pattern is a fragment that
//! was the same in all versions known; the corpus beside this file holds one real output per case.
//!
//! Unknown output blames the flake only if a builder was seen to fail.

use proto::{Failure, FailureKind, InfraKind};

use super::{
    patterns::{self, Pattern},
    watcher::Watcher,
};
use crate::build::BuildEnd;

/// A limit of ours that ended a realisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The wall deadline.
    Wall,
    /// The silence of a builder.
    Silence,
    /// The size of the log.
    LogBytes,
    /// The wait for a lock that another build holds.
    LockWait,
}

/// What is known when a realisation has ended.
#[derive(Debug)]
pub struct Realised<'a> {
    /// It was stopped from outside.
    pub stopped: bool,
    /// A limit of ours ended it.
    pub limit: Option<Limit>,
    /// Exit code, or 128 plus a signal. None: the supervisor was killed.
    pub exit: Option<i32>,
    /// What it said.
    pub watcher: &'a Watcher,
}

/// How a realisation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RealiseEnd {
    /// The output is valid.
    Valid,
    /// The derivation vanished from the store since it was evaluated.
    DrvGone,
    /// `--check` was asked for an output that is not there to compare with.
    NothingToCompare,
    /// The attempt is over.
    Over(BuildEnd),
}

/// What is known when an evaluation has ended.
#[derive(Debug)]
pub struct Evaluated<'a> {
    /// It was stopped from outside.
    pub stopped: bool,
    /// Our deadline for evaluations ended it.
    pub timed_out: bool,
    /// Exit code, or 128 plus a signal. None: the supervisor was killed.
    pub exit: Option<i32>,
    /// Its last lines of stderr.
    pub stderr: &'a [String],
}

/// How an evaluation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvalEnd {
    /// Stdout is the answer.
    Answered,
    /// An attribute is missing: the host, or something inside it.
    NoAttribute(Failure),
    /// The attempt is over.
    Over(BuildEnd),
}

/// A derivation that Nix blamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blame {
    /// Its store path, if the message names it.
    pub drv: Option<String>,
    /// Of what.
    pub kind: FailureKind,
    /// The first line of the message.
    pub message: String,
}

/// Exit code of a process that was killed: 128 plus SIGKILL. Nobody but the kernel's out-of-memory
/// killer does that here: our own kills are known before exit codes are looked at.
const KILLED: i32 = 128 + 9;
/// 128 plus SIGSEGV: how older Nix ends in an infinite recursion.
const SEGFAULT: i32 = 128 + 11;

/// Judges the end of `nix-store --realise`.
pub fn realised(seen: &Realised<'_>) -> RealiseEnd {
    let over = RealiseEnd::Over;
    if seen.stopped {
        return over(BuildEnd::Stopped);
    }
    if let Some(limit) = seen.limit {
        return over(limited(limit, seen.watcher));
    }
    if seen.exit == Some(0) {
        return RealiseEnd::Valid;
    }
    let errors = patterns::without_quoted_log(seen.watcher.errors());
    let first = errors.first().map_or("Nix ended without a message", String::as_str);
    let has = |pattern: &Pattern| errors.iter().find(|error| pattern.matches(error));
    if let Some(blame) = seen.watcher.blame() {
        return match has(&patterns::NONDETERMINISM) {
            Some(_) => RealiseEnd::Valid,
            None => over(blamed_end(blame, seen.watcher, has(&patterns::DISK_FULL))),
        };
    }
    for (pattern, end) in [
        (&patterns::NONDETERMINISM, RealiseEnd::Valid),
        (&patterns::NOTHING_TO_COMPARE, RealiseEnd::NothingToCompare),
        (&patterns::DRV_GONE, RealiseEnd::DrvGone),
    ] {
        if has(pattern).is_some() {
            return end;
        }
    }
    if let Some(message) = has(&patterns::REFUSED_OUTPUT) {
        return over(failed(FailureKind::BuildFailed, message, None, errors.clone()));
    }
    if let Some((kind, message)) = infrastructure(&errors) {
        return over(infra(kind, message, errors.clone()));
    }
    over(infra(InfraKind::Unclassified, &explained(first, seen.exit), errors.clone()))
}

/// Judges the end of `nix eval`.
pub fn evaluated(seen: &Evaluated<'_>) -> EvalEnd {
    let over = EvalEnd::Over;
    if seen.stopped {
        return over(BuildEnd::Stopped);
    }
    let tail = || seen.stderr.to_vec();
    if seen.timed_out {
        let message = "the evaluation ran into its deadline";
        return over(failed(FailureKind::TimedOut, message, None, tail()));
    }
    if seen.exit == Some(0) {
        return EvalEnd::Answered;
    }
    let message = patterns::error_of(seen.stderr);
    let shown = message.as_deref().unwrap_or("Nix ended without a message");
    // Warnings tell of things that went well in the end, and traces quote the flake's own text.
    let errors = patterns::error_lines(seen.stderr);
    if seen.exit == Some(KILLED) || errors.iter().any(|e| patterns::OUT_OF_MEMORY.matches(e)) {
        return over(failed(FailureKind::OutOfMemory, shown, None, tail()));
    }
    let blame = errors.iter().find_map(|error| blamed(error));
    let infrastructure = infrastructure(&errors);
    // What a builder says of its own network is not Nix's word; a full disk is everybody's.
    if let Some(blame) =
        blame.filter(|_| infrastructure.is_none_or(|it| it.0 != InfraKind::DiskFull))
    {
        return over(failed(blame.kind, &blame.message, blame.drv, tail()));
    }
    if let Some((kind, message)) = infrastructure {
        return over(infra(kind, message, tail()));
    }
    if errors.iter().any(|e| patterns::FLAKE_HASH.matches(e)) {
        return over(failed(FailureKind::HashMismatch, shown, None, tail()));
    }
    if errors.iter().any(|e| patterns::NO_ATTRIBUTE.matches(e)) {
        return EvalEnd::NoAttribute(failure(shown, None, tail()));
    }
    match message {
        Some(message) => over(failed(FailureKind::EvalFailed, &message, None, tail())),
        None if seen.exit == Some(SEGFAULT) => {
            let message = "Nix crashed, as it does in an infinite recursion";
            over(failed(FailureKind::EvalFailed, message, None, tail()))
        }
        None => over(infra(InfraKind::Unclassified, &explained(shown, seen.exit), tail())),
    }
}

/// Judges a failed git or store call that is not about any builder.
pub fn store_call_failed(exit: Option<i32>, stderr: &[String]) -> BuildEnd {
    let errors = patterns::error_lines(stderr);
    let message = patterns::error_of(stderr);
    let shown = message.as_deref().unwrap_or("Nix ended without a message");
    let (kind, message) = match infrastructure(&errors) {
        Some((kind, message)) => (kind, message.to_owned()),
        None => (InfraKind::Unclassified, explained(shown, exit)),
    };
    infra(kind, &message, stderr.to_vec())
}

/// The derivation that an error message blames as the first cause, if it does.
pub fn blamed(message: &str) -> Option<Blame> {
    let quoted = patterns::quoted_drv(message);
    let kind = match message {
        m if patterns::HASH_MISMATCH.matches(m) => FailureKind::HashMismatch,
        m if patterns::NIX_SILENCE.matches(m) => FailureKind::Silent,
        m if patterns::NIX_TIMEOUT.matches(m) => FailureKind::TimedOut,
        m if patterns::NIX_LOG_LIMIT.matches(m) => FailureKind::LogLimit,
        m if patterns::builder_failed(m) && patterns::KILLED.matches(m) => FailureKind::OutOfMemory,
        m if patterns::builder_failed(m) => FailureKind::BuildFailed,
        _ => return None,
    };
    Some(Blame { drv: quoted, kind, message: patterns::one_line(message) })
}

fn limited(limit: Limit, watcher: &Watcher) -> BuildEnd {
    let drv = watcher.last_build().map(str::to_owned);
    let tail = drv.as_deref().map_or(Vec::new(), |drv| watcher.tail(drv));
    let (kind, message) = match limit {
        Limit::Wall => (FailureKind::TimedOut, "the build ran into its wall deadline"),
        Limit::Silence => (FailureKind::Silent, "the builder said nothing for too long"),
        Limit::LogBytes => (FailureKind::LogLimit, "the builder wrote too much log"),
        Limit::LockWait => {
            let message = "another process held the lock of a derivation for too long";
            return infra(InfraKind::Unclassified, message, watcher.errors().to_vec());
        }
    };
    failed(kind, message, drv, tail)
}

/// A builder failed. Was the machine at fault? Its own last words tell, or Nix's.
fn blamed_end(blame: &Blame, watcher: &Watcher, disk_full: Option<&String>) -> BuildEnd {
    let mut tail = blame.drv.as_deref().map_or(Vec::new(), |drv| watcher.tail(drv));
    if tail.is_empty() {
        tail = watcher.errors().to_vec();
    }
    if let Some(message) = disk_full {
        return infra(InfraKind::DiskFull, message, tail);
    }
    let said = |pattern: &Pattern| tail.iter().rev().find(|line| pattern.matches(line)).cloned();
    if blame.kind == FailureKind::BuildFailed {
        if let Some(line) = said(&patterns::DISK_FULL) {
            return infra(InfraKind::DiskFull, &line, tail);
        }
        if let Some(line) = said(&patterns::SOURCE_UNREACHABLE) {
            return infra(InfraKind::FetchFailed, &line, tail);
        }
        if said(&patterns::COMPILER_KILLED).is_some() {
            return failed(FailureKind::OutOfMemory, &blame.message, blame.drv.clone(), tail);
        }
    }
    failed(blame.kind, &blame.message, blame.drv.clone(), tail)
}

fn infrastructure(errors: &[String]) -> Option<(InfraKind, &str)> {
    patterns::INFRASTRUCTURE.iter().find_map(|(kind, pattern)| {
        let error = errors.iter().find(|error| pattern.matches(error))?;
        // SQLite errors, for one, quote pages of SQL before they come to the point.
        let point = error.lines().find(|line| pattern.matches(line));
        let long = error.len() > patterns::MESSAGE_BYTES_MAX;
        Some((*kind, point.filter(|_| long).unwrap_or(error)))
    })
}

fn explained(message: &str, exit: Option<i32>) -> String {
    match exit {
        Some(code) => format!("{message} (exit code {code})"),
        None => format!("{message} (its supervisor was killed)"),
    }
}

fn failure(message: &str, drv: Option<String>, log_tail: Vec<String>) -> Failure {
    Failure { message: patterns::one_line(message), drv, log_tail }
}

fn failed(kind: FailureKind, message: &str, drv: Option<String>, tail: Vec<String>) -> BuildEnd {
    BuildEnd::Failed { kind, failure: failure(message, drv, tail) }
}

fn infra(kind: InfraKind, message: &str, tail: Vec<String>) -> BuildEnd {
    BuildEnd::Infra { kind, failure: failure(message, None, tail) }
}

#[cfg(test)]
mod tests;
