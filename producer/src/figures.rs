//! What a run that was waited for comes to, for a push gateway. Pure. docs/operate.md has the table.
//!
//! Each host is a group of its own: a submit of some hosts leaves what was told of the others.

use exposition::{Group, Sheet};
use proto::{ExitCode, Outcome, Repo, RunRecord, Tally, Timestamp};
use stand::HostStatus;

/// The first label of every group.
const JOB: &str = "nbp_submit";

type Metric = (&'static str, &'static str);

const HOST_SUCCESS: Metric = ("nbp_submit_host_success", "1: the host was built");
const HOST_OUTCOME: Metric = ("nbp_submit_host_outcome", "How the host ended");
const HOST_DURATION: Metric =
    ("nbp_submit_host_duration_seconds", "From the last claim of the host to its end");
const HOST_TIME: Metric =
    ("nbp_submit_host_timestamp_seconds", "When it was told how the host ended");
const HOST_LAST_SUCCESS: Metric =
    ("nbp_submit_host_last_success_timestamp_seconds", "When the host was built last");
const HOSTS: Metric = ("nbp_submit_hosts", "Hosts of the run, by what they came to");
const DURATION: Metric =
    ("nbp_submit_duration_seconds", "From the submit to its end, waiting for builds included");
const SUCCESS: Metric = ("nbp_submit_success", "1: every host was built");
const TIME: Metric = ("nbp_submit_timestamp_seconds", "When the submit ended");
const LAST_SUCCESS: Metric =
    ("nbp_submit_last_success_timestamp_seconds", "When every host was built last");

/// Nothing is known of any host: the submit itself failed.
pub(crate) fn of_failure(repo: &Repo, now: Timestamp) -> Group {
    let mut sheet = Sheet::default();
    sheet.set(SUCCESS, [], flag(false));
    sheet.set(TIME, [], seconds(now.0));
    Group { job: JOB, labels: vec![("repo", repo.to_string())], text: sheet.text() }
}

/// A group for each host that has ended, and one for the run.
pub(crate) fn of_run(
    run: &RunRecord,
    hosts: &[HostStatus],
    code: ExitCode,
    now: Timestamp,
) -> Vec<Group> {
    let repo = ("repo", run.repo.to_string());
    let ended = hosts.iter().filter_map(|host| Some((host, host.finished()?)));
    let mut groups: Vec<Group> = ended
        .map(|(host, finished)| {
            let built = matches!(finished.outcome, Outcome::Built(_));
            let mut sheet = Sheet::default();
            sheet.set(HOST_SUCCESS, [], flag(built));
            sheet.set(HOST_OUTCOME, [("outcome", finished.outcome.name())], 1.0);
            sheet.set(HOST_DURATION, [], seconds(finished.build_ms));
            sheet.set(HOST_TIME, [], seconds(now.0));
            if built {
                sheet.set(HOST_LAST_SUCCESS, [], seconds(now.0));
            }
            let labels = vec![repo.clone(), ("host", host.job.host.to_string())];
            Group { job: JOB, labels, text: sheet.text() }
        })
        .collect();
    let text = totals(run, &stand::tally(hosts), code, now);
    groups.push(Group { job: JOB, labels: vec![repo], text });
    groups
}

fn totals(run: &RunRecord, tally: &Tally, code: ExitCode, now: Timestamp) -> String {
    let mut sheet = Sheet::default();
    for (result, hosts) in [
        ("built", tally.built),
        ("failed", tally.failed),
        ("undecided", tally.undecided),
        ("open", tally.expected - tally.finished),
    ] {
        sheet.set(HOSTS, [("result", result)], count(hosts));
    }
    sheet.set(DURATION, [], now.since(run.at).as_secs_f64());
    sheet.set(SUCCESS, [], flag(code == ExitCode::Done));
    sheet.set(TIME, [], seconds(now.0));
    if code == ExitCode::Done {
        sheet.set(LAST_SUCCESS, [], seconds(now.0));
    }
    sheet.text()
}

fn flag(set: bool) -> f64 {
    f64::from(u8::from(set))
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}

fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

#[cfg(test)]
mod tests;
