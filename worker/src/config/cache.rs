//! `[cache]`: where results go from a worker whose store is not the cache itself.

use std::{fmt, path::PathBuf, str::FromStr};

use proto::token::shown;
use serde::Deserialize;

use super::{Wrong, absolute, count};

/// Two copies at once: one mostly compresses while the other mostly sends.
pub const PUSH_SLOTS_DEFAULT: usize = 2;

/// Where results go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// The store that they are copied to.
    pub push_to: CacheUrl,
    /// A secret key as `nix-store --generate-binary-cache-key` makes it.
    pub sign_key_file: Option<PathBuf>,
    /// Copies at once.
    pub push_slots: usize,
}

/// A store that Nix copies to: `file:///…`, `http://…`, `https://…`, `s3://…`, `ssh-ng://…` or
/// `ssh://…`, with Nix's own parameters, such as `?compression=zstd`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CacheUrl(String);

/// A URL that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("url {} is refused: {reason}, expected one such as \"ssh-ng://nix-cache01\"", shown(.value))]
pub struct CacheUrlError {
    value: String,
    reason: &'static str,
}

/// As written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawCache {
    push_to: Option<CacheUrl>,
    sign_key_file: Option<PathBuf>,
    push_slots: Option<usize>,
}

impl RawCache {
    pub(super) fn checked(self) -> Result<Option<Cache>, Wrong> {
        if let Some(file) = &self.sign_key_file {
            absolute("[cache] sign_key_file", file)?;
        }
        let push_slots = count("[cache] push_slots", self.push_slots, PUSH_SLOTS_DEFAULT)?;
        match (self.push_to, self.sign_key_file) {
            (Some(push_to), sign_key_file) => {
                Ok(Some(Cache { push_to, sign_key_file, push_slots }))
            }
            (None, Some(_)) => {
                let reason = "is of no use without push_to, e.g. \"ssh-ng://nix-cache01\"";
                Err(("[cache] sign_key_file", reason.to_owned()))
            }
            (None, None) => Ok(None),
        }
    }
}

impl CacheUrl {
    /// The URL as Nix takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A store of files behind the URL, into which Nix writes by itself. Else another Nix is at the
    /// other end, which takes what is signed already.
    pub fn is_binary_cache(&self) -> bool {
        !self.0.starts_with("ssh")
    }

    /// The URL with one more parameter.
    pub fn with(&self, name: &str, value: &str) -> String {
        let joint = if self.0.contains('?') { '&' } else { '?' };
        format!("{}{joint}{name}={value}", self.0)
    }
}

impl FromStr for CacheUrl {
    type Err = CacheUrlError;

    fn from_str(value: &str) -> Result<Self, CacheUrlError> {
        let refuse = |value: &str, reason| Err(CacheUrlError { value: value.to_owned(), reason });
        if value.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return refuse(value, "it holds a blank or a control character");
        }
        let Some((scheme, rest)) = value.split_once("://") else {
            return refuse(value, "it is no URL");
        };
        if !matches!(scheme, "file" | "http" | "https" | "s3" | "ssh-ng" | "ssh") {
            return refuse(value, "only file, http, https, s3, ssh-ng and ssh are pushed to");
        }
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let host = place.split('/').next().unwrap_or_default();
        if host.starts_with('-')
            || matches!(place, "" | "/")
            || (scheme != "file" && host.is_empty())
        {
            return refuse(value, "it names no host or path");
        }
        if host.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
            // The value would be quoted in logs: it is left out here as well.
            return refuse("<hidden>", "it holds a password, which belongs into a netrc file");
        }
        if parameters.split('&').any(|it| it.starts_with("secret-key=")) {
            return refuse(value, "the key belongs into sign_key_file");
        }
        Ok(Self(value.to_owned()))
    }
}

impl TryFrom<String> for CacheUrl {
    type Error = CacheUrlError;
    fn try_from(value: String) -> Result<Self, CacheUrlError> {
        value.parse()
    }
}

impl fmt::Display for CacheUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stores_that_nix_copies_to_pass() {
        for good in [
            "file:///srv/cache",
            "https://cache.example/x?compression=zstd",
            "s3://bucket?region=eu-1&endpoint=minio.example",
            "ssh-ng://nix@nix-cache01",
        ] {
            assert!(good.parse::<CacheUrl>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "/srv/cache",
            "daemon",
            "local?root=/x",
            "--help",
            "ssh-ng://-oProxyCommand=x",
            "file:///a b",
            "https://",
            "file:///c?secret-key=/k",
            "https://me:hunter2@cache.example",
        ] {
            let error = bad.parse::<CacheUrl>().expect_err(bad).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_parameter_joins_those_that_are_there() {
        let url = |text: &str| text.parse::<CacheUrl>().expect("a url");
        assert_eq!(url("file:///c").with("a", "b"), "file:///c?a=b");
        assert_eq!(url("file:///c?x=y").with("a", "b"), "file:///c?x=y&a=b");
        assert!(url("s3://b").is_binary_cache() && !url("ssh-ng://h").is_binary_cache());
    }
}
