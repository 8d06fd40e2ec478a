//! Streams, buckets and consumers as data. `bus` makes them so; nothing else names them.

use std::time::Duration;

use crate::{
    priority::Priority,
    subject,
    token::{Class, TokenError},
};

/// Stream of job messages.
pub const JOBS: &str = "NBP_JOBS";
/// Stream of build logs.
pub const LOGS: &str = "NBP_LOGS";
/// Stream of events.
pub const EVENTS: &str = "NBP_EVENTS";
/// Stream of dead letters.
pub const DEAD: &str = "NBP_DEAD";

/// A key-value bucket by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// What is wanted.
    Requests,
    /// What is so.
    Results,
    /// Newest built closure per host.
    LastGood,
    /// Expected hosts per run.
    Runs,
    /// Living workers.
    Workers,
    /// Gate runs and landing leases.
    Gates,
}

impl Bucket {
    /// Its name; its stream is `KV_<name>`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "nbp-requests",
            Self::Results => "nbp-results",
            Self::LastGood => "nbp-last-good",
            Self::Runs => "nbp-runs",
            Self::Workers => "nbp-workers",
            Self::Gates => "nbp-gates",
        }
    }

    /// The stream behind it.
    pub fn stream(self) -> String {
        format!("KV_{}", self.name())
    }
}

/// What an operator may choose.
#[derive(Clone, Debug)]
pub struct Choices {
    /// Copies of every stream: 1, or 3 in a cluster.
    pub replicas: usize,
    /// Classes that get consumers.
    pub classes: Vec<Class>,
    /// Unacknowledged for this long, a delivery is given to somebody else; also the length of a
    /// lease. Heartbeats are a quarter of it apart.
    pub ack_wait: Duration,
}

/// 60 s: four heartbeats 15 s apart outlive two lost ones and a leader election, and a dead worker
/// is noticed soon against builds of minutes to hours.
pub const ACK_WAIT_DEFAULT: Duration = Duration::from_secs(60);

/// Classes set up when nobody says otherwise.
pub const CLASSES_DEFAULT: [&str; 2] = ["x86_64-linux", "aarch64-linux"];

/// Presence is put this often; the bucket forgets it after three times as long.
pub const PRESENCE_EVERY: Duration = Duration::from_secs(15);

impl Choices {
    /// One replica, the default classes and timing.
    ///
    /// # Errors
    /// Never; the default classes are tokens, which a test shows.
    pub fn default_classes() -> Result<Vec<Class>, TokenError> {
        CLASSES_DEFAULT.iter().map(|class| class.parse()).collect()
    }
}

/// When a stream's message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// When it is acked.
    WorkQueue,
    /// When a limit is reached.
    Limits,
}

/// What happens to a publish at a full stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// It is refused.
    New,
    /// It takes the oldest one's place.
    Old,
}

/// A stream, or the stream behind a bucket. Always on file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSpec {
    /// Its name.
    pub name: String,
    /// What it takes.
    pub subjects: Vec<String>,
    /// What it is for.
    pub description: &'static str,
    /// When messages go.
    pub retention: Retention,
    /// What a publish at the limit meets.
    pub discard: Discard,
    /// Messages kept per subject; -1 is all.
    pub per_subject_max: i64,
    /// A publish on a full *subject* is refused too. Only with [`Discard::New`].
    pub discard_new_per_subject: bool,
    /// Bytes in all.
    pub bytes_max: i64,
    /// Bytes of one message.
    pub message_bytes_max: i32,
    /// Age at which a message goes; zero is never.
    pub age_max: Duration,
    /// `Nats-Msg-Id`s are remembered for this long.
    pub duplicate_window: Duration,
    /// S2 compression on disk.
    pub compressed: bool,
    /// A bucket: roll-ups allowed, deletes by API denied.
    pub bucket: bool,
    /// Copies.
    pub replicas: usize,
}

/// A durable pull consumer of [`JOBS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSpec {
    /// Its name, `<class>-<priority>`.
    pub name: String,
    /// What it takes.
    pub filter: String,
    /// How long a delivery may stay unacknowledged.
    pub ack_wait: Duration,
    /// Deliveries out at once. Delayed ones count, so it is far above any fleet's slots.
    pub ack_pending_max: i64,
    /// Pulls open at once.
    pub waiting_max: i64,
}

const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const RUNS_AGE: Duration = DAY.saturating_mul(90);
/// Longer than the runs that wished for it: a job may wait for its worker as long as anybody can ask
/// for it by its run. Shorter than results by more than a month: a wish that outlived the result of its
/// job would read as one that was never built, and a sweep would have it built again.
const REQUESTS_AGE: Duration = DAY.saturating_mul(120);
const RESULTS_AGE: Duration = DAY.saturating_mul(180);
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// The server's default `max_payload`; records and chunks stay below it.
const MESSAGE_BYTES_MAX: i32 = 1 << 20;
/// A job message is some hundred bytes: whatever is larger is not one.
const JOB_BYTES_MAX: i32 = 16 << 10;

/// The durable name of a class's consumer of one priority.
pub fn consumer_name(class: &Class, priority: Priority) -> String {
    format!("{class}-{priority}")
}

/// All streams, buckets included, in the order they are made.
pub fn streams(choices: &Choices) -> Vec<StreamSpec> {
    let stream = |name: &str, subjects: &str, description| StreamSpec {
        name: name.into(),
        subjects: vec![subjects.into()],
        description,
        retention: Retention::Limits,
        discard: Discard::Old,
        per_subject_max: -1,
        discard_new_per_subject: false,
        bytes_max: 256 * MIB,
        message_bytes_max: MESSAGE_BYTES_MAX,
        age_max: Duration::ZERO,
        duplicate_window: DUPLICATE_WINDOW,
        compressed: false,
        bucket: false,
        replicas: choices.replicas,
    };
    let jobs = StreamSpec {
        retention: Retention::WorkQueue,
        discard: Discard::New,
        per_subject_max: 1,
        discard_new_per_subject: true,
        bytes_max: 256 * MIB,
        message_bytes_max: JOB_BYTES_MAX,
        ..stream(JOBS, subject::BUILD_ALL, "queued builds")
    };
    let logs = StreamSpec {
        bytes_max: 4 * GIB,
        age_max: 30 * DAY,
        compressed: true,
        ..stream(LOGS, subject::LOG_ALL, "build logs")
    };
    let events = StreamSpec {
        bytes_max: 512 * MIB,
        age_max: 90 * DAY,
        ..stream(EVENTS, subject::EVENT_ALL, "what happened")
    };
    let dead = StreamSpec {
        bytes_max: 256 * MIB,
        age_max: 90 * DAY,
        ..stream(DEAD, subject::DEAD_ALL, "dead letters")
    };
    let buckets = [
        BucketSpec { age_max: REQUESTS_AGE, ..bucket(Bucket::Requests, "what is wanted") },
        BucketSpec {
            history: 5,
            age_max: RESULTS_AGE,
            bytes_max: GIB,
            ..bucket(Bucket::Results, "what is so")
        },
        BucketSpec { history: 10, ..bucket(Bucket::LastGood, "newest closure per host") },
        BucketSpec { age_max: RUNS_AGE, ..bucket(Bucket::Runs, "expected hosts per run") },
        BucketSpec { age_max: 3 * PRESENCE_EVERY, ..bucket(Bucket::Workers, "living workers") },
        bucket(Bucket::Gates, "gate runs and landing leases"),
    ];
    let buckets = buckets.into_iter().map(|spec| spec.stream(choices));
    [jobs, logs, events, dead].into_iter().chain(buckets).collect()
}

/// What differs between buckets.
struct BucketSpec {
    bucket: Bucket,
    description: &'static str,
    history: i64,
    age_max: Duration,
    bytes_max: i64,
}

fn bucket(bucket: Bucket, description: &'static str) -> BucketSpec {
    BucketSpec { bucket, description, history: 1, age_max: Duration::ZERO, bytes_max: 256 * MIB }
}

impl BucketSpec {
    fn stream(self, choices: &Choices) -> StreamSpec {
        StreamSpec {
            name: self.bucket.stream(),
            subjects: vec![subject::kv(self.bucket.name(), ">")],
            description: self.description,
            retention: Retention::Limits,
            discard: Discard::New,
            per_subject_max: self.history,
            discard_new_per_subject: false,
            bytes_max: self.bytes_max,
            message_bytes_max: MESSAGE_BYTES_MAX,
            age_max: self.age_max,
            // The server refuses a window longer than the age.
            duplicate_window: if self.age_max.is_zero() {
                DUPLICATE_WINDOW
            } else {
                DUPLICATE_WINDOW.min(self.age_max)
            },
            compressed: false,
            bucket: true,
            replicas: choices.replicas,
        }
    }
}

/// All consumers of [`JOBS`].
pub fn consumers(choices: &Choices) -> Vec<ConsumerSpec> {
    let of_class = |class: &Class| {
        Priority::ALL.map(|priority| ConsumerSpec {
            name: consumer_name(class, priority),
            filter: subject::build_filter(class, priority),
            ack_wait: choices.ack_wait,
            ack_pending_max: 100_000,
            waiting_max: 4_096,
        })
    };
    choices.classes.iter().flat_map(of_class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices() -> Choices {
        let classes = Choices::default_classes().expect("the default classes are tokens");
        Choices { replicas: 1, classes, ack_wait: ACK_WAIT_DEFAULT }
    }

    #[test]
    fn each_class_has_a_consumer_per_priority_and_no_two_overlap() {
        let consumers = consumers(&choices());
        assert_eq!(consumers.len(), 6);
        assert_eq!(consumers[0].name, "x86_64-linux-high");
        assert_eq!(consumers[0].filter, "nbp.build.x86_64-linux.high.>");
        let mut filters: Vec<_> = consumers.iter().map(|consumer| &consumer.filter).collect();
        filters.sort_unstable();
        filters.dedup();
        assert_eq!(filters.len(), 6);
    }

    #[test]
    fn the_queue_refuses_what_it_cannot_keep() {
        let streams = streams(&choices());
        let jobs = streams.iter().find(|stream| stream.name == JOBS).expect("the job stream");
        assert_eq!((jobs.retention, jobs.discard), (Retention::WorkQueue, Discard::New));
        assert!(jobs.discard_new_per_subject && jobs.per_subject_max == 1);
        assert!(streams.iter().all(|stream| stream.bytes_max > 0));
    }

    #[test]
    fn a_wish_outlives_its_run_and_a_result_its_wish() {
        let streams = streams(&choices());
        let age = |bucket: Bucket| {
            let stream = streams.iter().find(|stream| stream.name == bucket.stream());
            stream.expect("a bucket").age_max
        };
        assert!(age(Bucket::Runs) < age(Bucket::Requests));
        assert!(age(Bucket::Requests) + 30 * DAY < age(Bucket::Results));
    }
}
