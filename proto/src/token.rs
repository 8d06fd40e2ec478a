//! Names that become subject tokens and key parts, checked once where they enter.
//!
//! A token matches `^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}$`: no dot (it would add a subject level), no
//! wildcard, no path separator, no quote, nothing a shell or Nix would read as more than a word.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest token in bytes. A job subject holds five of them and stays far below the server's limit.
pub const TOKEN_BYTES_MAX: usize = 63;

/// A name that was refused: which kind of name, the name itself (escaped, cut) and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenError {
    kind: &'static str,
    value: String,
    reason: String,
}

impl TokenError {
    pub(crate) fn new(kind: &'static str, value: &str, reason: impl Into<String>) -> Self {
        let value = shown(value);
        Self { kind, value, reason: reason.into() }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} name {} is refused: {}", self.kind, self.value, self.reason)
    }
}

impl std::error::Error for TokenError {}

/// Quotes a hostile string for a message: escaped, and cut after 80 characters.
pub fn shown(value: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    let mut quoted: String = value.chars().take(SHOWN_CHARS_MAX).collect();
    let cut = quoted.len() < value.len();
    quoted = format!("{quoted:?}");
    if cut {
        quoted.push_str(&format!(" (cut, {} bytes in all)", value.len()));
    }
    quoted
}

fn check(kind: &'static str, value: &str) -> Result<(), TokenError> {
    let refuse = |reason: String| Err(TokenError::new(kind, value, reason));
    if value.is_empty() {
        return refuse("it is empty".into());
    }
    if value.len() > TOKEN_BYTES_MAX {
        return refuse(format!("it is longer than {TOKEN_BYTES_MAX} bytes"));
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if let Some(c) = value.chars().find(|c| !legal(*c)) {
        return refuse(format!("character {c:?} is not one of A-Z a-z 0-9 _ -"));
    }
    if value.starts_with('-') {
        return refuse("it starts with '-'".into());
    }
    Ok(())
}

macro_rules! token {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The token as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = TokenError;
            fn from_str(value: &str) -> Result<Self, TokenError> {
                check($kind, value)?;
                Ok(Self(value.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = TokenError;
            fn try_from(value: String) -> Result<Self, TokenError> {
                check($kind, &value)?;
                Ok(Self(value))
            }
        }

        impl From<$name> for String {
            fn from(token: $name) -> String {
                token.0
            }
        }
    };
}

token!(
    /// A repository as the configs name it, e.g. `nixos-servers`.
    Repo, "repo"
);
token!(
    /// One `nixosConfigurations.<name>`.
    Host, "host"
);
token!(
    /// What a job needs: a system and features, e.g. `x86_64-linux`, `x86_64-linux_kvm`.
    Class, "class"
);
token!(
    /// Who asks: the public NKey, or `local` on a broker without keys.
    Identity, "identity"
);
token!(
    /// Who holds a key, as the broker's keys file names it; for a worker, its worker name.
    HolderName, "key"
);
token!(
    /// A worker as its config names it.
    WorkerName, "worker"
);

token!(
    /// An input of a flake.
    Input, "input"
);

impl Class {
    /// The Nix system of the class: what stands before the features.
    ///
    /// A system is `<cpu>-<os>` and its cpu may hold a `_` (`x86_64`), so features start at the
    /// first `_` after the first `-`.
    pub fn system(&self) -> &str {
        let os = self.0.find('-').unwrap_or(0);
        let end = self.0[os..].find('_').map_or(self.0.len(), |at| os + at);
        &self.0[..end]
    }
}

impl Identity {
    /// The identity of whoever connects without an NKey.
    pub fn local() -> Self {
        Self("local".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_words_pass() {
        for good in ["a", "ns1", "nixos-servers", "_x", "0", &"x".repeat(63)] {
            assert_eq!(good.parse::<Host>().map(String::from).as_deref(), Ok(good));
        }
    }

    #[test]
    fn hostile_names_are_refused_and_quoted() {
        let long = "x".repeat(300);
        for bad in ["", "../x", "a b", "$(id)", "a.b", "*", ">", "-x", "é", "a\n", "a\0", &long] {
            let error = bad.parse::<Host>().expect_err(bad).to_string();
            assert!(error.starts_with("host name \""), "{error}");
            assert!(error.len() < 200 && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_name_from_the_wire_is_checked() {
        assert!(serde_json::from_str::<Host>("\"ok\"").is_ok());
        let error = serde_json::from_str::<Host>("\"a/b\"").expect_err("a slash").to_string();
        assert!(error.contains("character '/'"), "{error}");
    }

    #[test]
    fn a_class_knows_its_system() {
        let system = |class: &str| class.parse::<Class>().expect("a class").system().to_owned();
        assert_eq!(system("x86_64-linux"), "x86_64-linux");
        assert_eq!(system("x86_64-linux_kvm"), "x86_64-linux");
        assert_eq!(system("aarch64-linux_big-parallel_kvm"), "aarch64-linux");
        assert_eq!(system("riscv"), "riscv");
    }
}
