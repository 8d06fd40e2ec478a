//! Saying on the forge why a candidate is not landed: one pull request, found again and never
//! doubled, with labels, one comment and the logs of what failed.

use proto::gate::{GateRun, Made, Refused};

use super::{Ground, StepError};
use crate::{
    forge::{Forge as _, NewPull, Opened, PullEdit, StatusState},
    plan::Event,
    report,
};

impl Ground<'_> {
    pub(super) async fn explain(
        &self,
        run: &GateRun,
        refused: &Refused,
    ) -> Result<Event, StepError> {
        let (title, body) = (report::title(refused), report::body(run, refused));
        self.lease.fresh().await;
        let new = NewPull {
            base: &run.base,
            head: &refused.candidate.branch,
            title: &title,
            body: &body,
            labels: &[],
        };
        let pull = match self.forge.create_pull(new).await? {
            Opened::Created(pull) => pull,
            Opened::Exists(pull) => {
                // A person's own words stay.
                if refused.candidate.made != Made::Others {
                    let edit = PullEdit { title: Some(&title), body: Some(&body) };
                    self.forge.edit_pull(pull.number, edit).await?;
                }
                pull
            }
        };
        self.mark(&refused.candidate.revision, StatusState::Failure, "not landed").await;
        Ok(Event::Explained { pull: pull.number.0 })
    }
}
