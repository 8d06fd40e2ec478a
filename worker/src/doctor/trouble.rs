//! Why a fact could not be had. Pure.

use std::{fmt, time::Duration};

/// Why a fact could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no such program.
    Missing(&'static str),
    /// No answer in this time.
    Late(Duration),
    /// The other side's last words.
    Failed(String),
}

impl Trouble {
    /// Whether the words hold one of these, whatever their case.
    pub fn says(&self, any: &[&str]) -> bool {
        let Self::Failed(words) = self else { return false };
        let words = words.to_lowercase();
        any.iter().any(|some| words.contains(some))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(program) => write!(f, "there is no program {program} on the PATH"),
            Self::Late(wall) => write!(f, "no answer in {} s", wall.as_secs()),
            Self::Failed(words) if words.is_empty() => f.write_str("it failed without a word"),
            Self::Failed(words) => f.write_str(words),
        }
    }
}
