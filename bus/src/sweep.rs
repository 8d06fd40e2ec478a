//! Finding what fell between two writes: jobs that are wanted, unfinished, and in no queue
//! (DESIGN 5.12). A submitter that died between wish and publish leaves one, and so does a lost
//! message. Needs no consumer: stream info by subject, and leader reads.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto::{
    Class, Incarnation, JobKey, Priority, Request,
    subject::{self, JobSubject},
};

use crate::{bucket::Entry, clock, connection::Bus, error::Error, streams::Queued};

/// Reads in flight at once: enough to hide round trips, few enough to be no load.
const READS_AT_ONCE: usize = 8;

/// What a sweeper looks after.
#[derive(Clone, Debug)]
pub struct SweepScope {
    /// Jobs of these classes are put back into the queue.
    pub classes: Vec<Class>,
    /// Requests that nobody needs any more are forgotten after this long. Until then `status` and
    /// `retry` of a run find them. (Records and runs go by the age of their buckets.)
    pub keep_requests: Duration,
}

/// What a sweeper remembers between two sweeps: requests whose incarnation is finished, by key and
/// revision. A request that is written again has another revision and is looked at again.
#[derive(Default)]
pub struct SweepMemory {
    finished: HashMap<String, u64>,
    /// This identity may not forget requests. Trying again would only wait for no answer.
    may_not_prune: bool,
}

/// What a sweep did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Jobs that are in the queue again.
    pub requeued: Vec<JobSubject>,
    /// Jobs whose requests were old and of no use, and are gone.
    pub pruned: Vec<JobSubject>,
}

/// What one request came to.
enum Look {
    Fine,
    Finished(u64),
    Requeued(JobSubject),
    Pruned(JobSubject),
    MayNotPrune,
}

/// What is known before the look.
#[derive(Clone, Copy)]
struct Seen {
    /// The revision of the request that was found finished.
    finished_at: Option<u64>,
    /// Old ones may be forgotten.
    prune: bool,
}

impl Bus {
    /// Looks at all requests once.
    ///
    /// # Errors
    /// No answer, denied. What was done until then stands, and the next sweep goes on.
    pub async fn sweep(
        &self,
        memory: &mut SweepMemory,
        scope: &SweepScope,
    ) -> Result<Swept, Error> {
        // The queue is listed first: what is published after that is at worst refused as a copy.
        let queued = self.queue(subject::BUILD_ALL).await?;
        let queued: HashSet<(JobKey, Incarnation)> =
            queued.into_iter().map(|it| (it.job, it.incarnation)).collect();
        let keys = self.requests().keys(">").await?;
        let (known, prune) = (&memory.finished, !memory.may_not_prune);
        let looks = keys.into_iter().map(|key| async {
            let seen = Seen { finished_at: known.get(&key).copied(), prune };
            let look = self.look(&key, seen, scope, &queued).await?;
            Ok::<_, Error>((key, look))
        });
        let looks: Vec<(String, Look)> =
            stream::iter(looks).buffer_unordered(READS_AT_ONCE).try_collect().await?;
        let mut swept = Swept::default();
        let mut finished = HashMap::new();
        for (key, look) in looks {
            match look {
                Look::Fine => {}
                Look::Finished(revision) => drop(finished.insert(key, revision)),
                Look::Requeued(job) => swept.requeued.push(job),
                Look::Pruned(job) => swept.pruned.push(job),
                Look::MayNotPrune => memory.may_not_prune = true,
            }
        }
        memory.finished = finished;
        Ok(swept)
    }

    async fn look(
        &self,
        key: &str,
        seen: Seen,
        scope: &SweepScope,
        queued: &HashSet<(JobKey, Incarnation)>,
    ) -> Result<Look, Error> {
        let Ok(job) = key.parse::<JobKey>() else { return Ok(Look::Fine) };
        let Some(entry) = readable(self.requests().get(key).await)? else { return Ok(Look::Fine) };
        let Some(request) = entry.value else { return Ok(Look::Fine) };
        let known = seen.finished_at == Some(entry.revision);
        if known || !request.wanted() {
            let old = clock::now().since(entry.time) > scope.keep_requests;
            if old && seen.prune {
                match self.requests().forget(key, entry.revision).await {
                    Ok(()) => return Ok(Look::Pruned(of_nobody(job, request))),
                    // By the roles, workers change no requests: this is left to others.
                    Err(Error::Denied { .. }) => return Ok(Look::MayNotPrune),
                    Err(error) => return Err(error),
                }
            }
            return Ok(if known { Look::Finished(entry.revision) } else { Look::Fine });
        }
        if !scope.classes.contains(&request.class)
            || queued.contains(&(job.clone(), request.incarnation))
        {
            return Ok(Look::Fine);
        }
        // Whoever can read such a record, a newer worker perhaps, sweeps too.
        let Some(record) = readable(self.results().get(key).await)? else { return Ok(Look::Fine) };
        let finished = record.value.is_some_and(|record| {
            record.incarnation == request.incarnation && record.outcome().is_some()
        });
        if finished {
            return Ok(Look::Finished(entry.revision));
        }
        match self.requeue(&job, &request).await? {
            Some((subject, Queued::Now)) => Ok(Look::Requeued(subject)),
            Some((_, Queued::Already)) | None => Ok(Look::Fine),
        }
    }
}

/// What this version cannot read is no reason to leave the other jobs alone.
fn readable<T>(read: Result<Entry<T>, Error>) -> Result<Option<Entry<T>>, Error> {
    match read {
        Err(error @ Error::Undecodable { .. }) => {
            tracing::debug!("{error}");
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// The name of an asking that is in no queue, for those who are told of it.
fn of_nobody(job: JobKey, request: Request) -> JobSubject {
    let Request { class, incarnation, .. } = request;
    JobSubject { class, priority: Priority::Normal, job, incarnation }
}
