//! `gate.toml`: the broker, the repositories, and whose runs count. It knows no command line.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use bus::PublicKey;
use proto::{Identity, Repo};
use serde::Deserialize;
use settings::{NatsTable, RepoTable};

use crate::error::Error;

/// The file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawConfig {
    nats: NatsTable,
    /// Accepted, so that one snippet serves producer and gate. Checking needs none of it.
    #[serde(rename = "repos")]
    _repos: BTreeMap<Repo, RepoTable>,
    gate: GateTable,
}

/// `[gate]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct GateTable {
    /// Identities whose runs count; absent: the gate's own only.
    trusted_identities: Option<Vec<Identity>>,
    /// Workers whose signed results count; absent: every result counts, signed or not.
    trusted_workers: Option<Vec<PublicKey>>,
}

/// The file as used.
#[derive(Debug, Default)]
pub(crate) struct Config {
    pub(crate) nats: NatsTable,
    trusted: Option<BTreeSet<Identity>>,
    trusted_workers: Option<BTreeSet<PublicKey>>,
}

/// A list that trusts nobody.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
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
}

impl TryFrom<RawConfig> for Config {
    type Error = TrustError;

    fn try_from(raw: RawConfig) -> Result<Self, TrustError> {
        let trusted = raw.gate.trusted_identities.map(BTreeSet::from_iter);
        if trusted.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(TrustError::Identities);
        }
        let trusted_workers = raw.gate.trusted_workers.map(BTreeSet::from_iter);
        if trusted_workers.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(TrustError::Workers);
        }
        Ok(Self { nats: raw.nats, trusted, trusted_workers })
    }
}

impl Config {
    /// Reads the file, or gives the default when there is none.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else { return Ok(Self::default()) };
        let raw: RawConfig = settings::load(path)?;
        Self::try_from(raw).map_err(|source| Error::Trust { path: path.to_owned(), source })
    }

    /// The identities whose runs count.
    pub(crate) fn trusted(&self, own: &Identity) -> BTreeSet<Identity> {
        self.trusted.clone().unwrap_or_else(|| BTreeSet::from([own.clone()]))
    }

    /// The workers whose word counts; `None`: every result counts, signed or not.
    pub(crate) fn trusted_workers(&self) -> Option<&BTreeSet<PublicKey>> {
        self.trusted_workers.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, TrustError> {
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
        assert_eq!(config("[gate]\ntrusted_identities = []").err(), Some(TrustError::Identities));
    }

    #[test]
    fn trusted_workers_are_real_keys_and_some() {
        let key = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
        let trusting = |keys: &str| format!("[gate]\ntrusted_workers = [{keys}]");
        let config = |keys: &str| config(&trusting(keys));
        let found = config(&format!("{key:?}")).expect("a config");
        assert_eq!(found.trusted_workers().map(BTreeSet::len), Some(1));
        assert_eq!(config("").err(), Some(TrustError::Workers));
        let raw = |keys: &str| settings::parse::<RawConfig>(&trusting(keys), Path::new("g"));
        let error = raw("\"UA…\"").expect_err("no key").to_string();
        assert!(error.contains("trusted_workers") && error.contains("no public NKey"), "{error}");
    }
}
