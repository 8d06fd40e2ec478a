//! Which hosts of which commit a submit is about, fixed before anything is asked for.
//!
//! It does not know the broker. What no job can be made of is refused here as a whole: a host that
//! was dropped in silence would let a gate pass without it.

use std::collections::BTreeMap;

use globset::{Glob, GlobSet, GlobSetBuilder};
use proto::{Class, Host, Repo, Revision, token::shown};
use settings::{Branch, HostGlob, RepoTable};

use crate::{config::Config, console::Console, error::Error, flake::Flake, git};

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
        (None, Some(branch), Some(repo)) => git::resolve(repo, branch).await?,
        // The command line asks for one of the two.
        (None, _, _) => return Err(Error::NoHosts("neither --ref nor --rev is given")),
    };
    let (hosts, excluded) = match repo {
        Some(repo) if wanted.hosts.is_empty() => {
            let branch = wanted.branch.unwrap_or(&repo.default_ref);
            let flake = Flake { repo, branch, revision: &revision };
            of_flake(&flake, wanted.exclude, console).await?
        }
        _ => named(wanted, config)?,
    };
    if hosts.is_empty() {
        return Err(Error::NoHosts(match excluded.is_empty() {
            true => "the flake has none",
            false => "every one is excluded",
        }));
    }
    let git_ref = wanted.branch.map(git::full_ref);
    Ok(Expected { revision, git_ref, hosts, excluded })
}

/// Hosts that were named: the repo's own `exclude` is about `--all`, a name wins over it.
fn named(wanted: Wanted<'_>, config: &Config) -> Result<(BTreeMap<Host, Class>, Vec<Host>), Error> {
    let exclude = set(wanted.exclude.iter());
    let names = wanted.hosts.iter().map(ToString::to_string).collect();
    let Chosen { hosts, excluded, .. } = chosen(names, &exclude)?;
    let class = |host: Host| {
        let class = config.class_of(wanted.repo, &host).map_err(Error::HostClass)?;
        Ok((host, class))
    };
    Ok((hosts.into_iter().map(class).collect::<Result<_, Error>>()?, excluded))
}

async fn of_flake(
    flake: &Flake<'_>,
    exclude: &[HostGlob],
    console: &Console,
) -> Result<(BTreeMap<Host, Class>, Vec<Host>), Error> {
    let exclude = set(exclude.iter().chain(&flake.repo.exclude));
    let Chosen { hosts, excluded, unnameable } = chosen(flake.names().await?, &exclude)?;
    for name in unnameable {
        console.say(&format!("left out by --exclude, and no name that a job can have: {name}"));
    }
    if hosts.is_empty() {
        return Ok((BTreeMap::new(), excluded));
    }
    let systems = flake.systems(&hosts).await;
    let mute = hosts.iter().filter(|it| systems.get(it.as_str()).is_none_or(Option::is_none));
    let mute: Vec<&str> = mute.map(Host::as_str).collect();
    if !mute.is_empty() {
        let mute = mute.join(", ");
        console.say(&format!("system not told by the flake, the config decides: {mute}"));
    }
    let class = |host: Host| {
        let system = systems.get(host.as_str()).and_then(Option::as_deref);
        let class = class(flake.repo, &host, system, console)?;
        Ok((host, class))
    };
    Ok((hosts.into_iter().map(class).collect::<Result<_, Error>>()?, excluded))
}

/// A system that makes no class (it is the flake's word) counts as unknown.
fn class(
    repo: &RepoTable,
    host: &Host,
    system: Option<&str>,
    console: &Console,
) -> Result<Class, Error> {
    repo.class_for(host, system).or_else(|error| {
        console.say(&format!("{host}: the system that the flake tells is not used: {error}"));
        repo.class_for(host, None).map_err(Error::HostClass)
    })
}

/// Names, told apart.
#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    hosts: Vec<Host>,
    excluded: Vec<Host>,
    /// Excluded, and no legal names; quoted.
    unnameable: Vec<String>,
}

fn chosen(names: Vec<String>, exclude: &GlobSet) -> Result<Chosen, Error> {
    let mut chosen = Chosen { hosts: Vec::new(), excluded: Vec::new(), unnameable: Vec::new() };
    let mut bad = Vec::new();
    for name in names {
        match (name.parse::<Host>(), exclude.is_match(&name)) {
            (Ok(host), false) => chosen.hosts.push(host),
            (Ok(host), true) => chosen.excluded.push(host),
            (Err(_), true) => chosen.unnameable.push(shown(&name)),
            (Err(error), false) => bad.push(error.to_string()),
        }
    }
    if bad.is_empty() { Ok(chosen) } else { Err(Error::BadNames(bad)) }
}

/// `HostGlob` matches legal names only; a name that is not legal may be excluded too.
fn set<'a>(globs: impl Iterator<Item = &'a HostGlob>) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for glob in globs.filter_map(|glob| Glob::new(&glob.to_string()).ok()) {
        set.add(glob);
    }
    set.build().unwrap_or_else(|_| GlobSet::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(names: &[&str], exclude: &[&str]) -> Result<Chosen, Error> {
        let globs: Vec<HostGlob> =
            exclude.iter().map(|glob| glob.parse().expect("a glob")).collect();
        chosen(names.iter().map(ToString::to_string).collect(), &set(globs.iter()))
    }

    fn hosts(names: &[&str]) -> Vec<Host> {
        names.iter().map(|name| name.parse().expect("a host")).collect()
    }

    #[test]
    fn excluded_hosts_leave_the_set_and_are_remembered() {
        let chosen = check(&["a", "test-1", "test-2", "b"], &["test-*"]).expect("legal names");
        assert_eq!(
            (chosen.hosts, chosen.excluded),
            (hosts(&["a", "b"]), hosts(&["test-1", "test-2"]))
        );
        let none = check(&["a"], &["*"]).expect("legal names");
        assert_eq!((none.hosts.len(), none.excluded.len()), (0, 1));
    }

    #[test]
    fn one_name_that_no_job_can_have_refuses_them_all() {
        let error = check(&["a", "../x", "b c"], &[]).expect_err("bad names").to_string();
        assert!(error.contains("\"../x\"") && error.contains("\"b c\""), "{error}");
        let chosen = check(&["a", "../x"], &["*/*"]).expect("the bad one is excluded");
        assert_eq!(chosen.hosts, hosts(&["a"]));
        assert_eq!(chosen.unnameable, ["\"../x\""]);
    }
}
