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
    /// How one of its jobs stands; none: not read.
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
    let read = read_unknown(&site.bus, site.shared.read(|model| unknown(&run, model))).await?;
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
