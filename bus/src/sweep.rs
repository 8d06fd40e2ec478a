//! Finding what fell between two writes: jobs that are wanted, unfinished, and in no queue
//! (DESIGN 5.12). A submitter that died between wish and publish leaves one, and so does a lost
//! message. Needs no consumer: stream info by subject, and leader reads.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto::{
    Class, Host, Incarnation, JobKey, Outcome, Priority, Record, Repo, Request, State, Timestamp,
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

/// What a sweeper remembers between two sweeps: requests whose incarnation is finished, by key. A
/// request that is written again has another revision and is looked at again.
#[derive(Default)]
pub struct SweepMemory {
    finished: HashMap<String, Ended>,
    /// This identity may not forget requests. Trying again would only wait for no answer.
    may_not_prune: bool,
}

/// What a sweep did, and what it saw.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Jobs that are in the queue again.
    pub requeued: Vec<JobSubject>,
    /// Jobs whose requests were old and of no use, and are gone.
    pub pruned: Vec<JobSubject>,
    /// Jobs of any class that are wanted and in the queue, in somebody's hands or not.
    pub open: Vec<OpenJob>,
    /// The hosts of all requests of the swept classes, and when each was built last, as far as
    /// the requests that are kept can tell.
    pub hosts: BTreeMap<(Repo, Host), Option<Timestamp>>,
}

/// A job that waits for its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenJob {
    /// Which.
    pub job: JobKey,
    /// What it needs of a worker.
    pub class: Class,
    /// When it was asked for first, by the asker's clock.
    pub since: Timestamp,
}

/// A request whose incarnation is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ended {
    /// The request's revision.
    revision: u64,
    /// When it was built, if it was.
    built: Option<Timestamp>,
}

/// What one request came to.
enum Look {
    /// Nothing to do, and nobody waits for it.
    Fine,
    /// In the queue; whether its class is swept.
    Open(OpenJob, bool),
    Finished(Ended),
    Requeued(JobSubject, OpenJob),
    Pruned(JobSubject),
    MayNotPrune,
}

/// What is known before the look.
#[derive(Clone, Copy)]
struct Seen {
    /// The request as it was found finished.
    finished: Option<Ended>,
    /// Old ones may be forgotten.
    prune: bool,
}

impl Swept {
    fn host(&mut self, job: &JobKey, built: Option<Timestamp>) {
        let newest = self.hosts.entry((job.repo.clone(), job.host.clone())).or_default();
        *newest = built.max(*newest);
    }
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
            let seen = Seen { finished: known.get(&key).copied(), prune };
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
                Look::Open(open, ours) => {
                    if ours {
                        swept.host(&open.job, None);
                    }
                    swept.open.push(open);
                }
                Look::Finished(ended) => {
                    if let Ok(job) = key.parse() {
                        swept.host(&job, ended.built);
                    }
                    finished.insert(key, ended);
                }
                Look::Requeued(subject, open) => {
                    swept.host(&open.job, None);
                    swept.requeued.push(subject);
                    swept.open.push(open);
                }
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
        let known = seen.finished.filter(|ended| ended.revision == entry.revision);
        if known.is_some() || !request.wanted() {
            let old = clock::now().since(entry.time) > scope.keep_requests;
            if old && seen.prune {
                match self.requests().forget(key, entry.revision).await {
                    Ok(()) => return Ok(Look::Pruned(of_nobody(job, request))),
                    // By the roles, workers change no requests: this is left to others.
                    Err(Error::Denied { .. }) => return Ok(Look::MayNotPrune),
                    Err(error) => return Err(error),
                }
            }
            return Ok(known.map_or(Look::Fine, Look::Finished));
        }
        let ours = scope.classes.contains(&request.class);
        if queued.contains(&(job.clone(), request.incarnation)) {
            return Ok(Look::Open(open(job, &request), ours));
        }
        if !ours {
            return Ok(Look::Fine);
        }
        // Whoever can read such a record, a newer worker perhaps, sweeps too.
        let Some(record) = readable(self.results().get(key).await)? else { return Ok(Look::Fine) };
        let of_request = |record: &Record| record.incarnation == request.incarnation;
        if let Some(record) = record.value.filter(of_request)
            && let State::Finished(finished) = &record.state
        {
            let built = matches!(finished.outcome, Outcome::Built(_)).then_some(finished.at);
            return Ok(Look::Finished(Ended { revision: entry.revision, built }));
        }
        match self.requeue(&job, &request).await? {
            Some((subject, Queued::Now)) => Ok(Look::Requeued(subject, open(job, &request))),
            Some((_, Queued::Already)) | None => Ok(Look::Fine),
        }
    }
}

fn open(job: JobKey, request: &Request) -> OpenJob {
    let since = request.wanted_by.values().map(|wish| wish.at).min().unwrap_or_default();
    OpenJob { job, class: request.class.clone(), since }
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
