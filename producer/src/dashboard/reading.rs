//! Reading buckets: the newest records of one, the next write to it, and what there is of a job. What
//! cannot be read is left out and logged: it must hide nothing else.

use bus::{Bus, Change, Entry, Error, Records};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto::{Class, JobKey};
use stand::Seen;

use crate::snapshot;

/// Reads in flight.
pub(crate) const READS_AT_ONCE: usize = 32;

/// The newest records whose key ends in a uuid of version 7: their order is that of time.
pub(crate) async fn newest<T>(
    records: Records<T>,
    filter: &str,
    most: usize,
) -> Result<Vec<Change<T>>, Error>
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let mut keys = records.keys(filter).await?;
    keys.sort_by(|a, b| last_token(b).cmp(last_token(a)));
    keys.truncate(most);
    let reads = keys.into_iter().map(|key| async {
        match records.get(&key).await {
            Ok(entry) => Ok(Some(Change { key, entry })),
            Err(error @ Error::Undecodable { .. }) => {
                tracing::warn!("{error}");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    });
    let read: Vec<_> = reads.collect();
    let read: Vec<Option<Change<T>>> =
        stream::iter(read).buffered(READS_AT_ONCE).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}

fn last_token(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or_default()
}

/// What there is of a job.
pub(crate) async fn job(
    bus: &Bus,
    (job, class): (JobKey, Class),
) -> Result<(JobKey, Class, Seen), Error> {
    let seen = match snapshot::seen(bus, &job).await {
        Ok(seen) => seen,
        Err(error @ Error::Undecodable { .. }) => {
            tracing::warn!("{error}");
            Seen { request: Entry::none(), record: Entry::none() }
        }
        Err(error) => return Err(error),
    };
    Ok((job, class, seen))
}

/// The next write to a bucket that can be read, if there is one.
pub(crate) async fn next<T: serde::de::DeserializeOwned>(
    records: &Records<T>,
    place: &mut u64,
) -> Result<Option<Change<T>>, Error> {
    loop {
        match records.change_at(*place).await {
            Ok(Some(change)) => {
                *place = change.entry.revision + 1;
                return Ok(Some(change));
            }
            Ok(None) => return Ok(None),
            Err(Error::Undecodable { subject, revision, reason }) => {
                tracing::warn!(
                    "{subject} (revision {revision}) holds no readable record: {reason}"
                );
                *place = revision + 1;
            }
            Err(error) => return Err(error),
        }
    }
}
