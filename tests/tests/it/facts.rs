//! What the broker does and does not do for us (DESIGN section 4): each fact that the design leans
//! on, against the pinned server, so that an upgrade which changes one is noticed.

use std::{io::Write as _, time::Duration};

use async_nats::jetstream::{
    self, AckKind,
    consumer::{PullConsumer, pull},
    context::PublishErrorKind,
    message::PublishMessage,
    stream,
};
use bus::{Bus, Endpoint};
use futures_util::{StreamExt as _, TryStreamExt as _};
use proto::{Request, V1};
use tests::{Flake, NatsServer, Pool, PoolOptions, eventually};

use crate::all_built;

const SHORT: Duration = Duration::from_millis(300);

/// For a cluster that is just up to know of what was made.
const KNOWN_DEADLINE: Duration = Duration::from_secs(30);

/// A work queue with one consumer, as the pool's but for its timing.
struct Queue {
    _server: NatsServer,
    context: jetstream::Context,
    stream: stream::Stream,
}

impl Queue {
    async fn new() -> Self {
        let server = NatsServer::start();
        let context = server.jetstream().await;
        let config = stream::Config {
            name: "Q".into(),
            subjects: vec!["q.>".into()],
            retention: stream::RetentionPolicy::WorkQueue,
            discard: stream::DiscardPolicy::New,
            max_messages_per_subject: 1,
            discard_new_per_subject: true,
            ..stream::Config::default()
        };
        let stream = context.create_stream(config).await.expect("a stream");
        Self { _server: server, context, stream }
    }

    async fn consumer(&self, config: pull::Config) -> PullConsumer {
        let config = pull::Config { durable_name: Some("c".into()), ..config };
        self.stream.create_consumer(config).await.expect("a consumer")
    }

    async fn publish(&self, subject: &str) {
        let published = self.context.publish(subject.to_owned(), "x".into()).await;
        published.expect("sends").await.expect("is stored");
    }

    async fn messages(&self) -> u64 {
        self.stream.get_info().await.expect("its state").state.messages
    }
}

/// The next message, waiting for it.
async fn next(consumer: &PullConsumer) -> jetstream::Message {
    let batch = consumer.fetch().max_messages(1).expires(Duration::from_secs(20)).messages();
    let mut batch = batch.await.expect("a pull");
    batch.next().await.expect("a message").expect("a message")
}

/// Nothing is given out within a second. (A pull that may not wait is no answer here: the server
/// leaves it open while a consumer is at its limit.)
async fn gives_nothing(consumer: &PullConsumer) -> bool {
    let pull = consumer.fetch().max_messages(1).expires(Duration::from_secs(1)).messages();
    let mut batch = pull.await.expect("a pull");
    let next = tokio::time::timeout(Duration::from_secs(10), batch.try_next()).await;
    next.expect("the pull expires").expect("without an error").is_none()
}

#[tokio::test]
async fn fact_1_a_late_ack_of_an_expired_delivery_deletes_the_job_under_its_new_owner() {
    let queue = Queue::new().await;
    let config = pull::Config { ack_wait: SHORT, ..pull::Config::default() };
    let consumer = queue.consumer(config).await;
    queue.publish("q.a").await;
    let zombie = next(&consumer).await;
    let owner = next(&consumer).await;
    assert_eq!(owner.info().expect("its info").delivered, 2);

    zombie.double_ack().await.expect("the server takes it");

    assert_eq!(queue.messages().await, 0);
    owner.double_ack().await.expect("and this one too, though nothing is left to ack");
}

#[tokio::test]
async fn fact_2_backoff_overrides_ack_wait_and_a_nak_counts_as_a_delivery() {
    let queue = Queue::new().await;
    let consumer = queue
        .consumer(pull::Config {
            ack_wait: Duration::from_secs(60),
            backoff: vec![Duration::from_secs(1), Duration::from_secs(5)],
            max_deliver: 5,
            ..pull::Config::default()
        })
        .await;
    assert_eq!(consumer.cached_info().config.ack_wait, Duration::from_secs(1));
    queue.publish("q.a").await;
    next(&consumer).await.ack_with(AckKind::Nak(Some(SHORT))).await.expect("naks");
    assert_eq!(next(&consumer).await.info().expect("its info").delivered, 2);
}

#[tokio::test]
async fn fact_3_a_message_stream_takes_more_than_was_asked_for() {
    let queue = Queue::new().await;
    let mut consumer = queue.consumer(pull::Config::default()).await;
    for subject in ["q.a", "q.b", "q.c", "q.d"] {
        queue.publish(subject).await;
    }
    let mut messages = consumer.messages().await.expect("a stream of messages");
    let _one = messages.next().await.expect("a message");

    let pending = consumer.info().await.expect("its info").num_ack_pending;

    assert_eq!(pending, 4);
}

#[tokio::test]
async fn fact_4_messages_that_wait_for_their_nak_delay_starve_a_narrow_consumer() {
    let queue = Queue::new().await;
    let config = pull::Config { max_ack_pending: 1, ..pull::Config::default() };
    let consumer = queue.consumer(config).await;
    queue.publish("q.a").await;
    queue.publish("q.b").await;
    let delay = Some(Duration::from_secs(600));
    next(&consumer).await.ack_with(AckKind::Nak(delay)).await.expect("naks");
    // A flush after the nak: it is not confirmed by itself.
    queue.context.client().flush().await.expect("flushes");

    assert!(gives_nothing(&consumer).await, "the second message waits for the first");
}

#[tokio::test]
async fn fact_5_a_duplicate_is_refused_by_its_subject_and_swallowed_by_its_id() {
    let queue = Queue::new().await;
    let consumer = queue.consumer(pull::Config::default()).await;
    let publish = || async {
        let message = PublishMessage::build().payload("x".into()).message_id("same");
        queue.context.send_publish("q.a", message).await.expect("sends").await
    };
    publish().await.expect("the first one");
    let by_subject = queue.context.publish("q.a", "y".into()).await.expect("sends").await;
    let refused = by_subject.expect_err("the subject is taken");
    assert_eq!(refused.kind(), PublishErrorKind::Other);
    let text = format!("{refused:?}");
    assert!(text.contains("10077") && text.contains("maximum messages per subject"), "{text}");

    next(&consumer).await.double_ack().await.expect("acks");
    let swallowed = publish().await.expect("is acked");
    assert!(swallowed.duplicate);
    assert_eq!(queue.messages().await, 0, "acked, and nothing is queued");
    queue.publish("q.a").await;
    assert_eq!(queue.messages().await, 1);
}

#[test]
fn fact_6_a_get_of_the_client_may_be_stale_and_a_read_from_the_leader_is_not() {
    const ROUNDS: u32 = 100;
    const KEY: &str = "$KV.nbp-gates.fact";
    let pool = Pool::start_with(&PoolOptions { cluster: true, ..PoolOptions::default() });
    let brokers: Vec<&NatsServer> = std::iter::once(&pool.nats).chain(&pool.peers).collect();
    let leads = pool.block_on(async {
        let stream = pool.jetstream().await.get_stream("KV_nbp-gates").await.expect("the bucket");
        let cluster = stream.cached_info().cluster.as_ref().expect("three copies");
        cluster.leader.clone().expect("a leader")
    });
    let follows = (0..3).find(|number| format!("n{number}") != leads).expect("two follow");
    // Neither client is to move to another broker.
    let connect = |number: usize| {
        pool.block_on(async {
            let options = async_nats::ConnectOptions::new().ignore_discovered_servers();
            jetstream::new(options.connect(brokers[number].url()).await.expect("connects"))
        })
    };
    let near = connect(follows);
    let far = connect((follows + 1) % 3);
    let (bucket, stream) = pool.block_on(async {
        let bucket = near.get_key_value("nbp-gates").await.expect("the bucket");
        (bucket, far.get_stream("KV_nbp-gates").await.expect("the bucket"))
    });
    // A server that has just heard of the bucket may not know yet who takes what is written to it.
    eventually("a first write", KNOWN_DEADLINE, || {
        let write = async { far.publish(KEY, "first".into()).await.expect("sends").await.ok() };
        pool.block_on(write)
    });

    let mut stale = 0;
    for round in 0..ROUNDS {
        // A follower that was asleep for a moment: what was written meanwhile waits for it, and so
        // does the question.
        brokers[follows].freeze();
        let got = pool.block_on(async {
            let written = far.publish(KEY, round.to_string().into()).await.expect("sends");
            written.await.expect("two of three are enough");
            let asking = bucket.get("fact");
            let thawing = async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                brokers[follows].thaw();
            };
            tokio::join!(asking, thawing).0.expect("an answer")
        });
        let newest = round.to_string().into_bytes();
        stale += u32::from(got.is_none_or(|got| *got != newest));
        let read = pool.block_on(stream.get_last_raw_message_by_subject(KEY)).expect("an answer");
        assert_eq!(*read.payload, newest, "from the leader");
        if stale > 0 && round >= 10 {
            return;
        }
    }
    panic!("no answer of {ROUNDS} was stale");
}

#[test]
fn fact_7_what_is_acked_is_synced_because_our_config_says_so() {
    let server = NatsServer::start_with("http: \"127.0.0.1:-1\"");
    let config = &server.monitored("/varz")["jetstream"]["config"];
    // Without `sync_interval: always` the server syncs every two minutes: the value that stands
    // beside the switch.
    assert_eq!(
        (&config["sync_always"], &config["sync_interval"]),
        (&true.into(), &120_000_000_000_u64.into())
    );
}

#[test]
fn fact_8_acks_in_the_second_form_are_understood() {
    let nats = "feature_flags { js_ack_fc_v2: true }".to_owned();
    let pool = Pool::start_with(&PoolOptions { nats, ..PoolOptions::default() });
    pool.commit("master", &Flake::hosts(2));
    let _worker = pool.worker("w1");

    all_built(pool.submit(&["--all", "--ref", "master", "--wait", "--json"]), 2);

    assert_eq!(pool.messages("NBP_JOBS"), 0, "the acks were taken");
}

#[tokio::test]
async fn fact_9_a_denied_publish_is_silence_which_the_bus_explains() {
    let keys = nkeys::KeyPair::new_user();
    let users = format!(
        "authorization {{ users: [ {{ nkey: {}, permissions: {{ \
         publish: [\"$JS.API.STREAM.MSG.GET.>\"], subscribe: [\"_INBOX_>\", \"_INBOX_*.>\"] }} }} ] }}",
        keys.public_key()
    );
    let server = NatsServer::start_with(&users);
    let mut seed = tempfile::NamedTempFile::new().expect("a temporary file");
    seed.write_all(keys.seed().expect("a seed").as_bytes()).expect("a writable file");
    let endpoint = Endpoint {
        url: server.url(),
        nkey_file: Some(seed.path().to_owned()),
        ca_file: None,
        name: "denied".into(),
        patience: Some(Duration::from_secs(10)),
    };
    let bus = Bus::connect(&endpoint).await.expect("this identity may connect");
    assert_eq!(bus.identity().as_str(), keys.public_key());
    let request = Request {
        v: V1,
        class: "x86_64-linux".parse().expect("a class"),
        incarnation: proto::Incarnation(uuid::Uuid::nil()),
        wanted_by: std::collections::BTreeMap::default(),
        force: false,
        avoid_worker: None,
        overrides: proto::Overrides::default(),
        superseded_by: None,
        trace: None,
    };

    let put = bus.requests().put("key", &request).await;

    let error = put.expect_err("no right to write requests");
    assert!(matches!(error, bus::Error::Denied { .. }), "{error}");
    assert!(error.to_string().contains("$KV.nbp-requests.key"), "{error}");
}
