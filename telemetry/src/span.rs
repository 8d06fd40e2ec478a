//! The spans of the pool, each with its name, kind and attributes. `docs/traces.md` lists them.
//!
//! Attributes follow OpenTelemetry's conventions for messaging and for CI/CD; what those have no word
//! for begins with `nbp.`. The one thing that this file does not know is when a span begins.

use std::fmt;

use proto::{
    AttemptEnd, Epoch, ExitCode, FailureKind, Finished, GateId, Incarnation, Instance, JobKey,
    Outcome, Phase, Repo, Revision, RunId, State, TraceParent, WorkerName, subject::JobSubject,
    topology,
};
use tracing::{Span, field::Empty, info_span};

use crate::{
    TRACES,
    context::{context, continues, from_environment, linked},
};

/// What all job messages are sent to, without what differs from one to the next.
const DESTINATION: &str = "nbp.build";

/// A failed span says why in so many characters. Messages of git and Nix may be long.
const WHY_CHARS_MAX: usize = 300;

/// Links of one span: as many as the specification keeps by default.
const LINKS_MAX: usize = 128;

/// One `submit`: from its first look at the repository to its last job in the queue, or to the last
/// end that it waits for.
pub fn submit(repo: &Repo) -> Span {
    let span = info_span!(
        target: TRACES,
        parent: None,
        "submit",
        otel.kind = "internal",
        cicd.pipeline.name = %repo,
        cicd.pipeline.run.id = Empty,
        vcs.ref.head.name = Empty,
        vcs.ref.head.revision = Empty,
        cicd.pipeline.result = Empty,
        error.r#type = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
        nbp.hosts = Empty,
    );
    continues(&span, from_environment());
    span
}

/// What a submit has come to know.
pub fn resolved(span: &Span, run: RunId, revision: &Revision, git_ref: Option<&str>, hosts: usize) {
    span.record("cicd.pipeline.run.id", tracing::field::display(run));
    span.record("vcs.ref.head.revision", revision.as_str());
    if let Some(git_ref) = git_ref {
        let branch = git_ref.strip_prefix("refs/heads/").unwrap_or(git_ref);
        span.record("vcs.ref.head.name", branch);
    }
    span.record("nbp.hosts", number(hosts));
}

/// One job asked for: the wish and its message. Its context goes with the message.
pub fn publish(job: &JobKey, run: RunId) -> Span {
    info_span!(
        target: TRACES,
        "publish",
        otel.name = "publish nbp.build",
        otel.kind = "producer",
        messaging.system = "nats",
        messaging.operation.name = "publish",
        messaging.operation.r#type = "send",
        messaging.destination.name = topology::JOBS,
        messaging.destination.template = DESTINATION,
        messaging.message.id = Empty,
        cicd.pipeline.run.id = %run,
        cicd.pipeline.task.name = %job.host,
        nbp.job = %job,
        nbp.asked = Empty,
    )
}

/// What an asking came to: `queued`, `joined` or `known`. What `opened` the incarnation that it
/// joined is linked.
pub fn asked(span: &Span, incarnation: Incarnation, came_to: &str, opened: Option<TraceParent>) {
    span.record("messaging.message.id", tracing::field::display(incarnation));
    span.record("nbp.asked", came_to);
    linked(span, opened.filter(|opened| Some(*opened) != context(span)));
}

/// One attempt: a claim of a job, as its worker has it.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The job and its asking.
    pub subject: &'a JobSubject,
    /// Its claim.
    pub epoch: Epoch,
    /// Which claim of this asking it is, from 1.
    pub number: usize,
    /// How often the message was handed over, as the server counts.
    pub deliveries: i64,
    /// By whom.
    pub worker: &'a WorkerName,
    /// In which life.
    pub instance: Instance,
    /// The span that asked.
    pub asked: Option<TraceParent>,
}

/// One attempt. The first is a part of what asked for it; another one may come hours later, so it
/// begins a trace of its own that is linked to the asking.
pub fn process(attempt: &Attempt<'_>) -> Span {
    let JobSubject { job, class, priority, incarnation } = attempt.subject;
    let span = info_span!(
        target: TRACES,
        parent: None,
        "process",
        otel.name = "process nbp.build",
        otel.kind = "consumer",
        otel.status_code = Empty,
        otel.status_description = Empty,
        error.r#type = Empty,
        messaging.system = "nats",
        messaging.operation.name = "process",
        messaging.operation.r#type = "process",
        messaging.destination.name = topology::JOBS,
        messaging.destination.template = DESTINATION,
        messaging.consumer.group.name = topology::consumer_name(class, *priority),
        messaging.message.id = %incarnation,
        cicd.pipeline.name = %job.repo,
        cicd.pipeline.task.name = %job.host,
        cicd.pipeline.task.run.id = format!("{job}.{}", attempt.epoch),
        cicd.pipeline.task.run.result = Empty,
        cicd.worker.name = %attempt.worker,
        cicd.worker.id = %attempt.instance.0,
        vcs.ref.head.revision = %job.revision,
        nbp.job = %job,
        nbp.epoch = number(attempt.epoch.0),
        nbp.attempt = number(attempt.number),
        nbp.deliveries = attempt.deliveries,
        nbp.outcome = Empty,
    );
    match attempt.number {
        1 => continues(&span, attempt.asked),
        _ => linked(&span, attempt.asked),
    }
    span
}

/// What else a span is about: those that asked for its jobs, unless they are of its own trace.
pub fn about(span: &Span, others: impl Iterator<Item = TraceParent>) {
    let Some(own) = context(span) else { return };
    for other in others.filter(|other| other.trace != own.trace).take(LINKS_MAX) {
        linked(span, Some(other));
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// In our words: an outcome, or why the attempt has none.
    outcome: &'static str,
    /// In those of the CI/CD conventions, where an `error` is a fault of the system and a `failure`
    /// one of what is built.
    result: &'static str,
}

impl End {
    /// Another worker has the job, or nobody answers any more.
    pub const FENCED: Self = Self { outcome: "fenced", result: "error" };

    /// What a record in this state says of its last attempt; none while that one goes on.
    pub fn of(state: &State) -> Option<Self> {
        let (outcome, result) = match state {
            State::Running(_) => return None,
            State::Waiting(waiting) => match &waiting.reason {
                AttemptEnd::HandedBack => ("handed-back", "cancellation"),
                AttemptEnd::WorkerLost => ("worker-lost", "error"),
                AttemptEnd::Infra { kind, .. } => (kind.name(), "error"),
            },
            State::Finished(Finished { outcome, .. }) => (outcome.name(), result_of(outcome)),
        };
        Some(Self { outcome, result })
    }
}

/// Notes how an attempt ended.
pub fn ended(attempt: &Span, End { outcome, result }: End) {
    attempt.record("nbp.outcome", outcome);
    attempt.record("cicd.pipeline.task.run.result", result);
    if matches!(result, "failure" | "error" | "timeout") {
        wrong(attempt, outcome, outcome);
    }
}

/// What a command or a gate run came to, in the words of the CI/CD conventions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// All is as it should be.
    Success,
    /// What was built or judged is at fault.
    Failure,
    /// The system is at fault, or whoever set it up.
    Error,
    /// The caller's time was up.
    Timeout,
    /// Somebody took it back.
    Cancellation,
}

impl Conclusion {
    /// What an exit code says.
    pub fn of(code: ExitCode) -> Self {
        match code {
            ExitCode::Done => Self::Success,
            ExitCode::Failed => Self::Failure,
            ExitCode::Usage | ExitCode::Undecided => Self::Error,
            ExitCode::Cancelled => Self::Cancellation,
        }
    }

    /// The name in attributes.
    fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Cancellation => "cancellation",
        }
    }
}

/// Notes what the span's work came to; `word` is ours for it.
pub fn concluded(span: &Span, conclusion: Conclusion, word: &str) {
    span.record("cicd.pipeline.result", conclusion.name());
    match conclusion {
        Conclusion::Success | Conclusion::Cancellation => {}
        Conclusion::Failure | Conclusion::Error | Conclusion::Timeout => wrong(span, word, word),
    }
}

/// Notes that the span's work stopped with an error. Its type is what the exit code means.
pub fn failed(span: &Span, code: ExitCode, error: &dyn fmt::Display) {
    let kind = code_word(code);
    span.record("cicd.pipeline.result", Conclusion::of(code).name());
    if span.is_disabled() {
        return;
    }
    let why = error.to_string();
    let why: String = crate::plain(&why).chars().take(WHY_CHARS_MAX).collect();
    wrong(span, kind, &why);
}

/// What an exit code means, in a word.
pub fn code_word(code: ExitCode) -> &'static str {
    match code {
        ExitCode::Done => "done",
        ExitCode::Failed => "failed",
        ExitCode::Usage => "usage",
        ExitCode::Undecided => "undecided",
        ExitCode::Cancelled => "cancelled",
    }
}

/// Notes that a phase ended its attempt with this outcome.
pub fn phase_failed(phase: &Span, outcome: &'static str) {
    wrong(phase, outcome, outcome);
}

fn wrong(span: &Span, kind: &str, why: &str) {
    span.record("error.type", kind);
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", why);
}

/// A number as a collector gets it: other integers would arrive as text.
fn number(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// One phase of the attempt around it.
pub fn phase(phase: Phase) -> Span {
    info_span!(
        target: TRACES,
        "phase",
        otel.name = phase.name(),
        otel.kind = "internal",
        otel.status_code = Empty,
        otel.status_description = Empty,
        error.r#type = Empty,
        cicd.pipeline.task.name = phase.name(),
    )
}

/// The end of a delivery: `ack` or `nak`.
pub fn settle(attempt: &Span, operation: &'static str) -> Span {
    info_span!(
        target: TRACES,
        parent: attempt,
        "settle",
        otel.name = format!("{operation} {DESTINATION}"),
        otel.kind = "client",
        messaging.system = "nats",
        messaging.operation.name = operation,
        messaging.operation.r#type = "settle",
        messaging.destination.name = topology::JOBS,
        messaging.destination.template = DESTINATION,
    )
}

/// One start of a gate on one run. Whoever goes on with a run is linked to the `began` of it.
pub fn gate_run(repo: &Repo, base: &str, run: GateId, began: Option<TraceParent>) -> Span {
    let span = info_span!(
        target: TRACES,
        parent: None,
        "gate run",
        otel.kind = "internal",
        cicd.pipeline.name = %repo,
        cicd.pipeline.run.id = %run,
        vcs.ref.base.name = base,
        cicd.pipeline.result = Empty,
        error.r#type = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
        nbp.end = Empty,
    );
    continues(&span, from_environment());
    linked(&span, began);
    span
}

/// One step of a gate run.
pub fn gate_step(stage: &'static str) -> Span {
    info_span!(
        target: TRACES,
        "gate step",
        otel.name = format!("gate {stage}"),
        otel.kind = "internal",
        otel.status_code = Empty,
        otel.status_description = Empty,
        error.r#type = Empty,
        cicd.pipeline.task.name = stage,
    )
}

/// One verdict over the hosts of a commit, as a part of the run that asked for them.
pub fn gate_check(repo: &Repo, revision: &Revision, asked: Option<TraceParent>) -> Span {
    let span = info_span!(
        target: TRACES,
        parent: None,
        "gate check",
        otel.kind = "internal",
        cicd.pipeline.name = %repo,
        vcs.ref.head.revision = %revision,
        cicd.pipeline.result = Empty,
        error.r#type = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
        nbp.verdict = Empty,
    );
    continues(&span, asked.or_else(from_environment));
    span
}

fn result_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Built(_) => "success",
        Outcome::Failed { kind: FailureKind::TimedOut | FailureKind::Silent, .. } => "timeout",
        Outcome::Failed { .. } => "failure",
        Outcome::InfraFailed { .. } => "error",
        Outcome::Cancelled | Outcome::Superseded => "cancellation",
    }
}
