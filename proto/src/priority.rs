//! The three priorities and their names in subjects.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::token::TokenError;

/// How urgent a wish is; the order is by urgency, `Low` first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Warm-up and rebuilds: taken last, but never starved.
    Low,
    /// A person or a timer.
    #[default]
    Normal,
    /// The gate.
    High,
}

impl Priority {
    /// All priorities, most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The name in subjects, consumers and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = TokenError;
    fn from_str(value: &str) -> Result<Self, TokenError> {
        Self::ALL
            .into_iter()
            .find(|priority| priority.as_str() == value)
            .ok_or_else(|| TokenError::new("priority", value, "it is not high, normal or low"))
    }
}
