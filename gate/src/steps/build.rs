//! Having hosts built: the candidate's, once more what failed, and at the base what still fails.

use std::collections::BTreeMap;

use proto::{
    JobKey, Priority, Revision, RunRecord, V1,
    gate::{Candidate, Doubted, GateRun, HostStanding, Required, Tested, Trial},
};

use super::{Ground, StepError};
use crate::{
    cache,
    checkout::full,
    plan::{Event, Look},
    pool::Unanswered,
    report::status::Status,
};

/// Hosts that have ended, by label.
type Looks = BTreeMap<String, Look>;

impl Ground<'_> {
    pub(super) async fn test(&self, run: &GateRun, trial: &Trial) -> Result<Event, StepError> {
        self.refuse_unserved(trial).await?;
        let asked = self.runs(run, trial);
        let unanswered = self.unanswered(trial).await?;
        for record in &asked {
            self.pool().ask(record, &unanswered).await?;
        }
        let pending = Status::pending(0, trial.required.len());
        self.mark(&trial.candidate.revision, pending).await;
        let looks = self.pool().follow(&trial.required, of(&asked)).await?;
        Ok(Event::Ended(self.in_cache(looks).await?))
    }

    pub(super) async fn confirm(
        &self,
        run: &GateRun,
        doubted: &Doubted,
    ) -> Result<Event, StepError> {
        let asked = self.runs(run, &doubted.trial);
        let unanswered = self.unanswered(&doubted.trial).await?;
        for (label, doubt) in &doubted.doubts {
            let Some(required) = doubted.trial.required.get(label) else { continue };
            let Some(record) = of(&asked)(&required.job) else { continue };
            self.console.say(&format!("{label}: {}, once more elsewhere", doubt.outcome));
            self.pool().ask_again(&record, &required.job, doubt, &unanswered).await?;
        }
        // The other hosts, of which some may have no answer yet.
        let others = self.unanswered(&doubted.trial).await?;
        for record in &asked {
            self.pool().ask(record, &others).await?;
        }
        let looks = self.pool().follow(&doubted.trial.required, of(&asked)).await?;
        Ok(Event::Ended(self.in_cache(looks).await?))
    }

    /// Hosts of other repositories have no base here.
    pub(super) async fn compare(&self, run: &GateRun, tested: &Tested) -> Result<Event, StepError> {
        let Tested { trial, results } = tested;
        let mut failing = BTreeMap::new();
        for (label, required) in &trial.required {
            let failed = results.get(label).is_some_and(|it| it.standing == HostStanding::Failed);
            if failed && required.job.repo == run.repo {
                let job = JobKey { revision: trial.candidate.base.clone(), ..required.job.clone() };
                failing.insert(label.clone(), Required { job, ..required.clone() });
            }
        }
        if failing.is_empty() {
            return Ok(Event::Ended(BTreeMap::new()));
        }
        self.console.say(&format!("comparing {} failing hosts with the base", failing.len()));
        let (revision, git_ref) = (trial.candidate.base.clone(), full(&run.base));
        let record =
            RunRecord { run: trial.base_run, ..self.record(run, revision, git_ref, &failing) };
        self.pool().ask(&record, &Unanswered::default()).await?;
        let asked = [record];
        Ok(Event::Ended(self.pool().follow(&failing, of(&asked)).await?))
    }

    /// What ended before this process came to it, and has to be asked for anew.
    async fn unanswered(&self, trial: &Trial) -> Result<Unanswered, StepError> {
        let looks = self.pool().ended_by_now(&trial.required).await?;
        Ok(Unanswered::of(&trial.required, &self.in_cache(looks).await?))
    }

    /// What is built must also be where the hosts get it from.
    async fn in_cache(&self, mut looks: Looks) -> Result<Looks, StepError> {
        let Some(cache) = &self.config.cache else { return Ok(looks) };
        let built = looks.values().filter(|look| look.result.standing == HostStanding::Built);
        let paths: Vec<&str> = built.filter_map(|look| look.result.out_path.as_deref()).collect();
        let absent = cache::absent(cache, &paths).await?;
        for look in looks.values_mut() {
            let path = look.result.out_path.as_deref();
            if let Some(why) = path.and_then(|path| absent.get(path)) {
                look.result.standing = HostStanding::Undecided;
                "not-in-cache".clone_into(&mut look.result.outcome);
                look.result.message = Some(why.clone());
            }
        }
        Ok(looks)
    }

    /// What is asked for in the pool: one run for the repository, one for each other one.
    fn runs(&self, run: &GateRun, trial: &Trial) -> Vec<RunRecord> {
        let of_repo = |repo: &proto::Repo| {
            let hosts = trial.required.iter().filter(move |(_, it)| it.job.repo == *repo);
            hosts.map(|(label, it)| (label.clone(), it.clone())).collect::<BTreeMap<_, _>>()
        };
        let Candidate { revision, branch, .. } = &trial.candidate;
        let own = self.record(run, revision.clone(), full(branch), &of_repo(&run.repo));
        let mut runs = vec![RunRecord { run: trial.run, ..own }];
        for external in &trial.external {
            let (revision, git_ref) = (external.revision.clone(), external.git_ref.clone());
            let record = self.record(run, revision, git_ref, &of_repo(&external.repo));
            let (repo, overrides) = (external.repo.clone(), external.overrides.clone());
            runs.push(RunRecord { run: external.run, repo, overrides, ..record });
        }
        runs
    }

    fn record(
        &self,
        run: &GateRun,
        revision: Revision,
        git_ref: String,
        required: &BTreeMap<String, Required>,
    ) -> RunRecord {
        let host = |it: &Required| (it.job.host.clone(), it.class.clone());
        RunRecord {
            v: V1,
            run: proto::RunId(run.id.0),
            // Whoever goes on with a run asks in its own name: it can write under no other.
            by: self.bus.identity().clone(),
            at: run.at,
            repo: run.repo.clone(),
            revision,
            git_ref: Some(git_ref),
            overrides: proto::Overrides::default(),
            hosts: required.values().map(host).collect(),
            excluded: Vec::new(),
            priority: Priority::High,
            force: false,
            trace: run.trace,
        }
    }

    async fn refuse_unserved(&self, trial: &Trial) -> Result<(), StepError> {
        let classes = trial.required.values().map(|required| &required.class);
        let unserved = self.bus.unserved(classes).await?;
        let names: Vec<&str> = unserved.into_iter().map(proto::Class::as_str).collect();
        if names.is_empty() { Ok(()) } else { Err(StepError::Unserved(names.join(","))) }
    }
}

/// The run that a job belongs to.
fn of(asked: &[RunRecord]) -> impl Fn(&JobKey) -> Option<RunRecord> {
    |job| {
        let mut runs = asked.iter();
        runs.find(|run| run.repo == job.repo && run.revision == job.revision).cloned()
    }
}
