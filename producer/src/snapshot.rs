//! Reading how jobs stand: both records of each from the leader, and who is alive. It judges
//! nothing; `stand` does.

use std::collections::HashSet;

use bus::{Bus, Entry};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto::{Class, JobKey, Outcome, Record, Request, RunRecord, State};
use stand::{Around, HostStatus, Look, Seen};

/// Reads in flight at once: enough to keep the broker busy with a run of thousands of hosts, few
/// enough to be no load on it.
const READS_AT_ONCE: usize = 64;

/// The state of jobs, in their order.
pub(crate) async fn read(
    bus: &Bus,
    jobs: Vec<(JobKey, Class)>,
    around: &Around,
) -> Result<Vec<HostStatus>, bus::Error> {
    let reads = jobs.into_iter().map(|(job, class)| async move {
        let seen = seen(bus, &job).await?;
        Ok((job, class, seen))
    });
    let found: Vec<_> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
    Ok(judged(found, around))
}

/// All at once: a job that is taken is ahead of no other any more.
fn judged(found: Vec<(JobKey, Class, Seen)>, around: &Around) -> Vec<HostStatus> {
    let taken = found.iter().filter(|(_, _, seen)| seen.taken()).map(|(job, _, _)| job).collect();
    let around = around.without(&taken);
    let look = Look { around: &around, now: bus::clock::now() };
    found.into_iter().map(|(job, class, seen)| HostStatus::of(job, &class, &seen, look)).collect()
}

/// The state of all jobs of a run, and why those wait that do.
pub(crate) async fn of_run(bus: &Bus, run: &RunRecord) -> Result<Vec<HostStatus>, bus::Error> {
    let around = stand::around::read(bus, run.hosts.values().cloned()).await?;
    let jobs = run.jobs().map(|(job, class)| (job, class.clone())).collect();
    read(bus, jobs, &around).await
}

/// The same for somebody who only looks: with one read for each job that has ended. An end that was
/// stored after the run answers it, unless the queue has the job again; its request is not read.
pub(crate) async fn glance(bus: &Bus, run: &RunRecord) -> Result<Vec<HostStatus>, bus::Error> {
    let around = stand::around::read(bus, run.hosts.values().cloned()).await?;
    // Both times are the server's.
    let recorded = bus.runs().get(&run.key()).await?.time;
    let queued: HashSet<&JobKey> = around.queued().iter().map(|it| &it.job).collect();
    let reads = run.jobs().map(|(job, class)| {
        let queued = &queued;
        async move {
            let record = bus.results().get(&job.to_string()).await?;
            let answers = record.value.as_ref().is_some_and(ended) && record.time > recorded;
            let seen = match answers && !queued.contains(&job) {
                true => of(Entry::none(), record),
                false => with_request(bus, &job, record).await?,
            };
            Ok((job, class.clone(), seen))
        }
    });
    let found: Vec<_> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
    Ok(judged(found, &around))
}

/// One job. The record is read first: an asking that comes in between shows as queued, and never
/// as an end that it did not have.
pub(crate) async fn seen(bus: &Bus, job: &JobKey) -> Result<Seen, bus::Error> {
    let record = bus.results().get(&job.to_string()).await?;
    with_request(bus, job, record).await
}

/// A job whose record was just read. Of what nobody wants it is read again after the request: a
/// worker that has not got it by then will find that nobody wants it.
async fn with_request(
    bus: &Bus,
    job: &JobKey,
    mut record: Entry<Record>,
) -> Result<Seen, bus::Error> {
    let key = job.to_string();
    let request = bus.requests().get(&key).await?;
    if request.value.as_ref().is_some_and(|request| !request.wanted()) {
        record = bus.results().get(&key).await?;
    }
    Ok(of(request, record))
}

fn of(request: Entry<Request>, mut record: Entry<Record>) -> Seen {
    forget_difference(record.value.as_mut());
    Seen { request, record }
}

fn ended(record: &Record) -> bool {
    matches!(record.state, State::Finished(_))
}

/// What changed in a closure is the gate's business and up to 16 KiB a host: more than all else
/// that is kept of a large run while it is shown.
fn forget_difference(record: Option<&mut Record>) {
    if let Some(State::Finished(finished)) = record.map(|record| &mut record.state)
        && let Outcome::Built(built) = &mut finished.outcome
    {
        built.diff = None;
    }
}
