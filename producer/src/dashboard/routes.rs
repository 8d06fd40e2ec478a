//! Which page is where. Every address is read here.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, Uri, header},
    middleware,
    response::{IntoResponse as _, Response, Sse, sse::KeepAlive},
    routing::get,
};
use bus::Bus;
use futures_util::stream;
use proto::{Epoch, Host, JobKey, Repo, RunId};
use serde::Deserialize;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    address::{JobPath, job_of, nowhere, revision_of},
    guard::{AnswerBy, Names, guard},
    job::{self, Asked},
    live::{self, Live, Log},
    page::{self, Shown},
    run,
    shared::{Shared, Shows},
    trouble::Trouble,
};
use crate::{
    history,
    render::log::{Form, LogText},
};

/// Pages that are open and live at once. Others work, and do not move.
const LIVE_MAX: usize = 100;
/// Whole logs, and runs of jobs that are not kept, that are read at once: all of them share one
/// connection to the broker, and what everybody else waits for comes over it too.
const LONG_READS_MAX: usize = 8;
/// For another one to wait for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(3);

/// What every page is made of. No right to write is among it: the connection is only read from.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) bus: Bus,
    pub(crate) shared: Shared,
    live: Arc<Semaphore>,
    long_reads: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Site {
    pub(crate) fn new(bus: Bus, shared: Shared, stop: CancellationToken) -> Self {
        let [live, long_reads] =
            [LIVE_MAX, LONG_READS_MAX].map(|most| Arc::new(Semaphore::new(most)));
        Self { bus, shared, live, long_reads, stop }
    }

    /// A turn to read a whole log or many records, for as long as it is kept.
    pub(crate) async fn long_read(&self) -> Result<OwnedSemaphorePermit, Trouble> {
        let turn = Arc::clone(&self.long_reads).acquire_owned();
        match timeout(TURN_WITHIN, turn).await {
            Ok(turn) => Ok(turn.expect("nobody closes the semaphore")),
            Err(_) => Err(Trouble::Busy),
        }
    }
}

/// All pages.
pub(crate) fn router(site: Site, names: Names) -> Router {
    let asset = |kind, text: &'static str| get(async move || asset(kind, text));
    Router::new()
        .route("/", get(home))
        .route("/repo/{repo}", get(repo))
        .route("/commit/{repo}/{revision}", get(commit))
        .route("/host/{repo}/{host}", get(host))
        .route("/job/{repo}/{revision}/{host}", get(job_page))
        .route("/job/{repo}/{revision}/{host}/log.txt", get(whole_log))
        .route("/run/{run}", get(run_page))
        .route("/pool", get(pool))
        .route("/gates", get(gates))
        .route("/gate/{key}", get(gate))
        .route("/live", get(live_page))
        .route("/page.css", asset("text/css; charset=utf-8", include_str!("assets/page.css")))
        .route("/page.js", asset("text/javascript; charset=utf-8", include_str!("assets/page.js")))
        .route("/icon.svg", asset("image/svg+xml", include_str!("assets/icon.svg")))
        .fallback(nowhere)
        .with_state(site)
        .layer(middleware::from_fn_with_state(names, guard))
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let kind = HeaderValue::from_static(kind);
    // Asked for again after an upgrade, and not with every page.
    let cache = HeaderValue::from_static("max-age=60");
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache)], text).into_response()
}

async fn home(State(site): State<Site>) -> Response {
    page::home::page(&site.shared)
}

/// What the page of a repository may be asked for.
#[derive(Debug, Default, Deserialize)]
struct RepoQuery {
    /// Only hosts whose name holds this.
    #[serde(default)]
    host: String,
    /// The first host to show.
    #[serde(default)]
    from: usize,
}

async fn repo(
    State(site): State<Site>,
    Path(repo): Path<String>,
    Query(query): Query<RepoQuery>,
) -> Result<Response, Trouble> {
    let repo: Repo = repo.parse()?;
    page::repo::page(&site.shared, &repo, query.host.trim(), query.from)
        .ok_or_else(|| Trouble::Missing(format!("Nobody asked for a build of {repo} lately.")))
}

async fn commit(
    State(site): State<Site>,
    uri: Uri,
    Path((repo, revision)): Path<(String, String)>,
) -> Result<Response, Trouble> {
    let repo: Repo = repo.parse()?;
    let revision = revision_of(&site, &uri, &repo, None, &revision)?;
    let missing = || {
        Trouble::Missing(format!(
            "{revision} is not among the newest commits of {repo}. \
             `producer status --repo {repo} --rev {revision}` knows more."
        ))
    };
    page::commit::page(&site.shared, &repo, &revision).ok_or_else(missing)
}

async fn host(
    State(site): State<Site>,
    Path((repo, host)): Path<(String, String)>,
) -> Result<Response, Trouble> {
    let (repo, host): (Repo, Host) = (repo.parse()?, host.parse()?);
    let shown = Shown::now(&site.shared, Shows::Facts);
    let history = history::read(&site.bus, &repo, &host).await?;
    if history.past.is_empty() {
        return Err(Trouble::Missing(format!("Nothing was ever built of {host} of {repo}.")));
    }
    Ok(page::history::page(&site.shared, &shown, &history))
}

/// What a job's page may be asked for.
#[derive(Debug, Default, Deserialize)]
struct JobQuery {
    /// The epoch whose log is shown; the newest one without it.
    attempt: Option<u64>,
    /// Only lines that hold this.
    #[serde(default)]
    find: String,
}

async fn job_page(
    State(site): State<Site>,
    uri: Uri,
    path: JobPath,
    Extension(answer_by): Extension<AnswerBy>,
    Query(query): Query<JobQuery>,
) -> Result<Response, Trouble> {
    let asked = Asked {
        job: job_of(&site, &uri, path)?,
        attempt: query.attempt.map(Epoch),
        find: query.find.trim().to_owned(),
        answer_by,
    };
    let shown = Shown::now(&site.shared, Shows::Job(asked.job.clone()));
    let found = job::read(&site, &asked).await?;
    Ok(page::job::page(&site.shared, &shown, &asked, &found))
}

async fn whole_log(
    State(site): State<Site>,
    uri: Uri,
    path: JobPath,
    Query(query): Query<JobQuery>,
) -> Result<Response, Trouble> {
    let job = job_of(&site, &uri, path)?;
    let kept = site.bus.log_epochs(&job).await?;
    let epoch = query.attempt.map(Epoch).or(kept.last().copied());
    let epoch = epoch.filter(|epoch| kept.contains(epoch));
    let epoch = epoch.ok_or_else(|| Trouble::Missing(format!("No such log of {job} is kept.")))?;
    let turn = site.long_read().await?;
    // Read as the client takes it, so that it needs no memory here.
    let text = LogText::new(Form::Plain);
    let parts = stream::unfold((site.bus, job, text, 0), move |(bus, job, mut text, place)| {
        let _kept = &turn;
        async move {
            let (lines, next) = match bus.next_log(&job, Some(epoch), place).await {
                Ok(None) => return None,
                Ok(Some(stored)) => {
                    let next = stored.sequence + 1;
                    (text.lines(stored).concat(), next)
                }
                Err(bus::Error::Undecodable { revision, .. }) => (text.unreadable(), revision + 1),
                // The client sees that it did not end well.
                Err(error) => return Some((Err(error), (bus, job, text, u64::MAX))),
            };
            Some((Ok(lines), (bus, job, text, next)))
        }
    });
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(parts)).into_response())
}

async fn run_page(State(site): State<Site>, Path(run): Path<String>) -> Result<Response, Trouble> {
    let run: RunId = run.parse()?;
    let shown = Shown::now(&site.shared, Shows::Facts);
    let found = run::read(&site, run).await?;
    Ok(page::run::page(&site.shared, &shown, &found))
}

async fn pool(State(site): State<Site>) -> Response {
    page::pool::page(&site.shared)
}

async fn gates(State(site): State<Site>) -> Response {
    page::gates::page(&site.shared)
}

async fn gate(State(site): State<Site>, Path(key): Path<String>) -> Result<Response, Trouble> {
    let missing = || Trouble::Missing("There is no such gate run among the newest ones.".into());
    // Only keys that were found in the bucket are asked for.
    let known = site.shared.read(|model| model.gates().any(|line| line.key == key));
    let known = known.then_some(key).ok_or_else(missing)?;
    let shown = Shown::now(&site.shared, Shows::Facts);
    let run = site.bus.gate_runs().get(&known).await?.value.ok_or_else(missing)?;
    Ok(page::gate::page(&site.shared, &shown, &known, &run))
}

/// What an open page wants to hear of.
#[derive(Debug, Deserialize)]
struct LiveQuery {
    /// What it shows, which one of before an upgrade does not say, and which of it.
    shows: Option<String>,
    shown: u64,
    /// The log that it shows, and from where on.
    job: Option<String>,
    #[serde(default)]
    epoch: u64,
    #[serde(default)]
    from: String,
}

async fn live_page(
    State(site): State<Site>,
    headers: HeaderMap,
    Query(query): Query<LiveQuery>,
) -> Result<Response, Trouble> {
    let shows = query.shows.map_or(Ok(Shows::Facts), |shows| shows.parse())?;
    let Ok(place) = Arc::clone(&site.live).try_acquire_owned() else {
        return Ok(Sse::new(live::full()).into_response());
    };
    // A page that connects again says what it had last.
    let had = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let from = log_place(had.unwrap_or(&query.from));
    let log = match &query.job {
        Some(job) => {
            let job: JobKey = job.parse()?;
            Some(Log::follow(&site.bus, job, Epoch(query.epoch), from).await?)
        }
        None => None,
    };
    let live = Live::new(&site.shared, (shows, query.shown), log, place, site.stop.clone());
    Ok(Sse::new(live.events()).keep_alive(KeepAlive::default()).into_response())
}

/// `<place in the stream>.<number of the next chunk>`; whatever else is the beginning.
fn log_place(text: &str) -> (u64, u64) {
    let read = || {
        let (place, chunk) = text.split_once('.')?;
        Some((place.parse().ok()?, chunk.parse().ok()?))
    };
    read().unwrap_or_default()
}
