//! `[forge]` of `gate.toml`: where the forge is, which repository, and where the token is read from.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use proto::token::shown;
use reqwest::Url;
use serde::{Deserialize, Deserializer, de};
use settings::Span;

/// `[forge]`, decoded. It holds no secret, only the path of one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForgeConfig {
    /// Where its pages start, e.g. `https://git.example.org`.
    pub url: ForgeUrl,
    /// The repository there, e.g. `infra/homelab`.
    pub repo: RepoName,
    /// File with an access token and nothing else.
    pub token_file: PathBuf,
    /// Longest time for one answer. What takes longer counts as no answer.
    #[serde(default = "default_timeout", deserialize_with = "timeout")]
    pub timeout: Duration,
}

/// The address of a forge: http or https, and a path when it does not live at the root.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ForgeUrl(Url);

/// `owner/name` of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct RepoName {
    owner: String,
    name: String,
}

/// An address that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("url {} is refused: {reason}, expected one such as \"https://git.example.org\"", shown(.value))]
pub struct ForgeUrlError {
    value: String,
    reason: &'static str,
}

/// A repository name that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("repo {} is refused, expected owner and name such as \"infra/homelab\"", shown(.0))]
pub struct RepoNameError(String);

/// A forge that merges answers in seconds; one that needs longer is in trouble.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Above this a hanging forge would eat up the deadline of a run.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);

fn default_timeout() -> Duration {
    TIMEOUT_DEFAULT
}

fn timeout<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let Span(timeout) = Span::deserialize(from)?;
    match timeout.is_zero() || timeout > TIMEOUT_MAX {
        true => {
            Err(de::Error::custom("expected more than nothing and at most 10m, such as \"30s\""))
        }
        false => Ok(timeout),
    }
}

impl ForgeUrl {
    /// The root of its REST interface, with a slash at the end.
    pub(super) fn api(&self) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}/api/v1/", self.0.path().trim_end_matches('/')));
        url
    }

    /// Whether everything sent there, the token included, can be read on the way.
    pub(super) fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// The address as git's `http.<url>.*` settings take it, with a slash at the end.
    pub fn root(&self) -> String {
        format!("{}/", self.0.as_str().trim_end_matches('/'))
    }
}

impl RepoName {
    pub fn owner(&self) -> &str {
        &self.owner
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for ForgeUrl {
    type Err = ForgeUrlError;

    fn from_str(value: &str) -> Result<Self, ForgeUrlError> {
        let refuse = |value: &str, reason| Err(ForgeUrlError { value: value.to_owned(), reason });
        let Ok(url) = Url::parse(value) else { return refuse(value, "it is not a URL") };
        if !url.username().is_empty() || url.password().is_some() {
            // The value is left out: messages end in logs.
            return refuse("<hidden>", "it names a user, and secrets belong into token_file");
        }
        if !matches!(url.scheme(), "http" | "https") {
            return refuse(value, "only http and https are spoken");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refuse(value, "it goes on after the path");
        }
        Ok(Self(url))
    }
}

impl FromStr for RepoName {
    type Err = RepoNameError;

    fn from_str(value: &str) -> Result<Self, RepoNameError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let word =
            |part: &str| !part.is_empty() && !matches!(part, "." | "..") && part.chars().all(legal);
        match value.split_once('/') {
            Some((owner, name)) if word(owner) && word(name) => {
                Ok(Self { owner: owner.to_owned(), name: name.to_owned() })
            }
            _ => Err(RepoNameError(value.to_owned())),
        }
    }
}

impl TryFrom<String> for ForgeUrl {
    type Error = ForgeUrlError;
    fn try_from(value: String) -> Result<Self, ForgeUrlError> {
        value.parse()
    }
}

impl TryFrom<String> for RepoName {
    type Error = RepoNameError;
    fn try_from(value: String) -> Result<Self, RepoNameError> {
        value.parse()
    }
}

impl fmt::Display for ForgeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct File {
        forge: ForgeConfig,
    }

    fn config(lines: &str) -> Result<ForgeConfig, String> {
        let text = format!("[forge]\n{lines}\n");
        let file: Result<File, _> = settings::parse(&text, Path::new("gate.toml"));
        file.map(|file| file.forge).map_err(|error| error.to_string())
    }

    #[test]
    fn three_keys_suffice() {
        let forge = config(
            "url = \"https://git.example.org/gitea/\"\nrepo = \"infra/homelab\"\n\
             token_file = \"/run/secrets/gate\"",
        );
        let forge = forge.expect("a config");
        assert_eq!(forge.url.api().as_str(), "https://git.example.org/gitea/api/v1/");
        assert_eq!(forge.url.root(), "https://git.example.org/gitea/");
        assert_eq!(forge.repo.to_string(), "infra/homelab");
        assert_eq!(forge.timeout, TIMEOUT_DEFAULT);
    }

    #[test]
    fn what_is_wrong_is_named_with_a_valid_example() {
        let good = [
            ("url", "\"https://git.example.org\""),
            ("repo", "\"infra/homelab\""),
            ("token_file", "\"/run/secrets/gate\""),
            ("timeout", "\"30s\""),
        ];
        for (key, value, told) in [
            ("url", "\"git.example.org\"", "such as \"https://git.example.org\""),
            ("url", "\"ssh://git.example.org\"", "only http and https"),
            ("url", "\"https://me:hunter2@git.example.org\"", "secrets belong into token_file"),
            ("url", "\"https://git.example.org/?a=b\"", "goes on after the path"),
            ("repo", "\"homelab\"", "such as \"infra/homelab\""),
            ("repo", "\"a/b/c\"", "such as \"infra/homelab\""),
            ("repo", "\"../b\"", "such as \"infra/homelab\""),
            ("timeout", "\"0s\"", "at most 10m"),
            ("timeout", "\"11m\"", "such as \"30s\""),
            ("timeout", "30", "expected a duration"),
            ("token", "\"hunter2\"", "unknown key `token` in [forge], did you mean `token_file`?"),
        ] {
            let others = good.iter().filter(|(name, _)| *name != key);
            let mut lines: Vec<String> =
                others.map(|(name, value)| format!("{name} = {value}")).collect();
            lines.push(format!("{key} = {value}"));
            let error = config(&lines.join("\n")).expect_err(value);
            assert!(error.contains(told), "{key} = {value}\n  told: {error}\nwanted: {told}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = config("url = \"https://git.example.org\"").expect_err("keys are missing");
        assert!(error.contains("missing key `repo` in [forge]"), "{error}");
    }
}
