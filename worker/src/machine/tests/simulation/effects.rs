//! The machine's effects, carried out in this world, and what comes of them as its events.

use proto::{Before, Priority, Record, subject::JobSubject};

use super::{
    broker::Message,
    builds::Build,
    checks::{Rule, Writer},
    mutants::Mutant,
    network::{Op, Purpose, Reply},
    schedule::SECOND,
    workers::Hand,
    world::World,
};
use crate::machine::{
    io::{Answer, Delivered, DeliveryId, Effect, Event, Written},
    tests,
};

impl World {
    /// A delivery that something is done with; after its settlement nothing may be.
    fn in_hand(&mut self, number: usize, id: DeliveryId) -> bool {
        let open = self.workers[number].hand(id).is_some_and(|it| !it.settled);
        if !open {
            self.breaks(Rule::SettledTwice, "something is done with a settled delivery");
        }
        open
    }

    fn settle(&mut self, number: usize, id: DeliveryId) -> Option<u64> {
        if !self.in_hand(number, id) {
            return None;
        }
        let hand = self.workers[number].hand(id)?;
        hand.settled = true;
        Some(hand.seq)
    }

    pub(super) fn perform(&mut self, number: usize, effect: Effect) {
        match effect {
            Effect::Pull(consumers, _) => self.pull(number, &consumers),
            Effect::StopPull => self.stop_pull(number),
            Effect::ReadRecord(id, _) => {
                if self.in_hand(number, id) {
                    self.remember_request(number, id);
                    let job = self.workers[number].hand(id).map_or(0, |it| it.job);
                    self.call(Purpose::Record(number, id), Op::ReadRecord(job));
                }
            }
            Effect::ReadRequest(id, _) => {
                if self.in_hand(number, id) {
                    let job = self.workers[number].hand(id).map_or(0, |it| it.job);
                    self.call(Purpose::Request(number, id), Op::ReadRequest(job));
                }
            }
            Effect::WriteRecord { id, record, expected, .. } => {
                if self.in_hand(number, id) {
                    self.write(number, id, record, expected);
                }
            }
            Effect::Progress(id) => {
                if self.in_hand(number, id) {
                    let seq = self.workers[number].hand(id).map_or(0, |it| it.seq);
                    self.send(number, None, Op::Progress(seq));
                }
            }
            Effect::Ack(id) => self.ack(number, id),
            Effect::Nak(id, delay) => {
                if let Some(seq) = self.settle(number, id) {
                    if self.mutant == Some(Mutant::AckEarly) {
                        self.send(number, None, Op::Ack(seq));
                    }
                    self.send(number, None, Op::Nak(seq, proto::time::millis(delay)));
                }
            }
            Effect::Abandon(id) => drop(self.settle(number, id)),
            Effect::Build { id, record, plan, .. } => {
                let job = self.workers[number].hand(id).map_or(0, |it| it.job);
                let instance = self.workers[number].instance();
                let check = self.facts[job].built(record.epoch, instance);
                self.check(check);
                self.build(number, id, &plan);
            }
            Effect::Kill(id) => self.kill(number, id),
            Effect::Bury { id, record, .. } => {
                if self.in_hand(number, id) {
                    let job = self.workers[number].hand(id).map_or(0, |it| it.job);
                    self.call(Purpose::Bury(number, id), Op::Bury(job, record.incarnation));
                }
            }
            Effect::Tell { .. } | Effect::NoteGood(..) => {}
            Effect::Exit => {
                let down = self.rng.u64(100..5 * SECOND);
                self.crash(number, down);
            }
        }
    }

    fn pull(&mut self, number: usize, consumers: &[String]) {
        let all = Priority::ALL.into_iter();
        let asked = |name: &String| {
            all.clone().find(|it| *name == proto::topology::consumer_name(&tests::class(), *it))
        };
        let consumers = consumers.iter().filter_map(asked).collect();
        self.call(Purpose::Pull(number), Op::Pull(consumers));
    }

    fn write(&mut self, number: usize, id: DeliveryId, record: Box<Record>, expected: u64) {
        let worker = &mut self.workers[number];
        let instance = worker.instance();
        let Some(hand) = worker.hand(id) else { return };
        if record.running().is_some() {
            hand.claim.get_or_insert(record.epoch);
        }
        let (job, seq) = (hand.job, hand.seq);
        if record.outcome().is_some() && self.mutant == Some(Mutant::AckFirst) {
            self.send(number, None, Op::Ack(seq));
        }
        let error_max = self.schedule.workers[number].error_max;
        let by = Writer {
            worker: number,
            instance,
            standalone: self.schedule.standalone,
            ahead_max: error_max.unsigned_abs(),
            attempts_max: self.schedule.attempts_max,
        };
        self.call(Purpose::Write(number, id), Op::WriteRecord { job, record, expected, by });
    }

    fn ack(&mut self, number: usize, id: DeliveryId) {
        if !self.in_hand(number, id) {
            return;
        }
        let Some(hand) = self.workers[number].hand(id) else { return };
        let (job, of, seq) = (hand.job, hand.incarnation, hand.seq);
        let check = self.facts[job].acked(of, &self.broker.requests[job]);
        self.check(check);
        self.call(Purpose::Ack(number, id), Op::Ack(seq));
    }

    /// An answer for a machine, or none.
    pub(super) fn answered(&mut self, purpose: Purpose, reply: Option<Reply>) {
        let Some(number) = purpose.worker() else { return };
        let event = match purpose {
            Purpose::Record(_, id) => {
                let answer = match reply {
                    Some(Reply::Record(entry)) => Answer::Is(self.shown_record(number, id, entry)),
                    _ => Answer::None,
                };
                Event::RecordRead(id, answer)
            }
            Purpose::Request(_, id) => {
                let answer = match reply {
                    Some(Reply::Request(it)) => Answer::Is(self.shown_request(number, id, it)),
                    _ => Answer::None,
                };
                Event::RequestRead(id, answer)
            }
            Purpose::Write(_, id) => {
                let written = match reply {
                    Some(Reply::Written(revision)) => Written::Done(revision),
                    Some(Reply::Conflict) => {
                        self.refused_claim(number, id);
                        Written::Conflict
                    }
                    Some(Reply::Refused) => Written::Refused,
                    _ if self.mutant == Some(Mutant::TrustSilence) => Written::Done(0),
                    _ => Written::NoAnswer,
                };
                Event::RecordWritten(id, written)
            }
            Purpose::Ack(_, id) => {
                let confirmed = reply.is_some();
                if confirmed {
                    self.settle(number, id);
                }
                Event::Acked(id, confirmed)
            }
            Purpose::Bury(_, id) => Event::Buried(id, reply.is_some()),
            Purpose::Pull(_) | Purpose::Errand(_) => self.pulled(number, reply),
        };
        self.step(number, event);
    }

    /// A claim that did not land is none: the delivery may try another.
    fn refused_claim(&mut self, number: usize, id: DeliveryId) {
        let hand = self.workers[number].hand(id).filter(|hand| hand.build == Build::None);
        if let Some(hand) = hand {
            hand.claim = None;
        }
    }

    fn pulled(&mut self, number: usize, reply: Option<Reply>) -> Event {
        let Some(Reply::Pulled(messages)) = reply else {
            return if self.rng.bool() { Event::PullFailed } else { Event::Pulled(Vec::new()) };
        };
        let take = |message| self.take_in(number, message);
        Event::Pulled(messages.into_iter().map(take).collect())
    }

    fn take_in(&mut self, number: usize, message: Message) -> Delivered {
        let worker = &mut self.workers[number];
        worker.delivered += 1;
        let id = DeliveryId(worker.delivered);
        let (job, incarnation) = (message.job, message.incarnation);
        worker.hands.retain(|it| !it.settled || it.build == Build::Running);
        worker.hands.push(Hand {
            id,
            seq: message.seq,
            job,
            incarnation,
            claim: None,
            request_before: None,
            build: Build::None,
            reuses: false,
            settled: false,
        });
        let subject = JobSubject {
            class: tests::class(),
            priority: message.priority,
            job: self.keys[job].clone(),
            incarnation,
        };
        let poison = message.poison.then(|| "garbage".to_owned());
        // A hint is never more than that, so it lies here as often as not.
        let before = match self.rng.u8(0..4) {
            0 => Before::Built,
            1 => Before::Unknown,
            _ => Before::Nothing,
        };
        let waiting = self.rng.u64(0..20);
        Delivered { id, subject, published: message.published, waiting, before, poison }
    }
}
