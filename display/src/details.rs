//! What a board shows beside the records: how long a host usually takes, and the newest line of its
//! log. Only of hosts that have a row; without an answer they just have less on it.

use std::{collections::HashMap, time::Duration};

use bus::Bus;
use futures_util::{StreamExt as _, stream};
use proto::{Epoch, JobKey, Outcome, State, last_good};

use crate::board::Running;

/// Questions to the broker at once.
const READS_AT_ONCE: usize = 8;

/// What is known of the hosts that have, or had, a row.
#[derive(Debug, Default)]
pub(crate) struct Details {
    /// Asked once for each job; the answer does not change while it runs.
    usual: HashMap<JobKey, Option<Duration>>,
    said: HashMap<JobKey, (Epoch, String)>,
}

/// What one round of questions brought.
type Answers = Vec<(JobKey, Epoch, Option<Option<Duration>>, Option<String>)>;

impl Details {
    /// What there is to ask about these rows: the job, its attempt, and whether its usual time is
    /// not known yet.
    pub(crate) fn questions(&self, rows: &[Running]) -> Vec<(JobKey, Epoch, bool)> {
        let question =
            |row: &Running| (row.job.clone(), row.epoch, !self.usual.contains_key(&row.job));
        rows.iter().map(question).collect()
    }

    pub(crate) fn learn(&mut self, answers: Answers) {
        for (job, epoch, usual, said) in answers {
            if let Some(usual) = usual {
                self.usual.insert(job.clone(), usual);
            }
            if let Some(said) = said {
                self.said.insert(job, (epoch, said));
            }
        }
    }

    /// Puts what is known on a row.
    pub(crate) fn tell(&self, row: &mut Running) {
        row.usual = self.usual.get(&row.job).copied().flatten();
        let said = self.said.get(&row.job).filter(|(epoch, _)| *epoch == row.epoch);
        row.said = said.map(|(_, line)| line.clone());
    }
}

/// Asks the broker.
pub(crate) async fn ask(bus: &Bus, questions: Vec<(JobKey, Epoch, bool)>) -> Answers {
    let asked = questions.into_iter().map(|(job, epoch, wants_usual)| async move {
        let usual = match wants_usual {
            true => usual(bus, &job).await.ok(),
            false => None,
        };
        let said = bus.last_log(&job, epoch).await.ok().flatten();
        let said = said.and_then(|it| newest_line(&it.chunk));
        (job, epoch, usual, said)
    });
    stream::iter(asked).buffer_unordered(READS_AT_ONCE).collect().await
}

fn newest_line(chunk: &proto::log::LogChunk) -> Option<String> {
    let line = chunk.lines.iter().rfind(|line| !line.text.trim().is_empty())?;
    Some(line.labelled())
}

/// How long the last real build of the host took.
async fn usual(bus: &Bus, job: &JobKey) -> Result<Option<Duration>, bus::Error> {
    let key = last_good::key(&job.repo, &job.host);
    let Some(good) = bus.last_good().get(&key).await?.value else { return Ok(None) };
    if let Some(real_ms) = good.real_ms {
        return Ok(Some(Duration::from_millis(real_ms)));
    }
    // A worker that did not say so noted it: its result does, unless it was asked for again since.
    let before = JobKey { revision: good.revision, ..job.clone() };
    let record = bus.results().get(&before.to_string()).await?.value;
    let Some(State::Finished(finished)) = record.map(|record| record.state) else {
        return Ok(None);
    };
    let real = matches!(&finished.outcome, Outcome::Built(built) if built.is_real());
    Ok(real.then(|| Duration::from_millis(finished.build_ms)))
}
