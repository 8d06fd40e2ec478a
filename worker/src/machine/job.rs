//! One delivery from its arrival to its settlement.
//!
//! A job is read, claimed, held and settled. This file is the outer life; [`super::held`] is the
//! part in which a build runs under a lease. Nothing here does IO or reads a clock.

use std::time::Duration;

use bus::Entry;
use proto::{
    Before, Epoch, Finished, Outcome, Overrides, Record, Repo, Request, event::What, record,
    subject::JobSubject,
};

use super::{
    Settings,
    claim::{self, Claimer, Decision},
    held::{Held, Won},
    io::{Answer, Delivered, DeliveryId, Effect, Event, Now, Written},
    refused::Refused,
};
use crate::build::{Notice, Plan};

/// One delivery and where it stands.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: DeliveryId,
    pub(super) subject: JobSubject,
    delivered: Delivered,
    pub(super) stage: Stage,
    /// It is to reuse what was built, so it takes no slot. Until its record is read, by the word of
    /// who published it.
    pub(super) reuses: bool,
    /// That there is no record is the word of who published it. A write over nothing tests it.
    guessed: bool,
}

/// Where a delivery stands. Each variant says what moves it on.
#[derive(Debug)]
pub(super) enum Stage {
    /// The read of the record.
    ReadingRecord,
    /// The read of the request, which comes second: a request read first could be older than the
    /// record, and a finished job would be built again. Where there was no record the first write
    /// finds out whether there is one by then, so that no read goes before.
    ReadingRequest(Entry<Record>),
    /// The answer to the claim.
    Claiming(Claim),
    /// Time, then another read: the claim's answer was lost.
    Unsure { claim: Claim, next: Option<Duration> },
    /// The answer to a finish without a claim.
    Closing { record: Box<Record> },
    /// A build, under a lease.
    Held(Box<Held>),
    /// The confirmation that the dead letter is stored, or time to store it again.
    Burying { record: Box<Record>, since: Duration, next: Option<Duration> },
    /// The confirmation of the ack, or time to ack again.
    Acking { since: Duration, next: Option<Duration> },
    /// Nothing: settled, and the slot is free.
    Settled,
}

/// A claim on its way.
#[derive(Debug)]
pub(super) struct Claim {
    record: Box<Record>,
    plan: Plan,
    overrides: Overrides,
    /// When it was sent: its lease is counted from here, which is never later than the server's
    /// own timestamp.
    sent: Duration,
}

/// What is not confirmed is tried again after this long.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// After a lost race the winner's claim is there to be read; there is no hurry to see it.
const RACE_LOST: Duration = Duration::from_millis(500);

/// A job of a repo that this worker does not have is for another one, who may be busy.
const ELSEWHERE: Duration = Duration::from_secs(15);

/// A write that the broker refuses needs a person, who is told by the log.
const REFUSED: Duration = Duration::from_secs(60);

/// A record that this version cannot read is left alone; a newer worker may know it.
const UNREADABLE: Duration = Duration::from_secs(60);

/// What a step of a job needs to know of its worker.
pub(super) struct Context<'a> {
    pub(super) settings: &'a Settings,
    pub(super) now: Now,
    pub(super) draining: bool,
    /// Another delivery of the same job has a claim here, won or under way.
    pub(super) rival: bool,
    /// There is no slot for it, should it need one after all.
    pub(super) crowded: bool,
    pub(super) chance: &'a mut fastrand::Rng,
    pub(super) refused: &'a mut Refused,
    pub(super) out: &'a mut Vec<Effect>,
}

impl Job {
    pub(super) fn new(delivered: Delivered, ctx: &mut Context<'_>) -> Self {
        let (id, subject) = (delivered.id, delivered.subject.clone());
        let reuses = delivered.before == Before::Built;
        let guessed = delivered.before == Before::Nothing;
        let mut job = Self { id, subject, delivered, stage: Stage::Settled, reuses, guessed };
        if guessed {
            job.read_request(Entry::none(), ctx);
        } else {
            job.read_record(ctx);
        }
        job
    }

    fn read_record(&mut self, ctx: &mut Context<'_>) {
        ctx.out.push(Effect::ReadRecord(self.id, self.subject.job.clone()));
        self.guessed = false;
        self.stage = Stage::ReadingRecord;
    }

    fn read_request(&mut self, record: Entry<Record>, ctx: &mut Context<'_>) {
        ctx.out.push(Effect::ReadRequest(self.id, self.subject.job.clone()));
        self.stage = Stage::ReadingRequest(record);
    }

    pub(super) fn settled(&self) -> bool {
        matches!(self.stage, Stage::Settled)
    }

    pub(super) fn held(&self) -> Option<&Held> {
        match &self.stage {
            Stage::Held(held) => Some(held),
            _ => None,
        }
    }

    /// It has a claim, won or under way. Two builds of one job would be in each other's way here.
    pub(super) fn claims(&self) -> bool {
        matches!(self.stage, Stage::Claiming(_) | Stage::Unsure { .. } | Stage::Held(_))
    }

    /// Its next answer may lead to a claim.
    pub(super) fn decides(&self) -> bool {
        matches!(self.stage, Stage::ReadingRequest(_))
    }

    /// The next moment at which it wants a tick.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match &self.stage {
            Stage::Unsure { next, .. }
            | Stage::Burying { next, .. }
            | Stage::Acking { next, .. } => *next,
            Stage::Held(held) => Some(held.deadline()),
            _ => None,
        }
    }

    pub(super) fn record_read(&mut self, answer: Answer<Record>, ctx: &mut Context<'_>) {
        match (std::mem::replace(&mut self.stage, Stage::Settled), answer) {
            (Stage::ReadingRecord, Answer::Is(entry)) => self.read_request(entry, ctx),
            (Stage::ReadingRecord, Answer::None) => self.nak(AGAIN, ctx),
            (Stage::ReadingRecord, Answer::Unreadable(_)) => self.nak(UNREADABLE, ctx),
            (Stage::Unsure { claim, .. }, answer) => self.resolved(claim, answer, ctx),
            (Stage::Held(mut held), answer) => {
                self.stage = held.record_read(self, answer, ctx).unwrap_or(Stage::Held(held));
            }
            (other, _) => self.stage = other,
        }
    }

    pub(super) fn request_read(&mut self, answer: Answer<Request>, ctx: &mut Context<'_>) {
        match (std::mem::replace(&mut self.stage, Stage::Settled), answer) {
            (Stage::ReadingRequest(record), Answer::Is(request)) => {
                self.decide(&record, &request, ctx);
            }
            (Stage::ReadingRequest(_), Answer::None) => self.nak(AGAIN, ctx),
            (Stage::ReadingRequest(_), Answer::Unreadable(_)) => self.nak(UNREADABLE, ctx),
            (Stage::Held(mut held), answer) => {
                self.stage = held.request_read(self, answer, ctx).unwrap_or(Stage::Held(held));
            }
            (other, _) => self.stage = other,
        }
    }

    pub(super) fn written(&mut self, written: Written, ctx: &mut Context<'_>) {
        match std::mem::replace(&mut self.stage, Stage::Settled) {
            Stage::Claiming(claim) => match written {
                Written::Done(revision) => self.hold(claim, revision, ctx),
                Written::NoAnswer => {
                    let next = Some(ctx.now.mono + AGAIN);
                    self.stage = Stage::Unsure { claim, next };
                }
                Written::Conflict => self.conflict(ctx),
                Written::Refused => self.nak(REFUSED, ctx),
            },
            Stage::Closing { record } => match written {
                Written::Done(_) => self.closed(&record, ctx),
                // Another worker's finish, or perhaps mine: the next delivery finds out.
                Written::NoAnswer => self.nak(AGAIN, ctx),
                Written::Conflict => self.conflict(ctx),
                Written::Refused => self.nak(REFUSED, ctx),
            },
            Stage::Held(mut held) => {
                self.stage = held.written(self, written, ctx).unwrap_or(Stage::Held(held));
            }
            other => self.stage = other,
        }
    }

    pub(super) fn acked(&mut self, confirmed: bool, ctx: &mut Context<'_>) {
        let Stage::Acking { since, next } = &mut self.stage else { return };
        if confirmed {
            self.stage = Stage::Settled;
        } else if ctx.now.mono > *since + ctx.settings.orphan_grace {
            // The record is finished whatever becomes of the ack: whoever gets the message next
            // repeats it.
            ctx.out.push(Effect::Abandon(self.id));
            self.stage = Stage::Settled;
        } else {
            *next = Some(ctx.now.mono + AGAIN);
        }
    }

    pub(super) fn buried(&mut self, stored: bool, ctx: &mut Context<'_>) {
        let Stage::Burying { since, next, .. } = &mut self.stage else { return };
        if stored {
            self.stage = self.ack(ctx);
        } else if ctx.now.mono > *since + ctx.settings.orphan_grace {
            // The record is finished: whoever gets the message next buries it.
            ctx.out.push(Effect::Abandon(self.id));
            self.stage = Stage::Settled;
        } else {
            *next = Some(ctx.now.mono + AGAIN);
        }
    }

    /// What is done about it when the worker leaves with it unsettled.
    pub(super) fn left(&self) -> Option<Effect> {
        let open = match &self.stage {
            Stage::Held(held) => !held.abandoned(),
            Stage::Settled => false,
            _ => true,
        };
        open.then_some(Effect::Abandon(self.id))
    }

    /// What happens to a build. Before one is held, or after, it is of no use to anybody.
    pub(super) fn build(&mut self, event: Event, ctx: &mut Context<'_>) {
        if matches!(event, Event::Noticed(_, Notice::Anew)) {
            self.reuses = false;
        }
        self.with_held(|held, job| match event {
            Event::Noticed(_, notice) => held.noticed(job, notice, ctx),
            Event::Ended(_, ended) => held.ended(job, ended, ctx),
            Event::CancelPoked(_) => held.cancel_poked(job, ctx),
            _ => None,
        });
    }

    pub(super) fn stop_for_drain(&mut self, ctx: &mut Context<'_>) {
        self.with_held(|held, job| {
            held.stop_for_drain(job, ctx);
            None
        });
    }

    /// Lends the held part out beside the job; what comes back is the next stage, if it changes.
    fn with_held(&mut self, act: impl FnOnce(&mut Held, &Self) -> Option<Stage>) {
        match std::mem::replace(&mut self.stage, Stage::Settled) {
            Stage::Held(mut held) => {
                self.stage = act(&mut held, self).unwrap_or(Stage::Held(held));
            }
            other => self.stage = other,
        }
    }

    pub(super) fn tick(&mut self, ctx: &mut Context<'_>) {
        let now = ctx.now.mono;
        match &mut self.stage {
            Stage::Unsure { next, .. } if next.is_some_and(|at| at <= now) => {
                *next = None;
                ctx.out.push(Effect::ReadRecord(self.id, self.subject.job.clone()));
            }
            Stage::Acking { next, .. } if next.is_some_and(|at| at <= now) => {
                *next = None;
                ctx.out.push(Effect::Ack(self.id));
            }
            Stage::Burying { record, next, .. } if next.is_some_and(|at| at <= now) => {
                *next = None;
                let bury = bury(self.id, &self.subject, record);
                ctx.out.extend(bury);
            }
            Stage::Held(_) => self.with_held(|held, job| held.tick(job, ctx)),
            _ => {}
        }
    }

    /// Acks, for a reason that can never become untrue.
    pub(super) fn ack(&self, ctx: &mut Context<'_>) -> Stage {
        ctx.out.push(Effect::Ack(self.id));
        Stage::Acking { since: ctx.now.mono, next: None }
    }

    fn nak(&mut self, delay: Duration, ctx: &mut Context<'_>) {
        ctx.out.push(Effect::Nak(self.id, delay));
        self.stage = Stage::Settled;
    }

    /// Another wrote the record first, or it was there from the beginning.
    fn conflict(&mut self, ctx: &mut Context<'_>) {
        if self.guessed {
            self.read_record(ctx);
        } else {
            self.nak(RACE_LOST, ctx);
        }
    }

    fn decide(&mut self, record: &Entry<Record>, request: &Entry<Request>, ctx: &mut Context<'_>) {
        let settings = ctx.settings;
        let claimer = Claimer {
            worker: &settings.worker,
            instance: settings.instance,
            standalone: settings.standalone,
            server: ctx.now.server,
            attempts_max: settings.attempts_max,
            avoid_max: settings.avoid_max,
        };
        let incarnation = self.subject.incarnation;
        let overrides = request.value.as_ref().map(|it| it.overrides.clone()).unwrap_or_default();
        let poison = self.delivered.poison.as_deref().or_else(|| {
            let names = self.subject.job.revision.names(&overrides);
            (!names).then_some("its revision is not that of the request's input overrides")
        });
        match claim::decide(record, request, incarnation, poison, &claimer) {
            // No write tests these.
            Decision::Stale | Decision::Finished | Decision::Later(_) if self.guessed => {
                self.read_record(ctx);
            }
            // Whoever wrote its end may have died before the dead letter was stored.
            Decision::Stale | Decision::Finished => {
                let ended = record.value.as_ref().filter(|it| it.incarnation == incarnation);
                self.stage = match ended {
                    Some(record) => self.bury_or_ack(record, ctx),
                    None => self.ack(ctx),
                };
            }
            Decision::Later(delay) => self.nak(delay, ctx),
            Decision::Close(outcome) => {
                let finished = unclaimed(outcome, ctx.now, overrides);
                let closed = Record::closed(record.value.as_ref(), incarnation, finished);
                self.write(&closed, record.revision, ctx);
                self.stage = Stage::Closing { record: Box::new(closed) };
            }
            // Told to stop while reading: another worker takes it, at once.
            Decision::Claim(_) if ctx.draining => self.nak(Duration::ZERO, ctx),
            // Another worker may have it in its config.
            Decision::Claim(plan) => {
                if let Some(missing) = self.missing_repo(&overrides, settings) {
                    let reason = format!("this worker's config has no [repos.{missing}]");
                    let epoch = record.value.as_ref().map_or(Epoch::default(), |it| it.epoch);
                    return self.leave(epoch, reason, ctx);
                }
                if ctx.rival {
                    return self.nak(RACE_LOST, ctx);
                }
                let before = record.value.as_ref();
                let plan = claim::vouched(plan, &self.subject.job, before, settings.key.as_ref());
                self.reuses = matches!(plan, Plan::Reuse(_));
                if ctx.crowded && !self.reuses {
                    return self.nak(Duration::ZERO, ctx);
                }
                let by = record::Claimer {
                    worker: settings.worker.clone(),
                    instance: settings.instance,
                    // Of a delivery one claim at most stands.
                    claim: self.id.0,
                    at: ctx.now.local,
                    lease_ms: proto::time::millis(settings.lease),
                };
                let claimed = Record::claimed(before, incarnation, &by);
                self.write(&claimed, record.revision, ctx);
                let (record, sent) = (Box::new(claimed), ctx.now.mono);
                self.stage = Stage::Claiming(Claim { record, plan, overrides, sent });
            }
        }
    }

    /// A repository that the job needs and the worker does not know.
    fn missing_repo(&self, overrides: &Overrides, settings: &Settings) -> Option<Repo> {
        let overriding = overrides.iter().map(|(_, by)| &by.repo);
        let mut needed = [&self.subject.job.repo].into_iter().chain(overriding);
        needed.find(|repo| !settings.repos.contains(*repo)).cloned()
    }

    /// Not for this worker: another one takes it, or it waits.
    fn leave(&mut self, epoch: Epoch, reason: String, ctx: &mut Context<'_>) {
        if ctx.refused.first(self.subject.incarnation) {
            let (subject, what) = (self.subject.clone(), What::Refused { reason });
            ctx.out.push(Effect::Tell { subject, epoch, what });
        }
        self.nak(ELSEWHERE, ctx);
    }

    /// A claim whose answer was lost: it stands if the record is mine, and of this claim. One that
    /// was tried over nothing may have the epoch of an older claim of this worker's life.
    fn resolved(&mut self, claim: Claim, answer: Answer<Record>, ctx: &mut Context<'_>) {
        let (epoch, sent) = (claim.record.epoch, claim.record.running());
        let mine = |found: &Record| sent.is_some_and(|sent| found.is_claim(sent, epoch));
        match answer {
            Answer::Is(Entry { value: Some(found), revision, .. }) if mine(&found) => {
                self.hold(claim, revision, ctx);
            }
            Answer::None if ctx.now.mono <= claim.sent + ctx.settings.orphan_grace => {
                let next = Some(ctx.now.mono + AGAIN);
                self.stage = Stage::Unsure { claim, next };
            }
            // Never build without the claim. If it lands later, its lease runs out unused.
            Answer::Is(_) | Answer::None | Answer::Unreadable(_) => self.nak(AGAIN, ctx),
        }
    }

    fn hold(&mut self, claim: Claim, revision: u64, ctx: &mut Context<'_>) {
        let Claim { record, plan, overrides, sent } = claim;
        let Some(running) = record.running().cloned() else { return };
        ctx.out.push(Effect::told(&self.subject, &record, What::Claimed));
        let queued = ctx.now.server.since(self.delivered.published);
        let won = Won { revision, queued, sent, overrides: overrides.clone() };
        let mut held = Box::new(Held::new(*record.clone(), running, won, ctx));
        if ctx.draining {
            held.hand_back(self, ctx);
        } else {
            let subject = self.subject.clone();
            ctx.out.push(Effect::Build { id: self.id, subject, record, plan, overrides });
            held.begin(self, ctx);
        }
        self.stage = Stage::Held(held);
    }

    fn closed(&mut self, record: &Record, ctx: &mut Context<'_>) {
        if let Some(outcome) = record.outcome() {
            ctx.out.push(Effect::finished(&self.subject, record, outcome));
        }
        self.stage = self.bury_or_ack(record, ctx);
    }

    pub(super) fn write(&self, record: &Record, expected: u64, ctx: &mut Context<'_>) {
        let (id, job) = (self.id, self.subject.job.clone());
        ctx.out.push(Effect::WriteRecord { id, job, record: Box::new(record.clone()), expected });
    }

    /// A job that ended for the infrastructure's sake goes to the dead letters before its message
    /// goes.
    pub(super) fn bury_or_ack(&self, record: &Record, ctx: &mut Context<'_>) -> Stage {
        let Some(bury) = bury(self.id, &self.subject, record) else { return self.ack(ctx) };
        if let Effect::Bury { reason, .. } = &bury {
            let dead = What::Dead { reason: reason.clone() };
            ctx.out.push(Effect::told(&self.subject, record, dead));
        }
        ctx.out.push(bury);
        Stage::Burying { record: Box::new(record.clone()), since: ctx.now.mono, next: None }
    }
}

/// The burial of a job that ended for the infrastructure's sake.
fn bury(id: DeliveryId, subject: &JobSubject, record: &Record) -> Option<Effect> {
    let Outcome::InfraFailed { kind, failure } = record.outcome()? else { return None };
    let reason = format!("{}: {}", kind.name(), failure.message);
    let (subject, record) = (subject.clone(), Box::new(record.clone()));
    Some(Effect::Bury { id, subject, record, reason })
}

fn unclaimed(outcome: Outcome, now: Now, overrides: Overrides) -> Finished {
    Finished {
        outcome,
        at: now.local,
        worker: None,
        queue_ms: 0,
        build_ms: 0,
        phases: Vec::new(),
        overrides,
        signature: None,
    }
}
