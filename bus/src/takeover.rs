//! What a worker's former life had in hand, for a worker that is alone with its broker
//! (DESIGN 5.13). Anybody else has to wait until the lease and the delivery have run out: only who
//! holds the lock of the data folder knows that the former life is over.

use proto::{
    Before, WorkerName,
    subject::{self, JobSubject},
    topology,
};
use serde::Deserialize;
use serde_json::json;

use crate::{connection::Bus, delivery::trace_in, error::Error, submit::message};

impl Bus {
    /// Hands out again at once what a former life of this worker was building: the message in its
    /// hands is replaced by one that nobody has. Killed in between, a sweep finds the job.
    ///
    /// # Errors
    /// No answer, denied. What was done until then stands.
    pub async fn take_up(&self, former: &WorkerName) -> Result<Vec<JobSubject>, Error> {
        let mut taken_up = Vec::new();
        for job in self.queue(subject::BUILD_ALL).await? {
            let record = match self.results().get(&job.job.to_string()).await {
                // Not one that this version wrote.
                Err(Error::Undecodable { .. }) => continue,
                read => read?.value,
            };
            let building = record.as_ref().and_then(proto::Record::running);
            if building.is_none_or(|running| running.worker != *former) {
                continue;
            }
            let Some(old) = self.last_message(topology::JOBS, &job.subject()).await? else {
                continue;
            };
            let delete = format!("STREAM.MSG.DELETE.{}", topology::JOBS);
            let request = json!({ "seq": old.sequence, "no_erase": true });
            let _deleted: Option<Deleted> = self.api("take up", &delete, &request).await?;
            let message = message(&job, Before::Unknown);
            self.publish_job(&job, &message, trace_in(&old.headers)).await?;
            taken_up.push(job);
        }
        Ok(taken_up)
    }
}

/// The answer says nothing that an error would not.
#[derive(Deserialize)]
struct Deleted {}
