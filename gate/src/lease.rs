//! The right to move a branch: one process at a time, by compare-and-set on one record.
//!
//! Its age is told by the server's clock alone, so two machines whose clocks differ agree on who
//! holds it. A holder that cannot reach the broker goes on waiting, and changes nothing outside
//! until it has renewed. The lease is not what keeps two gates from landing twice: that is the
//! compare-and-set on the branch itself.

use std::time::Duration;

use bus::{Bus, Entry, retried};
use proto::{
    GateId, Repo, Timestamp, V1,
    gate::{Holder, Lease},
    subject,
};
use tokio::{sync::Mutex, time::Instant};
use uuid::Uuid;

/// A lease that is ours.
pub(crate) struct Held {
    bus: Bus,
    key: String,
    length: Duration,
    // Locked during a write: renewals and notes are written one after the other.
    state: Mutex<State>,
}

#[derive(Clone, Debug)]
struct State {
    record: Lease,
    revision: u64,
    /// Written at this moment or later, so good for one length from then at least.
    renewed: Instant,
}

/// What asking for a lease came to.
pub(crate) enum Asked {
    /// It is ours.
    Held(Box<Held>),
    /// Somebody else has it, for so long at most if it is not renewed.
    Busy { holder: Holder, left: Duration },
}

/// Somebody else has it now.
#[derive(Debug)]
pub(crate) struct Lost;

/// Renewals within one length: two lost answers do not lose a lease.
const RENEWALS: u32 = 4;
/// Between two tries of a renewal that got no answer.
const AGAIN: Duration = Duration::from_secs(1);

impl Held {
    /// Takes the lease of a branch, if it is free or has run out.
    pub(crate) async fn take(
        bus: &Bus,
        repo: &Repo,
        branch: &str,
        length: Duration,
    ) -> Result<Asked, bus::Error> {
        let key = subject::gate_lease_key(repo, branch);
        let ours = Holder {
            by: bus.identity().clone(),
            place: place(),
            nonce: Uuid::now_v7(),
            lease_ms: proto::time::millis(length),
        };
        let leases = bus.gate_leases();
        loop {
            let sent = Instant::now();
            let seen = retried(|| leases.get(&key)).await?;
            let held = |record, revision| {
                let state = Mutex::new(State { record, revision, renewed: sent });
                Asked::Held(Box::new(Self { bus: bus.clone(), key: key.clone(), length, state }))
            };
            match &seen.value {
                // Written by us, and the answer was lost.
                Some(record) if record.holder.as_ref().is_some_and(|it| it.nonce == ours.nonce) => {
                    return Ok(held(record.clone(), seen.revision));
                }
                _ => {}
            }
            let now = retried(|| bus.gates_time()).await?;
            if let Some((holder, left)) = live(&seen, now) {
                return Ok(Asked::Busy { holder, left });
            }
            let free = Lease { v: V1, holder: None, run: None, failed: None };
            let record = Lease { holder: Some(ours.clone()), ..seen.value.unwrap_or(free) };
            match leases.put_if(&key, &record, seen.revision).await {
                Ok(revision) => return Ok(held(record, revision)),
                // Somebody was faster, or nobody knows.
                Err(bus::Error::Conflict { .. } | bus::Error::NoAnswer { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The newest run of the branch, as noted in the lease.
    pub(crate) async fn newest(&self) -> Option<GateId> {
        self.state.lock().await.record.run
    }

    /// The newest run whose candidate failed.
    pub(crate) async fn failed(&self) -> Option<GateId> {
        self.state.lock().await.record.failed
    }

    /// Notes a run that begins.
    pub(crate) async fn note_run(&self, id: GateId) -> Result<(), Trouble> {
        self.write(|lease| lease.run = Some(id)).await
    }

    /// Notes a run whose candidate failed.
    pub(crate) async fn note_failed(&self, id: GateId) -> Result<(), Trouble> {
        self.write(|lease| lease.failed = Some(id)).await
    }

    /// Gives the lease back. If that fails, it runs out.
    pub(crate) async fn release(&self) {
        if self.write(|lease| lease.holder = None).await.is_err() {
            tracing::warn!(key = %self.key, "the lease was not given back, and has to run out");
        }
    }

    /// Renews it for ever; ends only when somebody else has it.
    pub(crate) async fn keep(&self) -> Lost {
        loop {
            // From the last write on: this may be begun anew at every step of a run.
            let due = self.state.lock().await.renewed + self.length / RENEWALS;
            tokio::time::sleep_until(due).await;
            match self.write(|_| {}).await {
                Ok(()) => {}
                Err(Trouble::Lost) => return Lost,
                Err(Trouble::Bus(error)) => {
                    tracing::info!("the lease is not renewed: {error}");
                    tokio::time::sleep(AGAIN.min(self.length / RENEWALS)).await;
                }
            }
        }
    }

    /// Waits until the lease is known to be ours for another half of its length: what is changed
    /// outside is changed under it.
    pub(crate) async fn fresh(&self) {
        const LOOK: Duration = Duration::from_millis(50);
        while self.state.lock().await.renewed.elapsed() > self.length / 2 {
            tokio::time::sleep(LOOK.min(self.length / RENEWALS)).await;
        }
    }

    async fn write(&self, change: impl Fn(&mut Lease)) -> Result<(), Trouble> {
        let mut state = self.state.lock().await;
        let nonce = state.record.holder.as_ref().map(|holder| holder.nonce);
        let sent = Instant::now();
        let mut record = state.record.clone();
        change(&mut record);
        let leases = self.bus.gate_leases();
        let revision = match leases.put_if(&self.key, &record, state.revision).await {
            Ok(revision) => revision,
            Err(bus::Error::Conflict { .. }) => {
                // Perhaps an earlier write of ours whose answer was lost.
                let seen = leases.get(&self.key).await.map_err(Trouble::Bus)?;
                let holder = seen.value.as_ref().and_then(|lease| lease.holder.as_ref());
                if nonce.is_none() || holder.map(|holder| holder.nonce) != nonce {
                    return Err(Trouble::Lost);
                }
                leases.put_if(&self.key, &record, seen.revision).await.map_err(
                    |error| match error {
                        bus::Error::Conflict { .. } => Trouble::Lost,
                        error => Trouble::Bus(error),
                    },
                )?
            }
            Err(error) => return Err(Trouble::Bus(error)),
        };
        *state = State { record, revision, renewed: sent };
        Ok(())
    }
}

/// A write that did not come about.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Somebody else has the lease.
    Lost,
    /// The broker said no, or nothing.
    Bus(bus::Error),
}

/// Who holds a lease at the server's time `now`, and for how long.
pub(crate) fn live(seen: &Entry<Lease>, now: Timestamp) -> Option<(Holder, Duration)> {
    let holder = seen.value.as_ref()?.holder.clone()?;
    let until = seen.time.plus(Duration::from_millis(holder.lease_ms));
    (until > now).then(|| (holder, until.since(now)))
}

/// Where this process is, for people.
fn place() -> String {
    let uname = rustix::system::uname();
    format!("{}, process {}", uname.nodename().to_string_lossy(), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_by_the_servers_clock() {
        let holder = Holder {
            by: proto::Identity::local(),
            place: "here".into(),
            nonce: Uuid::nil(),
            lease_ms: 1_000,
        };
        let lease = |holder| Lease { v: V1, holder, run: None, failed: None };
        let seen =
            |holder| Entry { value: Some(lease(holder)), revision: 1, time: Timestamp(10_000) };
        let held = seen(Some(holder.clone()));
        let left = live(&held, Timestamp(10_400)).map(|(_, left)| left);
        assert_eq!(left, Some(Duration::from_millis(600)));
        assert_eq!(live(&held, Timestamp(11_000)), None);
        assert_eq!(live(&seen(None), Timestamp(10_400)), None);
        assert_eq!(live(&Entry::none(), Timestamp(10_400)), None);
        // The server's clock was set back: a lease from its future is live.
        assert!(live(&held, Timestamp(5)).is_some());
    }
}
