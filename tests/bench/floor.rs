//! The floor: a bare loop over the client that does what a fenced job needs by DESIGN section 5, and
//! nothing else. It decides nothing, knows no state and cannot recover.
//!
//! Per job: leader reads of record and request, the claim by compare-and-set, the finish by
//! compare-and-set, one event, last-good (a read and a compare-and-set), a confirmed ack.

use std::{sync::Arc, time::Instant};

use async_nats::jetstream::{
    self,
    consumer::{PullConsumer, pull},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use proto::{
    Epoch, Finished, Instance, JobKey, LastGood, Outcome, Priority, Record, V1,
    event::{JobEvent, What},
    last_good, record,
    subject::{self, JobSubject},
    topology::{self, Bucket},
};
use tokio::{sync::Semaphore, task::JoinSet};
use uuid::Uuid;

use crate::{
    broker::{Broker, SYSTEM, json},
    noop::built,
};

/// What a job writes, as large as the pool's and known before the claim.
struct Payloads {
    claim: Bytes,
    finish: Bytes,
    event: Bytes,
    event_subject: String,
    last_good: Bytes,
}

impl Payloads {
    fn of(job: &JobSubject) -> Self {
        let by = record::Claimer {
            worker: "bench".parse().expect("a name"),
            instance: Instance(Uuid::now_v7()),
            claim: 1,
            at: bus::clock::now(),
            lease_ms: 60_000,
        };
        let claim = Record::claimed(None, job.incarnation, &by);
        let built = built(&job.job);
        let finished = Finished {
            outcome: Outcome::Built(built.clone()),
            at: by.at,
            worker: Some(by.worker.clone()),
            queue_ms: 10,
            build_ms: 10,
            phases: Vec::new(),
            overrides: proto::Overrides::default(),
            signature: None,
        };
        let what = What::Finished { outcome: "built".to_owned() };
        let event_subject = subject::job_event(&job.job, &what);
        let event = JobEvent {
            v: V1,
            at: by.at,
            job: job.job.clone(),
            incarnation: job.incarnation,
            epoch: Epoch(1),
            worker: by.worker.clone(),
            what,
        };
        let last_good = LastGood {
            v: V1,
            revision: job.job.revision.clone(),
            incarnation: job.incarnation,
            out_path: built.out_path,
            drv_path: built.drv_path,
            closure_bytes: built.closure_bytes,
            at: by.at,
            worker: by.worker,
            real_ms: None,
        };
        Self {
            finish: json(&claim.finished(finished)),
            claim: json(&claim),
            event: json(&event),
            event_subject,
            last_good: json(&last_good),
        }
    }
}

/// The claim alone: two leader reads and a compare-and-set; gives the record's revision.
pub(crate) async fn claim(broker: &Broker, job: &JobKey, claim: Bytes) -> u64 {
    let key = job.to_string();
    broker.read(Bucket::Results, &key).await;
    broker.read(Bucket::Requests, &key).await;
    broker.put_if(Bucket::Results, &key, claim, 0).await
}

/// What a claim writes.
pub(crate) fn claim_of(job: &JobSubject) -> Bytes {
    Payloads::of(job).claim
}

/// A finished record.
pub(crate) fn finish_of(job: &JobSubject) -> Bytes {
    Payloads::of(job).finish
}

/// The consumer of normal jobs.
pub(crate) async fn consumer(broker: &Broker) -> PullConsumer {
    let stream = broker.js.get_stream(topology::JOBS).await.expect("the queue");
    let name = topology::consumer_name(&SYSTEM.parse().expect("a class"), Priority::Normal);
    stream.get_consumer::<pull::Config>(&name).await.expect("its consumer")
}

/// Takes `count` jobs through all of it, `slots` at once; gives when the first one was claimed.
pub(crate) async fn drain(broker: &Arc<Broker>, slots: usize, count: usize) -> Instant {
    let consumer = consumer(broker).await;
    let pull = consumer.stream().max_messages_per_batch(slots).messages();
    let mut messages = pull.await.expect("a pull");
    let free = Arc::new(Semaphore::new(slots));
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let slot = Arc::clone(&free).acquire_owned().await.expect("an open semaphore");
        let message = messages.next().await.expect("a job").expect("a job");
        let broker = Arc::clone(broker);
        tasks.spawn(async move {
            let claimed = job(&broker, message).await;
            drop(slot);
            claimed
        });
    }
    let claimed = tasks.join_all().await;
    claimed.into_iter().min().expect("some jobs")
}

async fn job(broker: &Broker, message: jetstream::Message) -> Instant {
    let subject = JobSubject::parse(&message.subject).expect("a job");
    let (key, payloads) = (subject.job.to_string(), Payloads::of(&subject));
    let revision = claim(broker, &subject.job, payloads.claim).await;
    let claimed = Instant::now();
    broker.put_if(Bucket::Results, &key, payloads.finish, revision).await;
    message.double_ack().await.expect("a confirmed ack");
    broker.publish(payloads.event_subject, payloads.event).await;
    let host = last_good::key(&subject.job.repo, &subject.job.host);
    broker.read(Bucket::LastGood, &host).await;
    broker.put_if(Bucket::LastGood, &host, payloads.last_good, 0).await;
    claimed
}
