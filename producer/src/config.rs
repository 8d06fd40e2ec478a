//! `producer.toml`: the broker and the repositories. It knows no command line.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use proto::{Class, Host, Repo, TokenError};
use serde::Deserialize;
use settings::{CLASS_DEFAULT, NatsTable, RepoTable, did_you_mean};

use crate::error::Error;

/// The file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawConfig {
    nats: NatsTable,
    repos: BTreeMap<Repo, RepoTable>,
}

/// The file as used.
#[derive(Debug, Default)]
pub(crate) struct Config {
    pub(crate) nats: NatsTable,
    repos: BTreeMap<Repo, RepoTable>,
    path: Option<PathBuf>,
}

/// A host whose class cannot be made of what the file says.
#[derive(Debug, thiserror::Error)]
#[error("[repos.{repo}.hosts.{host}]: {source}; give it a shorter `class` or fewer `features`")]
pub struct ClassError {
    repo: Repo,
    host: Host,
    source: TokenError,
}

impl TryFrom<RawConfig> for Config {
    type Error = ClassError;

    /// Every class that the file alone decides is made once, so that using it cannot fail later.
    fn try_from(raw: RawConfig) -> Result<Self, ClassError> {
        for (repo, table) in &raw.repos {
            for host in table.hosts.keys() {
                table.class_for(host, None).map_err(|source| ClassError {
                    repo: repo.clone(),
                    host: host.clone(),
                    source,
                })?;
            }
        }
        Ok(Self { nats: raw.nats, repos: raw.repos, path: None })
    }
}

impl Config {
    /// Reads the file, or gives the empty config when there is none.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else { return Ok(Self::default()) };
        let raw: RawConfig = settings::load(path)?;
        let config = Self::try_from(raw)
            .map_err(|source| Error::Class { path: path.to_owned(), source: Box::new(source) })?;
        Ok(Self { path: Some(path.to_owned()), ..config })
    }

    /// A repository that must be known: its URL is needed.
    pub(crate) fn repo(&self, repo: &Repo) -> Result<&RepoTable, Error> {
        self.repos
            .get(repo)
            .ok_or_else(|| Error::UnknownRepo { repo: repo.clone(), known: self.known(repo) })
    }

    /// The class of a host of any repository, known or not, when its system is not known.
    pub(crate) fn class_of(&self, repo: &Repo, host: &Host) -> Result<Class, TokenError> {
        match self.repos.get(repo) {
            Some(table) => table.class_for(host, None),
            None => CLASS_DEFAULT.parse(),
        }
    }

    fn known(&self, asked: &Repo) -> String {
        let names: Vec<&str> = self.repos.keys().map(Repo::as_str).collect();
        match (&self.path, names.is_empty()) {
            (None, _) => "no config file was given (--config, NBP_CONFIG)".into(),
            (Some(path), true) => format!("{} has no [repos.<name>]", path.display()),
            (Some(path), false) => {
                let hint = did_you_mean(asked.as_str(), names.iter().copied());
                format!("{} knows {}{hint}", path.display(), names.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, ClassError> {
        let raw: RawConfig = settings::parse(text, Path::new("p.toml")).expect("toml");
        Config::try_from(raw)
    }

    #[test]
    fn an_unknown_repo_names_the_known_ones() {
        let mut known = config("[repos.a]\nurl = \"/a\"\n[repos.b]\nurl = \"/b\"").expect("fine");
        known.path = Some("p.toml".into());
        let repo: Repo = "c".parse().expect("a repo");
        let error = known.repo(&repo).expect_err("unknown").to_string();
        assert!(error.contains("c: p.toml knows a, b"), "{error}");
        let error = Config::default().repo(&repo).expect_err("unknown").to_string();
        assert!(error.contains("--config"), "{error}");
    }

    #[test]
    fn a_host_of_an_unknown_repo_has_the_default_class() {
        let (repo, host) = ("r".parse().expect("a repo"), "web".parse().expect("a host"));
        let class = Config::default().class_of(&repo, &host).expect("a class");
        assert_eq!(class.as_str(), "x86_64-linux");
    }

    #[test]
    fn a_class_that_becomes_too_long_is_an_error_of_the_file() {
        let text = format!(
            "[repos.a]\nurl = \"/a\"\n[repos.a.hosts.web]\nfeatures = [\"{}\"]",
            "x".repeat(60)
        );
        let error = config(&text).expect_err("too long").to_string();
        assert!(error.starts_with("[repos.a.hosts.web]"), "{error}");
    }
}
