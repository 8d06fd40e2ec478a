//! What somebody may have meant: names that are near a misspelt one.
//!
//! [`host`] asks the broker which hosts anybody ever asked for; nothing prints.

use std::collections::BTreeSet;

use bus::Bus;
use proto::{Class, Host, JobKey, Repo};
use settings::did_you_mean;

use crate::{
    error::Error,
    naming::{JobName, recorded},
    outage::retried,
};

/// A hint for a host that nobody asked for: its repository is not known, or it is like another one.
pub(crate) async fn host(bus: &Bus, repo: &Repo, host: &Host) -> Result<String, bus::Error> {
    let jobs = recorded(bus, ">").await?;
    if jobs.iter().all(|job| job.repo != *repo) {
        return Ok(unknown_repo(repo, &jobs));
    }
    let of_repo = jobs.iter().filter(|job| job.repo == *repo);
    let hosts: BTreeSet<&str> = of_repo.map(|job| job.host.as_str()).collect();
    Ok(did_you_mean(host.as_str(), hosts))
}

/// A hint for a repository of which nothing was found: nothing, if jobs of it are known.
pub(crate) async fn repo(bus: &Bus, repo: &Repo) -> Result<String, bus::Error> {
    let jobs = recorded(bus, ">").await?;
    let known = jobs.iter().any(|job| job.repo == *repo);
    Ok(if known { String::new() } else { unknown_repo(repo, &jobs) })
}

fn unknown_repo(repo: &Repo, jobs: &BTreeSet<JobKey>) -> String {
    let repos: BTreeSet<&str> = jobs.iter().map(|job| job.repo.as_str()).collect();
    format!(", and no job of repo {repo} is known{}", did_you_mean(repo.as_str(), repos))
}

/// Refuses classes of which a consumer is missing, before anything is done to others.
pub(crate) async fn known_classes(bus: &Bus, classes: &[Class]) -> Result<(), Error> {
    let unserved = bus.unserved(classes).await?;
    let Some(class) = unserved.first().copied() else { return Ok(()) };
    // Only a hint: not everybody may list them.
    let known = bus.classes().await.unwrap_or_default();
    let hint = did_you_mean(class.as_str(), known.iter().map(|(known, _)| known.as_str()));
    Err(Error::UnknownClass { class: class.clone(), hint })
}

/// Why a job cannot be looked at: nobody asked for it, and what may have been meant.
pub(crate) async fn unknown_job(bus: &Bus, job: &JobKey) -> Error {
    unknown(bus, job.into()).await
}

/// The same of one by the name that somebody gave it.
pub(crate) async fn unknown(bus: &Bus, name: JobName) -> Error {
    match retried(|| host(bus, &name.repo, &name.host)).await {
        Ok(hint) => Error::UnknownJob { job: name.to_string(), hint },
        Err(error) => error.into(),
    }
}
