//! What the pool is asked for and what it answers, seen from a gate: hosts by label, each with the
//! end that it came to.
//!
//! It writes wishes and reads records. It decides nothing: what an end means is the planner's.

mod asking;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    time::Duration,
};

use bus::{Bus, Entry, PublicKey, ask_of, retried};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use options::Console;
use proto::{
    Finished, JobKey, Outcome, Presence, Record, RunRecord, State, WorkerName,
    gate::{HostResult, HostStanding, Required},
    subject,
    topology::Bucket,
};
use stand::{Seen, around};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, timeout};

pub(crate) use asking::Unanswered;

use crate::{plan::Look, watching::Watching};

/// Between two looks at every host that has not ended.
const POLL: Duration = Duration::from_secs(5);
/// Between two sweeps of what was asked for (DESIGN 5.12).
const HEAL: Duration = Duration::from_secs(120);
/// Until what the broker refuses is asked again: somebody may give the right meanwhile, and each
/// refusal is a line in the broker's log.
const DENIED_AGAIN: Duration = Duration::from_secs(10 * 60);
/// Reads and asks in flight at once.
const AT_ONCE: usize = 16;

/// The pool as one gate sees it.
pub(crate) struct Pool<'a> {
    pub(crate) bus: &'a Bus,
    /// The workers whose word counts; none: every one's.
    pub(crate) trusted: Option<&'a BTreeSet<PublicKey>>,
    pub(crate) console: &'a Console,
}

impl Pool<'_> {
    /// Waits until every host has ended, whatever the broker does meanwhile.
    pub(crate) async fn follow(
        &self,
        required: &BTreeMap<String, Required>,
        run_of: impl Fn(&JobKey) -> Option<RunRecord>,
    ) -> Result<BTreeMap<String, Look>, bus::Error> {
        let watching = Watching::on(self.console, required);
        tokio::select! {
            never = watching.keep(self.bus) => match never {},
            never = self.explain(&watching) => match never {},
            looks = self.until_ended(required, run_of, &watching) => looks,
        }
    }

    async fn until_ended(
        &self,
        required: &BTreeMap<String, Required>,
        run_of: impl Fn(&JobKey) -> Option<RunRecord>,
        watching: &Watching<'_>,
    ) -> Result<BTreeMap<String, Look>, bus::Error> {
        let mut pokes = self.bus.pokes(&subject::kv(Bucket::Results.name(), ">")).await?;
        let mut looks: BTreeMap<String, Look> = BTreeMap::new();
        let (mut poll, mut heal) = (interval(POLL), interval_at(Instant::now() + HEAL, HEAL));
        for every in [&mut poll, &mut heal] {
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let labels: BTreeMap<String, &String> =
            required.iter().map(|(label, it)| (it.job.to_string(), label)).collect();
        while looks.len() < required.len() {
            let which: Vec<&String> = tokio::select! {
                biased;
                _ = heal.tick() => {
                    let open = required.iter().filter(|(label, _)| !looks.contains_key(*label));
                    self.heal(open.map(|(_, it)| it), &run_of).await;
                    continue;
                }
                // After what is rarer: a look that takes as long as its turn must not keep it waiting.
                _ = poll.tick() => required.keys().filter(|it| !looks.contains_key(*it)).collect(),
                poked = pokes.next() => match &poked {
                    Some(subject) => {
                        // Many change at once: one look for all of them.
                        let more: Vec<String> = std::iter::from_fn(|| pokes.another()).collect();
                        let poked = std::iter::once(subject).chain(&more);
                        let keys = poked.filter_map(|it| subject::kv_key(Bucket::Results.name(), it));
                        let known = keys.filter_map(|key| labels.get(key)).copied();
                        let open: BTreeSet<&String> =
                            known.filter(|it| !looks.contains_key(*it)).collect();
                        open.into_iter().collect()
                    }
                    // The client is closed. The poll finds out what that means.
                    None => {
                        tokio::time::sleep(POLL).await;
                        continue;
                    }
                },
            };
            match self.look(required, &which, Some(watching)).await {
                Ok(ended) => {
                    for (label, look) in ended {
                        self.console.say(&said(&label, &look.result));
                        looks.insert(label, look);
                    }
                }
                Err(error) if error.transient() => tracing::info!("still waiting: {error}"),
                Err(error) => return Err(error),
            }
        }
        Ok(looks)
    }

    /// Tells now and then how things stand and why hosts wait, beside the waiting itself: what the
    /// queue does not answer, or not soon, holds up nothing, and the last answer stands. Before any
    /// has come a host that waits is said to be queued.
    async fn explain(&self, watching: &Watching<'_>) -> Infallible {
        let every = watching.every();
        let mut ticks = match watching.is_blind() {
            // Nothing has gone on for a while then.
            true => interval_at(Instant::now() + every, every),
            false => interval(every),
        };
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut not_before = Instant::now();
        loop {
            let now = ticks.tick().await;
            let classes = watching.wonders_why().filter(|_| now >= not_before);
            if let Some(classes) = classes {
                match timeout(every / 2, around::read(self.bus, classes)).await {
                    Ok(Ok(around)) => watching.knows(around),
                    Ok(Err(error)) => {
                        tracing::debug!("why hosts wait is not known: {error}");
                        if matches!(error, bus::Error::Denied { .. }) {
                            not_before = now + DENIED_AGAIN;
                        }
                    }
                    Err(_) => tracing::debug!("why hosts wait is not known: no answer so far"),
                }
            }
            watching.tell();
        }
    }

    /// Those of all hosts that have ended.
    pub(crate) async fn ended_by_now(
        &self,
        required: &BTreeMap<String, Required>,
    ) -> Result<BTreeMap<String, Look>, bus::Error> {
        let all: Vec<&String> = required.keys().collect();
        Ok(retried(|| self.look(required, &all, None)).await?.into_iter().collect())
    }

    /// Those of these hosts that have ended.
    async fn look(
        &self,
        required: &BTreeMap<String, Required>,
        which: &[&String],
        watching: Option<&Watching<'_>>,
    ) -> Result<Vec<(String, Look)>, bus::Error> {
        let mut workers: Option<Vec<Presence>> = None;
        let mut ended = Vec::new();
        let hosts = which.iter().filter_map(|label| Some((*label, required.get(*label)?)));
        let hosts: Vec<_> = hosts.collect();
        let seen = seen_all(self.bus, hosts.iter().map(|(_, it)| &it.job)).await?;
        for ((label, required), seen) in hosts.into_iter().zip(seen) {
            let result = self.ended(required, &seen);
            let by = by(&seen);
            if let Some(watching) = watching {
                watching.sees(label, seen, result.as_ref());
            }
            let Some(result) = result else { continue };
            let built = result.standing == HostStanding::Built;
            if !built && workers.is_none() {
                workers = Some(around::workers(self.bus).await?);
            }
            let elsewhere = !built
                && by.as_ref().is_some_and(|(_, worker)| {
                    workers.iter().flatten().any(|it| could(it, required, worker))
                });
            ended.push((label.clone(), Look { result, by, elsewhere }));
        }
        if let Some(watching) = watching {
            watching.show();
        }
        Ok(ended)
    }

    /// How a host ended, if it did.
    fn ended(&self, required: &Required, seen: &Seen) -> Option<HostResult> {
        let request = seen.request.value.as_ref();
        let record = seen.record.value.as_ref();
        let of_request = |record: &&Record| {
            request.is_none_or(|it| it.incarnation == record.incarnation || !it.wanted())
        };
        let finished = record.filter(of_request).and_then(|record| match &record.state {
            State::Finished(finished) => Some((record, finished)),
            State::Running(_) | State::Waiting(_) => None,
        });
        let Some((record, finished)) = finished else {
            // Withdrawn: a queued job reads as cancelled at once.
            let withdrawn = request.is_some_and(|request| !request.wanted());
            return withdrawn.then(|| nothing(HostStanding::Undecided, "cancelled", required));
        };
        if finished.overrides != required.overrides {
            // Two sets of overrides can share a digest, and with it a key.
            return Some(nothing(HostStanding::Undecided, "other-overrides", required));
        }
        let result = result(record, finished, required);
        let trusted = match self.trusted {
            Some(trusted) => bus::signature::verify(&required.job, record, trusted).objection(),
            None => None,
        };
        Some(match trusted {
            None => result,
            Some(why) => {
                tracing::warn!(job = %required.job, "not counted: {why}");
                nothing(HostStanding::Undecided, why, required)
            }
        })
    }

    async fn heal<'r>(
        &self,
        open: impl Iterator<Item = &'r Required>,
        run_of: impl Fn(&JobKey) -> Option<RunRecord>,
    ) {
        for required in open {
            let job = &required.job;
            let healed = match self.bus.requests().get(&job.to_string()).await {
                Ok(request) if request.value.is_none() => match run_of(job) {
                    Some(run) => {
                        self.bus.ask(job, &ask_of(&run, &required.class)).await.map(|_| true)
                    }
                    None => Ok(false),
                },
                Ok(_) => self.bus.heal(job).await,
                Err(error) => Err(error),
            };
            match healed {
                Ok(true) => tracing::info!(%job, "queued again"),
                Ok(false) => {}
                Err(error) => tracing::info!(%job, "not swept: {error}"),
            }
        }
    }

    /// The newest records of jobs, in their order.
    pub(crate) async fn records(&self, jobs: &[JobKey]) -> Result<Vec<Option<Record>>, bus::Error> {
        let seen = retried(|| seen_all(self.bus, jobs)).await?;
        Ok(seen.into_iter().map(|seen| seen.record.value).collect())
    }
}

/// One job, from the leader. The record is read first: an asking that comes in between shows as not
/// ended, and never as an end that it did not have.
async fn seen(bus: &Bus, job: &JobKey) -> Result<Seen, bus::Error> {
    let key = job.to_string();
    let record = readable(bus.results().get(&key).await)?;
    let request = readable(bus.requests().get(&key).await)?;
    Ok(Seen { request, record })
}

/// Many jobs, in their order.
pub(crate) async fn seen_all(
    bus: &Bus,
    jobs: impl IntoIterator<Item = &JobKey>,
) -> Result<Vec<Seen>, bus::Error> {
    let reads = jobs.into_iter().map(|job| seen(bus, job));
    stream::iter(reads).buffered(AT_ONCE).try_collect().await
}

/// A record that this version cannot read is as good as none, and never a pass.
fn readable<T>(entry: Result<Entry<T>, bus::Error>) -> Result<Entry<T>, bus::Error> {
    match entry {
        Err(error @ bus::Error::Undecodable { .. }) => {
            tracing::warn!("counted as missing: {error}");
            Ok(Entry::none())
        }
        entry => entry,
    }
}

fn by(seen: &Seen) -> Option<(proto::Incarnation, WorkerName)> {
    let record = seen.record.value.as_ref()?;
    let State::Finished(finished) = &record.state else { return None };
    Some((record.incarnation, finished.worker.clone()?))
}

/// Another worker that would take the host.
fn could(worker: &Presence, required: &Required, not: &WorkerName) -> bool {
    worker.worker != *not && worker.serves(&required.class, &required.job.repo)
}

fn result(record: &Record, finished: &Finished, required: &Required) -> HostResult {
    let outcome = &finished.outcome;
    let failure = outcome.failure();
    let attempts = record.attempts_used(record.incarnation);
    let mut result = nothing(outcome.standing().into(), outcome.name(), required);
    result.leaf = failure.and_then(|failure| failure.drv.clone());
    result.message = failure.map(|failure| failure.message.clone());
    result.attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
    result.build_ms = finished.build_ms;
    if let Outcome::Built(built) = outcome {
        result.drv_path = Some(built.drv_path.clone());
        result.out_path = Some(built.out_path.clone());
        result.reused = built.reused;
    }
    result
}

fn nothing(standing: HostStanding, outcome: &str, required: &Required) -> HostResult {
    HostResult {
        standing,
        outcome: outcome.to_owned(),
        drv_path: None,
        out_path: None,
        leaf: None,
        message: None,
        attempts: 0,
        build_ms: 0,
        reused: false,
        flaky: false,
        pre_existing: false,
        advisory: required.advisory,
    }
}

fn said(label: &str, result: &HostResult) -> String {
    let reused = if result.reused { " (reused)" } else { "" };
    let why = result.message.as_deref().map_or(String::new(), |message| format!(": {message}"));
    format!("{label}: {}{reused}{why}", result.outcome)
}

#[cfg(test)]
mod tests {
    use proto::Overrides;
    use stand::examples::{class, job, presence};

    use super::*;

    #[test]
    fn another_worker_is_one_that_would_take_the_host() {
        let (job, class) = (job("web"), class("aarch64-linux"));
        let required = Required { job, class, overrides: Overrides::default(), advisory: false };
        let check = |change: fn(&mut Presence), expected| {
            let mut worker = presence("aarch64-linux");
            worker.worker = "w2".parse().expect("a name");
            change(&mut worker);
            let not = "w1".parse().expect("a name");
            assert_eq!(could(&worker, &required, &not), expected, "{worker:?}");
        };
        check(|_| (), true);
        check(|it| it.worker = "w1".parse().expect("a name"), false);
        check(|it| it.draining = true, false);
        check(|it| it.classes.clear(), false);
        check(|it| it.repos = vec!["other".parse().expect("a repo")], false);
        check(|it| it.repos.clear(), true);
    }
}
