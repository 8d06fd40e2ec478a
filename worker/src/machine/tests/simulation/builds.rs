//! Builds: they take their time, tell of it, and end as built, failed, infra, or never.

use proto::{Built, Failure, FailureKind, InfraKind, Phase};

use super::{
    schedule::{SECOND, WALL},
    world::{Happening, World},
};
use crate::{
    build::{BuildEnd, Ended, Notice, Plan},
    machine::{
        io::{DeliveryId, Event},
        tests,
    },
};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Build {
    None,
    Running,
    Over,
}

/// What a build does next.
#[derive(Clone, Debug)]
pub(super) enum BuildStep {
    Notice(Notice),
    End(Ended),
}

impl World {
    pub(super) fn build(&mut self, number: usize, id: DeliveryId, plan: &Plan) {
        if let Some(hand) = self.workers[number].hand(id) {
            hand.build = Build::Running;
            hand.reuses = matches!(plan, Plan::Reuse(_));
        }
        let (end, takes) = self.end_of(plan);
        for _ in 0..self.rng.u8(0..3) {
            let notice = match self.rng.u8(0..4) {
                0 => Notice::Idle(true),
                1 => Notice::Idle(false),
                2 => Notice::Phase(Phase::Evaluate),
                _ => Notice::Phase(Phase::Build),
            };
            let after = self.rng.u64(1..takes);
            self.news(number, id, after, BuildStep::Notice(notice));
        }
        let reused = matches!(&end, BuildEnd::Built(built) if built.reused);
        if matches!(plan, Plan::Reuse(_)) && !reused {
            let after = self.rng.u64(1..takes);
            self.news(number, id, after, BuildStep::Notice(Notice::Anew));
        }
        self.news(number, id, takes, BuildStep::End(Ended { end, phases: Vec::new() }));
    }

    /// How a build ends if nobody stops it, and after how long.
    fn end_of(&mut self, plan: &Plan) -> (BuildEnd, u64) {
        let takes = self.rng.u64(20..self.schedule.build_max);
        if let (Plan::Reuse(built), true) = (plan, self.rng.u8(0..4) > 0) {
            return (BuildEnd::Built(Built { reused: true, ..built.clone() }), takes.min(SECOND));
        }
        if matches!(plan, Plan::Reuse(_)) && self.rng.bool() {
            // Gone, and no room for it: others may have it.
            return (BuildEnd::Stopped, takes.min(SECOND));
        }
        let failure = Failure::message("m");
        let weights = self.schedule.builds;
        let mut chosen = self.rng.u32(0..weights.iter().sum());
        let mut kind = 0;
        while chosen >= weights[kind] {
            chosen -= weights[kind];
            kind += 1;
        }
        match kind {
            0 => (BuildEnd::Built(tests::built()), takes),
            1 => (BuildEnd::Failed { kind: FailureKind::BuildFailed, failure }, takes),
            2 => (BuildEnd::Infra { kind: InfraKind::DaemonLost, failure }, takes),
            _ => (BuildEnd::Failed { kind: FailureKind::TimedOut, failure }, WALL),
        }
    }

    fn news(&mut self, number: usize, id: DeliveryId, after: u64, step: BuildStep) {
        let life = self.workers[number].life;
        self.later(self.now + after, Happening::Build(number, life, id, step));
    }

    /// A build that is told to stop ends soon; how it would have ended may still come first.
    pub(super) fn kill(&mut self, number: usize, id: DeliveryId) {
        let after = self.rng.u64(10..3 * SECOND / 2);
        let end = BuildStep::End(Ended { end: BuildEnd::Stopped, phases: Vec::new() });
        self.news(number, id, after, end);
    }

    pub(super) fn build_step(&mut self, number: usize, life: u32, id: DeliveryId, step: BuildStep) {
        if self.workers[number].life != life {
            return;
        }
        let Some(hand) = self.workers[number].hand(id) else { return };
        if hand.build != Build::Running {
            return;
        }
        let event = match step {
            BuildStep::Notice(notice) => Event::Noticed(id, notice),
            BuildStep::End(ended) => {
                hand.build = Build::Over;
                Event::Ended(id, ended)
            }
        };
        self.step(number, event);
    }
}
