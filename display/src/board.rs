//! What there is to show of many hosts at one moment. Pure: it knows no terminal.

use std::{collections::BTreeMap, time::Duration};

use proto::{JobKey, Phase, Timestamp, WorkerName, record::Progress};
use stand::{HostStatus, Stand, reasons};

/// Many hosts at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Board {
    /// Those in workers' hands; shown longest first, since whoever waits wants to know what for.
    pub running: Vec<Running>,
    /// How many wait, by why they do.
    pub waiting: BTreeMap<String, usize>,
    /// How many ended, by how they did; what was built first.
    pub ended: Vec<(Mood, String, usize)>,
    /// All of them.
    pub expected: usize,
    /// When somebody began to look.
    pub since: Timestamp,
}

/// Whether something is good news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mood {
    Good,
    Bad,
    Unclear,
}

/// A host in a worker's hands.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// What people call it.
    pub name: String,
    pub job: JobKey,
    pub epoch: proto::Epoch,
    pub worker: WorkerName,
    /// Its lease ran out: the worker died, froze or lost the broker.
    pub silent: bool,
    /// Nobody wants it any more.
    pub unwanted: bool,
    pub phase: Phase,
    pub progress: Option<Progress>,
    /// When it was claimed, by its worker's clock.
    pub since: Timestamp,
    /// How long the host's last real build took.
    pub usual: Option<Duration>,
    /// The newest line of its log.
    pub said: Option<String>,
}

impl Board {
    /// Hosts that have not ended, each with what people call it. What ended is for the caller to
    /// add: whoever shows it says what counts.
    pub fn of_open<'a>(hosts: impl IntoIterator<Item = (&'a str, &'a HostStatus)>) -> Self {
        let (mut running, mut waiting) = (Vec::new(), Vec::new());
        for (name, status) in hosts {
            match Running::of(name, status) {
                Some(row) => running.push(row),
                None => waiting.push(status),
            }
        }
        Self { running, waiting: reasons::counted(waiting), ..Self::default() }
    }

    /// Hosts that have ended.
    pub fn finished(&self) -> usize {
        self.ended.iter().map(|(_, _, hosts)| hosts).sum()
    }
}

impl Running {
    /// The row of a host, if a worker has it.
    fn of(name: &str, status: &HostStatus) -> Option<Self> {
        let (Stand::Running { running, silent, unwanted }, Some(claim)) =
            (&status.stand, status.claim)
        else {
            return None;
        };
        Some(Self {
            name: name.to_owned(),
            job: status.job.clone(),
            epoch: claim.epoch,
            worker: running.worker.clone(),
            silent: silent.is_some(),
            unwanted: *unwanted,
            phase: running.phase,
            progress: running.progress,
            since: claim.at,
            usual: None,
            said: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use stand::{Place, Queue, examples};

    use super::*;

    #[test]
    fn what_runs_has_a_row_and_the_rest_is_counted_by_why_it_waits() {
        let proto::State::Running(running) = examples::running() else { panic!("it runs") };
        let runs = |silent| Stand::Running { running: running.clone(), silent, unwanted: false };
        let queued = |position| Stand::Queued(Queue::Served(Some(Place { position, of: 7 })));
        let silence = Some(Duration::from_secs(60));
        let stands = [runs(None), queued(5), runs(silence), queued(3)];
        let hosts: Vec<HostStatus> =
            stands.map(|stand| examples::status("h", Some(1), stand)).into();
        let names = ["a", "b", "c", "d"];

        let board = Board::of_open(names.into_iter().zip(&hosts));

        let rows: Vec<_> = board.running.iter().map(|it| (it.name.as_str(), it.silent)).collect();
        assert_eq!(rows, [("a", false), ("c", true)]);
        let waiting: Vec<_> = board.waiting.into_iter().collect();
        assert_eq!(waiting, [("queued, the first of them as 3 of 7".to_owned(), 2)]);
    }
}
