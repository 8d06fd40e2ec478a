//! What a check found, and the exit code of all of them together. Pure.

use proto::ExitCode;
use serde::Serialize;

/// How good or bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// The worker works; something will cost time or room, or is less safe than it could be.
    Warning,
    /// Something did not answer or could not be looked at: nothing is known.
    Undecided,
    /// Something is set wrongly, here or on the other side.
    Problem,
}

/// What is looked at, in the order it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// The user, the folders, the memory.
    Machine,
    /// Files that nobody else may read.
    Secrets,
    /// Nix and its daemon.
    Nix,
    /// Room in the store.
    Space,
    /// The broker.
    Broker,
    /// The repositories.
    Git,
    /// The binary cache.
    Cache,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Part of what.
    pub group: Group,
    /// Which check.
    pub check: &'static str,
    /// Of what, where there are several: a repo, a class, a file.
    pub of: Option<String>,
    /// How good or bad.
    pub level: Level,
    /// What was seen.
    pub seen: String,
    /// Why it matters; only where it is not ok.
    pub why: Option<String>,
    /// A command or a line of config that mends it; only where it is not ok.
    pub fix: Option<String>,
}

/// A group and a check's name, from which its findings are made.
#[derive(Clone, Copy, Debug)]
pub struct Check(pub Group, pub &'static str);

impl Check {
    /// As it should be.
    pub fn ok(self, seen: impl Into<String>) -> Finding {
        let Self(group, check) = self;
        let (why, fix) = (None, None);
        Finding { group, check, of: None, level: Level::Ok, seen: seen.into(), why, fix }
    }

    /// See [`Level::Warning`].
    pub fn warning(self, seen: impl Into<String>, why: &str, fix: impl Into<String>) -> Finding {
        self.bad(Level::Warning, seen.into(), why, fix.into())
    }

    /// See [`Level::Undecided`].
    pub fn undecided(self, seen: impl Into<String>, why: &str, fix: impl Into<String>) -> Finding {
        self.bad(Level::Undecided, seen.into(), why, fix.into())
    }

    /// See [`Level::Problem`].
    pub fn problem(self, seen: impl Into<String>, why: &str, fix: impl Into<String>) -> Finding {
        self.bad(Level::Problem, seen.into(), why, fix.into())
    }

    fn bad(self, level: Level, seen: String, why: &str, fix: String) -> Finding {
        Finding { level, why: Some(why.to_owned()), fix: Some(fix), ..self.ok(seen) }
    }
}

impl Finding {
    /// Says of what it is.
    #[must_use]
    pub fn of(mut self, of: impl ToString) -> Self {
        self.of = Some(of.to_string());
        self
    }
}

/// What is known to be wrong counts before what is not known.
pub fn exit_code(findings: &[Finding]) -> ExitCode {
    match findings.iter().map(|finding| finding.level).max() {
        None | Some(Level::Ok | Level::Warning) => ExitCode::Done,
        Some(Level::Undecided) => ExitCode::Undecided,
        Some(Level::Problem) => ExitCode::Usage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_counts_before_what_is_not_known_and_a_warning_is_no_failure() {
        let check = Check(Group::Nix, "x");
        let (ok, warning) = (check.ok(""), check.warning("", "", ""));
        let (undecided, problem) = (check.undecided("", "", ""), check.problem("", "", ""));
        assert_eq!(exit_code(&[]), ExitCode::Done);
        assert_eq!(exit_code(&[ok.clone(), warning.clone()]), ExitCode::Done);
        assert_eq!(exit_code(&[ok, undecided.clone(), warning]), ExitCode::Undecided);
        assert_eq!(exit_code(&[problem, undecided]), ExitCode::Usage);
    }
}
