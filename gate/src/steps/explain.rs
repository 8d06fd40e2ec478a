//! Saying on the forge why a candidate is not landed: one pull request, found again and never
//! doubled, with labels, one comment, and the whole log of each host that failed.

use std::collections::BTreeMap;

use bus::retried;
use bytes::Bytes;
use proto::{
    JobKey, Outcome, Record,
    gate::{GateRun, HostStanding, Made, Refused},
};

use super::{Ground, StepError};
use crate::{
    forge::{
        Attached, CommentId, Forge as _, LabelId, Marked, NewLabel, NewPull, Opened, Pull,
        PullEdit, PullNumber,
    },
    plan::Event,
    report::{self, Detail, Facts, attachment, body, comment, labels, status::Status},
};

/// Whole logs that are attached: beyond this, nobody opens them one by one.
const LOGS_MAX: usize = 50;
/// What browsers and forges call a gzip file.
const GZIP: &str = "application/gzip";

/// Where it was said.
struct Said {
    pull: PullNumber,
    comment: CommentId,
}

impl Ground<'_> {
    pub(super) async fn explain(
        &self,
        run: &GateRun,
        refused: &Refused,
    ) -> Result<Event, StepError> {
        let me = self.forge.me().await?;
        let site = self.site(Some(&me));
        let (mut details, epochs) = self.details(refused).await?;
        let logs = self.attachable(refused, &mut details).await?;
        self.lease.fresh().await;
        let labels = self.labels(refused).await?;
        let now = bus::clock::now();
        let facts = Facts { run, details: &details, site: &site, now };
        let said = self.say(refused, &facts, &me).await?;
        self.forge.add_labels(said.pull, &labels).await?;
        let mut turned_away = false;
        for label in logs {
            let Some((job, epoch)) = epochs.get(&label) else { continue };
            self.lease.fresh().await;
            if !self.attach(said.comment, &label, job, *epoch, &site).await? {
                turned_away = true;
                details.entry(label).and_modify(|detail| detail.attachment = None);
            }
        }
        let facts = Facts { run, details: &details, site: &site, now };
        if turned_away {
            // What was announced is not there: the texts have to hold.
            self.say(refused, &facts, &me).await?;
        }
        self.mark(&refused.candidate.revision, Status::refused(&facts, refused)).await;
        Ok(Event::Explained { pull: said.pull.0 })
    }

    async fn labels(&self, refused: &Refused) -> Result<Vec<LabelId>, StepError> {
        let wanted = labels::labels(refused, self.config.rules.policy);
        let wanted: Vec<NewLabel<'_>> = wanted
            .iter()
            .map(|it| NewLabel { name: it.name, color: it.color, description: it.description })
            .collect();
        Ok(self.forge.ensure_labels(&wanted).await?)
    }

    /// The request and its comment, made or brought up to date.
    async fn say(&self, refused: &Refused, facts: &Facts<'_>, me: &str) -> Result<Said, StepError> {
        let pull = self.pull(refused, facts).await?.number;
        let (marker, text) = (comment::marker(facts.run.id), comment::comment(facts, refused));
        let marked = Marked { author: me, marker: &marker, body: &text };
        Ok(Said { pull, comment: self.forge.ensure_comment(pull, marked).await? })
    }

    async fn pull(&self, refused: &Refused, facts: &Facts<'_>) -> Result<Pull, StepError> {
        let (title, body) = (body::title(facts, refused), body::body(facts, refused));
        let (title, body) = (title.as_str(), body.as_str());
        let (base, head) = (facts.run.base.as_str(), refused.candidate.branch.as_str());
        match self.forge.create_pull(NewPull { base, head, title, body, labels: &[] }).await? {
            Opened::Created(pull) => Ok(pull),
            Opened::Exists(pull) => {
                // A person's own words stay.
                if refused.candidate.made != Made::Others {
                    let edit = PullEdit { title: Some(title), body: Some(body) };
                    self.forge.edit_pull(pull.number, edit).await?;
                }
                Ok(pull)
            }
        }
    }

    /// What the records say of the hosts beyond their results, and which attempt has the log of
    /// each. A record that is of another asking by now is left out.
    async fn details(&self, refused: &Refused) -> Result<(Details, Epochs), StepError> {
        let (mut details, mut epochs) = (BTreeMap::new(), BTreeMap::new());
        let Some(tested) = refused.why.tested() else { return Ok((details, epochs)) };
        let required = &tested.trial.required;
        let jobs: Vec<JobKey> = required.values().map(|it| it.job.clone()).collect();
        let records = self.pool().records(&jobs).await?;
        for ((label, job), record) in required.keys().zip(jobs).zip(records) {
            let Some(record) = record else { continue };
            let result = tested.results.get(label);
            if record.outcome().map(Outcome::name) != result.map(|it| it.outcome.as_str()) {
                continue;
            }
            epochs.insert(label.clone(), (job, record.epoch));
            details.insert(label.clone(), detail(&record));
        }
        Ok((details, epochs))
    }

    /// The hosts whose logs the forge takes. Their names are noted before anything is written, so
    /// that the text is the same each time.
    async fn attachable(
        &self,
        refused: &Refused,
        details: &mut Details,
    ) -> Result<Vec<String>, StepError> {
        let rules = self.forge.attachment_rules().await?;
        let results = refused.why.tested().map(|tested| tested.results.iter());
        let failed = results.into_iter().flatten();
        let failed = failed.filter(|(_, result)| result.standing == HostStanding::Failed);
        let mut logs = Vec::new();
        for (label, _) in failed.take(LOGS_MAX) {
            let name = attachment::file_name(label);
            let Some(detail) = details.get_mut(label) else { continue };
            if rules.allows(&name, GZIP) {
                detail.attachment = Some(name);
                logs.push(label.clone());
            }
        }
        Ok(logs)
    }

    /// False: the forge does not take it.
    async fn attach(
        &self,
        at: CommentId,
        label: &str,
        job: &JobKey,
        epoch: proto::Epoch,
        site: &report::Site,
    ) -> Result<bool, StepError> {
        let name = attachment::file_name(label);
        if self.forge.attachments(at).await?.contains(&name) {
            return Ok(true);
        }
        let lines = self.log(job, epoch).await?;
        let file = attachment::attachment(label, lines.iter().map(String::as_str), &site.scrub);
        match self.forge.ensure_attachment(at, &file.name, Bytes::from(file.bytes)).await? {
            Attached::Done => Ok(true),
            Attached::TooLarge { message } | Attached::TypeRefused { message } => {
                self.console.say(&format!("the log of {label} was not attached: {message}"));
                Ok(false)
            }
        }
    }

    /// What is kept of the log of one attempt: of a long one the end.
    async fn log(&self, job: &JobKey, epoch: proto::Epoch) -> Result<Vec<String>, StepError> {
        let (mut lines, mut bytes, mut sequence) = (std::collections::VecDeque::new(), 0, 0);
        let (mut next, mut cut) = (0, false);
        loop {
            let read = || self.bus.next_log(job, Some(epoch), sequence);
            let stored = match retried(read).await {
                Ok(Some(stored)) => stored,
                Ok(None) => break,
                Err(bus::Error::Undecodable { revision, .. }) => {
                    lines.push_back("[… a part of the log cannot be read …]".to_owned());
                    sequence = revision + 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            sequence = stored.sequence + 1;
            let lost = stored.chunk.seq.saturating_sub(next) + stored.chunk.dropped;
            if lost > 0 {
                lines.push_back(format!("[… {lost} parts of the log are not kept …]"));
            }
            next = stored.chunk.seq + 1;
            for line in stored.chunk.lines {
                bytes += line.text.len() + 1;
                lines.push_back(line.labelled());
            }
            while bytes > attachment::LOG_BYTES_MAX {
                let Some(line) = lines.pop_front() else { break };
                bytes = bytes.saturating_sub(line.len() + 1);
                cut = true;
            }
        }
        if cut {
            lines.push_front("[… the beginning of the log is left out …]".to_owned());
        }
        Ok(lines.into())
    }

    /// What is known of the hosts, for a report that can do without.
    pub(crate) async fn known(&self, refused: &Refused) -> Details {
        match self.details(refused).await {
            Ok((details, _)) => details,
            Err(error) => {
                tracing::info!("reported without details: {error}");
                Details::new()
            }
        }
    }

    /// What the config says, for reports.
    pub(crate) fn site(&self, me: Option<&str>) -> report::Site {
        self.config.site(me, Some(self.forge.token()))
    }
}

pub(crate) type Details = BTreeMap<String, Detail>;
type Epochs = BTreeMap<String, (JobKey, proto::Epoch)>;

fn detail(record: &Record) -> Detail {
    let outcome = record.outcome();
    let closure = match outcome {
        Some(Outcome::Built(built)) => built.diff.as_ref().map(|diff| report::ClosureDiff {
            text: diff.lines.join("\n"),
            lines_cut: diff.lines_cut,
            bytes: diff.bytes,
        }),
        _ => None,
    };
    Detail {
        failure: outcome.and_then(Outcome::failure).cloned(),
        workers: record.attempts.iter().map(|attempt| attempt.worker.clone()).collect(),
        closure,
        attachment: None,
    }
}
