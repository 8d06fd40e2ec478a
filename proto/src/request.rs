//! What is wanted: one request per job, written by submitters, and the rules of asking.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    job::{Incarnation, RunId},
    outcome::Standing,
    priority::Priority,
    record::Record,
    time::Timestamp,
    token::{Class, Identity, WorkerName},
    version::V1,
};

/// Who wants a job and under which incarnation. Bucket `nbp-requests`, key = job key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Version of this shape.
    pub v: V1,
    /// What the job needs of a worker.
    pub class: Class,
    /// The current asking. A message or record of another one is stale.
    pub incarnation: Incarnation,
    /// One wish per run. Empty: nobody wants it, and this incarnation is closed.
    pub wanted_by: BTreeMap<RunId, Wish>,
    /// Build again even if the path is valid.
    #[serde(default)]
    pub force: bool,
    /// Leave this worker out, if another can do it: a confirming attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avoid_worker: Option<WorkerName>,
    /// The newer run that took the last wish away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<RunId>,
}

/// One run wanting one job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// How urgently.
    pub priority: Priority,
    /// Who asked.
    pub by: Identity,
    /// When, by the asker's clock.
    pub at: Timestamp,
}

/// One run asking for one job.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The asking run.
    pub run: RunId,
    /// Its wish.
    pub wish: Wish,
    /// What the job needs of a worker.
    pub class: Class,
    /// Build again, whatever is known.
    pub force: bool,
    /// The incarnation to open if the current one cannot be joined.
    pub fresh: Incarnation,
}

/// What an ask comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Write this request by compare-and-set, then publish its incarnation.
    Write(Request),
    /// The wish already stands there; publish the incarnation again, which heals a crash.
    Stands(Incarnation),
    /// A finished failure of the flake answers it: nothing to write or to build.
    FromRecord,
}

impl Request {
    /// Somebody wants the job.
    pub fn wanted(&self) -> bool {
        !self.wanted_by.is_empty()
    }

    /// The most urgent wish, if there is one.
    pub fn priority(&self) -> Option<Priority> {
        self.wanted_by.values().map(|wish| wish.priority).max()
    }

    /// The request without the wish of `run`; `None` when it had none.
    ///
    /// Taking the last wish away closes the incarnation: the next asker opens a new one.
    pub fn withdrawn(&self, run: RunId, superseded_by: Option<RunId>) -> Option<Self> {
        let mut request = self.clone();
        request.wanted_by.remove(&run)?;
        if !request.wanted() {
            request.superseded_by = superseded_by;
        }
        Some(request)
    }
}

/// Decides what one run's ask does to a job, from request and record as just read (DESIGN 5.2, 5.3).
///
/// An unfinished incarnation that somebody wants is joined. One whose last wish was withdrawn, a
/// finished one and a forced one get a new incarnation; the wishes of an unfinished one move over.
pub fn ask(request: Option<&Request>, record: Option<&Record>, ask: &Ask) -> Answer {
    let finished = finished(request, record);
    if finished == Some(Standing::Fail) && !ask.force {
        return Answer::FromRecord;
    }
    let open = request.filter(|request| finished.is_none() && request.wanted());
    let Some(open) = open else {
        return Answer::Write(opened(ask, BTreeMap::new()));
    };
    // A forced asking that was already written, and is asked again, is joined as its own.
    let mine = open.wanted_by.get(&ask.run);
    if ask.force && !(mine.is_some() && open.force) {
        return Answer::Write(opened(ask, open.wanted_by.clone()));
    }
    let mut joined = open.clone();
    let wish = mine.filter(|wish| wish.priority >= ask.wish.priority).unwrap_or(&ask.wish);
    joined.wanted_by.insert(ask.run, wish.clone());
    if joined == *open {
        return Answer::Stands(open.incarnation);
    }
    Answer::Write(joined)
}

/// How the request's incarnation ended, if it did. A record without a request (pruned) stands for
/// itself.
fn finished(request: Option<&Request>, record: Option<&Record>) -> Option<Standing> {
    let record = record?;
    let outcome = record.outcome()?;
    let of_request = request.is_none_or(|request| request.incarnation == record.incarnation);
    of_request.then(|| outcome.standing())
}

fn opened(ask: &Ask, mut wanted_by: BTreeMap<RunId, Wish>) -> Request {
    wanted_by.insert(ask.run, ask.wish.clone());
    Request {
        v: V1,
        class: ask.class.clone(),
        incarnation: ask.fresh,
        wanted_by,
        force: ask.force,
        avoid_worker: None,
        superseded_by: None,
    }
}
