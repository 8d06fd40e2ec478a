//! What the page knows: the newest commits of each repository, how their jobs stand, who is alive,
//! what is queued, and the newest gate runs. Pure, and bounded in every direction.
//!
//! It reads nothing: `keeper` feeds it. What is older than it keeps is read when somebody asks.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
};

use bus::Entry;
use proto::{
    Class, Epoch, GateId, Host, JobKey, Outcome, Record, Repo, Request, Revision, RunRecord, State,
    Timestamp, WorkerName, gate::GateRun, subject::JobSubject, worker::PresentJob,
};
use stand::{Around, HostStatus, Look, Seen, Stand};

use super::gates::GateLine;
use crate::render::waits::detail;

/// Commits of one repository: two days at one every half hour would be 96, and nobody looks at
/// more than fit on a screen.
pub(crate) const COLUMNS_KEPT: usize = 12;
/// Jobs in memory, about 1 KiB each.
const JOBS_KEPT: usize = 20_000;
/// Gate runs in memory, about 1 KiB each.
pub(crate) const GATES_KEPT: usize = 100;
/// Bytes of one foreign message in memory; a job's own page has all of it.
const MESSAGE_BYTES_KEPT: usize = 400;

/// One commit of a repository, and the hosts that anybody asked for.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) repo: Repo,
    pub(crate) revision: Revision,
    /// When it was asked for last.
    pub(crate) at: Timestamp,
    /// The ref that it was asked for by.
    pub(crate) git_ref: Option<String>,
    pub(crate) hosts: BTreeMap<Host, Class>,
}

/// How far the first reading is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Everything was read once.
    pub(crate) done: bool,
    /// Jobs that are read, and that are known of.
    pub(crate) read: usize,
    pub(crate) of: usize,
}

/// A job in a worker's hands.
#[derive(Clone, Debug)]
pub(crate) struct InHand {
    pub(crate) status: HostStatus,
    /// When its worker took it.
    pub(crate) began: Option<Timestamp>,
    pub(crate) epoch: Epoch,
}

impl InHand {
    /// As a worker of that name would tell it, if it is the one that has it.
    fn present(&self, worker: &WorkerName) -> Option<PresentJob> {
        let Stand::Running { running, .. } = &self.status.stand else { return None };
        let (phase, progress) = (running.phase, running.progress);
        let job = self.status.job.clone();
        let its = running.worker == *worker;
        its.then_some(PresentJob { job, phase, since: self.began, progress })
    }
}

#[derive(Debug)]
struct Job {
    class: Class,
    seen: Seen,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// Newest first.
    columns: Vec<Column>,
    jobs: HashMap<JobKey, Job>,
    around: Around,
    gates: BTreeMap<GateId, GateLine>,
    last_lines: HashMap<JobKey, String>,
    /// Since when the broker does not answer.
    pub(crate) away_since: Option<Timestamp>,
    /// What this identity has no right to.
    pub(crate) denied: BTreeSet<&'static str>,
    pub(crate) reading: Reading,
}

impl Model {
    /// The commits of a repository, newest first.
    pub(crate) fn columns_of<'a>(&'a self, repo: &'a Repo) -> impl Iterator<Item = &'a Column> {
        self.columns.iter().filter(move |column| column.repo == *repo)
    }

    /// All repositories, by name.
    pub(crate) fn repos(&self) -> BTreeSet<&Repo> {
        self.columns.iter().map(|column| &column.repo).collect()
    }

    /// The queue and the living workers.
    pub(crate) fn around(&self) -> &Around {
        &self.around
    }

    /// The queue and the living workers, by what the records say: a worker tells what it has every
    /// 15 s only.
    pub(crate) fn around_now(&self, now: Timestamp) -> Around {
        let mut workers = self.around.workers.clone();
        let running = self.running(now);
        for worker in &mut workers {
            worker.jobs.retain(|it| !self.jobs.contains_key(&it.job));
            let its = running.iter().filter_map(|it| it.present(&worker.worker));
            worker.jobs.extend(its);
        }
        self.around.with(workers)
    }

    /// The gate runs, newest first.
    pub(crate) fn gates(&self) -> impl Iterator<Item = &GateLine> {
        self.gates.values().rev()
    }

    /// What a running build said last, as it said it.
    pub(crate) fn last_line(&self, job: &JobKey) -> Option<&str> {
        self.last_lines.get(job).map(String::as_str)
    }

    /// Whether a job is read.
    pub(crate) fn knows(&self, job: &JobKey) -> bool {
        self.jobs.contains_key(job)
    }

    /// How a job stands; `None` when it is not read (yet).
    pub(crate) fn status(&self, job: &JobKey, now: Timestamp) -> Option<HostStatus> {
        let known = self.jobs.get(job)?;
        Some(self.judged(job, known, now))
    }

    /// All that a job's own page shows of what is known here. It reads the rest from the broker,
    /// which changes with one of the two writes that are counted.
    pub(crate) fn traits_of(&self, job: &JobKey, now: Timestamp) -> impl Hash {
        let known = self.jobs.get(job).map(|known| {
            let status = self.judged(job, known, now);
            let place = matches!(status.stand, Stand::Queued(_)).then(|| detail(&status.stand));
            (known.seen.record.revision, known.seen.request.revision, status.phrase(), place)
        });
        (known, self.away_since, self.denied.clone(), self.reading.done)
    }

    fn judged(&self, job: &JobKey, known: &Job, now: Timestamp) -> HostStatus {
        let look = Look { around: &self.around, now };
        HostStatus::of(job.clone(), &known.class, &known.seen, look)
    }

    /// The jobs in workers' hands, the oldest first.
    pub(crate) fn running(&self, now: Timestamp) -> Vec<InHand> {
        let in_hand = |(job, known): (&JobKey, &Job)| {
            let record = known.seen.record.value.as_ref().filter(|it| it.running().is_some())?;
            let status = self.judged(job, known, now);
            let running = matches!(status.stand, Stand::Running { .. });
            let began = record.attempts.last().map(|attempt| attempt.at);
            running.then_some(InHand { status, began, epoch: record.epoch })
        };
        let mut found: Vec<InHand> = self.jobs.iter().filter_map(in_hand).collect();
        found.sort_by(|a, b| (a.began, &a.status.job).cmp(&(b.began, &b.status.job)));
        found
    }

    /// The jobs that wait for a worker or for another attempt, in the order of their asking.
    pub(crate) fn waiting(&self, now: Timestamp) -> Vec<HostStatus> {
        let mut queued: Vec<&JobSubject> = self.around.queued().iter().collect();
        // Incarnations are uuids of version 7: their order is that of asking.
        queued.sort_by_key(|it| (std::cmp::Reverse(it.priority), it.incarnation));
        let mut seen = BTreeSet::new();
        queued.retain(|it| seen.insert(&it.job));
        let status = queued.into_iter().filter_map(|it| self.status(&it.job, now));
        status.filter(|it| matches!(it.stand, Stand::Queued(_) | Stand::Waiting { .. })).collect()
    }

    /// Jobs that are of interest and not read, the newest commits first.
    pub(crate) fn unread(&self) -> Vec<(JobKey, Class)> {
        let mut unread: Vec<_> = self.of_interest();
        unread.retain(|(job, _)| !self.jobs.contains_key(job));
        unread
    }

    fn of_interest(&self) -> Vec<(JobKey, Class)> {
        let mut found: Vec<(JobKey, Class)> = Vec::new();
        for worker in &self.around.workers {
            let class = worker.classes.first();
            let held = worker.jobs.iter().filter_map(|it| Some((it.job.clone(), class?.clone())));
            found.extend(held);
        }
        for column in &self.columns {
            let key = |host: &Host| JobKey {
                repo: column.repo.clone(),
                revision: column.revision.clone(),
                host: host.clone(),
            };
            found.extend(column.hosts.iter().map(|(host, class)| (key(host), class.clone())));
        }
        found.extend(self.around.queued().iter().map(|it| (it.job.clone(), it.class.clone())));
        let mut once = BTreeSet::new();
        found.retain(|(job, _)| once.insert(job.clone()));
        found.truncate(JOBS_KEPT);
        found
    }

    /// Takes a run; says whether anything is new.
    pub(crate) fn take_run(&mut self, run: &RunRecord) -> bool {
        let same = |it: &&mut Column| it.repo == run.repo && it.revision == run.revision;
        let Some(column) = self.columns.iter_mut().find(same) else {
            let (repo, revision) = (run.repo.clone(), run.revision.clone());
            let (git_ref, hosts) = (run.git_ref.clone(), run.hosts.clone());
            self.columns.push(Column { repo, revision, at: run.at, git_ref, hosts });
            return self.order();
        };
        let before = (column.at, column.hosts.len());
        if run.at >= column.at {
            (column.at, column.git_ref) = (run.at, run.git_ref.clone().or(column.git_ref.take()));
        }
        column.hosts.extend(run.hosts.clone());
        before != (column.at, column.hosts.len()) && self.order()
    }

    /// Newest first, and no more than is kept.
    fn order(&mut self) -> bool {
        self.columns.sort_by(|a, b| (b.at, &b.revision).cmp(&(a.at, &a.revision)));
        let (mut of_repo, mut jobs) = (HashMap::<Repo, usize>::new(), 0);
        self.columns.retain(|column| {
            let columns = of_repo.entry(column.repo.clone()).or_default();
            *columns += 1;
            jobs += column.hosts.len();
            // The newest commit is shown however many hosts it has.
            *columns == 1 || (*columns <= COLUMNS_KEPT && jobs <= JOBS_KEPT)
        });
        true
    }

    /// Takes a job as just read.
    pub(crate) fn take_job(&mut self, job: JobKey, class: Class, mut seen: Seen) {
        seen.record.value = seen.record.value.map(slim);
        self.jobs.insert(job, Job { class, seen });
    }

    /// Takes a write to the record of a job that is kept; says whether it is new.
    pub(crate) fn take_record(&mut self, job: &JobKey, record: Entry<Record>) -> bool {
        let Some(known) = self.jobs.get_mut(job) else { return false };
        let newer = record.revision > known.seen.record.revision;
        if newer {
            known.seen.record = Entry { value: record.value.map(slim), ..record };
        }
        newer
    }

    /// Takes a write to the request of a job that is kept; says whether it is new.
    pub(crate) fn take_request(&mut self, job: &JobKey, request: Entry<Request>) -> bool {
        let Some(known) = self.jobs.get_mut(job) else { return false };
        let newer = request.revision > known.seen.request.revision;
        if newer {
            known.seen.request = request;
        }
        newer
    }

    /// Takes the queue and the living workers; says whether anything is new. What nobody has an
    /// interest in any more is forgotten.
    pub(crate) fn take_pool(&mut self, around: Around) -> bool {
        let changed = self.around != around;
        self.around = around;
        if changed {
            let kept: BTreeSet<JobKey> =
                self.of_interest().into_iter().map(|(job, _)| job).collect();
            self.jobs.retain(|job, _| kept.contains(job));
        }
        changed
    }

    /// Takes a gate run; says whether it is new.
    pub(crate) fn take_gate(&mut self, key: &str, run: &GateRun) -> bool {
        let line = GateLine::of(key, run);
        let changed = self.gates.get(&run.id) != Some(&line);
        self.gates.insert(run.id, line);
        while self.gates.len() > GATES_KEPT {
            self.gates.pop_first();
        }
        changed
    }

    /// Takes what running builds said last, those of others are forgotten; says whether it is new.
    pub(crate) fn take_last_lines(&mut self, mut lines: HashMap<JobKey, String>) -> bool {
        for line in lines.values_mut() {
            cut(line);
        }
        let changed = self.last_lines != lines;
        self.last_lines = lines;
        changed
    }

    /// Forgets everything: the broker holds other streams than before.
    pub(crate) fn clear(&mut self) {
        let (away_since, denied) = (self.away_since, std::mem::take(&mut self.denied));
        *self = Self { away_since, denied, ..Self::default() };
    }
}

/// A record without what only the job's own page shows.
fn slim(mut record: Record) -> Record {
    if let State::Finished(finished) = &mut record.state {
        finished.signature = None;
        match &mut finished.outcome {
            Outcome::Built(built) => built.diff = None,
            Outcome::Failed { failure, .. } | Outcome::InfraFailed { failure, .. } => {
                failure.log_tail = Vec::new();
                cut(&mut failure.message);
            }
            Outcome::Cancelled | Outcome::Superseded => {}
        }
    }
    for attempt in &mut record.attempts {
        if let Some(proto::AttemptEnd::Infra { message, .. }) = &mut attempt.end {
            cut(message);
        }
    }
    record
}

fn cut(text: &mut String) {
    if text.len() > MESSAGE_BYTES_KEPT {
        text.truncate(text.floor_char_boundary(MESSAGE_BYTES_KEPT));
        text.push('…');
        text.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests;
