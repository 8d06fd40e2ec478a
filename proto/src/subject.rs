//! Every subject of the pool, built and parsed here and nowhere else.

use std::fmt;

use crate::{
    event::{ClassEvent, RunEvent, What, WorkerChange},
    job::{GateId, Incarnation, JobKey},
    priority::Priority,
    record::Epoch,
    token::{Class, Repo, TokenError, WorkerName, shown},
};

/// Who a job message is for, read from its subject: the only source of its identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JobSubject {
    /// What it needs of a worker.
    pub class: Class,
    /// How urgent.
    pub priority: Priority,
    /// The job.
    pub job: JobKey,
    /// The asking.
    pub incarnation: Incarnation,
}

/// A subject that is none of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectError {
    subject: String,
    reason: String,
}

impl fmt::Display for SubjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "subject {} is refused: {}", shown(&self.subject), self.reason)
    }
}

impl std::error::Error for SubjectError {}

impl JobSubject {
    /// `nbp.build.<class>.<priority>.<repo>.<revision>.<host>.<incarnation>`
    pub fn subject(&self) -> String {
        let Self { class, priority, job, incarnation } = self;
        format!("nbp.build.{class}.{priority}.{job}.{incarnation}")
    }

    /// Reads a subject as delivered.
    ///
    /// # Errors
    /// When it is not of the above form, or one of its tokens is refused.
    pub fn parse(subject: &str) -> Result<Self, SubjectError> {
        let refuse = |reason: String| SubjectError { subject: subject.to_owned(), reason };
        let parts: Vec<&str> = subject.split('.').collect();
        let ["nbp", "build", class, priority, repo, revision, host, incarnation] = parts[..] else {
            return Err(refuse("it is not nbp.build and six tokens".into()));
        };
        let tokens = || -> Result<Self, TokenError> {
            let job =
                JobKey { repo: repo.parse()?, revision: revision.parse()?, host: host.parse()? };
            let (class, priority) = (class.parse()?, priority.parse()?);
            Ok(Self { class, priority, job, incarnation: incarnation.parse()? })
        };
        tokens().map_err(|error| refuse(error.to_string()))
    }
}

/// All job messages.
pub const BUILD_ALL: &str = "nbp.build.>";
/// All log chunks.
pub const LOG_ALL: &str = "nbp.log.>";
/// All events.
pub const EVENT_ALL: &str = "nbp.event.>";
/// All events of jobs.
pub const JOB_EVENT_ALL: &str = "nbp.event.job.>";
/// What a gate has landed.
pub const LANDED_ALL: &str = "nbp.event.landed.>";
/// How gate runs ended.
pub const GATE_EVENT_ALL: &str = "nbp.event.gate.>";
/// All dead letters.
pub const DEAD_ALL: &str = "nbp.dead.>";
/// Dead letters of messages that name no job.
pub const DEAD_UNKNOWN: &str = "nbp.dead.unknown";
/// All cancel pokes.
pub const CANCEL_ALL: &str = "nbp.cancel.>";

/// What a class's consumer of one priority gets.
pub fn build_filter(class: &Class, priority: Priority) -> String {
    format!("nbp.build.{class}.{priority}.>")
}

/// All messages of a class, whatever their priority.
pub fn build_of_class(class: &Class) -> String {
    format!("nbp.build.{class}.>")
}

/// All messages of one job, whatever class, priority and incarnation.
pub fn build_of_job(job: &JobKey) -> String {
    format!("nbp.build.*.*.{job}.*")
}

/// The log of one attempt.
pub fn log(job: &JobKey, epoch: Epoch) -> String {
    format!("nbp.log.{job}.{epoch}")
}

/// The logs of all attempts of one job.
pub fn log_of_job(job: &JobKey) -> String {
    format!("nbp.log.{job}.*")
}

/// The epoch in a log subject.
///
/// # Errors
/// When its last token is no number.
pub fn log_epoch(subject: &str) -> Result<Epoch, SubjectError> {
    let last = subject.rsplit('.').next().unwrap_or_default();
    let epoch = last.parse().map(Epoch);
    epoch.map_err(|_| SubjectError {
        subject: subject.to_owned(),
        reason: "its last token is not an epoch".into(),
    })
}

/// What happened to a job.
pub fn job_event(job: &JobKey, what: &What) -> String {
    format!("nbp.event.job.{}.{job}", what.kind())
}

/// All that happened to one job.
pub fn events_of_job(job: &JobKey) -> String {
    format!("nbp.event.job.*.{job}")
}

/// What happened to a worker.
pub fn worker_event(worker: &WorkerName, what: &WorkerChange) -> String {
    format!("nbp.event.worker.{}.{worker}", what.kind())
}

/// What was done to a run.
pub fn run_event(event: &RunEvent) -> String {
    format!("nbp.event.run.{}.{}.{}", event.what.kind(), event.repo, event.by)
}

/// What was done to a class.
pub fn class_event(event: &ClassEvent) -> String {
    format!("nbp.event.class.{}.{}.{}", event.what.kind(), event.class, event.by)
}

/// What a gate tells after a landing.
pub fn landed(repo: &Repo) -> String {
    format!("nbp.event.landed.{repo}")
}

/// What a gate tells when a run ends.
pub fn gate_ended(repo: &Repo, end: &str) -> String {
    format!("nbp.event.gate.{end}.{repo}")
}

/// The key of a branch's lease in `nbp-gates`.
pub fn gate_lease_key(repo: &Repo, branch: &str) -> String {
    format!("lease.{repo}.{}", word(branch))
}

/// The key of a gate run in `nbp-gates`.
pub fn gate_run_key(repo: &Repo, branch: &str, id: GateId) -> String {
    format!("run.{repo}.{}.{id}", word(branch))
}

/// The keys of all gate runs of a branch.
pub fn gate_runs_of(repo: &Repo, branch: &str) -> String {
    format!("run.{repo}.{}.*", word(branch))
}

/// The keys of all leases.
pub const GATE_LEASES: &str = "lease.*.*";

/// A branch as one token of a key: what is no letter, digit, `-` or `_` stands as `=` and two hex
/// digits. Keys may hold nothing else, and a dot would begin another token.
fn word(branch: &str) -> String {
    let mut word = String::with_capacity(branch.len());
    for byte in branch.bytes() {
        match byte {
            b'-' | b'_' => word.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => word.push(byte.into()),
            _ => word.push_str(&format!("={byte:02X}")),
        }
    }
    word
}

/// The dead letter of a job.
pub fn dead(job: &JobKey) -> String {
    format!("nbp.dead.{job}")
}

/// The job that a dead letter is about, if its subject names one.
pub fn dead_job(subject: &str) -> Option<JobKey> {
    subject.strip_prefix("nbp.dead.")?.parse().ok()
}

/// Core message that makes the holder of a job read its request at once.
pub fn cancel(job: &JobKey) -> String {
    format!("nbp.cancel.{job}")
}

/// The job that a cancel poke is about, if it names one.
pub fn cancelled_job(subject: &str) -> Option<JobKey> {
    subject.strip_prefix("nbp.cancel.")?.parse().ok()
}

/// The subject of a key in a bucket.
pub fn kv(bucket: &str, key: &str) -> String {
    format!("$KV.{bucket}.{key}")
}

/// The key in a bucket's subject.
pub fn kv_key<'a>(bucket: &str, subject: &'a str) -> Option<&'a str> {
    subject.strip_prefix("$KV.")?.strip_prefix(bucket)?.strip_prefix('.')
}

/// The key of a worker in `nbp-workers`.
pub fn worker_key(worker: &WorkerName) -> String {
    worker.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: &str = "nbp.build.x86_64-linux_kvm.high.nixos.\
        0123456789abcdef0123456789abcdef01234567.ns1.0190f0d4-0000-7000-8000-000000000001";

    #[test]
    fn a_job_subject_reads_back_as_written() {
        let subject = JobSubject::parse(SUBJECT).expect("a job subject");
        assert_eq!(subject.subject(), SUBJECT);
        assert_eq!(subject.class.system(), "x86_64-linux");
        assert_eq!(subject.priority, Priority::High);
    }

    #[test]
    fn a_subject_that_is_not_ours_is_refused_with_its_reason() {
        let bad = [
            ("nbp.build.a", "six tokens"),
            (&SUBJECT.replace("nbp.build", "nbp.other"), "six tokens"),
            (&SUBJECT.replace(".high.", ".urgent."), "not high, normal or low"),
            (&SUBJECT.replace(".ns1.", ".n$1."), "character '$'"),
            (&SUBJECT.replace("0123", "0XYZ"), "full commit"),
            (&format!("{SUBJECT}.x"), "six tokens"),
        ];
        for (subject, reason) in bad {
            let error = JobSubject::parse(subject).expect_err(subject).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_branch_is_one_token_of_a_key_and_no_two_share_one() {
        let repo: Repo = "r".parse().expect("a repo");
        assert_eq!(gate_lease_key(&repo, "master"), "lease.r.master");
        assert_eq!(gate_lease_key(&repo, "release/26.05+x"), "lease.r.release=2F26=2E05=2Bx");
        assert_ne!(gate_lease_key(&repo, "a=2Fb"), gate_lease_key(&repo, "a/b"));
    }

    #[test]
    fn a_key_is_found_in_its_own_bucket_only() {
        assert_eq!(kv_key("nbp-runs", &kv("nbp-runs", "a.b")), Some("a.b"));
        assert_eq!(kv_key("nbp-runs", "$KV.nbp-runs2.a"), None);
        assert_eq!(kv_key("nbp-runs", "nbp.build.x"), None);
    }
}
