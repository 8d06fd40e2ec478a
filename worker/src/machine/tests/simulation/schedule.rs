//! What one seed is: who takes part, which faults may happen and how often, what is asked and when.
//!
//! Each kind of fault is absent from about half of the seeds: one that always happens hides what
//! only comes to pass without it.

use fastrand::Rng;
use proto::Priority;

/// Milliseconds of virtual time.
pub(super) type Millis = u64;

pub(super) const SECOND: Millis = 1000;
/// The consumers' `ack_wait`.
pub(super) const LEASE: Millis = 8 * SECOND;
/// A question without an answer is given up after this long.
pub(super) const ANSWER_WAIT: Millis = 2 * SECOND;
/// A pull that brings nothing ends after this long.
pub(super) const PULL_WAIT: Millis = 20 * SECOND;
/// Sweeps are this far apart on average.
pub(super) const SWEEP_EVERY: Millis = 10 * SECOND;
/// A worker leaves a job that asks for another one alone for so long.
pub(super) const AVOID_MAX: Millis = 12 * SECOND;
/// No build is longer: the wall limit ends it.
pub(super) const WALL: Millis = 30 * SECOND;
/// Once faults have stopped, all must have come to rest this much later: all attempts of two jobs
/// one after the other, each up to the wall limit. The slowest of 100,000 took a third of it.
pub(super) const REST_WITHIN: Millis = 300 * SECOND;

/// How often things go wrong, out of a thousand.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    /// A message to or from the broker is lost.
    pub(super) lost: u32,
    /// … takes up to a few seconds.
    pub(super) slow: u32,
    /// … stays in flight for longer than anybody waits for an answer.
    pub(super) stuck: u32,
    /// The broker refuses a write to the records.
    pub(super) refused: u32,
    /// A worker crashes, freezes or is cut off right after it began to write or ack.
    pub(super) tripped: u32,
    /// A submitter dies, at each of its steps.
    pub(super) submitter_dies: u32,
    /// A message is published with a payload that is none of ours.
    pub(super) poisoned: u32,
}

/// What happens to the world, apart from single messages.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// All state is lost; a new instance starts after the time.
    Crash(usize, Millis),
    /// No steps for the time; then all that came in meanwhile.
    Freeze(usize, Millis),
    /// Told to stop; a new instance starts the time after it has left.
    Drain(usize),
    /// Takes nothing new for the time.
    Pause(usize, Millis),
    /// The broker is gone for the time, and may hand everything out again when it is back.
    Outage(Millis),
    /// One worker has no connection for the time.
    Cut(usize, Millis),
    /// The stream loses a message.
    LoseMessage,
    /// A worker errs about the server's time by this much from now on.
    Misjudge(usize, i64),
}

/// What somebody does to a request.
#[derive(Clone, Debug)]
pub(super) struct Act {
    pub(super) run: u128,
    pub(super) job: usize,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Ask { priority: Priority, force: bool, retry: bool, avoid: Option<usize> },
    Withdraw { superseded_by: Option<u128> },
}

/// One worker process, in all its lives.
#[derive(Clone, Debug)]
pub(super) struct WorkerPlan {
    pub(super) slots: usize,
    /// Thousandths of its seconds to one of the server's.
    pub(super) rate: u64,
    /// It never errs by more about the server's time.
    pub(super) error_max: i64,
}

#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) workers: Vec<WorkerPlan>,
    pub(super) standalone: bool,
    pub(super) jobs: usize,
    pub(super) attempts_max: usize,
    pub(super) orphan_grace: Millis,
    pub(super) rates: Rates,
    /// Chances of a build to end as built, failed, infra or never, relative to each other.
    pub(super) builds: [u32; 4],
    /// The longest build that ends by itself.
    pub(super) build_max: Millis,
    pub(super) faults: Vec<(Millis, Fault)>,
    pub(super) acts: Vec<(Millis, Act)>,
    /// From here on nothing goes wrong.
    pub(super) heal_at: Millis,
}

impl Schedule {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let heal_at = rng.u64(8..=40) * SECOND;
        let errs = rng.bool();
        let workers: Vec<_> = (0..rng.usize(1..=3)).map(|_| worker(rng, errs)).collect();
        let jobs = if rng.u8(0..3) == 0 { 2 } else { 1 };
        let faults = faults(rng, &workers, heal_at);
        Self {
            standalone: workers.len() == 1 && rng.bool(),
            jobs,
            attempts_max: rng.usize(2..=3),
            orphan_grace: [0, 0, 4 * SECOND, 30 * SECOND][rng.usize(0..4)],
            rates: rates(rng),
            builds: [rng.u32(1..5), sometimes(rng, 2), sometimes(rng, 4), sometimes(rng, 2)],
            build_max: [SECOND / 10, SECOND, 5 * SECOND, 16 * SECOND][rng.usize(0..4)],
            faults,
            acts: acts(rng, jobs, heal_at),
            workers,
            heal_at,
        }
    }
}

/// None in half of the seeds, else up to `most`.
fn sometimes(rng: &mut Rng, most: u32) -> u32 {
    if rng.bool() { 0 } else { rng.u32(1..=most) }
}

fn rates(rng: &mut Rng) -> Rates {
    Rates {
        lost: sometimes(rng, 150),
        slow: sometimes(rng, 300),
        stuck: sometimes(rng, 100),
        refused: if rng.u8(0..8) == 0 { 50 } else { 0 },
        tripped: sometimes(rng, 150),
        submitter_dies: sometimes(rng, 100),
        poisoned: if rng.u8(0..16) == 0 { 300 } else { 0 },
    }
}

fn worker(rng: &mut Rng, errs: bool) -> WorkerPlan {
    let rate = if rng.bool() { 1000 } else { rng.u64(970..=1030) };
    let error_max = if errs { [0, 300, 3000][rng.usize(0..3)] } else { 0 };
    WorkerPlan { slots: rng.usize(1..=2), rate, error_max }
}

fn faults(rng: &mut Rng, workers: &[WorkerPlan], heal_at: Millis) -> Vec<(Millis, Fault)> {
    let kinds = rng.u8(1..=u8::MAX);
    let mut faults = Vec::new();
    for _ in 0..rng.usize(0..=5) {
        let at = rng.u64(0..heal_at);
        let worker = rng.usize(0..workers.len());
        let long = rng.u64(100..3 * LEASE);
        let kind = rng.u8(0..8);
        if kinds & (1 << kind) == 0 {
            continue;
        }
        let fault = match kind {
            0 => Fault::Crash(worker, long / 4),
            1 => Fault::Freeze(worker, long),
            2 => Fault::Drain(worker),
            3 => Fault::Pause(worker, long),
            4 => Fault::Outage(long),
            5 => Fault::Cut(worker, long),
            6 => Fault::LoseMessage,
            _ => {
                let most = workers[worker].error_max;
                Fault::Misjudge(worker, rng.i64(-most..=most))
            }
        };
        faults.push((at, fault));
    }
    faults
}

fn acts(rng: &mut Rng, jobs: usize, heal_at: Millis) -> Vec<(Millis, Act)> {
    let runs = rng.u128(1..=3);
    let first = What::Ask {
        priority: priority(rng),
        force: rng.u8(0..8) == 0,
        retry: false,
        avoid: avoided(rng),
    };
    let mut acts = vec![(rng.u64(0..SECOND / 2), Act { run: 0, job: 0, what: first })];
    // Those who ask at the same time meet each other, those who ask later meet what came of it.
    let within = [SECOND, 4 * SECOND, heal_at][rng.usize(0..3)];
    let forced = rng.u8(1..=3);
    for _ in 0..rng.usize(0..=5) {
        let (run, job) = (rng.u128(0..runs), rng.usize(0..jobs));
        let what = match rng.u8(0..8) {
            0..=3 => What::Ask {
                priority: priority(rng),
                force: rng.u8(0..3) < forced,
                retry: rng.u8(0..3) == 0,
                avoid: avoided(rng),
            },
            4..=6 => What::Withdraw { superseded_by: None },
            _ => What::Withdraw { superseded_by: Some(rng.u128(0..runs)) },
        };
        acts.push((rng.u64(0..within), Act { run, job, what }));
    }
    acts
}

/// A worker that is to leave the job to others; there may be none of that number.
fn avoided(rng: &mut Rng) -> Option<usize> {
    (rng.u8(0..4) == 0).then(|| rng.usize(0..3))
}

fn priority(rng: &mut Rng) -> Priority {
    if rng.u8(0..3) == 0 { Priority::High } else { Priority::Normal }
}
