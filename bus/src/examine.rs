//! Whether the broker holds what `proto::topology` says, by looking alone: for somebody who may
//! change nothing. `reconcile` is for who may.

use async_nats::jetstream::stream;
use proto::{
    Class,
    topology::{self, ACK_WAIT_DEFAULT, Choices, ConsumerSpec, StreamSpec},
};
use serde_json::json;

use crate::{
    connection::Bus,
    error::Error,
    reconcile::{Drift, consumer_config, consumer_drift, stream_config, stream_drift},
};

/// What a look found.
#[derive(Clone, Debug, Default)]
pub struct Examined {
    /// Streams that are as they should be.
    pub streams: Vec<String>,
    /// Streams that are not there.
    pub missing_streams: Vec<String>,
    /// Classes of which some consumer is not there.
    pub missing_classes: Vec<Class>,
    /// Classes whose consumers this identity may not look at.
    pub denied_classes: Vec<Class>,
    /// What differs.
    pub drift: Vec<Drift>,
}

impl Bus {
    /// Looks at the pool's streams and at the consumers of `classes`, where `may_ask` lets the
    /// question (its subject) through. What an operator may choose (copies, `ack_wait`) is right if
    /// all agree in it.
    ///
    /// # Errors
    /// No answer.
    pub async fn examine(
        &self,
        classes: &[Class],
        may_ask: impl Fn(&str) -> bool,
    ) -> Result<Examined, Error> {
        let mut found = Examined::default();
        let may_look = |stream: &str| may_ask(&format!("$JS.API.STREAM.INFO.{stream}"));
        let jobs = match may_look(topology::JOBS) {
            true => self.stream_info(topology::JOBS).await?,
            false => None,
        };
        let replicas = jobs.map_or(1, |info| info.config.num_replicas);
        let mut choices = Choices { replicas, classes: Vec::new(), ack_wait: ACK_WAIT_DEFAULT };
        for spec in topology::streams(&choices).iter().filter(|spec| may_look(&spec.name)) {
            self.examine_stream(spec, &mut found).await?;
        }
        let mut ack_wait = None;
        for class in classes {
            choices.classes = vec![class.clone()];
            for spec in topology::consumers(&choices) {
                let call = format!("$JS.API.CONSUMER.INFO.{}.{}", topology::JOBS, spec.name);
                if !may_ask(&call) {
                    note(&mut found.denied_classes, class);
                    continue;
                }
                let Some(is) = self.consumer(&spec.name).await? else {
                    note(&mut found.missing_classes, class);
                    continue;
                };
                let ack_wait = *ack_wait.get_or_insert(is.ack_wait);
                let should = consumer_config(&ConsumerSpec { ack_wait, ..spec }, replicas);
                found.drift.extend(consumer_drift(&is, &should));
            }
        }
        Ok(found)
    }

    async fn examine_stream(&self, spec: &StreamSpec, found: &mut Examined) -> Result<(), Error> {
        match self.stream_info(&spec.name).await? {
            None => found.missing_streams.push(spec.name.clone()),
            Some(info) => {
                let drift = stream_drift(&info.config, &stream_config(spec));
                if drift.is_empty() {
                    found.streams.push(spec.name.clone());
                }
                found.drift.extend(drift);
            }
        }
        Ok(())
    }

    async fn stream_info(&self, name: &str) -> Result<Option<stream::Info>, Error> {
        self.api("look up stream", &format!("STREAM.INFO.{name}"), &json!({})).await
    }
}

fn note(classes: &mut Vec<Class>, class: &Class) {
    if !classes.contains(class) {
        classes.push(class.clone());
    }
}
