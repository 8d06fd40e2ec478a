//! What befalls the world apart from single messages.

use super::{
    schedule::Fault,
    world::{Happening, World},
};
use crate::machine::io::Event;

impl World {
    pub(super) fn fault(&mut self, fault: &Fault) {
        self.note(|_| format!("FAULT {fault:?}"));
        match *fault {
            Fault::Drain(number) => self.step(number, Event::Drain),
            _ if self.healed => {}
            Fault::Crash(number, down) => self.crash(number, down),
            Fault::Freeze(number, time) => self.freeze(number, time),
            Fault::Cut(number, time) => self.cut(number, time),
            Fault::Pause(number, time) => {
                self.pause(number, Some("a full disk".into()));
                self.later(self.now + time, Happening::Resume(number));
            }
            Fault::Outage(time) => self.outage(time),
            Fault::LoseMessage => {
                let count = self.broker.messages.len();
                if count > 0 {
                    let lost = self.rng.usize(0..count);
                    self.broker.messages.remove(lost);
                }
            }
            Fault::Misjudge(number, error) => self.workers[number].error = error,
        }
    }

    pub(super) fn pause(&mut self, number: usize, why: Option<String>) {
        self.step(number, Event::Paused(why));
    }

    /// The broker is away. What it remembers of deliveries is not what it promises.
    fn outage(&mut self, time: u64) {
        self.broker_back = self.broker_back.max(self.now + time);
        self.broker.pulls.clear();
        for number in 0..self.workers.len() {
            self.drop_pulls(number);
        }
        if self.rng.u8(0..3) == 0 {
            for message in &mut self.broker.messages {
                message.due = self.broker_back;
            }
        }
        self.later(self.broker_back, Happening::Serve);
    }

    /// Somebody took a wish for a job away: those who are connected hear of it, mostly.
    pub(super) fn poke_all(&mut self, job: usize) {
        for number in 0..self.workers.len() {
            let away = self.workers[number].back.max(self.broker_back) > self.now;
            if !away && !self.goes_wrong(self.schedule.rates.lost + 100) {
                let at = self.now + self.rng.u64(1..50);
                self.later(at, Happening::Poke(number, job));
            }
        }
    }

    pub(super) fn poked(&mut self, number: usize, job: usize) {
        self.step(number, Event::CancelPoked(self.keys[job].clone()));
    }
}
