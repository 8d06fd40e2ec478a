//! What a publish comes to: queued, there already, waited for, full, too large, denied.

use std::{io::Write as _, time::Duration};

use async_nats::jetstream;
use bus::{Bus, Endpoint, Error, Queued};
use proto::{
    JobMessage, V1,
    event::{JobEvent, What},
    gate::Landed,
    subject::JobSubject,
};
use tests::{Flake, NatsServer, Pool, PoolOptions, eventually};

use crate::{DEADLINE, all_built};

fn endpoint(url: String) -> Endpoint {
    let patience = Some(Duration::from_secs(20));
    Endpoint { url, nkey_file: None, ca_file: None, name: "publishing".into(), patience }
}

async fn connect(pool: &Pool) -> Bus {
    Bus::connect(&endpoint(pool.nats.url())).await.expect("connects")
}

fn job(number: u128) -> (JobSubject, JobMessage) {
    let incarnation = uuid::Uuid::from_u128(number);
    let text =
        format!("nbp.build.x86_64-linux.high.homelab.{}.h{number}.{incarnation}", "0".repeat(40));
    let subject = JobSubject::parse(&text).expect("a job subject");
    let (job, incarnation) = (subject.job.clone(), subject.incarnation);
    let (at, before) = (proto::Timestamp(1), proto::Before::Unknown);
    (subject, JobMessage { v: V1, job, incarnation, at, before })
}

/// An event with a payload of about this many bytes.
fn event(bytes: usize) -> JobEvent {
    let (subject, message) = job(1);
    let what = What::Late { outcome: "x".repeat(bytes) };
    let (worker, epoch) = ("w1".parse().expect("a worker"), proto::Epoch(1));
    let (job, incarnation) = (subject.job, message.incarnation);
    JobEvent { v: V1, at: proto::Timestamp(1), worker, job, incarnation, epoch, what }
}

#[test]
fn a_job_that_is_queued_already_is_said_to_be() {
    let pool = Pool::start();
    pool.block_on(async {
        let bus = connect(&pool).await;
        let (subject, message) = job(1);
        assert_eq!(bus.publish_job(&subject, &message, None).await.expect("stored"), Queued::Now);
        assert_eq!(
            bus.publish_job(&subject, &message, None).await.expect("there"),
            Queued::Already
        );
    });
    assert_eq!(pool.messages("NBP_JOBS"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_nobody_takes_is_tried_again_until_somebody_does() {
    let server = NatsServer::start_with("http: \"127.0.0.1:-1\"");
    let bus = Bus::connect(&endpoint(server.url())).await.expect("connects");
    let heard = || server.monitored("/varz")["in_msgs"].as_u64().expect("a number");
    let before = heard();
    let (subject, message) = job(1);
    let mut publishing = tokio::task::JoinSet::new();
    publishing.spawn(async move {
        bus.publish_job(&subject, &message, None).await.map_err(|e| e.to_string())
    });
    // As between two leaders: the publish is answered by "nobody is there".
    eventually("the first try", DEADLINE, || (heard() > before).then_some(()));
    let context = server.jetstream().await;
    let config = jetstream::stream::Config {
        name: "NBP_JOBS".into(),
        subjects: vec!["nbp.build.>".into()],
        ..Default::default()
    };
    let mut stream = context.create_stream(config).await.expect("a stream");

    let published = publishing.join_next().await.expect("one").expect("ends");
    assert_eq!(published, Ok(Queued::Now));

    assert_eq!(stream.info().await.expect("its state").state.messages, 1);
}

#[tokio::test]
async fn a_publish_that_nobody_ever_takes_says_so() {
    let server = NatsServer::start();
    let bus = Bus::connect(&endpoint(server.url())).await.expect("connects");
    let (subject, message) = job(1);
    let error = bus.publish_job(&subject, &message, None).await.expect_err("nobody is there");
    assert!(matches!(error, Error::NotServed { .. }), "{error}");
    assert!(error.transient() && error.to_string().contains("producer setup"), "{error}");
}

#[test]
fn a_full_queue_refuses_loudly_and_takes_the_rest_when_there_is_room() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(16));
    let limit = |max_bytes: i64| {
        pool.block_on(async {
            let context = pool.jetstream().await;
            let stream = context.get_stream("NBP_JOBS").await.expect("the stream");
            let config = stream.cached_info().config.clone();
            let config = jetstream::stream::Config { max_bytes, ..config };
            context.update_stream(config).await.expect("updates");
        });
    };
    // Some of the sixteen fit.
    limit(1500);
    let refused = pool.submit(&["--all", "--ref", "master"]).expect_code(3);
    assert!(refused.stderr.contains("the broker is full"), "{refused}");
    let queued = pool.messages("NBP_JOBS");
    assert!((1..16).contains(&queued), "{queued}");
    pool.block_on(async {
        let (subject, message) = job(1);
        let error = connect(&pool).await.publish_job(&subject, &message, None).await;
        let error = error.expect_err("there is no room");
        assert!(matches!(error, Error::Full { .. }) && !error.transient(), "{error}");
    });

    limit(256 << 20);
    let _worker = pool.worker("w1");
    all_built(pool.submit(&["--all", "--ref", "master", "--wait", "--json"]), 16);
}

#[test]
fn what_is_too_large_is_refused_by_client_or_stream() {
    let too_large = |pool: &Pool, bytes: usize| {
        pool.block_on(async {
            let error = connect(pool).await.publish_event(&event(bytes)).await;
            let error = error.expect_err("too large");
            assert!(
                matches!(error, Error::TooLarge { bytes: told, .. } if told > bytes),
                "{error}"
            );
        });
    };
    // More than the server takes of anybody: the client does not even send it.
    too_large(&Pool::start(), 2 << 20);
    // More than the stream takes, which answers so.
    let options = PoolOptions { nats: "max_payload: 8MB".into(), ..PoolOptions::default() };
    too_large(&Pool::start_with(&options), 2 << 20);
}

#[tokio::test]
async fn a_publish_that_is_denied_is_not_tried_again() {
    let keys = nkeys::KeyPair::new_user();
    let users = format!(
        "authorization {{ users: [ {{ nkey: {}, permissions: {{ \
         publish: [\"$JS.API.>\"], subscribe: [\"_INBOX_*.>\"] }} }} ] }}",
        keys.public_key()
    );
    let server = NatsServer::start_with(&users);
    let mut seed = tempfile::NamedTempFile::new().expect("a temporary file");
    seed.write_all(keys.seed().expect("a seed").as_bytes()).expect("a writable file");
    let nkey_file = Some(seed.path().to_owned());
    let endpoint = Endpoint { nkey_file, ..endpoint(server.url()) };
    let bus = Bus::connect(&endpoint).await.expect("this identity may connect");
    let (subject, message) = job(1);
    let error = bus.publish_job(&subject, &message, None).await.expect_err("no right to it");
    assert!(matches!(error, Error::Denied { .. }) && !error.transient(), "{error}");
    let denied = server.log().matches("Publish Violation").count();
    assert_eq!(denied, 1, "{}", server.log());
}

#[test]
fn a_landing_is_told_once_also_when_its_message_id_is_forgotten() {
    let pool = Pool::start();
    let gate = proto::GateId(uuid::Uuid::from_u128(1));
    let revision = |digit: char| digit.to_string().repeat(40).parse().expect("a revision");
    let landed = |digit| Landed {
        v: V1,
        at: proto::Timestamp(1),
        repo: "homelab".parse().expect("a repo"),
        branch: "master".into(),
        revision: revision(digit),
        base: revision('b'),
        gate,
        hosts: [].into(),
    };
    // Without an id, as the stream holds it when the two minutes of its memory are over.
    let told = serde_json::to_vec(&landed('c')).expect("JSON");
    pool.publish("nbp.event.landed.homelab", &told);
    pool.block_on(async {
        let bus = connect(&pool).await;
        bus.tell_landed(&landed('c')).await.expect("told before");
        bus.tell_landed(&landed('d')).await.expect("told");
        bus.tell_landed(&landed('d')).await.expect("told before");
    });
    assert_eq!(pool.events("nbp.event.landed.>").len(), 2);
}

#[test]
fn a_poke_comes_again_when_the_stream_has_what_it_is_about() {
    let pool = Pool::start();
    pool.block_on(async {
        let bus = connect(&pool).await;
        let mut pokes = bus.pokes("nbp.event.>").await.expect("a connection");
        let context = pool.jetstream().await;
        let sent = context.publish("nbp.event.test", "{}".into()).await.expect("a connection");
        sent.await.expect("stored");
        for time in ["soon", "at last"] {
            let poke = tokio::time::timeout(DEADLINE, pokes.next()).await;
            assert_eq!(poke.expect(time).as_deref(), Some("nbp.event.test"), "{time}");
        }
        // And no further time: the next that is heard is of the next message.
        let sent = context.publish("nbp.event.next", "{}".into()).await.expect("a connection");
        sent.await.expect("stored");
        let poke = tokio::time::timeout(DEADLINE, pokes.next()).await;
        assert_eq!(poke.expect("the next").as_deref(), Some("nbp.event.next"));
    });
}
