//! Which hosts of which commit a submit is about, fixed before anything is asked for.
//!
//! It does not know the broker.

use std::collections::BTreeMap;

use flake::{
    Access, Flake, Listing, ListingError, full_ref,
    listing::{self, Chosen},
};
use options::Console;
use proto::{Class, Host, Repo, Revision};
use settings::{Branch, HostGlob};

use crate::{config::Config, error::Error};

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) repo: &'a Repo,
    /// Empty: all hosts of the flake.
    pub(crate) hosts: &'a [Host],
    pub(crate) exclude: &'a [HostGlob],
    pub(crate) branch: Option<&'a Branch>,
    pub(crate) revision: Option<&'a Revision>,
}

/// What that comes to.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) revision: Revision,
    pub(crate) git_ref: Option<String>,
    pub(crate) hosts: BTreeMap<Host, Class>,
    pub(crate) excluded: Vec<Host>,
}

impl Wanted<'_> {
    /// The URL of the repository is needed: to resolve a ref, or to list hosts.
    pub(crate) fn needs_repo(&self) -> bool {
        self.hosts.is_empty() || self.revision.is_none()
    }
}

/// Resolves the ref once, and lists the hosts of that very commit.
pub(crate) async fn expected(
    wanted: Wanted<'_>,
    config: &Config,
    console: &Console,
) -> Result<Expected, Error> {
    let repo = wanted.needs_repo().then(|| config.repo(wanted.repo)).transpose()?;
    let revision = match (wanted.revision, wanted.branch, repo) {
        (Some(revision), _, _) => revision.clone(),
        (None, Some(branch), Some(repo)) => flake::resolve(repo, branch).await?,
        // The command line asks for one of the two.
        (None, _, _) => return Err(Error::NoHosts("neither --ref nor --rev is given")),
    };
    let Listing { hosts, excluded, notes } = match repo {
        Some(repo) if wanted.hosts.is_empty() => {
            let branch = wanted.branch.unwrap_or(&repo.default_ref);
            let (url, git_ref) = (&repo.url, &full_ref(branch));
            let access = &Access::by_file(repo.git_credentials_file.as_deref());
            let flake = Flake { url, git_ref, revision: &revision, access, overrides: &[] };
            Listing::of(&flake, repo, wanted.exclude).await?
        }
        _ => named(wanted, config)?,
    };
    for note in notes {
        console.say(&note);
    }
    if hosts.is_empty() {
        return Err(Error::NoHosts(match excluded.is_empty() {
            true => "the flake has none",
            false => "every one is excluded",
        }));
    }
    let git_ref = wanted.branch.map(full_ref);
    Ok(Expected { revision, git_ref, hosts, excluded })
}

/// Hosts that were named: the repo's own `exclude` is about `--all`, a name wins over it.
fn named(wanted: Wanted<'_>, config: &Config) -> Result<Listing, Error> {
    let exclude = listing::set(wanted.exclude.iter());
    let names: Vec<String> = wanted.hosts.iter().map(ToString::to_string).collect();
    let notes = listing::idle(wanted.exclude, &names).collect();
    let Chosen { hosts, excluded, .. } = listing::chosen(names, &exclude)?;
    let class = |host: Host| {
        let class = config.class_of(wanted.repo, &host).map_err(ListingError::HostClass)?;
        Ok((host, class))
    };
    let hosts = hosts.into_iter().map(class).collect::<Result<_, Error>>()?;
    Ok(Listing { hosts, excluded, notes })
}
