//! What must hold, whatever happens. The names are those of the protocol's model where it has them.

use bus::Entry;
use proto::{
    Epoch, Incarnation, InfraKind, Instance, Outcome, Record, Request, RunId, Standing, State,
    Timestamp, record::AttemptEnd,
};

/// A rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// At most one Finished per incarnation.
    FinishedTwice,
    /// No decided result is replaced by an undecided one of its incarnation.
    DecidedReplaced,
    /// Waiting, Finished and renewals only by the holder, or over no live lease.
    FencedWrite,
    /// No claim over a live lease.
    LiveLeaseTaken,
    /// No finished incarnation is claimed.
    FinishedRunsAgain,
    /// No older incarnation is claimed or closed.
    StaleBuilds,
    /// No wish on an incarnation that ended because nobody wanted it.
    CancelledButWanted,
    /// A run's wish goes only by its own cancel or supersede.
    WishLost,
    /// An incarnation is opened once.
    OpenedTwice,
    /// No two builds of a job that could both finish.
    TwoAble,
    /// No build without its claim.
    BuiltUnclaimed,
    /// Infra-failed only after all attempts.
    DeadUntried,
    /// No more attempts than the limit.
    TooManyAttempts,
    /// A message is acked only when its incarnation is finished or no longer the request's.
    AckedUnfinished,
    /// A job that ended for the infrastructure's sake has its dead letter before its ack.
    AckedUnburied,
    /// Nothing is done with a delivery after it was settled.
    SettledTwice,
    /// No more jobs at once than slots.
    TooManyJobs,
    /// Once faults stop, every wanted incarnation finishes and the stream runs empty.
    Stuck,
}

#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub(super) rule: Rule,
    pub(super) why: String,
}

pub(super) type Check = Result<(), Broken>;

fn broken(rule: Rule, why: impl Into<String>) -> Check {
    Err(Broken { rule, why: why.into() })
}

/// Who writes a record.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    pub(super) worker: usize,
    pub(super) instance: Instance,
    /// Alone in its data folder: the leases of its former lives are dead.
    pub(super) standalone: bool,
    /// How far ahead of the server's time it may believe to be, in milliseconds.
    pub(super) ahead_max: u64,
    pub(super) attempts_max: usize,
}

/// Who writes a request, and what for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Author {
    Asks(RunId),
    Withdraws(RunId),
}

/// What is true of one job, whatever the buckets say by now.
#[derive(Default)]
pub(super) struct Facts {
    /// Oldest first.
    opened: Vec<Incarnation>,
    finished: Vec<(Incarnation, Outcome)>,
    claims: Vec<(Incarnation, Epoch, Instance)>,
    handed_back: Vec<Incarnation>,
    built: Vec<Epoch>,
}

impl Facts {
    pub(super) fn finished(&self, of: Incarnation) -> bool {
        self.finished.iter().any(|(it, _)| *it == of)
    }

    fn age(&self, of: Incarnation) -> Option<usize> {
        self.opened.iter().position(|it| *it == of)
    }

    /// Attempts that count, by the claims and hand-backs that were seen to land.
    fn attempts(&self, of: Incarnation) -> usize {
        let claims = self.claims.iter().filter(|(it, ..)| *it == of).count();
        claims - self.handed_back.iter().filter(|it| **it == of).count()
    }

    /// A write to the record that the broker is about to take.
    pub(super) fn record_written(
        &mut self,
        old: &Entry<Record>,
        new: &Record,
        by: &Writer,
        request: &Entry<Request>,
        now: Timestamp,
    ) -> Check {
        let was = old.value.as_ref();
        let holds = was.is_some_and(|it| {
            it.held_by(by.instance, new.epoch) && it.incarnation == new.incarnation
        });
        let next = new.epoch.0 == was.map_or(0, |it| it.epoch.0) + 1;
        if next && was.is_some_and(|it| self.age(new.incarnation) < self.age(it.incarnation)) {
            return broken(Rule::StaleBuilds, "an older incarnation than the record's");
        }
        let over_lease = live(old, by, now);
        match &new.state {
            State::Running(_) if holds => {}
            State::Running(_) if next => self.claimed(new, by, over_lease)?,
            State::Finished(_) if holds || (next && !over_lease) => {}
            State::Waiting(waiting) if holds => {
                if waiting.reason == AttemptEnd::HandedBack {
                    self.handed_back.push(new.incarnation);
                }
            }
            _ => return broken(Rule::FencedWrite, "by somebody who holds nothing"),
        }
        if self.attempts(new.incarnation) > by.attempts_max {
            return broken(Rule::TooManyAttempts, format!("more than {}", by.attempts_max));
        }
        match new.outcome() {
            Some(outcome) => self.ended(new.incarnation, outcome, by, request),
            None => Ok(()),
        }
    }

    fn claimed(&mut self, new: &Record, by: &Writer, over_lease: bool) -> Check {
        if over_lease {
            return broken(Rule::LiveLeaseTaken, "the lease still holds");
        }
        if self.finished(new.incarnation) {
            return broken(Rule::FinishedRunsAgain, "a finished incarnation is claimed");
        }
        self.claims.push((new.incarnation, new.epoch, by.instance));
        Ok(())
    }

    fn ended(
        &mut self,
        of: Incarnation,
        outcome: &Outcome,
        by: &Writer,
        request: &Entry<Request>,
    ) -> Check {
        if let Some((_, first)) = self.finished.iter().find(|(it, _)| *it == of) {
            let replaced = first.decided() && !outcome.decided();
            let rule = if replaced { Rule::DecidedReplaced } else { Rule::FinishedTwice };
            return broken(rule, format!("{}, then {}", first.name(), outcome.name()));
        }
        self.finished.push((of, outcome.clone()));
        let refused = matches!(outcome, Outcome::InfraFailed { kind: InfraKind::Refused, .. });
        let dead = outcome.standing() == Standing::Undecided && !refused;
        if dead && self.attempts(of) < by.attempts_max {
            return broken(Rule::DeadUntried, "attempts are left");
        }
        self.wanted(request.value.as_ref())
    }

    /// A write to the request that the broker is about to take.
    pub(super) fn request_written(
        &mut self,
        old: &Entry<Request>,
        new: &Request,
        by: Author,
    ) -> Check {
        let was = old.value.as_ref();
        if was.is_none_or(|it| it.incarnation != new.incarnation) {
            if self.opened.contains(&new.incarnation) {
                return broken(Rule::OpenedTwice, "an older incarnation comes back");
            }
            self.opened.push(new.incarnation);
        } else if was.is_some_and(|it| !it.wanted()) && new.wanted() {
            return broken(Rule::OpenedTwice, "a closed incarnation gets a wish");
        }
        for run in was.iter().flat_map(|it| it.wanted_by.keys()) {
            let own = matches!(by, Author::Withdraws(it) if it == *run);
            let over = was.is_some_and(|it| self.finished(it.incarnation));
            if !new.wanted_by.contains_key(run) && !own && !over {
                return broken(Rule::WishLost, "by somebody else's write");
            }
        }
        self.wanted(Some(new))
    }

    fn wanted(&self, request: Option<&Request>) -> Check {
        let Some(request) = request.filter(|it| it.wanted()) else { return Ok(()) };
        let end = self.finished.iter().find(|(it, _)| *it == request.incarnation);
        if end.is_some_and(|(_, outcome)| outcome.standing() == Standing::Cancelled) {
            return broken(Rule::CancelledButWanted, "it ended as cancelled");
        }
        Ok(())
    }

    /// An ack that a worker sends, or that the broker takes.
    pub(super) fn acked(&self, of: Incarnation, request: &Entry<Request>) -> Check {
        let current = request.value.as_ref().is_some_and(|it| it.incarnation == of);
        if current && !self.finished(of) {
            return broken(Rule::AckedUnfinished, "its incarnation is open");
        }
        Ok(())
    }

    /// A build that a worker starts.
    pub(super) fn built(&mut self, epoch: Epoch, by: Instance) -> Check {
        if !self.claims.iter().any(|(_, it, instance)| (*it, *instance) == (epoch, by)) {
            return broken(Rule::BuiltUnclaimed, "its claim did not land");
        }
        if self.built.contains(&epoch) {
            return broken(Rule::TwoAble, format!("epoch {epoch} is built already"));
        }
        self.built.push(epoch);
        Ok(())
    }
}

/// Whether a lease holds there that the writer had to see.
fn live(record: &Entry<Record>, by: &Writer, now: Timestamp) -> bool {
    let Some(running) = record.value.as_ref().and_then(Record::running) else { return false };
    let former_self = running.worker.as_str() == worker_name(by.worker);
    if by.standalone && former_self && running.instance != by.instance {
        return false;
    }
    record.time.0 + running.lease_ms > now.0 + by.ahead_max
}

pub(super) fn worker_name(worker: usize) -> &'static str {
    ["w1", "w2", "w3"][worker]
}
