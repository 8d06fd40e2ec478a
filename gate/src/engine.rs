//! Driving one run from its record to its end, or to where it has to wait.
//!
//! Each turn does the effect of the stage on record, lets the planner say what follows, and puts
//! that on record by compare-and-set. It ends early when the deadline passes, when it is told to
//! stop, when an answer is missing that only time brings, and when somebody else has the branch.

use std::time::Duration;

use bus::{Bus, retried};
use proto::{
    ExitCode, GateId, Repo,
    gate::{End, GateRun, Stage, Why},
    subject,
};
use telemetry::span::{self, Conclusion};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};
use tracing::Instrument as _;

use crate::{
    landing,
    lease::Trouble,
    plan::{self, Event},
    steps::{Ground, StepError},
};

/// A run and the revision of its record.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) run: GateRun,
    revision: u64,
}

/// How far it came.
#[derive(Debug)]
pub(crate) enum Driven {
    /// To its end.
    Ended(GateRun),
    /// To where it waits; `gate resume` goes on from there.
    Paused(GateRun, Pause),
}

/// Why a run waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The caller's time is up.
    Deadline,
    /// The program was told to stop.
    Told,
    /// Hosts ended without an answer: infrastructure.
    Undecided,
    /// Somebody else has the branch now.
    Lost,
}

/// Between the tries of an effect that met trouble that passes. What lasts longer is for the next
/// `gate resume`.
const AGAIN_AFTER: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15)];

impl Pause {
    /// In words that go on after "the run waits: ".
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Deadline => "time is up; `gate resume` goes on with it",
            Self::Told => "told to stop; `gate resume` goes on with it",
            Self::Undecided => {
                "hosts ended without an answer, which is no fault of the update; \
                 `gate resume` asks for them again"
            }
            Self::Lost => "another gate has taken the branch over",
        }
    }
}

impl Kept {
    /// Puts a new run on record.
    pub(crate) async fn begin(bus: &Bus, run: GateRun) -> Result<Self, bus::Error> {
        let key = key(&run);
        let revision = retried(|| async { put(bus, &key, &run, 0).await }).await?;
        Ok(Self { run, revision })
    }

    /// Takes a run up; none: it is not on record. Its record is written again, so that whoever had
    /// it before can write no more.
    pub(crate) async fn take_up(
        bus: &Bus,
        repo: &Repo,
        base: &str,
        id: GateId,
    ) -> Result<Option<Self>, bus::Error> {
        let key = subject::gate_run_key(repo, base, id);
        let seen = retried(|| async { bus.gate_runs().get(&key).await }).await?;
        let Some(run) = seen.value else { return Ok(None) };
        let revision = retried(|| async { put(bus, &key, &run, seen.revision).await }).await?;
        Ok(Some(Self { run, revision }))
    }

    /// Does what there is to do.
    pub(crate) async fn drive(
        mut self,
        ground: &Ground<'_>,
        deadline: Option<Instant>,
    ) -> Result<Driven, StepError> {
        let GateRun { repo, base, id, trace, .. } = &self.run;
        let span = span::gate_run(repo, base, *id, *trace);
        // On record with the next stage, for those who go on.
        self.run.trace = trace.or_else(|| telemetry::context(&span));
        let driven = self.turns(ground, deadline).instrument(span.clone()).await;
        let end = match &driven {
            Ok(Driven::Ended(run)) => run.stage.ended().map_or("waits", End::name),
            Ok(Driven::Paused(..)) => "waits",
            // Not "failed": that is a verdict.
            Err(_) => "error",
        };
        span.record("nbp.end", end);
        match &driven {
            Ok(Driven::Ended(run)) => {
                let code = run.stage.ended().map(landing::exit_code);
                span::concluded(&span, Conclusion::of(code.unwrap_or(ExitCode::Undecided)), end);
            }
            // It goes on, so nobody knows.
            Ok(Driven::Paused(..)) => {}
            Err(error) => span::failed(&span, error.exit_code(), error),
        }
        driven
    }

    async fn turns(
        mut self,
        ground: &Ground<'_>,
        deadline: Option<Instant>,
    ) -> Result<Driven, StepError> {
        let mut orders = Orders::listen();
        loop {
            if self.run.stage.ended().is_some() {
                return Ok(Driven::Ended(self.run));
            }
            ground.console.say(&format!("{}: {}", self.run.base, doing(&self.run.stage)));
            let step = span::gate_step(self.run.stage.name());
            let turn = tokio::select! {
                biased;
                _ = ground.lease.keep() => Err(Pause::Lost),
                () = passed(deadline) => Err(Pause::Deadline),
                () = orders.stop() => Err(Pause::Told),
                event = patiently(ground, &self.run).instrument(step.clone()) => {
                    Ok(event.inspect_err(|error| span::failed(&step, error.exit_code(), error))?)
                }
            };
            drop(step);
            let event = match turn {
                Ok(event) => event,
                Err(pause) => return Ok(Driven::Paused(self.run, pause)),
            };
            let next = plan::advance(self.run.clone(), event, ground.config.rules);
            if next == self.run {
                return Ok(Driven::Paused(self.run, Pause::Undecided));
            }
            match self.save(ground, next).await {
                Ok(()) => {}
                Err(Trouble::Lost) => return Ok(Driven::Paused(self.run, Pause::Lost)),
                Err(Trouble::Bus(error)) => return Err(error.into()),
            }
        }
    }

    /// Gives a run up that did not end for too long.
    pub(crate) async fn give_up(&mut self, ground: &Ground<'_>) -> Result<(), StepError> {
        let next = plan::given_up(self.run.clone());
        self.save(ground, next).await.map_err(|trouble| match trouble {
            Trouble::Lost => bus::Error::Conflict { subject: key(&self.run) }.into(),
            Trouble::Bus(error) => StepError::Bus(error),
        })
    }

    async fn save(&mut self, ground: &Ground<'_>, next: GateRun) -> Result<(), Trouble> {
        // Before the record: a run that is not noted as failed is tried again, which is harmless.
        if let (Stage::Explain(_), Stage::Clear(_)) = (&self.run.stage, &next.stage)
            && blames_the_flake(&self.run.stage)
        {
            ground.lease.note_failed(next.id).await?;
        }
        let key = key(&next);
        let put = || async { put(ground.bus, &key, &next, self.revision).await };
        match retried(put).await {
            Ok(revision) => {
                *self = Self { run: next, revision };
                Ok(())
            }
            Err(bus::Error::Conflict { .. }) => Err(Trouble::Lost),
            Err(error) => Err(Trouble::Bus(error)),
        }
    }
}

/// A compare-and-set whose own earlier write counts as this one.
async fn put(bus: &Bus, key: &str, run: &GateRun, revision: u64) -> Result<u64, bus::Error> {
    let runs = bus.gate_runs();
    match runs.put_if(key, run, revision).await {
        Err(error @ bus::Error::Conflict { .. }) => {
            let seen = runs.get(key).await?;
            match seen.value.as_ref() == Some(run) {
                true => Ok(seen.revision),
                false => Err(error),
            }
        }
        other => other,
    }
}

/// An effect, tried again while what it met can pass.
async fn patiently(ground: &Ground<'_>, run: &GateRun) -> Result<Event, StepError> {
    for pause in AGAIN_AFTER {
        match ground.perform(run).await {
            Err(error) if error.passing() => {
                ground.console.say(&format!("trying again: failed to {error}"));
                tokio::time::sleep(pause).await;
            }
            done => return done,
        }
    }
    ground.perform(run).await
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// SIGTERM and SIGINT, heard from the beginning of a run to its end.
struct Orders {
    term: Option<Signal>,
    int: Option<Signal>,
}

impl Orders {
    /// Without handlers the default of the system ends the program, which is as good.
    fn listen() -> Self {
        let listen = |kind| signal(kind).ok();
        Self { term: listen(SignalKind::terminate()), int: listen(SignalKind::interrupt()) }
    }

    async fn stop(&mut self) {
        async fn heard(signal: &mut Option<Signal>) {
            match signal {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            () = heard(&mut self.term) => {}
            () = heard(&mut self.int) => {}
        }
    }
}

fn blames_the_flake(stage: &Stage) -> bool {
    let Stage::Explain(refused) = stage else { return false };
    matches!(refused.why, Why::Failed(_) | Why::NoHosts { .. })
}

fn key(run: &GateRun) -> String {
    subject::gate_run_key(&run.repo, &run.base, run.id)
}

/// What a stage is about, for people.
fn doing(stage: &Stage) -> String {
    match stage {
        Stage::Pin => "reading the branch".to_owned(),
        Stage::Prepare { base, .. } => format!("preparing a candidate on {}", base.short()),
        Stage::Publish(candidate) => {
            format!("publishing {} as {}", candidate.revision.short(), candidate.branch)
        }
        Stage::List(candidate) => format!("listing the hosts of {}", candidate.revision.short()),
        Stage::Test(trial) => format!("waiting for {} hosts", trial.required.len()),
        Stage::Confirm(doubted) => format!("trying {} hosts once more", doubted.doubts.len()),
        Stage::Compare(_) => "comparing failures with the branch".to_owned(),
        Stage::Land(tested) => format!("landing {}", tested.trial.candidate.revision.short()),
        Stage::Tell(_) => "telling of the landing".to_owned(),
        Stage::Explain(_) => "explaining on the forge why it is not landed".to_owned(),
        Stage::Clear(_) => "clearing up".to_owned(),
        Stage::Ended(end) => end.name().to_owned(),
    }
}
