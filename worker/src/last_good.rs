//! Notes the newest good build of each host (`nbp-last-good`), after the job itself is settled.
//!
//! Best effort: whatever goes wrong here is logged and changes no result. Whether one commit is
//! newer than another is the mirror's word; here is only the compare-and-set around it.

use std::time::Duration;

use bus::{Bus, Error};
use proto::{JobKey, Outcome, Record, State, V1, last_good, last_good::LastGood};
use tracing::{debug, info};

use crate::{build::Builder, mirror::MirrorError};

/// Writes of other workers that may come in between: each of them is of the same host, which takes
/// seconds to build at least.
const TRIES_MAX: usize = 8;
/// Pause after a write that was lost or overtaken.
const AGAIN: Duration = Duration::from_secs(1);

/// Why nothing could be noted.
#[derive(Debug, thiserror::Error)]
enum NoteError {
    #[error(transparent)]
    Bus(#[from] Error),
    #[error(transparent)]
    Mirror(#[from] MirrorError),
}

/// Notes the result in `record` if it is a good build of the tracked branch and the newest one.
pub(crate) async fn note(bus: &Bus, builder: &dyn Builder, job: &JobKey, record: &Record) {
    let Some(good) = good(job, record) else { return };
    let host = &job.host;
    match noted(bus, builder, job, &good).await {
        Ok(true) => info!(%job, "{host}: is the last good one"),
        Ok(false) => debug!(%job, "{host}: is not the newest of its tracked branch"),
        Err(error) => debug!(%job, "{host}: the last good one could not be noted: {error}"),
    }
}

/// The note that a result makes, if it is a good one of a plain commit.
fn good(job: &JobKey, record: &Record) -> Option<LastGood> {
    let State::Finished(finished) = &record.state else { return None };
    let Outcome::Built(built) = &finished.outcome else { return None };
    let plain = job.revision.overrides().is_none();
    Some(LastGood {
        v: V1,
        revision: plain.then(|| job.revision.clone())?,
        incarnation: record.incarnation,
        out_path: built.out_path.clone(),
        drv_path: built.drv_path.clone(),
        closure_bytes: built.closure_bytes,
        at: finished.at,
        worker: finished.worker.clone()?,
        real_ms: built.is_real().then_some(finished.build_ms),
    })
}

async fn noted(
    bus: &Bus,
    builder: &dyn Builder,
    job: &JobKey,
    good: &LastGood,
) -> Result<bool, NoteError> {
    let (bucket, key) = (bus.last_good(), last_good::key(&job.repo, &job.host));
    let mut tries = 0;
    loop {
        tries += 1;
        let tried: Result<bool, NoteError> = async {
            let entry = bucket.get(&key).await?;
            let old = entry.value.as_ref();
            // The same built anew says how long it takes now.
            let same = |old: &LastGood| {
                let known = good.real_ms.is_none() || good.real_ms == old.real_ms;
                old.revision == good.revision && old.out_path == good.out_path && known
            };
            if old.is_some_and(same) || !builder.replaces(job, old.map(|old| &old.revision)).await?
            {
                return Ok(false);
            }
            let real_ms = good.real_ms.or_else(|| old.and_then(|old| old.real_ms));
            let good = LastGood { real_ms, ..good.clone() };
            bucket.put_if(&key, &good, entry.revision).await?;
            Ok(true)
        }
        .await;
        match tried {
            Err(NoteError::Bus(error)) if tries < TRIES_MAX && again(&error) => {
                tokio::time::sleep(AGAIN).await;
            }
            end => return end,
        }
    }
}

/// Lost to another writer, or perhaps written: what stands there now says so.
fn again(error: &Error) -> bool {
    error.transient() || matches!(error, Error::Conflict { .. })
}
