//! The commit a job is pinned to.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{overrides::Overrides, token::TokenError};

/// A full git commit, 40 lowercase hex digits; followed by `-` and 12 hex digits when flake inputs
/// are overridden (a digest over the overrides, which results carry in full).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Revision(String);

impl Revision {
    /// Hex digits of a git SHA-1 object id.
    pub const COMMIT_DIGITS: usize = 40;
    /// Hex digits of the digest over input overrides.
    pub const OVERRIDE_DIGITS: usize = 12;

    /// The commit, without the digest of overridden inputs.
    pub fn commit(&self) -> &str {
        &self.0[..Self::COMMIT_DIGITS]
    }

    /// The digest of overridden inputs, if there are any.
    pub fn overrides(&self) -> Option<&str> {
        self.0.get(Self::COMMIT_DIGITS + 1..)
    }

    /// This commit with these inputs overridden, and no others.
    pub fn with(&self, overrides: &Overrides) -> Self {
        match overrides.digest() {
            None => Self(self.commit().to_owned()),
            Some(digest) => Self(format!("{}-{digest}", self.commit())),
        }
    }

    /// Whether the token is that of these overrides. Different overrides may share a token:
    /// [`Overrides::digest`] says what follows from that.
    pub fn names(&self, overrides: &Overrides) -> bool {
        self.overrides() == overrides.digest().as_deref()
    }

    /// The revision as one token.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for Revision {
    type Err = TokenError;

    fn from_str(value: &str) -> Result<Self, TokenError> {
        let hex = |part: &str, digits: usize| {
            let legal = |c: char| matches!(c, '0'..='9' | 'a'..='f');
            part.len() == digits && part.chars().all(legal)
        };
        let fits = match value.split_once('-') {
            None => hex(value, Self::COMMIT_DIGITS),
            Some((commit, rest)) => {
                hex(commit, Self::COMMIT_DIGITS) && hex(rest, Self::OVERRIDE_DIGITS)
            }
        };
        if fits {
            return Ok(Self(value.to_owned()));
        }
        let reason = "it is not a full commit of 40 lowercase hex digits";
        Err(TokenError::new("revision", value, reason))
    }
}

impl TryFrom<String> for Revision {
    type Error = TokenError;
    fn try_from(value: String) -> Result<Self, TokenError> {
        value.parse()
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> String {
        revision.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_a_full_commit() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let plain: Revision = commit.parse().expect("a commit");
        assert_eq!((plain.commit(), plain.overrides()), (commit, None));
        let full = format!("{commit}-0123456789ab");
        let over: Revision = full.parse().expect("a commit with overrides");
        assert_eq!((over.commit(), over.overrides()), (commit, Some("0123456789ab")));
        for bad in ["", "HEAD", &commit[1..], &commit.to_uppercase(), &format!("{commit}-12")] {
            assert!(bad.parse::<Revision>().is_err(), "{bad}");
        }
    }
}
