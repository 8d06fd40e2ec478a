//! `producer history`, for people and for programs. Pure.

use std::time::Duration;

use options::{Cell, Page, Tone, head, short};
use proto::{
    Host, JobKey, Repo, Revision, Timestamp, Work, WorkerName,
    log::short_name,
    outcome::{Failure, Standing},
};
use serde::Serialize;
use telemetry::plain;

use super::json;
use crate::history::{Broken, Ended, History, Past, Trend};

#[derive(Serialize)]
struct Object<'a> {
    repo: &'a Repo,
    host: &'a Host,
    broken: Option<BrokenObject<'a>>,
    trend: Option<TrendObject>,
    revisions: Vec<PastObject<'a>>,
}

#[derive(Serialize)]
struct BrokenObject<'a> {
    first_bad: &'a Revision,
    since: Timestamp,
    last_good: Option<&'a Revision>,
    failures: usize,
}

#[derive(Serialize)]
struct TrendObject {
    newest_ms: u64,
    median_ms: u64,
    over: usize,
}

#[derive(Serialize)]
struct PastObject<'a> {
    rev: &'a Revision,
    job: JobKey,
    at: Timestamp,
    outcome: Option<&'static str>,
    reused: bool,
    work: Option<Work>,
    worker: Option<&'a WorkerName>,
    attempts: Option<usize>,
    queue_ms: Option<u64>,
    build_ms: Option<u64>,
    out_path: Option<&'a str>,
    failure: Option<FailureObject<'a>>,
}

#[derive(Serialize)]
struct FailureObject<'a> {
    message: &'a str,
    drv: Option<&'a str>,
}

/// The newest revisions as one object, on one line.
pub(crate) fn json(history: &History, limit: usize) -> String {
    let broken = history.broken().map(|it| BrokenObject {
        first_bad: &it.first_bad.revision,
        since: it.first_bad.at,
        last_good: it.last_good.map(|good| &good.revision),
        failures: it.failures,
    });
    let trend = history.trend();
    let trend = trend.map(|Trend { newest_ms, median_ms, over }| TrendObject {
        newest_ms,
        median_ms,
        over,
    });
    let History { repo, host, past } = history;
    let revisions = past.iter().take(limit).map(|it| object(history, it)).collect();
    json::line(&Object { repo, host, broken, trend, revisions })
}

fn object<'a>(history: &'a History, past: &'a Past) -> PastObject<'a> {
    let ended = past.ended.as_ref();
    let (repo, revision) = (history.repo.clone(), past.revision.clone());
    let failure = ended.and_then(|it| it.failure.as_ref());
    PastObject {
        rev: &past.revision,
        job: JobKey { repo, revision, host: history.host.clone() },
        at: past.at,
        outcome: ended.map(|it| it.outcome),
        reused: ended.is_some_and(|it| it.reused),
        work: ended.and_then(|it| it.work),
        worker: ended.and_then(|it| it.worker.as_ref()),
        attempts: ended.map(|it| it.attempts),
        queue_ms: ended.map(|it| it.queue_ms),
        build_ms: ended.map(|it| it.build_ms),
        out_path: ended.and_then(|it| it.out_path.as_deref()),
        failure: failure.map(|it| FailureObject { message: &it.message, drv: it.drv.as_deref() }),
    }
}

/// Since when it is broken, how its builds take longer, and the newest revisions.
pub(crate) fn text(history: &History, limit: usize, page: &Page) -> String {
    let (host, repo) = (&history.host, &history.repo);
    let mut text = match history.broken() {
        Some(broken) => {
            page.paint(&format!("{host} of {repo}: {}", told(&broken, page)), Tone::Bad)
        }
        None => format!("{host} of {repo}: {}", unbroken(history)),
    };
    text.push('\n');
    if let Some(trend) = history.trend() {
        text.push_str(&longer(trend));
    }
    let names = ["REVISION", "WHEN", "OUTCOME", "QUEUE", "BUILD", "WORKER", "WHY"];
    let mut rows = vec![head(names)];
    rows.extend(history.past.iter().take(limit).map(|past| row(past, page)));
    text.push('\n');
    text.push_str(&page.table(&rows, &["QUEUE", "WORKER", "BUILD", "WHEN"]));
    let more = history.past.len().saturating_sub(limit);
    if more > 0 {
        text.push_str(&format!("{more} older; --limit shows them\n"));
    }
    if let Some(newest) = history.past.first() {
        let job = object(history, newest).job;
        text.push_str(&format!("\nmore: producer explain {job}\n"));
    }
    text
}

fn told(broken: &Broken<'_>, page: &Page) -> String {
    let (first, since) = (broken.first_bad.revision.short(), page.ago(broken.first_bad.at));
    let good = match broken.last_good {
        Some(good) => format!("built last at {} ({})", good.revision.short(), page.ago(good.at)),
        None => "no build of it is known".into(),
    };
    let n = broken.failures;
    let revisions =
        if n == 1 { "1 revision failed".into() } else { format!("{n} revisions failed") };
    format!("broken since {first} ({since}); {revisions}, {good}")
}

fn unbroken(history: &History) -> &'static str {
    let any = history.past.iter().any(|past| past.standing() == Some(Standing::Pass));
    if any { "builds" } else { "nothing is decided yet" }
}

/// `the newest build took 9m 3s, 42 % longer than the median of the 10 before it (6m 20s)`
fn longer(trend: Trend) -> String {
    let Trend { newest_ms, median_ms, over } = trend;
    let shown = |ms| short(Duration::from_millis(ms));
    let difference = newest_ms.abs_diff(median_ms);
    let percent = difference.saturating_mul(100).checked_div(median_ms).unwrap_or_default();
    let compared = match (percent, newest_ms > median_ms) {
        (0..10, _) => "about as long as".to_owned(),
        (_, true) => format!("{percent} % longer than"),
        (_, false) => format!("{percent} % shorter than"),
    };
    let (newest, median) = (shown(newest_ms), shown(median_ms));
    let before = if over == 1 { "the one".into() } else { format!("the median of the {over}") };
    format!("the newest build took {newest}, {compared} {before} before it ({median})\n")
}

fn row(past: &Past, page: &Page) -> [Cell; 7] {
    let over = past.revision.overrides().map(|_| "+").unwrap_or_default();
    let revision = format!("{}{over}", past.revision.short());
    let when = page.ago(past.at);
    let Some(ended) = &past.ended else {
        let none = || Cell::or_dash(None::<String>);
        let going_on = Cell::from("not finished");
        return [revision.into(), when.into(), going_on, none(), none(), none(), none()];
    };
    let time = |ms: u64| {
        let built = ended.worker.is_some();
        Cell::or_dash(built.then(|| short(Duration::from_millis(ms))))
    };
    let why = ended.failure.as_ref().map(why).or_else(|| ended.done());
    [
        revision.into(),
        when.into(),
        outcome(ended),
        time(ended.queue_ms),
        time(ended.build_ms),
        Cell::or_dash(ended.worker.as_ref().map(WorkerName::as_str)),
        why.unwrap_or_default().into(),
    ]
}

/// The name of what failed stands first: it is what is left of this on a narrow terminal.
fn why(failure: &Failure) -> String {
    let name = failure.drv.as_deref().map(|drv| format!("{}: ", short_name(drv)));
    plain(&format!("{}{}", name.unwrap_or_default(), failure.message)).into_owned()
}

fn outcome(ended: &Ended) -> Cell {
    let tone = match ended.standing {
        Standing::Pass => Tone::Good,
        Standing::Fail => Tone::Bad,
        Standing::Undecided | Standing::Cancelled => Tone::Odd,
    };
    let reused = if ended.reused { " (reused)" } else { "" };
    Cell::toned(format!("{}{reused}", ended.outcome), tone)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use stand::examples::{built, built_with, failed};

    use super::*;
    use crate::{
        history::tests::{history, past},
        render::tests::{fits, page},
    };

    fn some() -> History {
        history(vec![
            past(900_000, built(false), 60_000),
            past(960_000, built(false), 90_000),
            past(1_000_000, failed(), 5_000),
        ])
    }

    #[test]
    fn the_first_bad_revision_and_the_trend_stand_above_the_revisions() {
        let expected = "\
web of nixos-servers: broken since 000000000000 (30 s ago); 1 revision failed, \
built last at 000000000000 (1 min ago)
the newest build took 1m 30s, 50 % longer than the one before it (1m 0s)

REVISION      WHEN       OUTCOME       QUEUE  BUILD   WORKER  WHY
000000000000  30 s ago   build-failed  1.5s   5.0s    w1      nginx-1.27: builder for nginx failed
000000000000  1 min ago  built         1.5s   1m 30s  w1
1 older; --limit shows them

more: producer explain nixos-servers.00000000000000000000000000000000000f4240.web
";
        assert_eq!(text(&some(), 2, &page(None)), expected);
        fits("REVISION", |page| {
            let text = text(&some(), 2, page);
            assert!(text.contains("nginx-1.27"), "{text}");
            text
        });
        let fine = text(&history(vec![past(1, built(true), 1)]), 9, &page(None));
        assert!(fine.starts_with("web of nixos-servers: builds\n\n"), "{fine}");
        assert!(fine.contains("built (reused)"), "{fine}");
        let counted =
            vec![past(960_000, built_with(3, 0), 60_000), past(1_000_000, built_with(0, 0), 900)];
        let expected = "
REVISION      WHEN       OUTCOME  QUEUE  BUILD  WORKER  WHY
000000000000  30 s ago   built    1.5s   900ms  w1      nothing to build
000000000000  1 min ago  built    1.5s   1m 0s  w1      3 built
";
        let counted = text(&history(counted), 9, &page(None));
        assert!(counted.contains(expected), "{counted}");
    }

    #[test]
    fn the_object_has_the_shape_that_scripts_rely_on() {
        let shown: Value = serde_json::from_str(&super::json(&some(), 1)).expect("one object");
        let rev = |n: u64| format!("{n:040x}");
        let drv = "/nix/store/0000000000000000000000000000000a-nginx-1.27.drv";
        let expected = json!({
            "repo": "nixos-servers", "host": "web",
            "broken": {"first_bad": rev(1_000_000), "since": 1_000_000,
                       "last_good": rev(960_000), "failures": 1},
            "trend": {"newest_ms": 90_000, "median_ms": 60_000, "over": 1},
            "revisions": [{
                "rev": rev(1_000_000), "job": format!("nixos-servers.{}.web", rev(1_000_000)),
                "at": 1_000_000, "outcome": "build-failed", "reused": false, "work": null,
                "worker": "w1", "attempts": 2, "queue_ms": 1500, "build_ms": 5000, "out_path": null,
                "failure": {"message": "builder for nginx failed", "drv": drv},
            }],
        });
        options::check_documented("history", &shown);
        assert_eq!(shown, expected);
        let counted = super::json(&history(vec![past(1, built_with(3, 1), 1)]), 1);
        let counted: Value = serde_json::from_str(&counted).expect("one object");
        options::check_documented("history", &counted);
        assert_eq!(counted["revisions"][0]["work"], json!({"derivations": 3, "downloads": 1}));
    }
}
