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
    /// Somebody wants to know when hosts that wait were built, which costs a question for each.
    pub successes: bool,
}

/// What a sweeper remembers between two sweeps.
#[derive(Default)]
pub struct SweepMemory {
    /// Requests whose incarnation is finished, by key. A request that is written again has another
    /// revision and is looked at again.
    finished: HashMap<String, Ended>,
    /// When each host was built last, as far as it was seen: the record of a job that is asked for
    /// again says so only until somebody takes it.
    built: BTreeMap<(Repo, Host), Timestamp>,
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
    /// records can tell and the sweeps before this one have seen.
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
    /// In the queue. If its class is swept: when it was built before it was asked for again, if it
    /// was.
    Open(OpenJob, Option<Option<Timestamp>>),
    Finished(Ended),
    /// The same, of a job that was in no queue.
    Requeued(JobSubject, OpenJob, Option<Timestamp>),
    Pruned(JobSubject),
    MayNotPrune,
}

impl SweepMemory {
    /// Whether a success of the job's host was seen.
    fn knows(&self, job: &JobKey) -> bool {
        self.built.contains_key(&(job.repo.clone(), job.host.clone()))
    }
}

impl Swept {
    fn host(&mut self, job: &JobKey, built: Option<Timestamp>) {
        let newest = self.hosts.entry((job.repo.clone(), job.host.clone())).or_default();
        *newest = built.max(*newest);
    }

    /// Adds what was seen before, of hosts that are still asked for, and remembers it all.
    fn remember(&mut self, built: &mut BTreeMap<(Repo, Host), Timestamp>) {
        for (host, newest) in &mut self.hosts {
            *newest = (*newest).max(built.get(host).copied());
        }
        let seen = self.hosts.iter().filter_map(|(host, at)| Some((host.clone(), (*at)?)));
        *built = seen.collect();
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
        let seen = &*memory;
        let looks = keys.into_iter().map(|key| async {
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
                    if let Some(built) = ours {
                        swept.host(&open.job, built);
                    }
                    swept.open.push(open);
                }
                Look::Finished(ended) => {
                    if let Ok(job) = key.parse() {
                        swept.host(&job, ended.built);
                    }
                    finished.insert(key, ended);
                }
                Look::Requeued(subject, open, built) => {
                    swept.host(&open.job, built);
                    swept.requeued.push(subject);
                    swept.open.push(open);
                }
                Look::Pruned(job) => swept.pruned.push(job),
                Look::MayNotPrune => memory.may_not_prune = true,
            }
        }
        memory.finished = finished;
        swept.remember(&mut memory.built);
        Ok(swept)
    }

    async fn look(
        &self,
        key: &str,
        seen: &SweepMemory,
        scope: &SweepScope,
        queued: &HashSet<(JobKey, Incarnation)>,
    ) -> Result<Look, Error> {
        let Ok(job) = key.parse::<JobKey>() else { return Ok(Look::Fine) };
        let Some(entry) = readable(self.requests().get(key).await)? else { return Ok(Look::Fine) };
        let Some(request) = entry.value else { return Ok(Look::Fine) };
        let known = seen.finished.get(key).copied();
        let known = known.filter(|ended| ended.revision == entry.revision);
        if known.is_some() || !request.wanted() {
            let old = clock::now().since(entry.time) > scope.keep_requests;
            if old && !seen.may_not_prune {
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
            let built = match ours {
                true if !scope.successes || seen.knows(&job) => Some(None),
                true => Some(self.built_before(key).await?),
                false => None,
            };
            return Ok(Look::Open(open(job, &request), built));
        }
        if !ours {
            return Ok(Look::Fine);
        }
        // Whoever can read such a record, a newer worker perhaps, sweeps too.
        let Some(record) = readable(self.results().get(key).await)? else { return Ok(Look::Fine) };
        let built = record.value.as_ref().and_then(built_at);
        let of_request = |record: &Record| record.incarnation == request.incarnation;
        if let Some(record) = record.value.filter(of_request)
            && let State::Finished(_) = &record.state
        {
            return Ok(Look::Finished(Ended { revision: entry.revision, built }));
        }
        match self.requeue(&job, &request).await? {
            Some((subject, Queued::Now)) => Ok(Look::Requeued(subject, open(job, &request), built)),
            // Somebody else was faster.
            Some((_, Queued::Already)) => Ok(Look::Open(open(job, &request), Some(built))),
            None => Ok(Look::Fine),
        }
    }

    /// When a job that waits was built by an earlier asking, if it was. Nobody has taken it yet.
    async fn built_before(&self, key: &str) -> Result<Option<Timestamp>, Error> {
        let record = readable(self.results().get(key).await)?.and_then(|entry| entry.value);
        Ok(record.as_ref().and_then(built_at))
    }
}

/// When a job was built, if that is what its record says, of whichever asking.
fn built_at(record: &Record) -> Option<Timestamp> {
    let State::Finished(finished) = &record.state else { return None };
    matches!(finished.outcome, Outcome::Built(_)).then_some(finished.at)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_that_was_seen_stays_for_as_long_as_its_host_is_asked_for() {
        let job: JobKey = format!("r.{}.web", "0".repeat(40)).parse().expect("a job");
        let mut memory = SweepMemory::default();
        let mut sweep = |seen: &[Option<u64>]| {
            let mut swept = Swept::default();
            for at in seen {
                swept.host(&job, at.map(Timestamp));
            }
            swept.remember(&mut memory.built);
            swept.hosts.into_values().next().map(|at| at.map(|Timestamp(at)| at))
        };
        assert_eq!(sweep(&[None]), Some(None), "never built");
        assert_eq!(sweep(&[Some(5), None, Some(3)]), Some(Some(5)));
        // Asked for again and taken: its record knows of no success any more.
        assert_eq!(sweep(&[None]), Some(Some(5)));
        assert_eq!(sweep(&[Some(7)]), Some(Some(7)));
        assert_eq!(sweep(&[]), None, "nobody asks for it");
        assert_eq!(sweep(&[None]), Some(None));
    }
}
