//! Moving the base branch, and telling of it.

use proto::{
    JobKey, Outcome, Record, Revision, V1,
    gate::{Candidate, GateRun, HostStanding, Landed, LandedHost, Made, Tested},
};

use super::{Ground, StepError};
use crate::{
    checkout::{Commit, Pushed},
    forge::{BranchMove, Forge as _, Moved},
    plan::Event,
    report::status::Status,
};

/// Reads of the base between two lost races. Each one found it moved by somebody else.
const RACES_MAX: u32 = 5;

/// What one try to move the base came to.
enum Tried {
    Done,
    Lost,
    Denied(String),
}

impl Ground<'_> {
    /// Whatever the answers of the server were: that it is landed is believed only when the base
    /// was read and contains the candidate.
    pub(super) async fn land(&self, run: &GateRun, tested: &Tested) -> Result<Event, StepError> {
        let candidate = &tested.trial.candidate;
        self.have(run, candidate).await?;
        for _ in 0..RACES_MAX {
            let Some(head) = self.checkout.fetch(&run.base).await? else {
                return Ok(Event::Gone { branch: run.base.clone() });
            };
            if self.checkout.contains(&head, &candidate.revision).await? {
                let success = Status::success(tested, self.config.rules.policy);
                self.mark(&candidate.revision, success).await;
                return Ok(Event::Landed);
            }
            if head != candidate.base {
                return self.moved(candidate, head).await;
            }
            self.lease.fresh().await;
            match self.try_to_move(run, candidate).await? {
                // The next read has to agree.
                Tried::Done | Tried::Lost => {}
                Tried::Denied(message) => return Ok(Event::Denied { message }),
            }
        }
        let to = self.checkout.fetch(&run.base).await?.unwrap_or_else(|| candidate.base.clone());
        Ok(Event::Moved { to, remade: None })
    }

    /// By the forge where it compares, else by git, which always does.
    async fn try_to_move(&self, run: &GateRun, candidate: &Candidate) -> Result<Tried, StepError> {
        // git forces what its lease allows: that it is a step forward is ours to know.
        if !self.checkout.contains(&candidate.revision, &candidate.base).await? {
            return Err(StepError::CommitGone(candidate.base.clone()));
        }
        if self.forge.features().compare_and_set {
            let (old, new) = (&candidate.base, &candidate.revision);
            match self.forge.move_branch(BranchMove { branch: &run.base, old, new }).await? {
                Moved::Done => return Ok(Tried::Done),
                Moved::Lost { .. } => return Ok(Tried::Lost),
                Moved::Denied { message } => return Ok(Tried::Denied(message)),
                Moved::Unsupported => {}
            }
        }
        let expected = Some(&candidate.base);
        Ok(match self.checkout.push(&run.base, &candidate.revision, expected).await? {
            Pushed::Done => Tried::Done,
            Pushed::Lost => Tried::Lost,
            Pushed::Denied(message) => Tried::Denied(message),
        })
    }

    /// The base is somewhere else: further on, or back.
    async fn moved(&self, candidate: &Candidate, to: Revision) -> Result<Event, StepError> {
        if !self.checkout.contains(&to, &candidate.base).await? {
            return Ok(Event::Rewound { to });
        }
        let Made::Update(update) = &candidate.made else {
            return Ok(Event::Moved { to, remade: None });
        };
        if self.checkout.flake_differs(&candidate.base, &to).await? {
            self.console.say("the base moved on, and its flake with it: updating anew");
            return Ok(Event::Moved { to, remade: None });
        }
        self.console.say(&format!("the base moved on to {}: following it", to.short()));
        let (lock, message, date) = (&update.lock, &update.message, update.date);
        let commit = Commit { parent: &to, lock, message, date };
        let revision = self.checkout.commit(commit).await?;
        let replaces = Some(candidate.revision.clone());
        let (branch, made) = (candidate.branch.clone(), candidate.made.clone());
        let remade = Candidate { base: to.clone(), revision, branch, replaces, made };
        Ok(Event::Moved { to, remade: Some(remade) })
    }

    pub(super) async fn tell(&self, run: &GateRun, tested: &Tested) -> Result<Event, StepError> {
        let Tested { trial, results } = tested;
        let own = |label: &String| trial.required.get(label).filter(|it| it.job.repo == run.repo);
        let built = results.iter().filter_map(|(label, result)| {
            let job = own(label).filter(|_| result.standing == HostStanding::Built)?.job.clone();
            let at_base = JobKey { revision: trial.candidate.base.clone(), ..job };
            Some(((label, result.drv_path.as_ref()?, result.out_path.as_ref()?), at_base))
        });
        let (built, at_base): (Vec<_>, Vec<_>) = built.unzip();
        let before = self.pool().records(&at_base).await?;
        let hosts = built.into_iter().zip(before).map(|((label, drv_path, out_path), before)| {
            let before = before.as_ref().and_then(Record::outcome);
            let changed = match before {
                Some(Outcome::Built(before)) => Some(before.out_path != *out_path),
                _ => None,
            };
            let (drv_path, out_path) = (drv_path.clone(), out_path.clone());
            (label.clone(), LandedHost { drv_path, out_path, changed })
        });
        let landed = Landed {
            v: V1,
            at: bus::clock::now(),
            repo: run.repo.clone(),
            branch: run.base.clone(),
            revision: trial.candidate.revision.clone(),
            base: trial.candidate.base.clone(),
            gate: run.id,
            hosts: hosts.collect(),
        };
        bus::retried(|| self.bus.tell_landed(&landed)).await?;
        Ok(Event::Told)
    }
}
