//! What a gate run or a check comes to, for a push gateway. Pure. docs/operate.md has the table.

use std::collections::BTreeMap;

use exposition::{Group, Sheet};
use proto::{
    ExitCode, Host, Repo, Timestamp,
    gate::{End, GateRun, HostStanding, Tested},
};

use crate::verdict::{Finding, Verdict};

const RUN_JOB: &str = "nbp_gate";
const CHECK_JOB: &str = "nbp_gate_check";

type Metric = (&'static str, &'static str);

const VERDICT: Metric = ("nbp_gate_verdict", "1: what the newest gate run came to");
const END: Metric = ("nbp_gate_end", "How the newest gate run ended");
const TIME: Metric = ("nbp_gate_timestamp_seconds", "When a gate run ended or stopped last");
const DECIDED: Metric =
    ("nbp_gate_last_verdict_timestamp_seconds", "When a gate run passed or failed last");
const PASSED: Metric = ("nbp_gate_last_pass_timestamp_seconds", "When a gate run passed last");
const DURATION: Metric =
    ("nbp_gate_duration_seconds", "From the beginning of the newest gate run to its end");
const HOST_SUCCESS: Metric =
    ("nbp_gate_host_success", "1: the host of the newest tested candidate was built");
const HOST_DURATION: Metric =
    ("nbp_gate_host_duration_seconds", "From the last claim of the host to its end");

const CHECK_VERDICT: Metric = ("nbp_gate_check_verdict", "1: what the newest check came to");
const CHECK_TIME: Metric = ("nbp_gate_check_timestamp_seconds", "When the newest check was made");
const CHECK_HOST: Metric =
    ("nbp_gate_check_host_success", "1: the host of the checked commit was built");

/// What of a run is told when it ended, or stopped to go on later.
pub(crate) fn of_run(run: &GateRun, code: ExitCode, now: Timestamp) -> Group {
    let verdict = match code {
        ExitCode::Done => Verdict::Pass,
        ExitCode::Failed => Verdict::Fail,
        ExitCode::Undecided | ExitCode::Usage | ExitCode::Cancelled => Verdict::Undecided,
    };
    let mut sheet = Sheet::default();
    tell_verdict(&mut sheet, VERDICT, verdict);
    let end = run.stage.ended();
    sheet.set(END, [("end", end.map_or("waiting", End::name))], 1.0);
    sheet.set(TIME, [], seconds(now.0));
    sheet.set(DURATION, [], now.since(run.at).as_secs_f64());
    if verdict != Verdict::Undecided {
        sheet.set(DECIDED, [], seconds(now.0));
    }
    if verdict == Verdict::Pass {
        sheet.set(PASSED, [], seconds(now.0));
    }
    for (host, result) in end.and_then(tested).iter().flat_map(|tested| &tested.results) {
        let built = result.standing == HostStanding::Built;
        sheet.set(HOST_SUCCESS, [("host", host)], flag(built));
        sheet.set(HOST_DURATION, [("host", host)], seconds(result.build_ms));
    }
    let labels = vec![("repo", run.repo.to_string()), ("base", run.base.clone())];
    Group { job: RUN_JOB, labels, text: sheet.text() }
}

/// What of a check is told.
pub(crate) fn of_check(
    repo: &Repo,
    verdict: Verdict,
    findings: &BTreeMap<Host, Finding>,
    now: Timestamp,
) -> Group {
    let mut sheet = Sheet::default();
    tell_verdict(&mut sheet, CHECK_VERDICT, verdict);
    sheet.set(CHECK_TIME, [], seconds(now.0));
    for (host, finding) in findings {
        sheet.set(CHECK_HOST, [("host", host.as_str())], flag(*finding == Finding::Built));
    }
    Group { job: CHECK_JOB, labels: vec![("repo", repo.to_string())], text: sheet.text() }
}

/// No run came to anything, or one stopped with an error. What was told of hosts and of the last
/// verdict stays.
pub(crate) fn of_failed_run(repo: &Repo, base: &str, now: Timestamp) -> Group {
    let mut sheet = Sheet::default();
    tell_verdict(&mut sheet, VERDICT, Verdict::Undecided);
    sheet.set(END, [("end", "error")], 1.0);
    sheet.set(TIME, [], seconds(now.0));
    let labels = vec![("repo", repo.to_string()), ("base", base.to_owned())];
    Group { job: RUN_JOB, labels, text: sheet.text() }
}

/// No check could be made.
pub(crate) fn of_failed_check(repo: &Repo, now: Timestamp) -> Group {
    let mut sheet = Sheet::default();
    tell_verdict(&mut sheet, CHECK_VERDICT, Verdict::Undecided);
    sheet.set(CHECK_TIME, [], seconds(now.0));
    Group { job: CHECK_JOB, labels: vec![("repo", repo.to_string())], text: sheet.text() }
}

fn tested(end: &End) -> Option<&Tested> {
    match end {
        End::Landed(tested) => Some(tested),
        End::Refused { refused, .. } => refused.why.tested(),
        _ => None,
    }
}

fn tell_verdict(sheet: &mut Sheet, metric: Metric, verdict: Verdict) {
    for one in [Verdict::Pass, Verdict::Fail, Verdict::Undecided] {
        sheet.set(metric, [("verdict", one.name())], flag(one == verdict));
    }
}

fn flag(set: bool) -> f64 {
    f64::from(u8::from(set))
}

fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

#[cfg(test)]
mod tests;
