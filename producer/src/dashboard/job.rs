//! What a job's page shows, read from the leader when it is asked for: jobs of any age have one.

use std::time::Duration;

use bus::Error;
use proto::{
    Class, ClosureDiff, Epoch, Finished, JobKey, Outcome, State, topology::CLASSES_DEFAULT,
};
use stand::{HostStatus, Look, Seen};

use super::{
    guard::AnswerBy,
    log::{self, Found, LogEnd},
    routes::Site,
    trouble::Trouble,
};
use crate::{
    snapshot,
    story::{self, Story},
};

/// What is left, after a search that took all the time there is, to read and show the rest.
const AFTER_SEARCH: Duration = Duration::from_secs(3);
/// Letters of a word that is looked for.
const WORD_MAX: usize = 200;

/// Which page.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) job: JobKey,
    /// Whose log; the newest attempt's without it.
    pub(crate) attempt: Option<Epoch>,
    /// What is looked for in the log; empty: its end is shown.
    pub(crate) find: String,
    pub(crate) answer_by: AnswerBy,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct FoundJob {
    pub(crate) story: Story,
    /// Attempts whose log is kept, oldest first.
    pub(crate) kept: Vec<Epoch>,
    pub(crate) log: Option<(Epoch, Log)>,
    /// What changed in its closure, of one that was built.
    pub(crate) diff: Option<ClosureDiff>,
}

/// What is shown of the log.
#[derive(Debug)]
pub(crate) enum Log {
    End(LogEnd),
    Found(Found),
}

impl FoundJob {
    /// Its result, if it ended.
    pub(crate) fn finished(&self) -> Option<&Finished> {
        self.story.status.finished()
    }
}

/// Reads it all.
pub(crate) async fn read(site: &Site, asked: &Asked) -> Result<FoundJob, Trouble> {
    let (bus, job) = (&site.bus, &asked.job);
    let seen = snapshot::seen(bus, job).await?;
    let events = story::events(bus, job).await?;
    let kept = bus.log_epochs(job).await?;
    let unknown = seen.request.value.is_none() && seen.record.value.is_none();
    if unknown && events.is_empty() && kept.is_empty() {
        return Err(Trouble::Missing(format!(
            "Nobody asked for {0} of {1} at {2}. `producer submit {0} --repo {1} --rev {2}` does.",
            job.host, job.repo, job.revision
        )));
    }
    let log = read_log(site, asked, &seen, &kept).await?;
    let class: Class = CLASSES_DEFAULT[0].parse()?;
    let status = site.shared.read(|model| {
        let look = Look { around: model.around(), now: bus::clock::now() };
        HostStatus::of(job.clone(), &class, &seen, look)
    });
    let diff = match status.outcome() {
        Some(Outcome::Built(_)) => read_diff(site, job).await?,
        _ => None,
    };
    Ok(FoundJob { story: Story::of(status, seen, &events), kept, log, diff })
}

/// What everybody else leaves out for its size.
async fn read_diff(site: &Site, job: &JobKey) -> Result<Option<ClosureDiff>, Error> {
    let record = site.bus.results().get(&job.to_string()).await?.value;
    Ok(match record.map(|record| record.state) {
        Some(State::Finished(Finished { outcome: Outcome::Built(built), .. })) => {
            built.diff.map(|diff| *diff)
        }
        _ => None,
    })
}

async fn read_log(
    site: &Site,
    asked: &Asked,
    seen: &Seen,
    kept: &[Epoch],
) -> Result<Option<(Epoch, Log)>, Trouble> {
    // A running attempt is shown before its first line.
    let running = seen.record.value.as_ref().filter(|record| record.running().is_some());
    let newest = running.map(|record| record.epoch).or(kept.last().copied());
    let Some(epoch) = asked.attempt.or(newest) else { return Ok(None) };
    if !kept.contains(&epoch) && Some(epoch) != newest {
        return Err(Trouble::Missing(format!("No log of attempt {epoch} is kept.")));
    }
    let word: String = asked.find.chars().take(WORD_MAX).collect();
    let log = match word.is_empty() {
        true => Log::End(log::end(&site.bus, &asked.job, epoch).await?),
        false => {
            let _turn = site.long_read().await?;
            let until = asked.answer_by.0 - AFTER_SEARCH;
            Log::Found(log::search(&site.bus, &asked.job, epoch, &word, until).await?)
        }
    };
    Ok(Some((epoch, log)))
}
