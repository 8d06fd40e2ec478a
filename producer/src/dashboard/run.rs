//! What a run's page shows: its record, read from the leader when it is asked for, and how its jobs
//! stand. The model knows those of the newest commits; runs of any age have a page.

use std::collections::HashMap;

use bus::Bus;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto::{Class, JobKey, RunId, RunRecord};
use stand::{HostStatus, Look, Seen};

use super::{
    model::Model,
    reading::{self, READS_AT_ONCE},
    routes::Site,
    trouble::Trouble,
};

/// Jobs that the model does not know and that are read for one page, two reads each: open pages are
/// fetched again with every change.
const READ_MAX: usize = 1_000;

/// What was found.
#[derive(Debug)]
pub(crate) struct FoundRun {
    pub(crate) run: RunRecord,
    /// Jobs that the model did not know.
    pub(crate) read: HashMap<JobKey, (Class, Seen)>,
}

impl FoundRun {
    /// Somebody looks at this one of its jobs.
    pub(crate) fn looks_at(&self, job: &JobKey, model: &Model) -> bool {
        model.knows(job) || self.read.contains_key(job)
    }

    /// How one of its jobs stands; none: not read so far.
    pub(crate) fn status(&self, job: &JobKey, model: &Model, look: Look<'_>) -> Option<HostStatus> {
        let read = || {
            let (class, seen) = self.read.get(job)?;
            Some(HostStatus::of(job.clone(), class, seen, look))
        };
        model.status(job, look.now).or_else(read)
    }
}

/// Reads it all.
pub(crate) async fn read(site: &Site, id: RunId) -> Result<FoundRun, Trouble> {
    let missing = || {
        Trouble::Missing(format!(
            "There is no run {id}: nobody recorded it, or its record contradicts its key."
        ))
    };
    let run = site.bus.find_run(id).await?.ok_or_else(missing)?;
    let unknown = site.shared.read(|model| unknown(&run, model));
    if unknown.is_empty() {
        return Ok(FoundRun { run, read: HashMap::new() });
    }
    let _turn = site.long_read().await?;
    let read = read_unknown(&site.bus, unknown).await?;
    Ok(FoundRun { run, read })
}

fn unknown(run: &RunRecord, model: &Model) -> Vec<(JobKey, Class)> {
    let jobs = run.jobs().filter(|(job, _)| !model.knows(job));
    jobs.take(READ_MAX).map(|(job, class)| (job, class.clone())).collect()
}

async fn read_unknown(
    bus: &Bus,
    jobs: Vec<(JobKey, Class)>,
) -> Result<HashMap<JobKey, (Class, Seen)>, bus::Error> {
    let reads: Vec<_> = jobs.into_iter().map(|of| reading::job(bus, of)).collect();
    let read = stream::iter(reads).buffer_unordered(READS_AT_ONCE);
    read.map_ok(|(job, class, seen)| (job, (class, seen))).try_collect().await
}

#[cfg(test)]
mod tests {
    use stand::examples::{class, entry, job};

    use super::*;

    #[test]
    fn what_nobody_reads_is_not_looked_at() {
        let run = serde_json::from_value(serde_json::json!({
            "v": 1, "run": "01900000-0000-7000-8000-00000000000a", "by": "local", "at": 1,
            "repo": job("a").repo, "revision": job("a").revision, "hosts": {},
            "priority": "normal",
        }));
        let unseen = || Seen { request: entry(None), record: entry(None) };
        let read = [(job("a"), (class("aarch64-linux"), unseen()))].into();
        let found = FoundRun { run: run.expect("a run"), read };
        let model = Model::default();
        assert!(found.looks_at(&job("a"), &model) && !found.looks_at(&job("b"), &model));
    }
}
