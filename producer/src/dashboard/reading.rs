//! Reading buckets: the newest records of one, and the next write to it. What cannot be read is left
//! out and logged: it must hide nothing else.

use bus::{Change, Error, Records};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

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
