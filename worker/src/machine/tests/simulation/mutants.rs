//! The protocol with one rule taken away: the simulation must notice each.
//!
//! Nothing in the machine is switched. The world stands between machine and broker, and shows the
//! machine what it would see, or does what it would do, if it did not know the rule.

use bus::Entry;
use proto::{Record, Request, State};

use super::world::World;
use crate::machine::io::DeliveryId;

/// A rule of DESIGN section 5 that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutant {
    /// A holder does not compare epochs, nor the numbers of its claims, only instances.
    NoEpoch,
    /// A claimer does not compare the numbers of its claims, only instances and epochs.
    NoNumber,
    /// A claimer does not look at leases.
    NoLease,
    /// … not at those of its own instance.
    NoOwnLease,
    /// A claimer does not compare the message's incarnation with the request's.
    NoIncarnation,
    /// The request is read before the record.
    RequestFirst,
    /// "Wanted by nobody" is tested before "finished" and "leased".
    WantedFirst,
    /// The ack is sent with the finish, not after it.
    AckFirst,
    /// Nobody sweeps.
    NoSweep,
    /// A write without an answer is taken for done.
    TrustSilence,
    /// A message that comes too early is acked: another one, or its owner, will see to the job.
    AckEarly,
    /// A claim over nothing is written over whatever is there.
    BlindGuess,
    /// An asker that tries again opens the incarnation of its first try.
    OneName,
}

impl Mutant {
    pub(super) const ALL: [Self; 13] = [
        Self::NoEpoch,
        Self::NoNumber,
        Self::NoLease,
        Self::NoOwnLease,
        Self::NoIncarnation,
        Self::RequestFirst,
        Self::WantedFirst,
        Self::AckFirst,
        Self::NoSweep,
        Self::TrustSilence,
        Self::AckEarly,
        Self::BlindGuess,
        Self::OneName,
    ];
}

impl World {
    /// The record as the machine gets to see it.
    pub(super) fn shown_record(
        &mut self,
        number: usize,
        id: DeliveryId,
        mut entry: Entry<Record>,
    ) -> Entry<Record> {
        let Some(mutant) = self.mutant else { return entry };
        let instance = self.workers[number].instance();
        let Some(hand) = self.workers[number].hand(id) else { return entry };
        let (claim, job, message) = (hand.claim, hand.job, hand.incarnation);
        let Some(record) = &mut entry.value else { return entry };
        let own = record.running().is_some_and(|it| it.instance == instance);
        match (mutant, claim) {
            (Mutant::NoEpoch, Some(mine)) if own => {
                record.epoch = mine;
                number_as(record, id);
            }
            (Mutant::NoNumber, Some(_)) if own => number_as(record, id),
            (Mutant::NoLease, None) => lapse(record),
            (Mutant::NoOwnLease, None) if own => lapse(record),
            (Mutant::WantedFirst, None) => {
                let request = self.broker.requests[job].value.as_ref();
                let unwanted = request.is_some_and(|it| it.incarnation == message && !it.wanted());
                if unwanted {
                    reopen(record);
                    lapse(record);
                }
            }
            _ => {}
        }
        entry
    }

    /// The request as the machine gets to see it.
    pub(super) fn shown_request(
        &mut self,
        number: usize,
        id: DeliveryId,
        mut entry: Entry<Request>,
    ) -> Entry<Request> {
        let Some(mutant) = self.mutant else { return entry };
        let Some(hand) = self.workers[number].hand(id) else { return entry };
        match (mutant, hand.claim, &mut entry.value) {
            (Mutant::NoIncarnation, None, Some(request)) => request.incarnation = hand.incarnation,
            (Mutant::RequestFirst, None, _) => {
                entry = hand.request_before.take().unwrap_or(entry);
            }
            _ => {}
        }
        entry
    }

    /// Called when the machine asks for the record: what a read before it would have found.
    pub(super) fn remember_request(&mut self, number: usize, id: DeliveryId) {
        if self.mutant != Some(Mutant::RequestFirst) {
            return;
        }
        let requests = &self.broker.requests;
        let Some(hand) = self.workers[number].hands.iter_mut().find(|it| it.id == id) else {
            return;
        };
        hand.request_before.get_or_insert_with(|| requests[hand.job].clone());
    }
}

/// The claim of this delivery, by its number.
fn number_as(record: &mut Record, id: DeliveryId) {
    if let State::Running(running) = &mut record.state {
        running.claim = id.0;
    }
}

/// A lease that nobody has to respect.
fn lapse(record: &mut Record) {
    if let State::Running(running) = &mut record.state {
        running.lease_ms = 0;
    }
}

/// A finish that nobody looks at.
fn reopen(record: &mut Record) {
    if record.outcome().is_some() {
        let by = proto::record::Claimer {
            worker: "w1".parse().expect("a name"),
            instance: proto::Instance(uuid::Uuid::nil()),
            claim: 0,
            at: proto::Timestamp(0),
            lease_ms: 0,
        };
        record.state = Record::claimed(None, record.incarnation, &by).state;
    }
}
