//! What is wanted: one request per job, written by submitters, and the rules of asking.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    job::{Incarnation, RunId},
    outcome::Standing,
    overrides::Overrides,
    priority::Priority,
    record::Record,
    time::Timestamp,
    token::{Class, Identity, WorkerName},
    trace::TraceParent,
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
    /// Leave this worker out for a while, so that another one can take it: a confirming attempt.
    /// When nobody did, it takes the job itself (its `avoid_max`, counted from the last write here).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avoid_worker: Option<WorkerName>,
    /// Inputs of the flake that are replaced. The key's revision token has their digest.
    #[serde(default, skip_serializing_if = "Overrides::is_empty")]
    pub overrides: Overrides,
    /// The newer run that took the last wish away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<RunId>,
    /// The span that opened this incarnation, for whoever queues or builds it. A hint: it decides
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::lenient")]
    pub trace: Option<TraceParent>,
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
    /// A known failure of the flake is no answer.
    pub retry: bool,
    /// An incarnation that this ask opens leaves this worker out for a while: a second opinion.
    /// One that it joins stays as it is.
    pub avoid_worker: Option<WorkerName>,
    /// Inputs of the flake that are replaced; the job's revision token has their digest.
    pub overrides: Overrides,
    /// The span that asks; an incarnation that it opens is traced back to it.
    pub trace: Option<TraceParent>,
}

/// What an ask comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Write this request by compare-and-set, then publish its incarnation.
    Write(Request),
    /// The wish already stands in this request; publish its incarnation again, which heals a crash.
    Stands(Request),
    /// A finished failure of the flake answers it: nothing to write or to build.
    FromRecord,
    /// The job is being built with other overrides, whose digest happens to be the same.
    Clash,
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
///
/// `fresh` is the incarnation to open. Each try brings a new one: a try whose answer was lost may
/// have opened its own, and that one may be closed by now.
pub fn ask(
    request: Option<&Request>,
    record: Option<&Record>,
    ask: &Ask,
    fresh: Incarnation,
) -> Answer {
    let finished = finished(request, record);
    let same = record.is_some_and(|record| record.overrides() == Some(&ask.overrides));
    if finished == Some(Standing::Fail) && same && !(ask.force || ask.retry) {
        return Answer::FromRecord;
    }
    let open = request.filter(|request| finished.is_none() && request.wanted());
    let Some(open) = open else {
        return Answer::Write(opened(ask, fresh, BTreeMap::new()));
    };
    if open.overrides != ask.overrides {
        return Answer::Clash;
    }
    // A forced asking that was already written, and is asked again, is joined as its own.
    let mine = open.wanted_by.get(&ask.run);
    if ask.force && !(mine.is_some() && open.force) {
        return Answer::Write(opened(ask, fresh, open.wanted_by.clone()));
    }
    let mut joined = open.clone();
    let wish = mine.filter(|wish| wish.priority >= ask.wish.priority).unwrap_or(&ask.wish);
    joined.wanted_by.insert(ask.run, wish.clone());
    if joined == *open {
        return Answer::Stands(joined);
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

fn opened(ask: &Ask, fresh: Incarnation, mut wanted_by: BTreeMap<RunId, Wish>) -> Request {
    wanted_by.insert(ask.run, ask.wish.clone());
    Request {
        v: V1,
        class: ask.class.clone(),
        incarnation: fresh,
        wanted_by,
        force: ask.force,
        avoid_worker: ask.avoid_worker.clone(),
        overrides: ask.overrides.clone(),
        superseded_by: None,
        trace: ask.trace,
    }
}

#[cfg(test)]
mod tests {
    use super::{ask as ask_with, *};
    use crate::{
        outcome::{Built, Failure, FailureKind, InfraKind, Outcome},
        record::{Claimer, Finished},
    };
    use uuid::Uuid;

    fn run(n: u128) -> RunId {
        RunId(Uuid::from_u128(n))
    }

    fn incarnation(n: u128) -> Incarnation {
        Incarnation(Uuid::from_u128(n))
    }

    fn wish(priority: Priority) -> Wish {
        Wish { priority, by: Identity::local(), at: Timestamp(1) }
    }

    /// Run `n` asks at normal priority.
    fn asks(n: u128) -> Ask {
        let class = "x86_64-linux".parse().expect("a class");
        let wish = wish(Priority::Normal);
        Ask {
            run: run(n),
            wish,
            class,
            force: false,
            retry: false,
            avoid_worker: None,
            overrides: Overrides::default(),
            trace: None,
        }
    }

    /// What it comes to, where it would open incarnation 9.
    fn ask(request: Option<&Request>, record: Option<&Record>, ask: &Ask) -> Answer {
        ask_with(request, record, ask, incarnation(9))
    }

    fn forces(n: u128) -> Ask {
        Ask { force: true, ..asks(n) }
    }

    /// A request of incarnation 1 that these runs want.
    fn wanted(runs: &[u128]) -> Request {
        let wishes = runs.iter().map(|n| (run(*n), wish(Priority::Normal)));
        opened(&asks(0), incarnation(1), wishes.collect())
            .withdrawn(run(0), None)
            .expect("run 0 was there")
    }

    fn running(of: Incarnation) -> Record {
        let by = Claimer {
            worker: "w".parse().expect("a name"),
            instance: crate::job::Instance(Uuid::nil()),
            claim: 1,
            at: Timestamp(1),
            lease_ms: 1,
        };
        Record::claimed(None, of, &by)
    }

    fn finished_as(outcome: Outcome) -> Record {
        let at = Timestamp(1);
        let (queue_ms, build_ms, phases) = (0, 0, Vec::new());
        let worker = None;
        running(incarnation(1)).finished(Finished {
            outcome,
            at,
            worker,
            queue_ms,
            build_ms,
            phases,
            signature: None,
            overrides: Overrides::default(),
        })
    }

    fn built() -> Outcome {
        let (out_path, drv_path) = (String::new(), String::new());
        let (reused, work, diff) = (false, None, None);
        Outcome::Built(Built { out_path, drv_path, closure_bytes: 0, reused, work, diff })
    }

    fn failed() -> Outcome {
        Outcome::Failed { kind: FailureKind::BuildFailed, failure: Failure::default() }
    }

    /// What the ask writes: the incarnation and the runs that want it.
    #[track_caller]
    fn writes(answer: Answer, of: u128, runs: &[u128]) -> Request {
        let Answer::Write(request) = answer else { panic!("wrote nothing: {answer:?}") };
        assert_eq!(request.incarnation, incarnation(of));
        let wants: Vec<RunId> = request.wanted_by.keys().copied().collect();
        assert_eq!(wants, runs.iter().map(|n| run(*n)).collect::<Vec<_>>());
        request
    }

    #[test]
    fn the_first_ask_opens_an_incarnation() {
        writes(ask(None, None, &asks(1)), 9, &[1]);
    }

    #[test]
    fn an_unfinished_incarnation_that_somebody_wants_is_joined() {
        writes(ask(Some(&wanted(&[1])), None, &asks(2)), 1, &[1, 2]);
        let record = running(incarnation(1));
        writes(ask(Some(&wanted(&[1])), Some(&record), &asks(2)), 1, &[1, 2]);
        // A finish of an older incarnation says nothing about this one.
        let older = Record { incarnation: incarnation(7), ..finished_as(failed()) };
        writes(ask(Some(&wanted(&[1])), Some(&older), &asks(2)), 1, &[1, 2]);
    }

    #[test]
    fn asking_again_stands_and_a_more_urgent_wish_is_raised() {
        let request = wanted(&[1, 2]);
        assert_eq!(ask(Some(&request), None, &asks(2)), Answer::Stands(request.clone()));
        let low = Ask { wish: wish(Priority::Low), ..asks(2) };
        assert_eq!(ask(Some(&request), None, &low), Answer::Stands(request.clone()));
        let high = Ask { wish: wish(Priority::High), ..asks(2) };
        let raised = writes(ask(Some(&request), None, &high), 1, &[1, 2]);
        assert_eq!(raised.priority(), Some(Priority::High));
    }

    #[test]
    fn an_incarnation_that_lost_its_last_wish_is_closed() {
        let closed = wanted(&[1]).withdrawn(run(1), Some(run(5))).expect("it had a wish");
        assert!(!closed.wanted());
        assert_eq!(closed.superseded_by, Some(run(5)));
        let reopened = writes(ask(Some(&closed), None, &asks(2)), 9, &[2]);
        assert_eq!(reopened.superseded_by, None);
        assert_eq!(wanted(&[1]).withdrawn(run(2), None), None);
        let kept = wanted(&[1, 2]).withdrawn(run(1), Some(run(5))).expect("it had a wish");
        assert_eq!((kept.wanted(), kept.superseded_by), (true, None));
    }

    #[test]
    fn what_was_built_or_left_undecided_is_asked_anew() {
        let infra = Outcome::InfraFailed { kind: InfraKind::DiskFull, failure: Failure::default() };
        for outcome in [built(), infra, Outcome::Cancelled, Outcome::Superseded] {
            let record = finished_as(outcome);
            writes(ask(Some(&wanted(&[1])), Some(&record), &asks(2)), 9, &[2]);
            // Also when the request is gone: pruned.
            writes(ask(None, Some(&record), &asks(2)), 9, &[2]);
        }
    }

    #[test]
    fn a_failure_of_the_flake_answers_unless_forced() {
        let record = finished_as(failed());
        assert_eq!(ask(Some(&wanted(&[1])), Some(&record), &asks(2)), Answer::FromRecord);
        assert_eq!(ask(None, Some(&record), &asks(2)), Answer::FromRecord);
        let forced = writes(ask(Some(&wanted(&[1])), Some(&record), &forces(2)), 9, &[2]);
        assert!(forced.force);
        let retry = Ask { retry: true, ..asks(2) };
        assert!(!writes(ask(Some(&wanted(&[1])), Some(&record), &retry), 9, &[2]).force);
    }

    #[test]
    fn a_second_opinion_leaves_a_worker_out_of_the_incarnation_that_it_opens() {
        let w1: Option<WorkerName> = Some("w1".parse().expect("a name"));
        let asks = Ask { retry: true, avoid_worker: w1.clone(), ..asks(2) };
        let record = finished_as(failed());
        let opened = writes(ask(Some(&wanted(&[1])), Some(&record), &asks), 9, &[2]);
        assert_eq!(opened.avoid_worker, w1);
        // The next asking of the job is for everybody again.
        let over = Record { incarnation: incarnation(9), ..finished_as(built()) };
        let next =
            writes(ask_with(Some(&opened), Some(&over), &self::asks(3), incarnation(10)), 10, &[3]);
        assert_eq!(next.avoid_worker, None);
        // Who joins takes what is there.
        let joined = writes(ask(Some(&wanted(&[1])), None, &asks), 1, &[1, 2]);
        assert_eq!(joined.avoid_worker, None);
    }

    #[test]
    fn other_overrides_are_another_job_also_when_their_digests_agree() {
        let overrides: Overrides = serde_json::from_str(
            r#"{"a":{"repo":"r","revision":"0123456789abcdef0123456789abcdef01234567"}}"#,
        )
        .expect("overrides");
        let asks = Ask { overrides: overrides.clone(), ..asks(2) };
        assert_eq!(ask(Some(&wanted(&[1])), None, &asks), Answer::Clash);
        assert_eq!(writes(ask(None, None, &asks), 9, &[2]).overrides, overrides);
        // What is over is no hindrance, and a failure with other overrides is no answer.
        let record = finished_as(failed());
        let opened = writes(ask(Some(&wanted(&[1])), Some(&record), &asks), 9, &[2]);
        assert_eq!(opened.overrides, overrides);
        let closed = wanted(&[1]).withdrawn(run(1), None).expect("it had a wish");
        assert_eq!(writes(ask(Some(&closed), None, &asks), 9, &[2]).overrides, overrides);
    }

    #[test]
    fn force_takes_the_wishes_of_an_unfinished_job_over() {
        let forced = writes(ask(Some(&wanted(&[1])), None, &forces(2)), 9, &[1, 2]);
        assert!(forced.force);
        // Asked again after a lost answer, it does not force itself a second time.
        let again = ask(Some(&forced), None, &forces(2));
        assert_eq!(again, Answer::Stands(forced));
    }
}
