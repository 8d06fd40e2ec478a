//! Asking for hosts: at first, once more elsewhere, and anew what ended without an answer.

use std::collections::BTreeMap;

use bus::{ask_of, retried};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto::{
    JobKey, Outcome, RunId, RunRecord, WorkerName,
    event::RunChange,
    gate::{Doubt, HostStanding, Required},
    request::Ask,
};
use stand::Seen;

use super::{AT_ONCE, Pool, seen};
use crate::plan::Look;

/// Jobs that ended without an answer that counts: infrastructure, or a result that nobody who is
/// trusted vouches for, of other overrides, or not in the cache. Each with the worker that ended it,
/// where another one could take it.
#[derive(Debug, Default)]
pub(crate) struct Unanswered(BTreeMap<JobKey, Option<WorkerName>>);

impl Unanswered {
    /// Those of these hosts, as they ended.
    pub(crate) fn of(
        required: &BTreeMap<String, Required>,
        looks: &BTreeMap<String, Look>,
    ) -> Self {
        let undecided =
            looks.iter().filter(|(_, it)| it.result.standing == HostStanding::Undecided);
        let jobs = undecided.filter_map(|(label, look)| {
            let by = look.by.as_ref().filter(|_| look.elsewhere);
            Some((required.get(label)?.job.clone(), by.map(|(_, worker)| worker.clone())))
        });
        Self(jobs.collect())
    }

    /// What an asking for a job is on account of this.
    fn anew(&self, job: &JobKey, ask: Ask) -> Ask {
        match self.0.get(job) {
            // A failure that does not count would answer it from the record.
            Some(avoid) => Ask { retry: true, avoid_worker: avoid.clone(), ..ask },
            None => ask,
        }
    }
}

impl Pool<'_> {
    /// Records a run and asks for its hosts, except for those that were asked for in its name and
    /// answered for good already.
    pub(crate) async fn ask(
        &self,
        run: &RunRecord,
        unanswered: &Unanswered,
    ) -> Result<(), bus::Error> {
        let new = retried(|| self.bus.record_run(run)).await?;
        let asks = run.jobs().map(|(job, class)| async move {
            let seen = retried(|| seen(self.bus, &job)).await?;
            if answered(&seen, run.run) && !unanswered.0.contains_key(&job) {
                return Ok(());
            }
            let ask = unanswered.anew(&job, ask_of(run, class));
            retried(|| self.bus.ask(&job, &ask)).await.map(drop)
        });
        // One that was recorded before was told of then.
        let told = async {
            if new {
                self.bus.tell_of_run(run, RunChange::submitted(run)).await;
            }
        };
        let asks = stream::iter(asks).buffer_unordered(AT_ONCE).try_collect::<()>();
        tokio::join!(asks, told).0
    }

    /// Asks once more for what failed, of another worker, unless that was done already and has an
    /// answer or is under way.
    pub(crate) async fn ask_again(
        &self,
        run: &RunRecord,
        job: &JobKey,
        doubt: &Doubt,
        unanswered: &Unanswered,
    ) -> Result<(), bus::Error> {
        let seen = retried(|| seen(self.bus, job)).await?;
        let newest = seen.record.value.as_ref().map(|record| record.incarnation);
        let asked = seen.request.value.as_ref().map(|request| request.incarnation);
        let first = newest == Some(doubt.incarnation)
            && asked.is_none_or(|asked| asked == doubt.incarnation);
        if !first && !unanswered.0.contains_key(job) {
            return Ok(());
        }
        let Some(class) = run.hosts.get(&job.host) else { return Ok(()) };
        let avoid_worker = Some(doubt.worker.clone());
        let ask = Ask { retry: true, avoid_worker, ..ask_of(run, class) };
        retried(|| self.bus.ask(job, &ask)).await.map(drop)
    }
}

/// Asked for by this run, and ended in a way that asking again would not change.
fn answered(seen: &Seen, run: RunId) -> bool {
    let (Some(request), Some(record)) = (&seen.request.value, &seen.record.value) else {
        return false;
    };
    let wished = request.wanted_by.contains_key(&run);
    let decided = record.outcome().is_some_and(Outcome::decided);
    wished && decided && request.incarnation == record.incarnation
}
