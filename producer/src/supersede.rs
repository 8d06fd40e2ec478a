//! `submit --supersede`: a newer run takes the place of older ones of the same repo and ref.

use bus::Bus;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto::RunRecord;

use crate::{error::Error, outage::retried, snapshot};

/// Reads in flight at once.
const READS_AT_ONCE: usize = 16;

/// Takes away the wishes of all older runs of the same repo and ref for jobs that have not ended;
/// gives those runs that had any. Whoever submitted them: a branch has one newest commit.
///
/// To be called when the newer run has asked already, so that a job that both want goes on.
pub(crate) async fn older_runs(bus: &Bus, newer: &RunRecord) -> Result<Vec<RunRecord>, Error> {
    let runs = bus.runs();
    let keys = retried(|| runs.keys(">")).await?;
    let reads = keys.into_iter().map(|key| {
        let runs = &runs;
        async move {
            match runs.get(&key).await {
                // Only the key says who wrote it.
                Ok(entry) => Ok(entry.value.filter(|run| run.key() == key)),
                Err(bus::Error::Undecodable { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        }
    });
    let found: Vec<Option<RunRecord>> =
        stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
    let mut superseded = Vec::new();
    for run in found.into_iter().flatten().filter(|run| superseded_by(run, newer)) {
        if withdraw(bus, &run, newer).await? {
            superseded.push(run);
        }
    }
    Ok(superseded)
}

/// A run is superseded by a later one of the same branch. Without a ref it is of no branch.
fn superseded_by(run: &RunRecord, newer: &RunRecord) -> bool {
    let same = run.repo == newer.repo && run.git_ref.is_some() && run.git_ref == newer.git_ref;
    same && (run.at, run.run) < (newer.at, newer.run)
}

async fn withdraw(bus: &Bus, run: &RunRecord, newer: &RunRecord) -> Result<bool, Error> {
    let mut any = false;
    for (job, _) in run.jobs() {
        let seen = retried(|| snapshot::seen(bus, &job)).await?;
        let Some(request) = &seen.request.value else { continue };
        let ended = seen.record.value.as_ref().is_some_and(|record| {
            record.incarnation == request.incarnation && record.outcome().is_some()
        });
        if !ended && request.wanted_by.contains_key(&run.run) {
            any |= retried(|| bus.withdraw(&job, run.run, Some(newer.run))).await?;
        }
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use proto::{Priority, RunId, Timestamp, V1};
    use uuid::Uuid;

    use super::*;

    fn run(at: u64, repo: &str, git_ref: Option<&str>) -> RunRecord {
        RunRecord {
            v: V1,
            run: RunId(Uuid::from_u128(u128::from(at))),
            by: "local".parse().expect("an identity"),
            at: Timestamp(at),
            repo: repo.parse().expect("a repo"),
            revision: "0123456789abcdef0123456789abcdef01234567".parse().expect("a revision"),
            git_ref: git_ref.map(str::to_owned),
            overrides: proto::Overrides::default(),
            hosts: [].into(),
            excluded: Vec::new(),
            priority: Priority::Normal,
            force: false,
            trace: None,
        }
    }

    #[test]
    fn only_older_runs_of_the_same_branch_are_superseded() {
        let newer = run(5, "a", Some("refs/heads/master"));
        let check = |at, repo, git_ref, expected| {
            assert_eq!(superseded_by(&run(at, repo, git_ref), &newer), expected, "{at} {repo}");
        };
        check(4, "a", Some("refs/heads/master"), true);
        check(5, "a", Some("refs/heads/master"), false);
        check(6, "a", Some("refs/heads/master"), false);
        check(4, "b", Some("refs/heads/master"), false);
        check(4, "a", Some("refs/heads/other"), false);
        check(4, "a", None, false);
        let bare = run(5, "a", None);
        assert!(!superseded_by(&run(4, "a", None), &bare), "no branch, no successor");
    }
}
