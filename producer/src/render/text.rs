//! Tables and lines for people. Whatever came over the wire is made plain before it is shown.

use std::time::Duration;

use bytesize::ByteSize;
use options::{Cell, Page, Tone, head, short};
use proto::{
    Finished, Host, LastGood, Outcome, Repo, RunRecord, Running, Tally, Timestamp, log::short_name,
    outcome::Standing,
};
use stand::{HostStatus, Stand};
use telemetry::plain;

use crate::render::{Report, waits::detail};

/// Lines of a failed build's log in the table; `producer logs` has them all.
const TAIL_LINES: usize = 10;

/// The table of hosts, the failures below it, and the totals.
pub(crate) fn report(report: &Report<'_>, page: &Page) -> String {
    let mut text = heading(report, report.hosts.len()) + "\n\n";
    let mut rows = vec![head(["HOST", "STATE", "ATTEMPT", "WORKER", "QUEUE", "BUILD"])];
    rows.extend(report.hosts.iter().map(|status| row(status, page.now)));
    text.push_str(&page.table(&rows, &["QUEUE", "ATTEMPT", "BUILD", "WORKER"]));
    for status in report.hosts {
        text.push_str(&failure(status));
    }
    text.push_str(&format!("\n{}\n", totals(&stand::tally(report.hosts))));
    text
}

/// `run <uuid>: 16 hosts of nixos-servers at 0123456789ab (refs/heads/master)`
pub(crate) fn announcement(run: &RunRecord) -> String {
    heading(&Report::of_run(run, &[]), run.hosts.len())
}

fn heading(report: &Report<'_>, hosts: usize) -> String {
    let run = report.run.map(|run| format!("run {run}: ")).unwrap_or_default();
    let git_ref = report.git_ref.map(|it| format!(" ({})", plain(it))).unwrap_or_default();
    let (hosts, repo, rev) = (counted(hosts), report.repo, report.revision.short());
    format!("{run}{hosts} of {repo} at {rev}{git_ref}")
}

/// `3 hosts: 1 built, 1 failed, 1 not finished`
pub(crate) fn totals(tally: &Tally) -> String {
    let open = tally.expected - tally.finished;
    let parts = [
        (tally.built, "built"),
        (tally.failed, "failed"),
        (tally.undecided, "undecided"),
        (open, "not finished"),
    ];
    let parts = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
    let parts: Vec<_> = parts.collect();
    let none = if parts.is_empty() { "nothing to build" } else { "" };
    format!("{}: {none}{}", counted(tally.expected), parts.join(", "))
}

/// `web of nixos-servers at <commit>, built 3 h ago on w1`, and below it where it is.
pub(crate) fn last_good(repo: &Repo, host: &Host, good: &LastGood, page: &Page) -> String {
    let (rev, when, worker) = (&good.revision, page.ago(good.at), &good.worker);
    let closure = match good.closure_bytes {
        0 => "closure of unknown size".to_owned(),
        bytes => format!("closure {}", ByteSize(bytes).display().iec()),
    };
    let (out, drv) = (plain(&good.out_path), plain(&good.drv_path));
    let real = match good.real_ms {
        None => String::new(),
        Some(real_ms) => {
            format!("  its last real build took {}\n", short(Duration::from_millis(real_ms)))
        }
    };
    format!(
        "{host} of {repo} at {rev}, built {when} on {worker}\n\
         \x20 {out}\n  {closure}, from {drv}\n{real}"
    )
}

/// What a host came to, on one line: `web: built in 3.2s on w1`.
pub(crate) fn came_to(status: &HostStatus) -> String {
    let mut line = plain(&status.phrase()).into_owned();
    if let Some(finished) = status.finished() {
        line.push_str(&how_long(finished));
        if let Some(failure) = finished.outcome.failure() {
            line.push_str(&format!(": {}", plain(&failure.message)));
        }
    }
    line
}

/// An answer that was there before anybody built: `known since 3h 2m; --force builds again`.
pub(crate) fn known_since(status: &HostStatus, now: Timestamp) -> Option<String> {
    let finished = status.finished()?;
    let (host, outcome) = (&status.job.host, finished.outcome.name());
    let age = short(now.since(finished.at));
    Some(format!("{host}: {outcome}, known since {age}; --force builds again"))
}

/// `1 host`, `2 hosts`.
fn counted(hosts: usize) -> String {
    format!("{hosts} host{}", if hosts == 1 { "" } else { "s" })
}

fn how_long(finished: &Finished) -> String {
    let Some(worker) = &finished.worker else { return String::new() };
    format!(" in {} on {worker}", short(Duration::from_millis(finished.build_ms)))
}

fn row(status: &HostStatus, now: Timestamp) -> [Cell; 6] {
    let time = |ms: fn(&Finished) -> u64| {
        let finished = status.finished().filter(|finished| finished.worker.is_some());
        Cell::or_dash(finished.map(|finished| short(Duration::from_millis(ms(finished)))))
    };
    let progress = |running: &Running| {
        running.progress.map(|it| format!(" {}/{}", it.done, it.expected)).unwrap_or_default()
    };
    let state = match &status.stand {
        Stand::Running { silent: Some(silent), .. } => {
            format!("{} for {}", status.phrase(), short(*silent))
        }
        Stand::Running { running, silent: None, .. } => status.phrase() + &progress(running),
        stand => status.phrase() + &detail(stand),
    };
    // So far, of one that goes on.
    let so_far = match (&status.stand, status.claim) {
        (Stand::Running { .. }, Some(claim)) => Some(short(now.since(claim.at))),
        _ => None,
    };
    let built = status.finished().is_some().then(|| time(|finished| finished.build_ms));
    [
        status.job.host.as_str().into(),
        Cell::toned(plain(&state), tone(status)),
        Cell::or_dash(status.attempt.map(|attempt| attempt.to_string())),
        Cell::or_dash(status.worker().map(|worker| worker.as_str())),
        time(|finished| finished.queue_ms),
        built.unwrap_or_else(|| Cell::or_dash(so_far)),
    ]
}

fn tone(status: &HostStatus) -> Tone {
    match status.outcome().map(Outcome::standing) {
        Some(Standing::Pass) => Tone::Good,
        Some(Standing::Fail) => Tone::Bad,
        Some(Standing::Undecided | Standing::Cancelled) => Tone::Odd,
        None => Tone::Plain,
    }
}

/// Why a host failed, with the last lines of its log.
pub(crate) fn failure(status: &HostStatus) -> String {
    let Some(failure) = status.outcome().and_then(Outcome::failure) else { return String::new() };
    let kind = match status.outcome() {
        Some(Outcome::InfraFailed { kind, .. }) => format!(" ({})", kind.name()),
        _ => String::new(),
    };
    let (host, state) = (&status.job.host, status.phrase());
    let mut text = format!("\n{host}: {state}{kind}: {}\n", plain(&failure.message));
    if let Some(drv) = &failure.drv {
        text.push_str(&format!("  in {}\n", plain(drv)));
    }
    let name = failure.drv.as_deref().map(|drv| format!("{}> ", plain(short_name(drv))));
    let name = name.unwrap_or_default();
    let spare = failure.log_tail.len().saturating_sub(TAIL_LINES);
    for line in &failure.log_tail[spare..] {
        text.push_str(&format!("  {name}{}\n", plain(line)));
    }
    text.push_str(&format!("  more: producer logs {}\n", status.job));
    if let Some(Outcome::InfraFailed { .. }) = status.outcome() {
        text.push_str(&format!("  again: producer retry {}\n", status.job));
    }
    text
}

#[cfg(test)]
mod tests {
    use stand::{Queue, examples::*};

    use super::*;
    use crate::render::tests::{fits, page};

    #[test]
    fn the_table_lines_up_and_shows_failures_below() {
        let end = |outcome| Stand::Finished(Box::new(finished(outcome)));
        let hosts = [
            status("web", Some(1), end(built(false))),
            status("monitoring01", Some(1), end(failed())),
            status("pi", None, Stand::Queued(Queue::Unserved { since: Timestamp(0) })),
        ];
        let job = job("web");
        let (repo, revision) = (&job.repo, &job.revision);
        let report = Report { run: None, repo, revision, git_ref: None, hosts: &hosts };
        let text = super::report(&report, &page(None));
        let expected = format!(
            "\
3 hosts of nixos-servers at 0123456789ab

HOST STATE ATTEMPT WORKER QUEUE BUILD
web built 1 w1 1.5s 1m 2s
monitoring01 build-failed 1 w1 1.5s 1m 2s
pi queued: no worker for class x86_64-linux (asked for 1970-01-01T00:00:00Z) - - - -

monitoring01: build-failed: builder for nginx failed
  in /nix/store/0000000000000000000000000000000a-nginx-1.27.drv
  nginx-1.27> cc: no
  more: producer logs nixos-servers.{REV}.monitoring01

3 hosts: 1 built, 1 failed, 1 not finished
"
        );
        fits("HOST", |page| super::report(&report, page));
        let squeezed =
            |text: &str| text.split(' ').filter(|it| !it.is_empty()).collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&text), squeezed(&expected), "{text}");
        let columns = |line: &str| line.find("w1").or(line.find("WORKER"));
        let mut lines = text.lines().skip(2);
        let head = lines.next().and_then(columns);
        assert!(head.is_some() && lines.next().and_then(columns) == head, "{text}");
    }

    #[test]
    fn a_line_says_what_a_host_came_to() {
        let end = |outcome| Stand::Finished(Box::new(finished(outcome)));
        let web = status("web", Some(1), end(built(false)));
        assert_eq!(came_to(&web), "built in 1m 2s on w1");
        let web = status("web", Some(1), end(failed()));
        assert_eq!(came_to(&web), "build-failed in 1m 2s on w1: builder for nginx failed");
        let known = known_since(&web, Timestamp(1_000_000 + 7_320_000)).expect("it ended");
        assert_eq!(known, "web: build-failed, known since 2h 2m; --force builds again");
    }

    #[test]
    fn the_last_good_build_is_told_with_its_age_and_its_size() {
        let good = |closure_bytes, real_ms| LastGood {
            v: proto::V1,
            incarnation: proto::Incarnation(uuid::Uuid::nil()),
            revision: REV.parse().expect("a revision"),
            at: STORED,
            worker: worker(),
            out_path: "/nix/store/x-web".into(),
            drv_path: "/nix/store/y-web.drv".into(),
            closure_bytes,
            real_ms,
        };
        let job = job("web");
        let text = |bytes, real| last_good(&job.repo, &job.host, &good(bytes, real), &page(None));
        let expected = format!(
            "web of nixos-servers at {REV}, built 30 s ago on w1\n  /nix/store/x-web\n  \
             closure 6.7 KiB, from /nix/store/y-web.drv\n"
        );
        assert_eq!(text(6856, None), expected);
        let real = "  its last real build took 1m 2s\n";
        assert_eq!(text(6856, Some(62_000)), expected + real);
        assert!(text(0, None).contains("closure of unknown size, from"));
    }
}
