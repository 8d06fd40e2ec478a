//! Asking for one job again, under a run of its own, so that who asked is on record.

use bus::{Bus, ask_of};
use proto::{
    Class, JobKey, Priority, Record, RunId, RunRecord, V1, event::RunChange, request::Ask,
};
use uuid::Uuid;

use crate::{error::Error, outage::retried, suggest};

/// Asks anew for a job that somebody asked for before; a known failure is no answer. `class` is
/// what it needs if its request is gone.
pub(crate) async fn ask_for(
    bus: &Bus,
    job: &JobKey,
    class: Option<Class>,
) -> Result<RunRecord, Error> {
    let key = job.to_string();
    let request = retried(|| async { bus.requests().get(&key).await }).await?.value;
    let class = request.as_ref().map(|request| request.class.clone()).or(class);
    let Some(class) = class else { return Err(suggest::unknown_job(bus, job).await) };
    let overrides = match request {
        Some(request) => request.overrides,
        // Its request is forgotten; what it was built with is in its record.
        None => {
            let record = retried(|| async { bus.results().get(&key).await }).await?.value;
            record.as_ref().and_then(Record::overrides).cloned().unwrap_or_default()
        }
    };
    if !job.revision.names(&overrides) {
        return Err(suggest::unknown_job(bus, job).await);
    }
    let run = RunRecord {
        v: V1,
        run: RunId(Uuid::now_v7()),
        by: bus.identity().clone(),
        at: bus::clock::now(),
        repo: job.repo.clone(),
        revision: job.revision.clone(),
        git_ref: None,
        overrides,
        hosts: [(job.host.clone(), class.clone())].into(),
        excluded: Vec::new(),
        priority: Priority::Normal,
        force: false,
        trace: None,
    };
    retried(|| bus.record_run(&run)).await?;
    let ask = Ask { retry: true, ..ask_of(&run, &class) };
    let asked = retried(|| bus.ask(job, &ask)).await?;
    tracing::info!(%job, ?asked, "asked again");
    bus.tell_of_run(&run, RunChange::submitted(&run)).await;
    Ok(run)
}
