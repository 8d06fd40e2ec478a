//! `gate.toml`: the broker, the repositories, whose words count, and how updates are landed. It
//! knows no command line.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use bus::PublicKey;
use proto::{Identity, Input, Repo};
use serde::Deserialize;
use settings::{NatsTable, RepoTable, Span, did_you_mean};

use crate::{
    checkout::Author,
    error::Error,
    forge::{self, ForgeConfig},
    plan::Rules,
    policy::Policy,
    report::{Site, scrub::Scrub},
    update::OnBrokenInput,
};

/// The file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawConfig {
    nats: NatsTable,
    repos: BTreeMap<Repo, RepoTable>,
    gate: GateTable,
    forge: Option<ForgeConfig>,
    cache: Option<CacheConfig>,
}

/// `[gate]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct GateTable {
    /// Identities whose runs count; absent: the gate's own only.
    trusted_identities: Option<Vec<Identity>>,
    /// Workers whose signed results count; absent: every result counts, signed or not.
    trusted_workers: Option<Vec<PublicKey>>,
    /// Which failures keep a candidate from landing.
    policy: Policy,
    /// What to do about an input that cannot be updated.
    on_broken_input: OnBrokenInput,
    /// The start of the names of update branches.
    branch_prefix: Option<String>,
    /// Who commits updates.
    author_name: Option<String>,
    author_email: Option<String>,
    /// How long a gate that is not heard of keeps the branch.
    lease: Option<Span>,
    /// Age at which the next update takes the place of a run that did not end.
    give_up_after: Option<Span>,
    /// Repositories that are built against the candidate.
    external: Vec<ExternalTable>,
}

/// `[[gate.external]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExternalTable {
    /// The repository, as `[repos.<name>]` names it; it is tried at its `default_ref`.
    pub(crate) repo: Repo,
    /// Its input that is overridden with the candidate.
    pub(crate) input: Input,
    /// A failure of it keeps the candidate from landing.
    #[serde(default = "yes")]
    pub(crate) required: bool,
}

/// `[cache]`: where hosts get their closures from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CacheConfig {
    /// A store as Nix names it, e.g. `https://cache.example.org`.
    pub(crate) url: String,
    /// The key that its paths must be signed by, e.g. `cache-1:abc…=`.
    pub(crate) public_key: Option<String>,
}

/// The file as used.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) nats: NatsTable,
    pub(crate) rules: Rules,
    pub(crate) on_broken_input: OnBrokenInput,
    pub(crate) branch_prefix: String,
    pub(crate) author: Author,
    pub(crate) lease: Duration,
    pub(crate) give_up_after: Duration,
    pub(crate) external: Vec<ExternalTable>,
    pub(crate) cache: Option<CacheConfig>,
    forge: Option<ForgeConfig>,
    repos: BTreeMap<Repo, RepoTable>,
    trusted: Option<BTreeSet<Identity>>,
    trusted_workers: Option<BTreeSet<PublicKey>>,
    path: Option<PathBuf>,
}

/// A `[gate]` table that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateTableError {
    /// No run would count.
    #[error(
        "[gate] trusted_identities is empty, so no run would count; \
         leave it out to trust the gate's own, or name some, e.g. [\"local\"]"
    )]
    Identities,
    /// No result would count.
    #[error(
        "[gate] trusted_workers is empty, so no result would count; \
         leave it out to count every result, or name public NKeys of workers, e.g. [\"UA…\"]"
    )]
    Workers,
    /// Branches of that name cannot be made.
    #[error(
        "[gate] branch_prefix {0:?} starts no branch name; expected one such as \"flake-update/\""
    )]
    Prefix(String),
    /// Too short to be renewed, or to outlive nothing.
    #[error("[gate] lease is {}; expected 1s to 1h, such as \"60s\"", Span(*.0))]
    Lease(Duration),
    /// No such repository.
    #[error("[[gate.external]] repo {0} is not in [repos]; add [repos.{0}] with its url")]
    External(Repo),
}

/// Four renewals fit, and a runner that was killed does not keep the branch for long.
const LEASE_DEFAULT: Duration = Duration::from_secs(60);
const LEASE_MIN: Duration = Duration::from_secs(1);
const LEASE_MAX: Duration = Duration::from_secs(60 * 60);
/// Shorter than a week, so that a weekly update is never kept from beginning by the last one.
const GIVE_UP_DEFAULT: Duration = Duration::from_secs(6 * 24 * 60 * 60);
const BRANCH_PREFIX_DEFAULT: &str = "flake-update/";

fn yes() -> bool {
    true
}

impl Default for Config {
    fn default() -> Self {
        Self::try_from(RawConfig::default()).expect("the empty file is a legal one")
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = GateTableError;

    fn try_from(raw: RawConfig) -> Result<Self, GateTableError> {
        let gate = raw.gate;
        let trusted = gate.trusted_identities.map(BTreeSet::from_iter);
        if trusted.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(GateTableError::Identities);
        }
        let trusted_workers = gate.trusted_workers.map(BTreeSet::from_iter);
        if trusted_workers.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(GateTableError::Workers);
        }
        let prefix = gate.branch_prefix.unwrap_or_else(|| BRANCH_PREFIX_DEFAULT.to_owned());
        if prefix.is_empty() || format!("{prefix}2026-01-01").parse::<settings::Branch>().is_err() {
            return Err(GateTableError::Prefix(prefix));
        }
        let lease = gate.lease.map_or(LEASE_DEFAULT, |Span(lease)| lease);
        if !(LEASE_MIN..=LEASE_MAX).contains(&lease) {
            return Err(GateTableError::Lease(lease));
        }
        for external in &gate.external {
            if !raw.repos.contains_key(&external.repo) {
                return Err(GateTableError::External(external.repo.clone()));
            }
        }
        let name = gate.author_name.unwrap_or_else(|| "nix-build-pool gate".to_owned());
        let email = gate.author_email.unwrap_or_else(|| "gate@localhost".to_owned());
        Ok(Self {
            nats: raw.nats,
            rules: Rules { policy: gate.policy },
            on_broken_input: gate.on_broken_input,
            branch_prefix: prefix,
            author: Author { name, email },
            lease,
            give_up_after: gate.give_up_after.map_or(GIVE_UP_DEFAULT, |Span(span)| span),
            external: gate.external,
            cache: raw.cache,
            forge: raw.forge,
            repos: raw.repos,
            trusted,
            trusted_workers,
            path: None,
        })
    }
}

impl Config {
    /// Reads the file, or gives the default when there is none.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else { return Ok(Self::default()) };
        let raw: RawConfig = settings::load(path)?;
        let config = Self::try_from(raw)
            .map_err(|source| Error::Config { path: path.to_owned(), source })?;
        Ok(Self { path: Some(path.to_owned()), ..config })
    }

    /// The identities whose runs count.
    pub(crate) fn trusted(&self, own: &Identity) -> BTreeSet<Identity> {
        self.trusted.clone().unwrap_or_else(|| BTreeSet::from([own.clone()]))
    }

    /// The workers whose word counts; `None`: every result counts, signed or not.
    pub(crate) fn trusted_workers(&self) -> Option<&BTreeSet<PublicKey>> {
        self.trusted_workers.as_ref()
    }

    /// The forge, which must be known to land anything.
    pub(crate) fn forge(&self) -> Result<&ForgeConfig, Error> {
        self.forge.as_ref().ok_or_else(|| Error::NoForge(self.place()))
    }

    /// A repository, whose URL must be known.
    pub(crate) fn repo(&self, repo: &Repo) -> Result<&RepoTable, Error> {
        self.repos.get(repo).ok_or_else(|| {
            let names: Vec<&str> = self.repos.keys().map(Repo::as_str).collect();
            let known = match names.is_empty() {
                true => format!("{} has no [repos.<name>]", self.place()),
                false => {
                    let hint = did_you_mean(repo.as_str(), names.iter().copied());
                    format!("{} knows {}{hint}", self.place(), names.join(", "))
                }
            };
            Error::UnknownRepo { repo: repo.clone(), known }
        })
    }

    /// A repository that `[[gate.external]]` names.
    pub(crate) fn repo_table(&self, external: &Repo) -> &RepoTable {
        self.repos.get(external).expect("each external repo was looked up when the file was read")
    }

    /// What reports say of the config. Passwords that the config leads to are taken out of them.
    pub(crate) fn site(&self, user: Option<&str>, token: Option<&forge::Token>) -> Site {
        let files = self.repos.values().filter_map(|table| table.git_credentials_file.as_ref());
        let mut secrets: Vec<String> = files.flat_map(|file| passwords(file)).collect();
        secrets.extend(token.map(forge::Token::secret).map(str::to_owned));
        let web = self.forge.as_ref().map(|forge| format!("{}{}", forge.url.root(), forge.repo));
        Site {
            urls: self.repos.iter().map(|(repo, it)| (repo.clone(), it.url.clone())).collect(),
            web,
            user: user.map(str::to_owned),
            policy: self.rules.policy,
            scrub: Scrub::new(secrets.iter().map(String::as_str)),
        }
    }

    /// Whether `[forge]` is about this repository: its URL ends in the name that it has there.
    pub(crate) fn on_forge(&self, repo: &Repo) -> bool {
        let (Some(table), Some(forge)) = (self.repos.get(repo), &self.forge) else { return false };
        let url = table.url.as_str().trim_end_matches('/').trim_end_matches(".git");
        let name = forge.repo.to_string();
        url.strip_suffix(&name).is_some_and(|before| before.ends_with(['/', ':']))
    }

    fn place(&self) -> String {
        match &self.path {
            Some(path) => path.display().to_string(),
            None => "no config file was given (--config, NBP_CONFIG), which".to_owned(),
        }
    }
}

/// The passwords in a file of git's `credential-store`, as written and decoded. One that cannot be
/// read is told by git, which needs it.
fn passwords(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once("://"));
    let users = lines.filter_map(|(_, rest)| rest.rsplit_once('@'));
    let secrets = users.filter_map(|(user, _)| user.split_once(':'));
    secrets.flat_map(|(_, secret)| [secret.to_owned(), decoded(secret)]).collect()
}

/// Without percent signs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%');
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, GateTableError> {
        let raw: RawConfig = settings::parse(text, Path::new("gate.toml")).expect("toml");
        Config::try_from(raw)
    }

    #[test]
    fn the_gate_trusts_itself_unless_told_whom() {
        let own = Identity::local();
        let trusted = |text: &str| config(text).expect("a config").trusted(&own);
        assert_eq!(trusted(""), BTreeSet::from([own.clone()]));
        let other: Identity = "UABC".parse().expect("an identity");
        let told = trusted("[gate]\ntrusted_identities = [\"UABC\"]\n[repos.a]\nurl = \"/a\"");
        assert_eq!(told, BTreeSet::from([other]));
        let nobody = config("[gate]\ntrusted_identities = []").err();
        assert_eq!(nobody, Some(GateTableError::Identities));
    }

    #[test]
    fn trusted_workers_are_real_keys_and_some() {
        let key = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
        let trusting = |keys: &str| format!("[gate]\ntrusted_workers = [{keys}]");
        let config = |keys: &str| config(&trusting(keys));
        let found = config(&format!("{key:?}")).expect("a config");
        assert_eq!(found.trusted_workers().map(BTreeSet::len), Some(1));
        assert_eq!(config("").err(), Some(GateTableError::Workers));
        let raw = |keys: &str| settings::parse::<RawConfig>(&trusting(keys), Path::new("g"));
        let error = raw("\"UA…\"").expect_err("no key").to_string();
        assert!(error.contains("trusted_workers") && error.contains("no public NKey"), "{error}");
    }

    #[test]
    fn passwords_are_found_in_a_credentials_file_in_both_forms() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text = "https://me:p%40ss%2fword@git.example.org\n# x\nhttps://nobody@example.org\n";
        std::fs::write(file.path(), text).expect("a writable file");
        assert_eq!(passwords(file.path()), ["p%40ss%2fword", "p@ss/word"]);
        assert_eq!(passwords(Path::new("/nowhere")), Vec::<String>::new());
    }

    #[test]
    fn a_table_that_cannot_be_used_says_so() {
        let gate = |line: &str| config(&format!("[gate]\n{line}")).expect_err("refused");
        assert_eq!(gate("branch_prefix = \"-x\""), GateTableError::Prefix("-x".into()));
        assert_eq!(gate("branch_prefix = \"\""), GateTableError::Prefix(String::new()));
        let short = Duration::from_millis(10);
        assert_eq!(gate("lease = \"10ms\""), GateTableError::Lease(short));
        let external = "[[gate.external]]\nrepo = \"x\"\ninput = \"servers\"";
        let unknown = config(external).expect_err("no such repo");
        assert_eq!(unknown, GateTableError::External("x".parse().expect("a repo")));
        let bad = "[[gate.external]]\nrepo = \"x\"\ninput = \"--eval\"";
        let error =
            settings::parse::<RawConfig>(bad, Path::new("gate.toml")).expect_err("no input");
        assert!(error.to_string().contains("input name"), "{error}");
    }

    #[test]
    fn the_forge_is_about_the_repository_whose_url_ends_in_its_name() {
        let forge = "[forge]\nurl = \"https://git.example.org\"\nrepo = \"infra/servers\"\n\
                     token_file = \"/t\"\n";
        let on = |url: &str| {
            let config = config(&format!("{forge}[repos.a]\nurl = {url:?}")).expect("a config");
            config.on_forge(&"a".parse().expect("a repo"))
        };
        assert!(on("https://git.example.org/infra/servers.git"));
        assert!(on("https://git.example.org/infra/servers/"));
        assert!(on("git@git.example.org:infra/servers.git"));
        assert!(!on("https://git.example.org/infra/other.git"));
        assert!(!on("https://git.example.org/xinfra/servers.git"));
    }
}
