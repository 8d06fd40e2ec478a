//! Finding runs: by id, or the newest of this identity that fits.

use bus::Bus;
use proto::{Repo, RunId, RunRecord};

use crate::{error::Error, outage::retried, suggest};

/// A run by its id, whoever asked.
pub(crate) async fn by_id(bus: &Bus, run: RunId) -> Result<RunRecord, Error> {
    bus.find_run(run).await?.ok_or(Error::UnknownRun(run))
}

/// The newest run of this identity that fits; `of` says in words what was looked for, and `repo`
/// is the one that it was to be of.
pub(crate) async fn newest(
    bus: &Bus,
    of: &str,
    repo: Option<&Repo>,
    fits: impl Fn(&RunRecord) -> bool,
) -> Result<RunRecord, Error> {
    let by = bus.identity();
    let runs = bus.runs();
    // Run ids are uuids of version 7: the order of names is the order of time.
    for key in runs.keys(&format!("{by}.*")).await?.iter().rev() {
        let run = runs.get(key).await?.value.filter(|run| run.key() == *key);
        if let Some(run) = run.filter(&fits) {
            return Ok(run);
        }
    }
    let hint = match repo {
        Some(repo) => retried(|| suggest::repo(bus, repo)).await?,
        None => String::new(),
    };
    Err(Error::NoRun { by: by.clone(), of: of.to_owned(), hint })
}
