//! A broker of one round with the pool's streams, and jobs to put into it.

use std::time::Duration;

use async_nats::jetstream::{self, message::PublishMessage};
use bus::{Bus, Endpoint, clock};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use proto::{
    Before, Class, Incarnation, JobKey, JobMessage, Priority, Request, RunId, Timestamp, V1, Wish,
    subject::{self, JobSubject},
    topology::{self, Bucket, Choices},
};
use serde::Serialize;
use tests::NatsServer;
use uuid::Uuid;

pub(crate) const REPO: &str = "bench";
pub(crate) const SYSTEM: &str = "x86_64-linux";

/// Writes on their way at once, where a loop is as fast as it can be.
pub(crate) const PIPELINED: usize = 1024;

/// When what is acknowledged is on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sync {
    Default,
    Always,
}

impl Sync {
    pub(crate) const BOTH: [Self; 2] = [Self::Default, Self::Always];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Default => "default sync",
            Self::Always => "sync always",
        }
    }
}

pub(crate) struct Broker {
    pub(crate) server: NatsServer,
    /// As the programs see it.
    pub(crate) bus: Bus,
    /// As a bare loop sees it.
    pub(crate) js: jetstream::Context,
}

impl Broker {
    /// An empty broker with all streams and consumers of `producer setup`.
    pub(crate) async fn start(sync: Sync, ack_wait: Duration) -> Self {
        let monitored = "http: \"127.0.0.1:-1\"";
        let server = match sync {
            Sync::Default => NatsServer::start_lazy(monitored),
            Sync::Always => NatsServer::start_with(monitored),
        };
        let endpoint = Endpoint {
            url: server.url(),
            nkey_file: None,
            ca_file: None,
            name: "bench".to_owned(),
            patience: Some(Duration::from_secs(10)),
        };
        let bus = Bus::connect(&endpoint).await.expect("a running broker");
        let classes = vec![SYSTEM.parse().expect("a class")];
        let choices = Choices { replicas: 1, classes, ack_wait };
        bus.reconcile(&choices, false).await.expect("streams");
        let client = async_nats::connect(server.url()).await.expect("a running broker");
        let js = jetstream::new(client);
        Self { server, bus, js }
    }

    pub(crate) async fn messages(&self, stream: &str) -> u64 {
        let stream = self.js.get_stream(stream).await.expect("a stream of the pool");
        stream.cached_info().state.messages
    }

    /// Messages that a stream was ever given.
    pub(crate) async fn written(&self, stream: &str) -> u64 {
        let stream = self.js.get_stream(stream).await.expect("a stream of the pool");
        stream.cached_info().state.last_sequence
    }

    /// A compare-and-set, acknowledged; gives the new revision.
    pub(crate) async fn put_if(
        &self,
        bucket: Bucket,
        key: &str,
        value: Bytes,
        revision: u64,
    ) -> u64 {
        let publish = PublishMessage::build().payload(value);
        let publish = publish.expected_last_subject_sequence(revision);
        let subject = subject::kv(bucket.name(), key);
        let sent = self.js.send_publish(subject, publish).await.expect("sent");
        sent.await.expect("the expected revision").sequence
    }

    /// A publish, acknowledged.
    pub(crate) async fn publish(&self, subject: String, payload: Bytes) {
        let publish = PublishMessage::build().payload(payload);
        let sent = self.js.send_publish(subject, publish).await.expect("sent");
        sent.await.expect("stored");
    }

    /// The wish by compare-and-set, then the message: the writes of asking.
    pub(crate) async fn queue_one(&self, job: &JobSubject) {
        let key = job.job.to_string();
        self.put_if(Bucket::Requests, &key, json(&request(job)), 0).await;
        self.publish(job.subject(), json(&message(job))).await;
    }

    /// Asks for all these jobs, as fast as a bare loop can.
    pub(crate) async fn queue(&self, jobs: &[JobSubject]) {
        let asks = jobs.iter().map(|job| self.queue_one(job));
        stream::iter(asks).buffer_unordered(PIPELINED).for_each(|()| async {}).await;
    }

    /// How the leader reads a key, and no replica does.
    pub(crate) async fn read(&self, bucket: Bucket, key: &str) {
        let stream = self.js.get_stream_no_info(bucket.stream()).await.expect("a name");
        let subject = subject::kv(bucket.name(), key);
        // A key that was never written is an answer too.
        let _entry = stream.get_last_raw_message_by_subject(&subject).await;
    }

    /// Until all these messages are there, or gone.
    pub(crate) async fn until(&self, what: &str, done: impl AsyncFn(&Self) -> bool) {
        let waited = async {
            while !done(self).await {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(300), waited).await;
        waited.unwrap_or_else(|_| panic!("waited too long for {what}"));
    }

    /// Until `jobs` jobs are through: queue empty, newest builds noted, their events told.
    pub(crate) async fn until_drained(&self, jobs: usize, events: usize) {
        let (jobs, events) = (jobs as u64, events as u64);
        let last_good = Bucket::LastGood.stream();
        self.until("the queue to be empty", async |broker| {
            broker.messages(topology::JOBS).await == 0
                && broker.messages(&last_good).await >= jobs
                && broker.messages(topology::EVENTS).await >= events
        })
        .await;
    }
}

/// New jobs of one commit, nobody's so far.
pub(crate) fn jobs(count: usize) -> Vec<JobSubject> {
    let revision = revision();
    let job = |number: usize| JobSubject {
        class: SYSTEM.parse::<Class>().expect("a class"),
        priority: Priority::Normal,
        job: JobKey {
            repo: REPO.parse().expect("a repo"),
            revision: revision.parse().expect("a commit"),
            host: format!("h{number:06}").parse().expect("a host"),
        },
        incarnation: Incarnation(Uuid::now_v7()),
    };
    (0..count).map(job).collect()
}

/// A commit that no other round has.
pub(crate) fn revision() -> String {
    (0..5).map(|_| format!("{:08x}", fastrand::u32(..))).collect()
}

pub(crate) fn wish() -> Wish {
    Wish { priority: Priority::Normal, by: proto::Identity::local(), at: clock::now() }
}

fn request(job: &JobSubject) -> Request {
    Request {
        v: V1,
        class: job.class.clone(),
        incarnation: job.incarnation,
        wanted_by: [(RunId(Uuid::now_v7()), wish())].into(),
        force: false,
        avoid_worker: None,
        overrides: proto::Overrides::default(),
        superseded_by: None,
        trace: None,
    }
}

fn message(job: &JobSubject) -> JobMessage {
    let at: Timestamp = clock::now();
    // As a submit knows it: it has looked.
    let before = Before::Nothing;
    JobMessage { v: V1, job: job.job.clone(), incarnation: job.incarnation, at, before }
}

pub(crate) fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("JSON").into()
}
