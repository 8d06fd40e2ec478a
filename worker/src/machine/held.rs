//! A job under my lease: heartbeats, and the one finish (DESIGN 5.5 to 5.7).
//!
//! One operation on the record is under way at a time. A write that got no answer, or met another
//! revision, is followed by a read; the read tells whether the job is still mine. Only another
//! epoch or instance means that it is not: then the build is killed, nothing is written, nothing
//! is acked. While nobody answers, the lease may run out; then the job is an orphan, which is
//! built on for `orphan_grace` and leased again if nobody took it.

mod ending;
#[cfg(test)]
mod words;

use std::time::Duration;

use bus::Entry;
use proto::{
    JobKey, Outcome, Overrides, Record, Request, Running, State, event::What, record::AttemptEnd,
    worker::PresentJob,
};

use self::ending::Ending;
use super::{
    io::{Answer, Effect, Written},
    job::{AGAIN, Context, Job, Stage},
};
use crate::build::{BuildEnd, Ended, Notice};

/// A claim of mine.
#[derive(Debug)]
pub(super) struct Held {
    /// As last written by me, or as I am writing it.
    record: Record,
    /// As last known.
    revision: u64,
    running: Running,
    overrides: Overrides,
    queued: Duration,
    since: Duration,
    /// By my own clock, from before the last successful write: never later than the server's.
    lease_until: Duration,
    next_beat: Duration,
    sync: Sync,
    /// It is time for a heartbeat, or the phase in the record is not the one the build is in.
    renew_due: bool,
    /// It is time to see whether the job is still wanted. Less urgent than the lease.
    read_request: bool,
    /// Nobody has looked since the claim stands. A wish may have been taken away between the read
    /// of the request and the claim: such a job reads as cancelled to people, so it must not end
    /// as anything else, however fast it is.
    unseen: bool,
    work: Work,
    /// Its build builds nothing, as far as is known.
    pub(super) idle: bool,
}

/// What is known of a claim that was won.
pub(super) struct Won {
    /// The revision that it has.
    pub(super) revision: u64,
    /// How long its message was in the queue.
    pub(super) queued: Duration,
    /// The inputs that are replaced.
    pub(super) overrides: Overrides,
    /// When the claim was sent.
    pub(super) sent: Duration,
}

/// The operation on the record that is under way.
#[derive(Debug, PartialEq)]
enum Sync {
    Idle,
    /// A renewal, sent at this time.
    Renewing(Duration),
    /// The request, for a cancel.
    ReadingRequest,
    /// The record, after a write of which nobody knows.
    ReadingRecord,
    /// Time, then a read of the record.
    Pausing(Duration),
    /// The end of the job or of the attempt.
    Ending,
}

/// What the build does.
#[derive(Debug)]
enum Work {
    Building,
    /// Told to stop, and why; its end is awaited.
    Stopping(Stop),
    /// It has ended so; the record is to say it.
    Ended(Ending),
}

/// Why a build is stopped.
#[derive(Clone, Debug, PartialEq)]
enum Stop {
    Cancel(Outcome),
    HandBack,
    /// Not mine any more, or given up: the delivery is settled already.
    Fenced,
}

impl Held {
    pub(super) fn new(claim: Record, running: Running, won: Won, ctx: &Context<'_>) -> Self {
        let now = ctx.now.mono;
        Self {
            record: claim,
            revision: won.revision,
            running,
            queued: won.queued,
            overrides: won.overrides,
            since: now,
            lease_until: won.sent + ctx.settings.lease,
            next_beat: now + ctx.settings.beat(),
            sync: Sync::Idle,
            renew_due: false,
            read_request: false,
            unseen: true,
            work: Work::Building,
            idle: false,
        }
    }

    /// As the registry shows it.
    pub(super) fn present(&self, job: JobKey) -> PresentJob {
        let since = self.record.attempts.last().map(|attempt| attempt.at);
        PresentJob { job, phase: self.running.phase, since, progress: self.running.progress }
    }

    pub(super) fn deadline(&self) -> Duration {
        match self.sync {
            Sync::Pausing(until) => until.min(self.next_beat),
            _ => self.next_beat,
        }
    }

    /// The claim stands and the build is under way.
    pub(super) fn begin(&mut self, job: &Job, ctx: &mut Context<'_>) {
        self.go_on(job, ctx);
    }

    /// Gives the job back unbuilt, or stops the build to do so.
    pub(super) fn hand_back(&mut self, job: &Job, ctx: &mut Context<'_>) {
        let ending = Ending::Wait { delay: Duration::ZERO, reason: AttemptEnd::HandedBack };
        self.end(job, ending, ctx);
    }

    pub(super) fn stop_for_drain(&mut self, job: &Job, ctx: &mut Context<'_>) {
        if matches!(self.work, Work::Building) {
            self.stop(job, Stop::HandBack, ctx);
        }
    }

    pub(super) fn noticed(
        &mut self,
        job: &Job,
        notice: Notice,
        ctx: &mut Context<'_>,
    ) -> Option<Stage> {
        match notice {
            Notice::Phase(phase) => {
                self.running.phase = phase;
                self.renew_due = true;
                ctx.out.push(Effect::told(&job.subject, &self.record, What::Phase { phase }));
                self.go_on(job, ctx);
            }
            // Progress rides on the next heartbeat: it is for people, and changes often.
            Notice::Progress(progress) => self.running.progress = Some(progress),
            Notice::Idle(idle) => self.idle = idle,
            // The job's own affair.
            Notice::Anew => {}
        }
        None
    }

    pub(super) fn ended(
        &mut self,
        job: &Job,
        ended: Ended,
        ctx: &mut Context<'_>,
    ) -> Option<Stage> {
        self.idle = false;
        let stop = match &self.work {
            Work::Building => None,
            Work::Stopping(stop) => Some(stop.clone()),
            Work::Ended(_) => return None,
        };
        let Ended { end, phases } = ended;
        let ending = match (stop, end) {
            (Some(Stop::Fenced), end) => {
                if let Some(outcome) = name_of(&end) {
                    self.told_late(job, outcome, ctx);
                }
                return Some(Stage::Settled);
            }
            // Tested before how the build ended: a killed build looks failed.
            (Some(Stop::Cancel(outcome)), _) => self.finish(outcome, phases, ctx),
            (Some(Stop::HandBack) | None, BuildEnd::Stopped) => {
                Ending::Wait { delay: Duration::ZERO, reason: AttemptEnd::HandedBack }
            }
            (_, BuildEnd::Built(built)) => self.finish(Outcome::Built(built), phases, ctx),
            (_, BuildEnd::Failed { kind, failure }) => {
                self.finish(Outcome::Failed { kind, failure }, phases, ctx)
            }
            (_, BuildEnd::Infra { kind, failure }) => {
                let used = self.record.attempts_used(self.record.incarnation);
                if used >= ctx.settings.attempts_max {
                    self.finish(Outcome::InfraFailed { kind, failure }, phases, ctx)
                } else {
                    let delay = ctx.settings.retry_delay(used, ctx.chance);
                    let reason = AttemptEnd::Infra { kind, message: failure.message };
                    Ending::Wait { delay, reason }
                }
            }
        };
        self.end(job, ending, ctx);
        None
    }

    /// Somebody may have taken a wish away: the request says so, not the poke.
    pub(super) fn cancel_poked(&mut self, job: &Job, ctx: &mut Context<'_>) -> Option<Stage> {
        self.read_request = true;
        self.go_on(job, ctx);
        None
    }

    pub(super) fn tick(&mut self, job: &Job, ctx: &mut Context<'_>) -> Option<Stage> {
        let now = ctx.now.mono;
        if now > self.lease_until + ctx.settings.orphan_grace {
            return self.fenced(job, ctx);
        }
        if matches!(self.sync, Sync::Pausing(until) if until <= now) {
            self.sync = Sync::ReadingRecord;
            ctx.out.push(Effect::ReadRecord(job.id, job.subject.job.clone()));
        }
        if self.next_beat <= now {
            self.next_beat = now + ctx.settings.beat();
            // Not as an orphan: the message is for whoever holds the lease.
            if now < self.lease_until {
                ctx.out.push(Effect::Progress(job.id));
            }
            self.renew_due = true;
            self.read_request = true;
            self.go_on(job, ctx);
        }
        None
    }

    pub(super) fn written(
        &mut self,
        job: &Job,
        written: Written,
        ctx: &mut Context<'_>,
    ) -> Option<Stage> {
        let sync = std::mem::replace(&mut self.sync, Sync::Idle);
        match (sync, written) {
            (Sync::Renewing(sent), Written::Done(revision)) => {
                self.revision = revision;
                self.lease_until = sent + ctx.settings.lease;
                self.go_on(job, ctx);
                None
            }
            (Sync::Ending, Written::Done(_)) => self.settle(job, ctx),
            (Sync::Renewing(_) | Sync::Ending, Written::Conflict) => {
                self.sync = Sync::ReadingRecord;
                ctx.out.push(Effect::ReadRecord(job.id, job.subject.job.clone()));
                None
            }
            (Sync::Renewing(_) | Sync::Ending, Written::NoAnswer) => {
                self.sync = Sync::Pausing(ctx.now.mono + AGAIN);
                None
            }
            (Sync::Ending, Written::Refused) => self.refused(job, ctx),
            (sync @ Sync::Renewing(_), Written::Refused) => {
                tracing::debug!(?sync, "a renewal was refused");
                self.sync = Sync::Pausing(ctx.now.mono + AGAIN);
                None
            }
            (other, _) => {
                self.sync = other;
                None
            }
        }
    }

    pub(super) fn record_read(
        &mut self,
        job: &Job,
        answer: Answer<Record>,
        ctx: &mut Context<'_>,
    ) -> Option<Stage> {
        if self.sync != Sync::ReadingRecord {
            return None;
        }
        self.sync = Sync::Idle;
        let Answer::Is(Entry { value, revision, .. }) = answer else {
            self.sync = Sync::Pausing(ctx.now.mono + AGAIN);
            return None;
        };
        let Some(found) = value else { return self.fenced(job, ctx) };
        if found.is_claim(&self.running, self.record.epoch) {
            self.revision = revision;
            self.renew_due = true;
            self.go_on(job, ctx);
            return None;
        }
        // My own ending may have landed although its answer was lost.
        let mine = found.epoch == self.record.epoch && found.incarnation == self.record.incarnation;
        match (&found.state, &self.work) {
            (State::Finished(_) | State::Waiting(_), Work::Ended(_)) if mine => {
                self.record = found;
                self.settle(job, ctx)
            }
            _ => self.fenced(job, ctx),
        }
    }

    pub(super) fn request_read(
        &mut self,
        job: &Job,
        answer: Answer<Request>,
        ctx: &mut Context<'_>,
    ) -> Option<Stage> {
        if self.sync != Sync::ReadingRequest {
            return None;
        }
        self.sync = Sync::Idle;
        let Answer::Is(entry) = answer else {
            self.go_on(job, ctx);
            return None;
        };
        if let Some(outcome) = unwanted(entry.value.as_ref(), &self.record) {
            match &mut self.work {
                Work::Building => self.stop(job, Stop::Cancel(outcome), ctx),
                Work::Ended(Ending::Finish(finished)) => finished.outcome = outcome,
                Work::Stopping(_) | Work::Ended(Ending::Wait { .. }) => {}
            }
        }
        self.go_on(job, ctx);
        None
    }

    fn stop(&mut self, job: &Job, stop: Stop, ctx: &mut Context<'_>) {
        self.work = Work::Stopping(stop);
        ctx.out.push(Effect::Kill(job.id));
    }

    /// The job is somebody else's, or nobody can say for too long: kill, write nothing, ack
    /// nothing.
    fn fenced(&mut self, job: &Job, ctx: &mut Context<'_>) -> Option<Stage> {
        if matches!(self.work, Work::Stopping(Stop::Fenced)) {
            return None;
        }
        ctx.out.push(Effect::told(&job.subject, &self.record, What::Fenced));
        ctx.out.push(Effect::Abandon(job.id));
        // Until the build is gone the slot stays taken, and no operation is begun any more.
        self.next_beat = Duration::MAX;
        self.lease_until = Duration::MAX / 2;
        self.sync = Sync::Idle;
        match &self.work {
            Work::Ended(ending) => {
                if let Ending::Finish(finished) = ending {
                    self.told_late(job, finished.outcome.name(), ctx);
                }
                Some(Stage::Settled)
            }
            Work::Building => {
                self.stop(job, Stop::Fenced, ctx);
                None
            }
            Work::Stopping(_) => {
                self.work = Work::Stopping(Stop::Fenced);
                None
            }
        }
    }

    /// An outcome of a claim that was lost: for audit, and never counted.
    fn told_late(&self, job: &Job, outcome: &str, ctx: &mut Context<'_>) {
        let what = What::Late { outcome: outcome.to_owned() };
        ctx.out.push(Effect::told(&job.subject, &self.record, what));
    }

    /// The delivery is settled already, although the build is not gone yet.
    pub(super) fn abandoned(&self) -> bool {
        matches!(self.work, Work::Stopping(Stop::Fenced))
    }

    fn end(&mut self, job: &Job, ending: Ending, ctx: &mut Context<'_>) {
        self.work = Work::Ended(ending);
        self.go_on(job, ctx);
    }

    /// Begins what is due, if nothing is under way: the ending before anything else.
    fn go_on(&mut self, job: &Job, ctx: &mut Context<'_>) {
        if self.sync != Sync::Idle || matches!(self.work, Work::Stopping(Stop::Fenced)) {
            return;
        }
        let waits = matches!(self.work, Work::Ended(Ending::Wait { .. }));
        if self.unseen && !waits {
            // Once: without an answer the next heartbeat asks again, and an end is not held up.
            self.unseen = false;
            self.sync = Sync::ReadingRequest;
            ctx.out.push(Effect::ReadRequest(job.id, job.subject.job.clone()));
        } else if matches!(self.work, Work::Ended(_)) {
            self.write_ending(job, ctx);
        } else if self.renew_due {
            self.renew_due = false;
            self.record = self.record.renewed(self.running.clone());
            self.sync = Sync::Renewing(ctx.now.mono);
            job.write(&self.record, self.revision, ctx);
        } else if self.read_request {
            self.read_request = false;
            self.sync = Sync::ReadingRequest;
            ctx.out.push(Effect::ReadRequest(job.id, job.subject.job.clone()));
        }
    }
}

/// The name of the outcome that a build would have had; none if it was stopped before it had one.
fn name_of(end: &BuildEnd) -> Option<&'static str> {
    match end {
        BuildEnd::Built(_) => Some("built"),
        BuildEnd::Failed { kind, .. } => Some(kind.name()),
        BuildEnd::Infra { kind, .. } => Some(kind.name()),
        BuildEnd::Stopped => None,
    }
}

/// How a job ends that nobody wants any more, if so: no wish, or another incarnation.
fn unwanted(request: Option<&Request>, record: &Record) -> Option<Outcome> {
    let Some(request) = request else { return Some(Outcome::Cancelled) };
    if request.incarnation != record.incarnation || request.superseded_by.is_some() {
        return Some(Outcome::Superseded);
    }
    (!request.wanted()).then_some(Outcome::Cancelled)
}
