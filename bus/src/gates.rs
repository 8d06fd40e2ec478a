//! What gates keep and tell: their runs, the landing leases, and the news of a landing.

use proto::{
    Timestamp,
    gate::{Ended, GateRun, Landed, Lease},
    subject, topology,
    topology::Bucket,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    bucket::{Records, encode},
    connection::Bus,
    error::Error,
    publish::Publish,
};

impl Bus {
    /// The landing leases.
    pub fn gate_leases(&self) -> Records<Lease> {
        self.records(Bucket::Gates)
    }

    /// The gate runs.
    pub fn gate_runs(&self) -> Records<GateRun> {
        self.records(Bucket::Gates)
    }

    /// What time it is at the server that leads the gates' bucket: the clock that stamps leases.
    ///
    /// # Errors
    /// No answer, denied, no such bucket.
    pub async fn gates_time(&self) -> Result<Timestamp, Error> {
        self.stream_time("read the clock", &Bucket::Gates.stream()).await
    }

    /// Tells of a landing, once: telling the newest one of a repository again does nothing.
    ///
    /// # Errors
    /// No answer, full, denied. Telling again is safe.
    pub async fn tell_landed(&self, landed: &Landed) -> Result<(), Error> {
        let id = format!("{}.{}", landed.gate, landed.revision);
        let same =
            |newest: &Landed| (newest.gate, &newest.revision) == (landed.gate, &landed.revision);
        self.tell_once(subject::landed(&landed.repo), landed, same, id).await
    }

    /// Tells how a gate run ended, once.
    ///
    /// # Errors
    /// No answer, full, denied. Telling again is safe.
    pub async fn tell_ended(&self, ended: &Ended) -> Result<(), Error> {
        let (address, id) = (subject::gate_ended(&ended.repo, &ended.end), ended.gate.to_string());
        self.tell_once(address, ended, |newest| newest.gate == ended.gate, id).await
    }

    /// Publishes an event unless the newest one of its subject is the same.
    async fn tell_once<T: Serialize + DeserializeOwned>(
        &self,
        address: String,
        event: &T,
        same: impl Fn(&T) -> bool,
        id: String,
    ) -> Result<(), Error> {
        if let Some(newest) = self.last_message(topology::EVENTS, &address).await?
            && serde_json::from_slice::<T>(&newest.payload).is_ok_and(|newest| same(&newest))
        {
            return Ok(());
        }
        let payload = encode("publish event", &address, event)?;
        // A publish whose answer is late is not seen by the read above; the id covers those.
        let publish = Publish::of(payload).once(&id);
        self.publish_acked("publish event", &address, publish).await.map(drop)
    }
}
