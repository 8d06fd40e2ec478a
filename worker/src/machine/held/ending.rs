//! How a held job ends: what its record is to say, and what follows once it stands.

use std::time::Duration;

use proto::{
    Finished, Outcome, State,
    event::What,
    record::{AttemptEnd, PhaseTime},
};

use super::{Held, Sync, Work};
use crate::machine::{
    io::Effect,
    job::{AGAIN, Context, Job, Stage},
};

/// What the record is to say.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    Finish(Box<Finished>),
    Wait { delay: Duration, reason: AttemptEnd },
}

impl Held {
    pub(super) fn write_ending(&mut self, job: &Job, ctx: &mut Context<'_>) {
        let Work::Ended(ending) = &self.work else { return };
        self.record = match ending {
            Ending::Finish(finished) => self.record.finished(Finished::clone(finished)),
            Ending::Wait { delay, reason } => {
                self.record.waiting(proto::time::millis(*delay), reason.clone())
            }
        };
        self.sync = Sync::Ending;
        job.write(&self.record, self.revision, ctx);
    }

    /// The ending stands: tell, and settle the delivery.
    pub(super) fn settle(&self, job: &Job, ctx: &mut Context<'_>) -> Option<Stage> {
        match &self.record.state {
            State::Finished(finished) => {
                ctx.out.push(Effect::finished(&job.subject, &self.record, &finished.outcome));
                if matches!(finished.outcome, Outcome::Built(_)) {
                    let record = Box::new(self.record.clone());
                    ctx.out.push(Effect::NoteGood(job.subject.job.clone(), record));
                }
                Some(job.bury_or_ack(&self.record, ctx))
            }
            State::Waiting(waiting) => {
                let what = match &waiting.reason {
                    AttemptEnd::Infra { kind, message } => What::Retrying {
                        reason: *kind,
                        message: message.clone(),
                        delay_ms: waiting.delay_ms,
                    },
                    AttemptEnd::HandedBack | AttemptEnd::WorkerLost => What::HandedBack,
                };
                ctx.out.push(Effect::told(&job.subject, &self.record, what));
                let delay = Duration::from_millis(waiting.delay_ms);
                ctx.out.push(Effect::Nak(job.id, delay));
                Some(Stage::Settled)
            }
            State::Running(_) => None,
        }
    }

    /// The broker will not take this result, whoever asks: too large. A result without its log
    /// excerpt says less and is taken; what is refused even so is left to the lease.
    pub(super) fn refused(&mut self, job: &Job, ctx: &mut Context<'_>) -> Option<Stage> {
        let Work::Ended(Ending::Finish(finished)) = &mut self.work else {
            return self.fenced(job, ctx);
        };
        let (Outcome::Failed { failure, .. } | Outcome::InfraFailed { failure, .. }) =
            &mut finished.outcome
        else {
            return self.fenced(job, ctx);
        };
        if failure.log_tail.is_empty() {
            return self.fenced(job, ctx);
        }
        failure.log_tail.clear();
        self.sync = Sync::Pausing(ctx.now.mono + AGAIN);
        None
    }

    pub(super) fn finish(
        &self,
        outcome: Outcome,
        phases: Vec<PhaseTime>,
        ctx: &Context<'_>,
    ) -> Ending {
        Ending::Finish(Box::new(Finished {
            outcome,
            at: ctx.now.local,
            worker: Some(self.running.worker.clone()),
            queue_ms: proto::time::millis(self.queued),
            build_ms: proto::time::millis(ctx.now.mono.saturating_sub(self.since)),
            phases,
            signature: None,
            overrides: self.overrides.clone(),
        }))
    }
}
