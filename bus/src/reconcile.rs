//! Makes the broker hold what `proto::topology` says: creates what is missing, reports what
//! differs, changes it only when told to, and never deletes a stream.

use std::{fmt, time::Duration};

use async_nats::jetstream::{
    consumer::{self, AckPolicy},
    stream,
};
use proto::topology::{self, Choices, ConsumerSpec, Discard, Retention, StreamSpec};
use serde_json::json;

use crate::{connection::Bus, error::Error, patience::retried};

/// One difference between what is there and what should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Stream or consumer.
    pub asset: String,
    /// Which setting.
    pub setting: &'static str,
    /// What it is.
    pub is: String,
    /// What it should be.
    pub should: String,
    /// JetStream can change it in place.
    pub updatable: bool,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asset, setting, is, should, .. } = self;
        write!(f, "{asset}: {setting} is {is}, should be {should}")
    }
}

/// What a set-up found and did.
#[derive(Clone, Debug, Default)]
pub struct Reconciled {
    /// Streams and consumers that were made.
    pub created: Vec<String>,
    /// Streams and consumers that were changed (with `apply`).
    pub updated: Vec<String>,
    /// Differences that stand.
    pub drift: Vec<Drift>,
}

impl Bus {
    /// Creates what is missing; with `apply`, updates in place what differs and can be updated.
    ///
    /// # Errors
    /// No answer, denied, or the server refuses a setting.
    pub async fn reconcile(&self, choices: &Choices, apply: bool) -> Result<Reconciled, Error> {
        let mut done = Reconciled::default();
        for spec in topology::streams(choices) {
            self.reconcile_stream(&spec, apply, &mut done).await?;
        }
        for spec in topology::consumers(choices) {
            self.reconcile_consumer(&spec, choices.replicas, apply, &mut done).await?;
        }
        Ok(done)
    }

    async fn reconcile_stream(
        &self,
        spec: &StreamSpec,
        apply: bool,
        done: &mut Reconciled,
    ) -> Result<(), Error> {
        let wanted = stream_config(spec);
        let subject = format!("STREAM.INFO.{}", spec.name);
        let found: Option<stream::Info> = self.api("look up stream", &subject, &json!({})).await?;
        let Some(found) = found.map(|info| info.config) else {
            let subject = format!("STREAM.CREATE.{}", spec.name);
            let create = || self.api::<stream::Info>("create stream", &subject, &wanted);
            let _info = retried(create).await?;
            done.created.push(spec.name.clone());
            return Ok(());
        };
        let drift = stream_drift(&found, &wanted);
        if drift.is_empty() {
            return Ok(());
        }
        if !apply || drift.iter().any(|drift| !drift.updatable) {
            done.drift.extend(drift);
            return Ok(());
        }
        let subject = format!("STREAM.UPDATE.{}", spec.name);
        // What we do not set stays as the operator has it.
        let update = stream::Config {
            subjects: wanted.subjects,
            description: wanted.description,
            max_messages_per_subject: wanted.max_messages_per_subject,
            max_bytes: wanted.max_bytes,
            max_message_size: wanted.max_message_size,
            max_age: wanted.max_age,
            duplicate_window: wanted.duplicate_window,
            discard: wanted.discard,
            discard_new_per_subject: wanted.discard_new_per_subject,
            num_replicas: wanted.num_replicas,
            compression: wanted.compression,
            ..found
        };
        let _info: Option<stream::Info> = self.api("update stream", &subject, &update).await?;
        done.updated.push(spec.name.clone());
        Ok(())
    }

    async fn reconcile_consumer(
        &self,
        spec: &ConsumerSpec,
        replicas: usize,
        apply: bool,
        done: &mut Reconciled,
    ) -> Result<(), Error> {
        let wanted = consumer_config(spec, replicas);
        let drift = match self.consumer(&spec.name).await? {
            None => {
                self.write_consumer(spec, &wanted, "create").await?;
                done.created.push(spec.name.clone());
                return Ok(());
            }
            Some(found) => consumer_drift(&found, &wanted),
        };
        if drift.is_empty() {
            return Ok(());
        }
        if !apply || drift.iter().any(|drift| !drift.updatable) {
            done.drift.extend(drift);
            return Ok(());
        }
        self.write_consumer(spec, &wanted, "update").await?;
        done.updated.push(spec.name.clone());
        Ok(())
    }

    async fn write_consumer(
        &self,
        spec: &ConsumerSpec,
        config: &consumer::Config,
        action: &str,
    ) -> Result<(), Error> {
        let ConsumerSpec { name, filter, .. } = spec;
        let subject = format!("CONSUMER.CREATE.{}.{name}.{filter}", topology::JOBS);
        let request = json!({ "stream_name": topology::JOBS, "config": config, "action": action });
        let _: Option<consumer::Info> = self.api("write consumer", &subject, &request).await?;
        Ok(())
    }

    /// A consumer of the job stream as the server has it; none when it does not exist.
    pub(crate) async fn consumer(&self, name: &str) -> Result<Option<consumer::Config>, Error> {
        let subject = format!("CONSUMER.INFO.{}.{name}", topology::JOBS);
        let info: Option<consumer::Info> =
            self.api("look up consumer", &subject, &json!({})).await?;
        Ok(info.map(|info| info.config))
    }

    /// The `ack_wait` of a consumer: the length of leases, as the operator has set it up.
    ///
    /// # Errors
    /// No answer, denied, or there is no such consumer.
    pub async fn ack_wait(&self, consumer: &str) -> Result<Duration, Error> {
        let config = self.consumer(consumer).await?;
        config.map(|config| config.ack_wait).ok_or_else(|| Error::NotServed {
            operation: "look up consumer",
            subject: consumer.to_owned(),
        })
    }
}

pub(crate) fn stream_config(spec: &StreamSpec) -> stream::Config {
    stream::Config {
        name: spec.name.clone(),
        subjects: spec.subjects.clone(),
        description: Some(format!("nix-build-pool: {}", spec.description)),
        retention: match spec.retention {
            Retention::WorkQueue => stream::RetentionPolicy::WorkQueue,
            Retention::Limits => stream::RetentionPolicy::Limits,
        },
        discard: match spec.discard {
            Discard::New => stream::DiscardPolicy::New,
            Discard::Old => stream::DiscardPolicy::Old,
        },
        discard_new_per_subject: spec.discard_new_per_subject,
        max_messages: -1,
        max_messages_per_subject: spec.per_subject_max,
        max_consumers: -1,
        max_bytes: spec.bytes_max,
        max_message_size: spec.message_bytes_max,
        max_age: spec.age_max,
        duplicate_window: spec.duplicate_window,
        storage: stream::StorageType::File,
        num_replicas: spec.replicas,
        allow_direct: true,
        allow_rollup: spec.bucket,
        deny_delete: spec.bucket,
        compression: spec.compressed.then_some(stream::Compression::S2),
        ..stream::Config::default()
    }
}

pub(crate) fn consumer_config(spec: &ConsumerSpec, replicas: usize) -> consumer::Config {
    consumer::Config {
        durable_name: Some(spec.name.clone()),
        name: Some(spec.name.clone()),
        filter_subject: spec.filter.clone(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: spec.ack_wait,
        max_deliver: -1,
        max_ack_pending: spec.ack_pending_max,
        max_waiting: spec.waiting_max,
        num_replicas: replicas,
        ..consumer::Config::default()
    }
}

/// One row per setting: name, whether JetStream can change it, and its value in both configs.
struct Rows<'a> {
    asset: &'a str,
    drift: Vec<Drift>,
}

impl Rows<'_> {
    fn row(
        &mut self,
        setting: &'static str,
        updatable: bool,
        is: impl fmt::Debug,
        should: impl fmt::Debug,
    ) {
        let (is, should) = (format!("{is:?}"), format!("{should:?}"));
        if is != should {
            let asset = self.asset.to_owned();
            self.drift.push(Drift { asset, setting, is, should, updatable });
        }
    }
}

pub(crate) fn stream_drift(is: &stream::Config, should: &stream::Config) -> Vec<Drift> {
    let mut rows = Rows { asset: &should.name, drift: Vec::new() };
    rows.row("retention", false, is.retention, should.retention);
    rows.row("storage", false, is.storage, should.storage);
    rows.row("subjects", true, &is.subjects, &should.subjects);
    rows.row("discard", true, is.discard, should.discard);
    rows.row(
        "discard new per subject",
        true,
        is.discard_new_per_subject,
        should.discard_new_per_subject,
    );
    rows.row(
        "messages per subject",
        true,
        is.max_messages_per_subject,
        should.max_messages_per_subject,
    );
    rows.row("max bytes", true, is.max_bytes, should.max_bytes);
    rows.row("max message size", true, is.max_message_size, should.max_message_size);
    rows.row("max age", true, is.max_age, should.max_age);
    rows.row("duplicate window", true, is.duplicate_window, should.duplicate_window);
    rows.row("replicas", true, is.num_replicas, should.num_replicas);
    let compressed = |config: &stream::Config| config.compression == Some(stream::Compression::S2);
    rows.row("compressed", true, compressed(is), compressed(should));
    rows.drift
}

pub(crate) fn consumer_drift(is: &consumer::Config, should: &consumer::Config) -> Vec<Drift> {
    let name = should.durable_name.clone().unwrap_or_default();
    let mut rows = Rows { asset: &name, drift: Vec::new() };
    rows.row("ack policy", false, is.ack_policy, should.ack_policy);
    rows.row("filter", true, &is.filter_subject, &should.filter_subject);
    rows.row("ack wait", true, is.ack_wait, should.ack_wait);
    rows.row("backoff", true, &is.backoff, &should.backoff);
    rows.row("max deliver", true, is.max_deliver, should.max_deliver);
    rows.row("max ack pending", true, is.max_ack_pending, should.max_ack_pending);
    // Not changeable once a consumer exists, and harmless while it is large enough.
    let too_few = is.max_waiting < 512;
    rows.row("max waiting below 512", false, too_few, false);
    rows.drift
}
