//! Branch names, and patterns over them with git's own meaning.
//!
//! A pattern goes into a git refspec as it is, so it may hold what a refspec may hold: at most one
//! `*`, which matches any text, slashes included.

use std::{fmt, str::FromStr};

use proto::token::shown;
use serde::Deserialize;

/// A branch: what follows `refs/heads/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Branch(String);

/// A set of branches: a branch, or a pattern with one `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct BranchGlob(String);

/// A branch or pattern that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("branch {} is refused: {reason}, expected one such as \"master\" or \"update/*\"", shown(.value))]
pub struct BranchError {
    value: String,
    reason: &'static str,
}

/// Longest branch name. git itself is bound by the file system's 255 bytes per path component.
const BRANCH_BYTES_MAX: usize = 200;

impl Branch {
    /// The name, without `refs/heads/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl BranchGlob {
    /// The pattern, without `refs/heads/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `branch` is one of the set, as git decides it for a refspec.
    pub fn matches(&self, branch: &str) -> bool {
        let Some((head, tail)) = self.0.split_once('*') else { return self.0 == branch };
        let middle = branch.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail));
        middle.is_some()
    }
}

/// What `git check-ref-format` refuses, and a little more: a name must stay one plain word in a
/// URL query, a refspec and a path.
fn check(value: &str) -> Result<(), BranchError> {
    let refuse = |reason| Err(BranchError { value: value.to_owned(), reason });
    let legal = |c: char| c.is_ascii_alphanumeric() || "/_-.+@#=*".contains(c);
    if value.is_empty() || value.len() > BRANCH_BYTES_MAX {
        return refuse("it is empty or too long");
    }
    if !value.chars().all(legal) {
        return refuse("it holds a character that is not one of A-Z a-z 0-9 / _ - . + @ # =");
    }
    if value.contains("..") || value.contains("@{") || value == "@" {
        return refuse("it would be read as a range or a reflog entry");
    }
    if value.starts_with("refs/") {
        return refuse("it must be given without refs/heads/");
    }
    let part = |p: &str| p.is_empty() || p.starts_with(['.', '-']) || p.ends_with('.');
    if value.split('/').any(|p| part(p) || p.ends_with(".lock")) {
        return refuse("a part between slashes is empty, or starts or ends in a way git forbids");
    }
    Ok(())
}

impl FromStr for Branch {
    type Err = BranchError;
    fn from_str(value: &str) -> Result<Self, BranchError> {
        check(value)?;
        if value.contains('*') {
            let reason = "a pattern is not a branch";
            return Err(BranchError { value: value.to_owned(), reason });
        }
        Ok(Self(value.to_owned()))
    }
}

impl FromStr for BranchGlob {
    type Err = BranchError;
    fn from_str(value: &str) -> Result<Self, BranchError> {
        check(value)?;
        if value.matches('*').count() > 1 {
            let reason = "git knows only one '*' in a pattern";
            return Err(BranchError { value: value.to_owned(), reason });
        }
        Ok(Self(value.to_owned()))
    }
}

impl TryFrom<String> for Branch {
    type Error = BranchError;
    fn try_from(value: String) -> Result<Self, BranchError> {
        value.parse()
    }
}

impl TryFrom<String> for BranchGlob {
    type Error = BranchError;
    fn try_from(value: String) -> Result<Self, BranchError> {
        value.parse()
    }
}

impl From<Branch> for BranchGlob {
    fn from(branch: Branch) -> Self {
        Self(branch.0)
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for BranchGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_what_it_means_to_git() {
        let yes = |glob: &str, branch: &str| {
            glob.parse::<BranchGlob>().expect("a pattern").matches(branch)
        };
        assert!(yes("master", "master") && !yes("master", "master2"));
        assert!(yes("update/*", "update/1/2") && !yes("update/*", "update"));
        assert!(yes("*", "a/b") && yes("a*z", "az") && !yes("ab*ba", "aba"));
    }

    #[test]
    fn what_git_or_a_url_would_read_otherwise_is_refused() {
        for bad in [
            "",
            "a b",
            "a..b",
            "-x",
            "a//b",
            "/a",
            "a/",
            "a.lock",
            ".a",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a\n",
            "a\\b",
            "@",
            "refs/heads/a",
            "a&rev=b",
            "a%20",
            "a*b*",
        ] {
            assert!(bad.parse::<BranchGlob>().is_err(), "{bad}");
        }
        assert!("a*".parse::<Branch>().is_err());
        assert!("renovate/nixpkgs-24.05".parse::<Branch>().is_ok());
    }
}
