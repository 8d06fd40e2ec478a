//! The tables that worker, producer and gate accept alike, so that one snippet serves all three.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr};

use globset::{Glob, GlobMatcher};
use proto::{
    Class, Host,
    token::{TokenError, shown},
};
use serde::Deserialize;

use crate::{
    branch::{Branch, BranchGlob},
    quantity::{Size, Span},
    url::RepoUrl,
};

/// `[nats]`: how to reach the broker. What is missing comes from the command line or environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatsTable {
    /// One or several URLs, separated by commas, e.g. `tls://nats.example:4222`.
    pub url: Option<String>,
    /// File with the NKey seed.
    pub nkey_file: Option<PathBuf>,
    /// File with the CA certificates that the server's certificate must descend from, PEM.
    pub ca_file: Option<PathBuf>,
}

/// `[repos.<name>]`: a flake repository, the branches that may be built, and its hosts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepoTable {
    /// Where git fetches it from.
    pub url: RepoUrl,
    /// The branch meant when none is named; `master` when absent.
    #[serde(default = "default_ref")]
    pub default_ref: Branch,
    /// Branches that may be built; absent: only `default_ref`. See [`RepoTable::allowed_refs`].
    #[serde(default)]
    pub refs: Vec<BranchGlob>,
    /// Class of its hosts when nothing better is known; `x86_64-linux` when absent.
    #[serde(default = "default_class")]
    pub class: Class,
    /// Hosts that are never asked for and not required by the gate.
    #[serde(default)]
    pub exclude: Vec<HostGlob>,
    /// What is special about single hosts.
    #[serde(default)]
    pub hosts: BTreeMap<Host, HostTable>,
    /// File in the format of git's `credential-store`, for `https` URLs.
    pub git_credentials_file: Option<PathBuf>,
    /// What its builds may use, where that differs from the worker's `[limits]`.
    #[serde(default)]
    pub limits: LimitsTable,
}

/// `[limits]` of a worker and `[repos.<name>.limits]`: what one build may use.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsTable {
    /// Time to build.
    pub wall: Option<Span>,
    /// Time that a builder may be silent.
    pub silence: Option<Span>,
    /// Time to evaluate.
    pub eval_wall: Option<Span>,
    /// Memory of an evaluation.
    pub eval_memory_max: Option<Size>,
    /// Bytes of log that are kept.
    pub log_keep_max: Option<Size>,
    /// Bytes of log that end a build.
    pub log_kill_max: Option<Size>,
}

/// `[repos.<name>.hosts.<host>]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostTable {
    /// Its class in full. Wins over everything else.
    pub class: Option<Class>,
    /// System features that building it needs, e.g. `kvm`.
    pub features: Vec<Feature>,
}

/// A Nix system feature, e.g. `kvm` or `big-parallel`. No `_`, which separates features in a class.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Feature(String);

/// A feature that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("feature {} is refused: expected letters, digits and '-', such as \"big-parallel\"", shown(.0))]
pub struct FeatureError(String);

/// A set of hosts: a name, or a pattern with `*`, `?`, `[…]`, `{a,b}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct HostGlob(GlobMatcher);

/// The branch meant when a repository names none: what the flakes this was made for use.
pub const DEFAULT_REF: &str = "master";
/// The class of hosts about which nothing is said.
pub const CLASS_DEFAULT: &str = "x86_64-linux";

fn default_ref() -> Branch {
    DEFAULT_REF.parse().expect("the default branch is a legal branch")
}

fn default_class() -> Class {
    CLASS_DEFAULT.parse().expect("the default class is a legal class")
}

impl RepoTable {
    /// The branches that may be built.
    pub fn allowed_refs(&self) -> Vec<BranchGlob> {
        match self.refs.is_empty() {
            true => vec![self.default_ref.clone().into()],
            false => self.refs.clone(),
        }
    }

    /// Whether `exclude` takes `host` out.
    pub fn excludes(&self, host: &Host) -> bool {
        self.exclude.iter().any(|glob| glob.matches(host))
    }

    /// The class of `host`: its own `class`; else `system` as evaluated, or the repository's class
    /// when that is unknown, with the host's features.
    pub fn class_for(&self, host: &Host, system: Option<&str>) -> Result<Class, TokenError> {
        let table = self.hosts.get(host);
        if let Some(class) = table.and_then(|table| table.class.clone()) {
            return Ok(class);
        }
        let features = table.map_or(&[][..], |table| &table.features);
        class_with(system.unwrap_or(self.class.as_str()), features)
    }
}

/// `<base>_<feature>_<feature>…`, features sorted and once each, so that a class has one spelling.
/// `base` is a system or a class.
pub fn class_with(base: &str, features: &[Feature]) -> Result<Class, TokenError> {
    let mut sorted: Vec<&str> = features.iter().map(Feature::as_str).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let parts: Vec<&str> = std::iter::once(base).chain(sorted).collect();
    parts.join("_").parse()
}

impl Feature {
    /// The name, as Nix's `system-features` has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Feature {
    type Err = FeatureError;
    fn from_str(value: &str) -> Result<Self, FeatureError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-';
        match !value.is_empty() && !value.starts_with('-') && value.chars().all(legal) {
            true => Ok(Self(value.to_owned())),
            false => Err(FeatureError(value.to_owned())),
        }
    }
}

impl TryFrom<String> for Feature {
    type Error = FeatureError;
    fn try_from(value: String) -> Result<Self, FeatureError> {
        value.parse()
    }
}

impl HostGlob {
    /// Whether `host` is one of the set.
    pub fn matches(&self, host: &Host) -> bool {
        self.0.is_match(host.as_str())
    }
}

impl FromStr for HostGlob {
    type Err = globset::Error;
    fn from_str(value: &str) -> Result<Self, globset::Error> {
        Ok(Self(Glob::new(value)?.compile_matcher()))
    }
}

impl TryFrom<String> for HostGlob {
    type Error = globset::Error;
    fn try_from(value: String) -> Result<Self, globset::Error> {
        value.parse()
    }
}

impl fmt::Display for HostGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.glob().glob())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::load::parse;

    fn repo(text: &str) -> RepoTable {
        parse(text, Path::new("test.toml")).expect("a repo table")
    }

    fn host(name: &str) -> Host {
        name.parse().expect("a host")
    }

    #[test]
    fn a_repo_needs_only_its_url() {
        let repo = repo("url = \"https://git.example/nixos\"");
        assert_eq!(repo.allowed_refs(), ["master".parse().expect("a pattern")]);
        let class = repo.class_for(&host("web"), None).expect("a class");
        assert_eq!(class.as_str(), "x86_64-linux");
        assert!(!repo.excludes(&host("web")));
    }

    #[test]
    fn what_is_said_about_a_host_wins_over_the_repo() {
        let repo = repo(
            "url = \"/srv/a\"\nclass = \"riscv64-linux\"\nexclude = [\"test-*\"]\n\
             [hosts.a]\nfeatures = [\"kvm\", \"big-parallel\", \"kvm\"]\n\
             [hosts.b]\nclass = \"aarch64-linux_gpu\"\nfeatures = [\"kvm\"]",
        );
        let class = |name: &str, system| {
            repo.class_for(&host(name), system).expect("a class").as_str().to_owned()
        };
        assert_eq!(class("a", Some("x86_64-linux")), "x86_64-linux_big-parallel_kvm");
        assert_eq!(class("a", None), "riscv64-linux_big-parallel_kvm");
        assert_eq!(class("b", Some("x86_64-linux")), "aarch64-linux_gpu");
        assert!(repo.excludes(&host("test-vm")) && !repo.excludes(&host("a")));
    }
}
