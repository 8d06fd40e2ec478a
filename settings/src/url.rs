//! Where a repository is fetched from.

use std::{fmt, str::FromStr};

use proto::token::shown;
use serde::Deserialize;

/// A place git can fetch from: `https://…`, `http://…`, `ssh://…`, `file:///…`, an absolute path,
/// or `user@host:path`. Anything else git would read as a relative path, an option or a command.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct RepoUrl(String);

/// A URL that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("url {} is refused: {reason}, expected one such as \"https://git.example/org/repo.git\"", shown(.value))]
pub struct UrlError {
    value: String,
    reason: &'static str,
}

impl RepoUrl {
    /// The URL as git takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepoUrl {
    type Err = UrlError;

    fn from_str(value: &str) -> Result<Self, UrlError> {
        let refuse = |value: &str, reason| Err(UrlError { value: value.to_owned(), reason });
        if value.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return refuse(value, "it holds a blank or a control character");
        }
        let Some((scheme, rest)) = value.split_once("://") else {
            return match value.starts_with('/') || scp_form(value) {
                true => Ok(Self(value.to_owned())),
                false => refuse(value, "it is neither a URL nor an absolute path"),
            };
        };
        if !matches!(scheme, "https" | "http" | "ssh" | "file") {
            return refuse(value, "only https, http, ssh and file are fetched from");
        }
        let host = rest.split('/').next().unwrap_or_default();
        if host.starts_with('-') || rest.len() <= 1 || (scheme != "file" && host.is_empty()) {
            return refuse(value, "it names no host or path");
        }
        let user = host.rsplit_once('@').map_or("", |(user, _)| user);
        if user.contains(':') {
            // The value would be quoted in logs: it is left out here as well.
            let reason = "it holds a password, which belongs into git_credentials_file";
            return refuse("<hidden>", reason);
        }
        Ok(Self(value.to_owned()))
    }
}

/// `user@host:path`. The user is asked for: without it `C:x` and `ext::sh` look alike.
fn scp_form(value: &str) -> bool {
    let Some((place, path)) = value.split_once(':') else { return false };
    let Some((user, host)) = place.split_once('@') else { return false };
    let word = |part: &str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !part.is_empty() && !part.starts_with('-') && part.chars().all(legal)
    };
    word(user) && word(host) && !path.is_empty() && !path.starts_with([':', '-'])
}

impl TryFrom<String> for RepoUrl {
    type Error = UrlError;
    fn try_from(value: String) -> Result<Self, UrlError> {
        value.parse()
    }
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_places_that_git_fetches_from_pass() {
        for good in [
            "https://git.example/a/b.git",
            "https://user@git.example/a",
            "ssh://git@git.example:22/a",
            "file:///srv/a",
            "/srv/a",
            "git@git.example:org/a.git",
        ] {
            assert!(good.parse::<RepoUrl>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "./a",
            "-x",
            "ext::sh -c id",
            "ext::sh",
            "https://",
            "ssh://-oProxyCommand=x/y",
            "git://x/y",
            "-o@x:y",
            "a@-x:y",
            "https://x/ y",
            "a@b:",
            "https:///a",
        ] {
            assert!(bad.parse::<RepoUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        let error = "https://me:hunter2@git.example/a".parse::<RepoUrl>().expect_err("a password");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
