//! Who asks and who cancels: the IO of `bus::submit` around the real rules of asking, step by step,
//! with a crash possible at each; and the sweep, which is `bus::sweep`'s.

use proto::{
    Identity, Incarnation, Overrides, Priority, Record, Request, RunId, Timestamp, Wish,
    request::{Answer, Ask, ask},
};
use uuid::Uuid;

use super::{
    checks::{Author, worker_name},
    history,
    mutants::Mutant,
    network::{Op, Purpose, Reply},
    schedule::{SECOND, SWEEP_EVERY, What},
    world::{Happening, World},
};
use crate::machine::tests;
use bus::Entry;

/// Something that somebody is about to get done.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    job: usize,
    tries: u32,
    what: Task,
    at: At,
    /// The incarnation that this try would open.
    fresh: Incarnation,
}

#[derive(Clone, Debug)]
enum Task {
    Ask(Ask),
    Withdraw { run: RunId, superseded_by: Option<RunId> },
    Sweep { queued: Vec<(usize, Incarnation)> },
}

/// Which answer it waits for.
#[derive(Clone, Debug)]
enum At {
    Begin,
    Listing,
    Request,
    Record(Entry<Request>),
    Writing(Incarnation),
    Publishing,
}

/// Before the first try.
const UNNAMED: Incarnation = Incarnation(Uuid::nil());

/// A command that finds the broker away tries for so long, then it gives up.
const TRIES_MAX: u32 = 8;

impl World {
    /// Somebody begins what the schedule says.
    pub(super) fn act(&mut self, act: usize) {
        let act = self.schedule.acts[act].1.clone();
        let run = RunId(Uuid::from_u128(act.run));
        let what = match act.what {
            What::Ask { priority, force, retry, avoid } => {
                let wish = Wish { priority, by: Identity::local(), at: Timestamp(1) };
                let avoid_worker = avoid.map(|number| worker_name(number).parse().expect("a name"));
                let class = tests::class();
                let overrides = Overrides::default();
                let trace = None;
                Task::Ask(Ask { run, wish, class, force, retry, avoid_worker, overrides, trace })
            }
            What::Withdraw { superseded_by } => {
                let superseded_by = superseded_by.map(|it| RunId(Uuid::from_u128(it)));
                Task::Withdraw { run, superseded_by }
            }
        };
        self.note(|_| format!("run {} begins: {:?}", act.run, act.what));
        self.errand(act.job, what);
    }

    /// A sweep begins, and the next one is due some time after.
    pub(super) fn sweep(&mut self) {
        if self.mutant == Some(Mutant::NoSweep) {
            return;
        }
        let next = self.now + self.rng.u64(1..2 * SWEEP_EVERY);
        self.later(next, Happening::Sweep);
        let what = Task::Sweep { queued: Vec::new() };
        self.errand(0, what);
    }

    fn errand(&mut self, job: usize, what: Task) {
        let begun = Errand { job, tries: 0, what, at: At::Begin, fresh: UNNAMED };
        self.errands.push(Some(begun));
        self.go_on(self.errands.len() - 1, None);
    }

    /// The next step of an errand: `None` begins it anew, `Some(None)` is no answer.
    pub(super) fn go_on(&mut self, number: usize, answer: Option<Option<Reply>>) {
        let Some(errand) = self.errands.get_mut(number).and_then(Option::take) else { return };
        if self.goes_wrong(self.schedule.rates.submitter_dies) {
            self.note(|_| format!("errand {number} is given up: its process died"));
            self.calls.forget_errand(number);
            return;
        }
        if let Some(answer) = &answer {
            self.note(|_| format!("errand {number} hears {}", history::reply(answer.as_ref())));
        }
        let next = match (answer, &errand.at) {
            (None, At::Begin) => Some(self.begin_errand(number, errand)),
            (Some(Some(reply)), _) => self.answered_errand(number, errand, reply),
            // A write may have landed: what stands there now says so.
            (_, _) => self.try_again(number, errand),
        };
        self.errands[number] = next;
    }

    fn begin_errand(&mut self, number: usize, mut errand: Errand) -> Errand {
        if matches!(errand.what, Task::Ask(_)) {
            // One name for each try: a try whose answer was lost may have opened its incarnation,
            // and somebody may have closed it since. It must not come back.
            if errand.fresh == UNNAMED || self.mutant != Some(Mutant::OneName) {
                self.named += 1;
                errand.fresh = tests::incarnation(self.named);
            }
        }
        let (op, at) = match &errand.what {
            Task::Sweep { .. } => (Op::List, At::Listing),
            Task::Ask(_) | Task::Withdraw { .. } => (Op::ReadRequest(errand.job), At::Request),
        };
        self.call(Purpose::Errand(number), op);
        Errand { at, ..errand }
    }

    fn try_again(&mut self, number: usize, errand: Errand) -> Option<Errand> {
        // A sweep that is cut short leaves the rest to the next one.
        if matches!(errand.what, Task::Sweep { .. }) || errand.tries >= TRIES_MAX {
            return None;
        }
        let pause = self.rng.u64(1..SECOND);
        self.later(self.now + pause, Happening::Continue(number));
        Some(Errand { tries: errand.tries + 1, at: At::Begin, ..errand })
    }

    fn answered_errand(&mut self, number: usize, errand: Errand, reply: Reply) -> Option<Errand> {
        match (errand.at.clone(), reply) {
            (At::Listing, Reply::Listed(queued)) => {
                let what = Task::Sweep { queued };
                self.call(Purpose::Errand(number), Op::ReadRequest(errand.job));
                Some(Errand { what, at: At::Request, ..errand })
            }
            (At::Request, Reply::Request(entry)) => self.request_known(number, errand, entry),
            (At::Record(request), Reply::Record(entry)) => {
                self.record_known(number, errand, request, entry.value)
            }
            (At::Writing(_), Reply::Conflict) => self.try_again(number, errand),
            (At::Writing(of), Reply::Written(_)) => match &errand.what {
                Task::Ask(ask) => {
                    let priority = ask.wish.priority;
                    Some(self.publish(number, errand, priority, of))
                }
                Task::Withdraw { .. } | Task::Sweep { .. } => {
                    self.poke_all(errand.job);
                    None
                }
            },
            (At::Publishing, Reply::Published) => self.published(number, errand),
            _ => None,
        }
    }

    fn request_known(
        &mut self,
        number: usize,
        errand: Errand,
        request: Entry<Request>,
    ) -> Option<Errand> {
        match &errand.what {
            Task::Withdraw { run, superseded_by } => {
                let run = *run;
                let without = request.value?.withdrawn(run, *superseded_by)?;
                let by = Author::Withdraws(run);
                Some(self.write_request(number, errand, without, request.revision, by))
            }
            Task::Sweep { queued } => {
                let it = request.value.as_ref().filter(|it| it.wanted());
                let lost = it.is_some_and(|it| !queued.contains(&(errand.job, it.incarnation)));
                if lost {
                    return Some(self.read_record(number, errand, request));
                }
                self.published(number, errand)
            }
            Task::Ask(_) => Some(self.read_record(number, errand, request)),
        }
    }

    fn read_record(&mut self, number: usize, errand: Errand, request: Entry<Request>) -> Errand {
        self.call(Purpose::Errand(number), Op::ReadRecord(errand.job));
        Errand { at: At::Record(request), ..errand }
    }

    fn record_known(
        &mut self,
        number: usize,
        errand: Errand,
        request: Entry<Request>,
        record: Option<Record>,
    ) -> Option<Errand> {
        let asked = match &errand.what {
            Task::Ask(asked) => asked.clone(),
            Task::Withdraw { .. } | Task::Sweep { .. } => {
                let request = request.value?;
                let finished = record.is_some_and(|it| {
                    it.incarnation == request.incarnation && it.outcome().is_some()
                });
                if finished {
                    return self.published(number, errand);
                }
                let priority = request.priority()?;
                return Some(self.publish(number, errand, priority, request.incarnation));
            }
        };
        match ask(request.value.as_ref(), record.as_ref(), &asked, errand.fresh) {
            Answer::FromRecord | Answer::Clash => None,
            Answer::Stands(request) => {
                let of = request.incarnation;
                Some(self.publish(number, errand, asked.wish.priority, of))
            }
            Answer::Write(new) => {
                let by = Author::Asks(asked.run);
                Some(self.write_request(number, errand, new, request.revision, by))
            }
        }
    }

    fn write_request(
        &mut self,
        number: usize,
        errand: Errand,
        new: Request,
        expected: u64,
        by: Author,
    ) -> Errand {
        let (job, of, request) = (errand.job, new.incarnation, Box::new(new));
        self.call(Purpose::Errand(number), Op::WriteRequest { job, request, expected, by });
        Errand { at: At::Writing(of), ..errand }
    }

    fn publish(
        &mut self,
        number: usize,
        errand: Errand,
        priority: Priority,
        of: Incarnation,
    ) -> Errand {
        self.call(Purpose::Errand(number), Op::Publish { job: errand.job, priority, of });
        Errand { at: At::Publishing, ..errand }
    }

    /// Done, or on to the next job of a sweep.
    fn published(&mut self, number: usize, errand: Errand) -> Option<Errand> {
        let job = errand.job + 1;
        if !matches!(errand.what, Task::Sweep { .. }) || job >= self.schedule.jobs {
            return None;
        }
        self.call(Purpose::Errand(number), Op::ReadRequest(job));
        Some(Errand { job, at: At::Request, ..errand })
    }
}
