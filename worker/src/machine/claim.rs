//! What to do with a delivered job message, from the record and then the request as just read
//! from the leader (DESIGN 5.4). The order of the rules is the protocol: `model/` shows what
//! breaks without each.

use std::{collections::BTreeSet, time::Duration};

use bus::{
    Entry, PublicKey,
    signature::{self, Verified},
};
use proto::{
    Failure, Incarnation, InfraKind, Instance, JobKey, Outcome, Record, Request, State, Timestamp,
    WorkerName,
    record::{AttemptEnd, Running},
    time::millis,
};

use crate::build::Plan;

/// What to do with a message. The first rule that matches decides.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// (a) Its incarnation is not the request's, and never will be again: ack.
    Stale,
    /// (b) Its incarnation is finished: ack. A dead one tells its dead letter once more, since
    /// the worker that wrote it may have died before it could.
    Finished,
    /// (c), (e), (g) Held under a live lease, waiting, or for another worker first: come again after
    /// the delay.
    Later(Duration),
    /// (d), (f) Ends without a claim: wanted by nobody, or out of attempts.
    Close(Outcome),
    /// (h) Claim it.
    Claim(Plan),
}

/// What the claimer knows of itself.
#[derive(Clone, Debug)]
pub struct Claimer<'a> {
    /// Its name.
    pub worker: &'a WorkerName,
    /// Its life.
    pub instance: Instance,
    /// It is the only worker of its data folder: leases of its own former life are dead.
    pub standalone: bool,
    /// The server's time.
    pub server: Timestamp,
    /// Attempts an incarnation has.
    pub attempts_max: usize,
    /// It leaves a job whose request names it in `avoid_worker` to others for so long.
    pub avoid_max: Duration,
}

/// A message that came back too early comes again after this long: the two clocks that meet here
/// count in milliseconds.
const AGAIN_MIN: Duration = Duration::from_millis(100);

/// A job for another worker is offered again after this long. Soon: while its message waits for the
/// delay, that other worker cannot have it either.
const AVOIDED: Duration = Duration::from_secs(2);

/// Decides. `poison` is why the message's payload is none of ours, if it is not.
pub fn decide(
    record: &Entry<Record>,
    request: &Entry<Request>,
    message: Incarnation,
    poison: Option<&str>,
    by: &Claimer<'_>,
) -> Decision {
    let written = request.time;
    let Some(request) = request.value.as_ref().filter(|it| it.incarnation == message) else {
        return Decision::Stale;
    };
    let same = record.value.as_ref().filter(|it| it.incarnation == message);
    if same.is_some_and(|it| it.outcome().is_some()) {
        return Decision::Finished;
    }
    if let Some(Record { state: State::Running(running), .. }) = &record.value
        && let Some(left) = lease_left(running, record.time, by)
    {
        return Decision::Later(left);
    }
    if !request.wanted() {
        let superseded = request.superseded_by.is_some();
        return Decision::Close(if superseded { Outcome::Superseded } else { Outcome::Cancelled });
    }
    if let Some(Record { state: State::Waiting(waiting), .. }) = same
        && let Some(left) = left(record.time, waiting.delay_ms, by.server)
    {
        return Decision::Later(left);
    }
    if let Some(reason) = poison {
        let failure = Failure::message(format!("the job's message is unusable: {reason}"));
        return Decision::Close(Outcome::InfraFailed { kind: InfraKind::Refused, failure });
    }
    if let Some(same) = same.filter(|it| it.attempts_used(message) >= by.attempts_max) {
        return Decision::Close(out_of_attempts(same));
    }
    if let Some(left) = avoided_for(request, written, by) {
        return Decision::Later(left.min(AVOIDED));
    }
    Decision::Claim(plan(record.value.as_ref(), request))
}

/// How long this worker still leaves the job to others, by the server's clock. Each write of the
/// request begins the time anew: only that write's time is known without trusting another clock.
fn avoided_for(request: &Request, written: Timestamp, by: &Claimer<'_>) -> Option<Duration> {
    let named = request.avoid_worker.as_ref() == Some(by.worker);
    // Alone there is nobody to leave it to.
    (named && !by.standalone).then(|| left(written, millis(by.avoid_max), by.server)).flatten()
}

/// Whoever holds it, this very instance included: another slot of mine may be building it.
fn lease_left(running: &Running, since: Timestamp, by: &Claimer<'_>) -> Option<Duration> {
    let former_self = running.worker == *by.worker && running.instance != by.instance;
    if by.standalone && former_self {
        return None;
    }
    left(since, running.lease_ms, by.server)
}

fn left(since: Timestamp, ms: u64, server: Timestamp) -> Option<Duration> {
    let end = since.plus(Duration::from_millis(ms));
    (end > server).then(|| end.since(server).max(AGAIN_MIN))
}

/// The outcome of an incarnation whose attempts are used up, told by the last of them.
fn out_of_attempts(record: &Record) -> Outcome {
    let used = record.attempts_used(record.incarnation);
    let last = match &record.state {
        State::Waiting(waiting) => Some(&waiting.reason),
        State::Running(_) | State::Finished(_) => None,
    };
    let (kind, message) = match last {
        Some(AttemptEnd::Infra { kind, message }) => (*kind, message.clone()),
        _ => (InfraKind::WorkerLost, "the worker was lost in the middle".to_owned()),
    };
    let failure = Failure::message(format!("{message} (attempt {used} of {used})"));
    Outcome::InfraFailed { kind, failure }
}

/// The plan, unless it takes over what `own` did not sign: whoever may write one result may write
/// all, and a worker vouches for what it takes over. What it built itself is found by Nix anyway.
/// Without a key nobody signs, and nobody can ask for it.
pub fn vouched(plan: Plan, job: &JobKey, record: Option<&Record>, own: Option<&PublicKey>) -> Plan {
    let trusted: BTreeSet<PublicKey> = own.into_iter().cloned().collect();
    let mine = || {
        let verified = record.map(|record| signature::verify(job, record, &trusted));
        matches!(verified, Some(Verified::Valid { .. }))
    };
    match plan {
        Plan::Reuse(_) if !trusted.is_empty() && !mine() => Plan::Full { force: false },
        plan => plan,
    }
}

/// What was built once need not be built again: its path is checked and rooted.
fn plan(record: Option<&Record>, request: &Request) -> Plan {
    match record.and_then(|it| it.reusable(request)) {
        Some(built) => Plan::Reuse(built.clone()),
        None => Plan::Full { force: request.force },
    }
}
