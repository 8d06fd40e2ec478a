//! What somebody may have meant: names that are near a misspelt one.
//!
//! [`host`] asks the broker which hosts anybody ever asked for; nothing prints.

use std::collections::BTreeSet;

use bus::Bus;
use proto::{Host, JobKey, Repo};

use crate::{error::Error, outage::retried};

/// Names shown when several are near.
const SHOWN: usize = 3;

/// How alike two names must be, from 0 to 1 (Jaro-Winkler); clap has the same bound for options.
const ALIKE: f64 = 0.7;

/// The names among `known` that are like `name`, the nearest first: `; did you mean web01?`
pub(crate) fn near<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut near: Vec<(f64, &str)> = known
        .into_iter()
        .filter(|it| *it != name)
        .map(|it| (strsim::jaro_winkler(&name.to_lowercase(), &it.to_lowercase()), it))
        .filter(|(alike, _)| *alike > ALIKE)
        .collect();
    near.sort_by(|(a, at), (b, other)| b.total_cmp(a).then(at.cmp(other)));
    let names: Vec<&str> = near.into_iter().take(SHOWN).map(|(_, name)| name).collect();
    (!names.is_empty()).then(|| format!("; did you mean {}?", names.join(", ")))
}

/// A hint for a host that nobody asked for: its repository is not known, or it is like another one.
pub(crate) async fn host(bus: &Bus, repo: &Repo, host: &Host) -> Result<String, bus::Error> {
    let keys = bus.results().keys(">").await?.into_iter().chain(bus.requests().keys(">").await?);
    let jobs: BTreeSet<JobKey> = keys.filter_map(|key| key.parse().ok()).collect();
    let repos: BTreeSet<&str> = jobs.iter().map(|job| job.repo.as_str()).collect();
    if !repos.contains(repo.as_str()) {
        let hint = near(repo.as_str(), repos).unwrap_or_default();
        return Ok(format!(", and no job of repo {repo} is known{hint}"));
    }
    let of_repo = jobs.iter().filter(|job| job.repo == *repo);
    let hosts: BTreeSet<&str> = of_repo.map(|job| job.host.as_str()).collect();
    Ok(near(host.as_str(), hosts).unwrap_or_default())
}

/// Why a job cannot be looked at: nobody asked for it, and what may have been meant.
pub(crate) async fn unknown_job(bus: &Bus, job: &JobKey) -> Error {
    match retried(|| host(bus, &job.repo, &job.host)).await {
        Ok(hint) => Error::UnknownJob { job: job.clone(), hint },
        Err(error) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_are_suggested_and_far_ones_are_not() {
        let known = ["web01", "web02", "monitoring01", "gunter", "pi4"];
        let near = |name| near(name, known).unwrap_or_default();
        assert_eq!(near("web1"), "; did you mean web01, web02?");
        assert_eq!(near("Gunther"), "; did you mean gunter?");
        assert_eq!(near("xyz"), "");
        assert_eq!(near(""), "");
    }
}
