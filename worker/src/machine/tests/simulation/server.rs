//! What the broker does with what reaches it, each write under the eyes of the checks.

use proto::{Incarnation, Outcome, Priority, Record, Request};

use super::{
    broker::{Message, Pull, server_time},
    checks::{Author, Rule, Writer},
    history,
    mutants::Mutant,
    network::{Op, Reply},
    schedule::{LEASE, PULL_WAIT},
    world::{Happening, World},
};

impl World {
    /// Something reaches the broker.
    pub(super) fn arrives(&mut self, link: usize, call: Option<u64>, op: Op) {
        self.calls.in_flight -= usize::from(!matches!(op, Op::Pull(_)));
        if self.back(link) > self.now {
            self.note(|world| format!("{} of {} is lost", history::op(&op), world.name_of(link)));
            if let Some((_, until)) = call.and_then(|call| self.calls.open.get(&call)) {
                let at = (*until).max(self.now);
                self.later(at, Happening::Timeout(call.unwrap_or_default()));
            }
            return;
        }
        if let (Op::Pull(consumers), Some(call)) = (op.clone(), call) {
            let until = self.now + PULL_WAIT;
            self.later(until, Happening::Timeout(call));
            self.broker.pulls.push(Pull { call, link, consumers, until });
            return self.serve();
        }
        let reply = self.take(link, op);
        if let Some(call) = call {
            self.reply(link, call, reply);
        }
    }

    fn take(&mut self, link: usize, op: Op) -> Reply {
        match op {
            Op::ReadRecord(job) => Reply::Record(self.broker.records[job].clone()),
            Op::ReadRequest(job) => Reply::Request(self.broker.requests[job].clone()),
            Op::List => {
                let queued = self.broker.messages.iter().map(|it| (it.job, it.incarnation));
                Reply::Listed(queued.collect())
            }
            Op::WriteRecord { job, record, expected, by } => {
                self.take_record(job, &record, expected, &by)
            }
            Op::WriteRequest { job, request, expected, by } => {
                self.take_request(job, *request, expected, by)
            }
            Op::Publish { job, priority, of } => self.take_message(job, priority, of),
            Op::Ack(seq) => {
                let acked = self.broker.ack(seq);
                self.note(|world| format!("{} acks message {seq}", world.name_of(link)));
                if let Some(message) = acked {
                    let request = &self.broker.requests[message.job];
                    let check = self.facts[message.job].acked(message.incarnation, request);
                    self.check(check);
                    let record = self.broker.records[message.job].value.as_ref();
                    let dead = record.filter(|it| it.incarnation == message.incarnation);
                    let dead = dead.and_then(Record::outcome);
                    let letter = self.broker.letters.contains(&(message.job, message.incarnation));
                    if matches!(dead, Some(Outcome::InfraFailed { .. })) && !letter {
                        self.breaks(Rule::AckedUnburied, "its dead letter is nowhere");
                    }
                }
                Reply::Acked
            }
            Op::Nak(seq, delay) => {
                self.broker.put_off(seq, self.now + delay);
                self.later(self.now + delay, Happening::Serve);
                Reply::Acked
            }
            Op::Progress(seq) => {
                self.broker.put_off(seq, self.now + LEASE);
                self.later(self.now + LEASE, Happening::Serve);
                Reply::Acked
            }
            Op::Bury(job, of) => {
                self.broker.letters.insert((job, of));
                Reply::Acked
            }
            Op::StopPull(call) => {
                self.broker.pulls.retain(|it| it.call != call);
                Reply::Acked
            }
            Op::Pull(_) => Reply::Pulled(Vec::new()),
        }
    }

    fn take_record(&mut self, job: usize, new: &Record, expected: u64, by: &Writer) -> Reply {
        let expected = match (self.mutant, expected) {
            (Some(Mutant::BlindGuess), 0) => self.broker.records[job].revision,
            _ => expected,
        };
        if self.broker.records[job].revision == expected {
            if self.goes_wrong(self.schedule.rates.refused) {
                self.note(|_| "the broker refuses a record".into());
                return Reply::Refused;
            }
            let (old, request) = (&self.broker.records[job], &self.broker.requests[job]);
            let check =
                self.facts[job].record_written(old, new, by, request, server_time(self.now));
            self.check(check);
        }
        match self.broker.write_record(job, new.clone(), expected, self.now) {
            Ok(revision) => {
                self.note(|world| world.tell_record(job, by.worker, revision));
                Reply::Written(revision)
            }
            Err(_) => Reply::Conflict,
        }
    }

    fn take_request(&mut self, job: usize, new: Request, expected: u64, by: Author) -> Reply {
        let old = &self.broker.requests[job];
        if old.revision == expected {
            let check = self.facts[job].request_written(old, &new, by);
            self.check(check);
        }
        match self.broker.write_request(job, new, expected, self.now) {
            Ok(revision) => {
                self.note(|world| world.tell_request(job, by, revision));
                Reply::Written(revision)
            }
            Err(_) => Reply::Conflict,
        }
    }

    fn take_message(&mut self, job: usize, priority: Priority, of: Incarnation) -> Reply {
        let poison = self.goes_wrong(self.schedule.rates.poisoned);
        let (published, due) = (server_time(self.now), self.now);
        let message = Message { seq: 0, job, priority, incarnation: of, published, poison, due };
        let new = self.broker.publish(message);
        self.note(|_| {
            format!("job {job} {} published, {priority}: {new}", history::incarnation(of))
        });
        self.later(self.now, Happening::Serve);
        Reply::Published
    }

    /// Hands due messages to the pulls that wait for them.
    pub(super) fn serve(&mut self) {
        self.broker.pulls.retain(|it| it.until > self.now);
        // Whoever has waited longest is served first.
        for pull in self.broker.pulls.clone() {
            let mut pulled = Vec::new();
            for consumer in pull.consumers {
                // Pulls at several consumers are open: more than one may have been served.
                if !pulled.is_empty() && !self.goes_wrong(500) {
                    continue;
                }
                pulled.extend(self.broker.deliver(consumer, self.now, &mut self.rng));
            }
            if pulled.is_empty() {
                continue;
            }
            for message in &pulled {
                self.later(message.due, Happening::Serve);
            }
            self.broker.pulls.retain(|it| it.call != pull.call);
            self.reply(pull.link, pull.call, Reply::Pulled(pulled));
        }
    }
}
