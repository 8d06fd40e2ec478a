//! Making a candidate and putting it where the workers find it.

use proto::{
    Revision,
    gate::{BranchAt, Candidate, End, GateRun, Made, Source, Update, Why},
    subject,
};

use super::{Ground, StepError};
use crate::{
    checkout::{Commit, Pushed},
    plan::Event,
    update::{Updated, update},
};

impl Ground<'_> {
    pub(super) async fn prepare(
        &self,
        run: &GateRun,
        base: &Revision,
        over: Option<&BranchAt>,
    ) -> Result<Event, StepError> {
        match &run.source {
            Source::Update => self.prepare_update(run, base, over).await,
            Source::Branch { name } => self.prepare_branch(run, base, name).await,
        }
    }

    async fn prepare_update(
        &self,
        run: &GateRun,
        base: &Revision,
        over: Option<&BranchAt>,
    ) -> Result<Event, StepError> {
        if !self.checkout.has(base).await? {
            self.checkout.fetch(&run.base).await?;
        }
        let old_lock = self.checkout.lock_at(base).await?.unwrap_or_default();
        let updated = update(self.checkout, base, &old_lock, self.config.on_broken_input).await?;
        let (lock, kept) = match updated {
            Updated::Broken(inputs) => return Ok(Event::Broken { inputs }),
            Updated::Lock { lock, .. } if lock == old_lock => {
                return Ok(Event::Unchanged { base: base.clone() });
            }
            Updated::Lock { lock, kept } => (lock, kept),
        };
        for input in &kept {
            self.console.say(&format!("input {} keeps its lock: {}", input.input, input.message));
        }
        if let Some(of) = self.failed_before(run, base, &lock).await? {
            return Ok(Event::Repeats { of });
        }
        // The date of the run, so that the same run makes the same commit.
        let date = run.at.0 / 1000;
        let message = crate::report::commit::message(&old_lock, &lock, &kept);
        let commit = Commit { parent: base, lock: &lock, message: &message, date };
        let revision = self.checkout.commit(commit).await?;
        let (branch, replaces) = match over {
            Some(BranchAt { branch, at }) => (branch.clone(), Some(at.clone())),
            None => (self.free_branch(date).await?, None),
        };
        let made = Made::Update(Update { lock, old_lock, message, date, kept });
        Ok(Event::Prepared(Candidate { base: base.clone(), revision, branch, replaces, made }))
    }

    /// The run in which the same lock on the same base failed, if the newest failure is such.
    async fn failed_before(
        &self,
        run: &GateRun,
        base: &Revision,
        lock: &str,
    ) -> Result<Option<proto::GateId>, StepError> {
        let Some(id) = self.lease.failed().await.filter(|id| *id != run.id) else {
            return Ok(None);
        };
        let key = subject::gate_run_key(&run.repo, &run.base, id);
        let failed = bus::retried(|| async { self.bus.gate_runs().get(&key).await }).await?.value;
        let refused = failed.as_ref().and_then(|run| match run.stage.ended() {
            Some(End::Refused { refused, .. }) => Some(refused),
            _ => None,
        });
        Ok(refused.and_then(|refused| {
            let flake = matches!(refused.why, Why::Failed(_) | Why::NoHosts { .. });
            let Made::Update(update) = &refused.candidate.made else { return None };
            let same = refused.candidate.base == *base && update.lock == lock;
            (flake && same).then_some(id)
        }))
    }

    /// A person's branch is taken as it is, if it is ahead of the base.
    async fn prepare_branch(
        &self,
        run: &GateRun,
        base: &Revision,
        name: &str,
    ) -> Result<Event, StepError> {
        if !self.checkout.has(base).await? {
            self.checkout.fetch(&run.base).await?;
        }
        let Some(revision) = self.checkout.fetch(name).await? else {
            return Ok(Event::Gone { branch: name.to_owned() });
        };
        if revision == *base {
            return Ok(Event::Unchanged { base: base.clone() });
        }
        if !self.checkout.contains(&revision, base).await? {
            return Ok(Event::Behind { branch: name.to_owned(), base: base.clone() });
        }
        let (base, branch) = (base.clone(), name.to_owned());
        Ok(Event::Prepared(Candidate {
            base,
            revision,
            branch,
            replaces: None,
            made: Made::Others,
        }))
    }

    pub(super) async fn publish(
        &self,
        run: &GateRun,
        candidate: &Candidate,
    ) -> Result<Event, StepError> {
        self.have(run, candidate).await?;
        if let Made::Update(update) = &candidate.made {
            self.lease.fresh().await;
            let Candidate { branch, revision, replaces, .. } = candidate;
            match self.checkout.push(branch, revision, replaces.as_ref()).await? {
                Pushed::Done => {}
                // Pushed before, or somebody else's.
                Pushed::Lost if self.checkout.head(branch).await?.as_ref() == Some(revision) => {}
                Pushed::Lost => {
                    let free = self.free_branch(update.date).await?;
                    self.console.say(&format!("{branch} is somebody else's now; taking {free}"));
                    return Ok(Event::Taken { free });
                }
                Pushed::Denied(message) => {
                    return Err(StepError::BranchDenied { branch: branch.clone(), message });
                }
            }
        }
        Ok(Event::Published)
    }

    /// `<prefix><date>`, or with `-2`, `-3`, … when that is taken. No branch is ever overwritten.
    async fn free_branch(&self, date: u64) -> Result<String, StepError> {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(date);
        let day: String =
            humantime::format_rfc3339_seconds(time).to_string().chars().take(10).collect();
        let first = format!("{}{day}", self.config.branch_prefix);
        let taken = self.checkout.branches(&format!("{first}*")).await?;
        let names = std::iter::once(first.clone()).chain((2_u32..).map(|n| format!("{first}-{n}")));
        let mut free = names.filter(|name| !taken.contains(name));
        Ok(free.next().expect("there are more numbers than branches"))
    }
}
