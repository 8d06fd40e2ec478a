//! Putting away what a run has made obsolete: its own branch once it is landed, and requests that
//! earlier updates left open.
//!
//! Only what is exactly as a gate left it is touched: a branch on which somebody has pushed since
//! is theirs.

use std::time::Duration;

use bus::retried;
use proto::{
    Revision,
    gate::{End, Ended, GateRun},
    subject,
};

use super::{Ground, StepError};
use crate::{
    checkout::Pushed,
    forge::{Forge as _, Marked, Pull},
    plan::Event,
    report::status::Status,
};

/// Ended runs are kept this long, as results are.
const RUNS_KEPT: Duration = Duration::from_secs(180 * 24 * 60 * 60);

impl Ground<'_> {
    pub(super) async fn clear(&self, run: &GateRun, end: &End) -> Result<Event, StepError> {
        let pulls = self.forge.open_pulls(&run.base).await?;
        let me = self.forge.me().await?;
        if let Some(at) = end.obsolete() {
            let own = pulls.iter().find(|pull| !pull.from_fork && pull.head == at.branch);
            if let Some(pull) = own {
                let words = match end {
                    End::Landed(_) => format!("Landed on `{}` as {}.", run.base, at.at),
                    end => format!("This update is over: {}.", end.name()),
                };
                self.close(pull, &me, &words).await?;
            }
            self.delete(&at.branch, &at.at).await?;
        }
        if let End::BaseRewound { .. } | End::BranchGone { .. } | End::GivenUp { .. } = end
            && let Some(candidate) = end.candidate()
        {
            let words = format!("stopped: {}", end.name());
            let status = Status::error(&words, &self.site(None).scrub);
            self.mark(&candidate.revision, status).await;
        }
        let runs = self.runs_of(run).await?;
        if let End::Landed(_) | End::Refused { .. } = end {
            self.supersede(end, &pulls, &runs, &me).await?;
        }
        self.prune(run, runs).await?;
        self.tell_end(run, end).await?;
        Ok(Event::Cleared)
    }

    /// Nothing depends on it: a broker that does not let us tell does not keep the run from its end.
    async fn tell_end(&self, run: &GateRun, end: &End) -> Result<(), StepError> {
        let ended = Ended::of(run, end, bus::clock::now());
        match retried(|| self.bus.tell_ended(&ended)).await {
            Err(error) if error.transient() => Err(error.into()),
            Err(error) => {
                self.console.say(&format!("the end of the run was not told: failed to {error}"));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// An update with a verdict takes the place of those before it that nobody has worked on.
    async fn supersede(
        &self,
        end: &End,
        pulls: &[Pull],
        runs: &[GateRun],
        me: &str,
    ) -> Result<(), StepError> {
        let own = end.candidate().map(|candidate| candidate.branch.as_str());
        let ours = |pull: &&Pull| {
            !pull.from_fork
                && pull.author.as_deref() == Some(me)
                && pull.head.starts_with(&self.config.branch_prefix)
                && Some(pull.head.as_str()) != own
        };
        let by = match end {
            End::Refused { pull, .. } => format!("by #{pull}"),
            end => {
                let rev = end.candidate().map_or_else(String::new, |it| it.revision.to_string());
                format!("by {rev}, which is landed")
            }
        };
        for pull in pulls.iter().filter(ours) {
            let Some(at) = &pull.head_commit else { continue };
            if !runs.iter().any(|run| left(run, &pull.head, at)) {
                self.console.say(&format!(
                    "#{} stays open: {} is not as the gate left it",
                    pull.number.0, pull.head
                ));
                continue;
            }
            self.close(pull, me, &format!("Superseded {by}.")).await?;
            self.delete(&pull.head, at).await?;
        }
        Ok(())
    }

    /// Told, then closed. Deleting the branch afterwards would close it without a word.
    async fn close(&self, pull: &Pull, me: &str, words: &str) -> Result<(), StepError> {
        self.lease.fresh().await;
        let marker = "<!-- nix-build-pool:closed -->";
        let body = format!("{marker}\n{words}");
        self.forge.ensure_comment(pull.number, Marked { author: me, marker, body: &body }).await?;
        self.forge.close_pull(pull.number).await?;
        Ok(())
    }

    async fn delete(&self, branch: &str, at: &Revision) -> Result<(), StepError> {
        self.lease.fresh().await;
        match self.checkout.delete(branch, at).await? {
            Pushed::Done => {}
            Pushed::Lost => match self.checkout.head(branch).await? {
                // Deleted before.
                None => {}
                Some(_) => self.console.say(&format!("{branch} is kept: somebody pushed to it")),
            },
            Pushed::Denied(message) => {
                self.console.say(&format!("{branch} was not deleted: {message}"));
            }
        }
        Ok(())
    }

    async fn runs_of(&self, run: &GateRun) -> Result<Vec<GateRun>, StepError> {
        let filter = subject::gate_runs_of(&run.repo, &run.base);
        let found = retried(|| async { self.bus.gate_runs().list(&filter).await }).await?;
        Ok(found.into_iter().filter_map(|(_, entry)| entry.value).collect())
    }

    async fn prune(&self, run: &GateRun, runs: Vec<GateRun>) -> Result<(), StepError> {
        for old in runs {
            let over = old.stage.ended().is_some() && run.at.since(old.at) > RUNS_KEPT;
            if over && old.id != run.id {
                let key = subject::gate_run_key(&old.repo, &old.base, old.id);
                retried(|| async { self.bus.gate_runs().delete(&key).await }).await?;
            }
        }
        Ok(())
    }
}

/// Whether a run left this branch at this commit.
fn left(run: &GateRun, branch: &str, at: &Revision) -> bool {
    run.stage.candidate().is_some_and(|it| it.branch == branch && it.revision == *at)
}
