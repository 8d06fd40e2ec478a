//! The hosts of a flake as jobs: names that a job can have, less those left out, with a class each.
//!
//! What no job can be made of is refused here as a whole: a host that was dropped in silence would
//! let a gate pass without it.

use std::collections::BTreeMap;

use globset::{Glob, GlobSet, GlobSetBuilder};
use proto::{Class, Host, TokenError, token::shown};
use settings::{HostGlob, RepoTable, did_you_mean};

use crate::hosts::{Flake, FlakeError};

/// What a flake has to build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Each host and what it needs of a worker.
    pub hosts: BTreeMap<Host, Class>,
    /// Hosts that exist and are left out on purpose.
    pub excluded: Vec<Host>,
    /// What a person should know of how it came about, a line each.
    pub notes: Vec<String>,
}

/// Names, told apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Chosen {
    /// What is to be built.
    pub hosts: Vec<Host>,
    /// What is left out.
    pub excluded: Vec<Host>,
    /// Excluded, and no legal names; quoted.
    unnameable: Vec<String>,
}

/// Hosts of which no jobs can be made. Each message goes on after "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// The flake did not tell its hosts.
    #[error(transparent)]
    Flake(#[from] FlakeError),
    /// Names in the flake that can never be jobs.
    #[error(
        "list the hosts: the flake has names that no job can have; \
         rename them, or leave them out with an exclude\n  {}", .0.join("\n  ")
    )]
    BadNames(Vec<String>),
    /// A host's class cannot be made.
    #[error("make the class of a host: {0}")]
    HostClass(TokenError),
}

impl Listing {
    /// Asks a flake for its hosts; `exclude` is added to what the repo's table leaves out.
    ///
    /// # Errors
    /// See [`ListingError`]. A host that does not evaluate is none: it is listed.
    pub async fn of(
        flake: &Flake<'_>,
        repo: &RepoTable,
        exclude: &[HostGlob],
    ) -> Result<Self, ListingError> {
        let asked = exclude;
        let exclude = set(exclude.iter().chain(&repo.exclude));
        // Both by one process where no host is left out: those need not even evaluate.
        let told = match exclude.is_empty() {
            true => flake.names_and_systems().await.ok(),
            false => None,
        };
        let (names, told) = match told {
            Some((names, systems)) => (names, Some(systems)),
            // Who is at fault, and all names although a host is broken.
            None => (flake.names().await?, None),
        };
        let idle: Vec<String> = idle(asked, &names).collect();
        let Chosen { hosts, excluded, unnameable } = chosen(names, &exclude)?;
        let bad = |name: &String| format!("left out, and no name that a job can have: {name}");
        let mut listing = Self {
            excluded,
            notes: unnameable.iter().map(bad).chain(idle).collect(),
            ..Self::default()
        };
        if hosts.is_empty() {
            return Ok(listing);
        }
        let systems = match told {
            Some(systems) => systems,
            None => flake.systems(&hosts).await,
        };
        let mute = hosts.iter().filter(|it| systems.get(it.as_str()).is_none_or(Option::is_none));
        let mute: Vec<&str> = mute.map(Host::as_str).collect();
        if !mute.is_empty() {
            let mute = mute.join(", ");
            listing.notes.push(format!("system not told by the flake, the config decides: {mute}"));
        }
        for host in hosts {
            let system = systems.get(host.as_str()).and_then(Option::as_deref);
            let class = class(repo, &host, system, &mut listing.notes)?;
            listing.hosts.insert(host, class);
        }
        Ok(listing)
    }
}

/// A system that makes no class (it is the flake's word) counts as unknown.
fn class(
    repo: &RepoTable,
    host: &Host,
    system: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<Class, ListingError> {
    repo.class_for(host, system).or_else(|error| {
        notes.push(format!("{host}: the system that the flake tells is not used: {error}"));
        repo.class_for(host, None).map_err(ListingError::HostClass)
    })
}

/// Tells the names apart that are to be built and those that are left out.
///
/// # Errors
/// When one that is to be built is no legal name.
pub fn chosen(names: Vec<String>, exclude: &GlobSet) -> Result<Chosen, ListingError> {
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
    if bad.is_empty() { Ok(chosen) } else { Err(ListingError::BadNames(bad)) }
}

/// A line for each glob that leaves nothing out: it is most likely misspelt, and what it was to
/// leave out is built.
pub fn idle<'a>(globs: &'a [HostGlob], names: &'a [String]) -> impl Iterator<Item = String> + 'a {
    let idle = |glob: &&HostGlob| {
        let set = set(std::iter::once(*glob));
        !names.iter().any(|name| set.is_match(name))
    };
    globs.iter().filter(idle).map(|glob| {
        let words = glob.to_string().replace(['*', '?'], "");
        let hint = did_you_mean(&words, names.iter().map(String::as_str));
        format!("--exclude {glob} matches no host{hint}")
    })
}

/// `HostGlob` matches legal names only; a name that is not legal may be excluded too.
pub fn set<'a>(globs: impl Iterator<Item = &'a HostGlob>) -> GlobSet {
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
    fn check(names: &[&str], exclude: &[&str]) -> Result<Chosen, ListingError> {
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
    fn a_glob_that_leaves_nothing_out_is_told_of() {
        let globs = ["gunterr*", "ns*", "zzz"].map(|glob| glob.parse().expect("a glob"));
        let names = ["gunter", "ns1"].map(str::to_owned);
        let told: Vec<String> = idle(&globs, &names).collect();
        let expected = [
            "--exclude gunterr* matches no host; did you mean gunter?",
            "--exclude zzz matches no host",
        ];
        assert_eq!(told, expected);
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
