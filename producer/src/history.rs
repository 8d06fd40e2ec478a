//! What became of one host over the revisions that were asked for: the outcomes, newest first,
//! since which revision it is broken, and whether its builds take longer.
//!
//! [`read`] asks the broker, [`History`] makes something of it, and nothing prints. The order is
//! that of time, not of commits: nothing here reads a repository.

use bus::{Bus, Entry};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto::{
    Built, Failure, Finished, Host, JobKey, Outcome, Record, Repo, Revision, State, Timestamp,
    Work, WorkerName, outcome::Standing,
};

/// Records read at once.
const READS_AT_ONCE: usize = 64;

/// Builds that the newest one is compared with.
const COMPARED: usize = 10;

/// One revision of the host, as its record has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Past {
    pub(crate) revision: Revision,
    /// When it came to this, by the worker's clock; of one that goes on, when it was told last.
    pub(crate) at: Timestamp,
    /// None while it goes on.
    pub(crate) ended: Option<Ended>,
}

/// How a revision of the host ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) outcome: &'static str,
    pub(crate) standing: Standing,
    pub(crate) reused: bool,
    /// What was done for it, if its worker counted.
    pub(crate) work: Option<Work>,
    /// Its time says how long the host takes.
    pub(crate) real: bool,
    pub(crate) worker: Option<WorkerName>,
    pub(crate) queue_ms: u64,
    pub(crate) build_ms: u64,
    pub(crate) attempts: usize,
    pub(crate) out_path: Option<String>,
    /// Without the lines of its log.
    pub(crate) failure: Option<Failure>,
}

/// A host over its revisions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct History {
    pub(crate) repo: Repo,
    pub(crate) host: Host,
    /// Newest first.
    pub(crate) past: Vec<Past>,
}

/// Since when a host fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Broken<'a> {
    /// The first of the failures that no success came after.
    pub(crate) first_bad: &'a Past,
    /// The newest success before it; none when none is known.
    pub(crate) last_good: Option<&'a Past>,
    /// How many revisions failed since.
    pub(crate) failures: usize,
}

/// How long the newest real build took, against those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trend {
    pub(crate) newest_ms: u64,
    pub(crate) median_ms: u64,
    /// Builds that the median is over.
    pub(crate) over: usize,
}

/// Reads what is known of a host, of whatever revision.
pub(crate) async fn read(bus: &Bus, repo: &Repo, host: &Host) -> Result<History, bus::Error> {
    let keys = bus.results().keys(&format!("{repo}.*.{host}")).await?;
    let read = keys.into_iter().filter_map(|key| key.parse::<JobKey>().ok()).map(|job| async {
        match bus.results().get(&job.to_string()).await {
            Ok(entry) => Ok(Past::of(job, entry)),
            // A newer program wrote it, or nobody of ours.
            Err(error @ bus::Error::Undecodable { .. }) => {
                tracing::warn!("{error}");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    });
    let read: Vec<_> = read.collect();
    let found: Vec<Option<Past>> =
        stream::iter(read).buffer_unordered(READS_AT_ONCE).try_collect().await?;
    Ok(History::of(repo.clone(), host.clone(), found.into_iter().flatten().collect()))
}

impl History {
    pub(crate) fn of(repo: Repo, host: Host, mut past: Vec<Past>) -> Self {
        past.sort_by(|a, b| (b.at, &b.revision).cmp(&(a.at, &a.revision)));
        Self { repo, host, past }
    }

    /// Since when it fails, if the newest answer is a failure. What is undecided says nothing, and
    /// neither do revisions with overridden inputs, which nobody has committed.
    pub(crate) fn broken(&self) -> Option<Broken<'_>> {
        let mut decided = self.past.iter().filter(|past| past.revision.overrides().is_none());
        let (mut first_bad, mut failures) = (None, 0);
        let last_good = decided.find(|past| match past.standing() {
            Some(Standing::Pass) => true,
            Some(Standing::Fail) => {
                (first_bad, failures) = (Some(*past), failures + 1);
                false
            }
            Some(Standing::Undecided | Standing::Cancelled) | None => false,
        });
        first_bad.map(|first_bad| Broken { first_bad, last_good, failures })
    }

    /// The newest real build against the median of those before it; `None` without any to compare
    /// with. What was found valid took no time, and a failure ends early.
    pub(crate) fn trend(&self) -> Option<Trend> {
        let ended = self.past.iter().filter_map(|past| past.ended.as_ref());
        let mut took = ended.filter(|ended| ended.real).map(|ended| ended.build_ms);
        let newest_ms = took.next()?;
        let mut before: Vec<u64> = took.take(COMPARED).collect();
        before.sort_unstable();
        let over = before.len();
        let median_ms = *before.get(over / 2)?;
        Some(Trend { newest_ms, median_ms, over })
    }
}

impl Past {
    /// What a record says; `None` of one that is gone.
    pub(crate) fn of(job: JobKey, entry: Entry<Record>) -> Option<Self> {
        let record = entry.value?;
        let attempts = record.attempts_used(record.incarnation);
        let ended = match record.state {
            State::Finished(finished) => Some(finished),
            State::Running(_) | State::Waiting(_) => None,
        };
        let at = ended.as_ref().map_or(entry.time, |ended| ended.at);
        let ended = ended.map(|finished| Ended::of(finished, attempts));
        Some(Self { revision: job.revision, at, ended })
    }

    pub(crate) fn standing(&self) -> Option<Standing> {
        self.ended.as_ref().map(|ended| ended.standing)
    }
}

impl Ended {
    /// What was done for it, in words; of what was reused its outcome says it.
    pub(crate) fn done(&self) -> Option<String> {
        self.work.filter(|_| !self.reused).map(stand::mainly_done)
    }

    fn of(finished: Finished, attempts: usize) -> Self {
        let Finished { outcome, worker, queue_ms, build_ms, .. } = finished;
        let (name, standing) = (outcome.name(), outcome.standing());
        let failure = outcome.failure().map(|failure| Failure {
            message: failure.message.clone(),
            drv: failure.drv.clone(),
            log_tail: Vec::new(),
        });
        let built = match outcome {
            Outcome::Built(built) => Some(built),
            _ => None,
        };
        Self {
            outcome: name,
            standing,
            reused: built.as_ref().is_some_and(|built| built.reused),
            work: built.as_ref().and_then(|built| built.work),
            real: built.as_ref().is_some_and(Built::is_real),
            worker,
            queue_ms,
            build_ms,
            attempts,
            out_path: built.map(|built| built.out_path),
            failure,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
