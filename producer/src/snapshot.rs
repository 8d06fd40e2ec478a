//! Reading how jobs stand: both records of each from the leader, and who is alive. It judges
//! nothing; `view` does.

use bus::Bus;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto::{Class, JobKey, Presence};

use crate::view::{HostStatus, Look, Seen};

/// Reads in flight at once: enough to hide the round trips of hundreds of hosts.
const READS_AT_ONCE: usize = 16;

/// The state of jobs, in their order.
pub(crate) async fn read(
    bus: &Bus,
    jobs: Vec<(JobKey, Class)>,
    workers: &[Presence],
) -> Result<Vec<HostStatus>, bus::Error> {
    let reads = jobs.into_iter().map(|(job, class)| async move {
        let seen = seen(bus, &job).await?;
        let look = Look { workers, now: bus::clock::now() };
        Ok(HostStatus::of(job, &class, &seen, look))
    });
    stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await
}

/// The living workers.
pub(crate) async fn workers(bus: &Bus) -> Result<Vec<Presence>, bus::Error> {
    let found = bus.workers().list("*").await?;
    Ok(found.into_iter().filter_map(|(_, entry)| entry.value).collect())
}

/// One job. The record is read first: an asking that comes in between shows as queued, and never
/// as an end that it did not have. Of what nobody wants the record is read after the request, too:
/// a worker that has not got it by then will find that nobody wants it.
pub(crate) async fn seen(bus: &Bus, job: &JobKey) -> Result<Seen, bus::Error> {
    let key = job.to_string();
    let mut record = bus.results().get(&key).await?;
    let request = bus.requests().get(&key).await?;
    if request.value.as_ref().is_some_and(|request| !request.wanted()) {
        record = bus.results().get(&key).await?;
    }
    Ok(Seen { request, record })
}
