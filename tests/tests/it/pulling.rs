//! Pulls that are given up: whatever the broker had sent already comes back at once.

use std::time::{Duration, Instant};

use bus::{Bus, Delivery, Endpoint, Pulled};
use tests::{Pool, PoolOptions};
use tokio::time::timeout;

/// Longer than this test: what is lost on the way does not come again.
const LEASE: &str = "120s";

const CLASS: &str = "x86_64-linux";

const ROUNDS: u128 = 100;

fn pool() -> Pool {
    let setup = ["--ack-wait", LEASE].map(str::to_owned).to_vec();
    Pool::start_with(&PoolOptions { setup, ..PoolOptions::default() })
}

async fn connect(pool: &Pool) -> Bus {
    let endpoint = Endpoint {
        url: pool.nats.url(),
        nkey_file: None,
        ca_file: None,
        name: "pulling".to_owned(),
        patience: Some(Duration::from_secs(20)),
    };
    Bus::connect(&endpoint).await.expect("connects")
}

fn consumers(priorities: &[&str]) -> Vec<String> {
    priorities.iter().map(|priority| format!("{CLASS}-{priority}")).collect()
}

/// The subject of a job that is told from others by its incarnation.
fn subject(priority: &str, number: u128) -> String {
    let revision = "0".repeat(40);
    let incarnation = uuid::Uuid::from_u128(number);
    format!("nbp.build.{CLASS}.{priority}.r.{revision}.h{number}.{incarnation}")
}

/// Also what the other pulls had under way.
async fn all(pulled: Pulled) -> Vec<Delivery> {
    let mut deliveries = pulled.taken;
    deliveries.extend(pulled.rest.surplus().await);
    deliveries
}

#[test]
fn jobs_that_cross_the_end_of_a_pull_are_surplus_and_not_lost() {
    let pool = pool();
    pool.block_on(async {
        let bus = connect(&pool).await;
        let consumers = consumers(&["high", "normal", "low"]);
        let publisher = pool.connect().await;
        for round in 0..ROUNDS {
            let publishing = async {
                // Into the open pulls, as close to each other as can be.
                tokio::time::sleep(Duration::from_millis(5)).await;
                for (number, priority) in ["low", "normal", "high"].into_iter().enumerate() {
                    let subject = subject(priority, round * 10 + number as u128);
                    publisher.publish(subject, "x".into()).await.expect("sends");
                }
                publisher.flush().await.expect("sends");
            };
            let pull =
                bus.pull(&consumers, 1, Duration::from_secs(30), std::future::pending::<()>());
            let (pulled, ()) = tokio::join!(pull, publishing);
            let pulled = pulled.expect("the broker is there");
            let mut deliveries = all(pulled).await;
            while deliveries.len() < 3 {
                let pull =
                    bus.pull(&consumers, 1, Duration::from_secs(3), std::future::pending::<()>());
                let pulled = pull.await.expect("the broker is there");
                assert!(!pulled.taken.is_empty(), "round {round}: {} of 3", deliveries.len());
                deliveries.extend(all(pulled).await);
            }
            for mut delivery in deliveries {
                delivery.ack().await.expect("confirmed");
            }
        }
    });
    assert_eq!(pool.messages("NBP_JOBS"), 0);
}

#[test]
fn a_pull_that_is_stopped_gives_back_what_was_on_its_way() {
    let pool = pool();
    pool.block_on(async {
        let bus = connect(&pool).await;
        let consumers = consumers(&["high", "normal", "low"]);
        let publisher = pool.connect().await;
        for round in 0..ROUNDS {
            let stop = async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                publisher.publish(subject("normal", round), "x".into()).await.expect("sends");
                publisher.flush().await.expect("sends");
            };
            let pulled = bus.pull(&consumers, 1, Duration::from_secs(30), stop).await;
            let mut got = all(pulled.expect("the broker is there")).await.pop();
            if got.is_none() {
                // Not sent to that pull: so it is there for the next one.
                let pull =
                    bus.pull(&consumers, 1, Duration::from_secs(3), std::future::pending::<()>());
                got = all(pull.await.expect("the broker is there")).await.pop();
            }
            let mut delivery = got.unwrap_or_else(|| panic!("round {round}: a job is lost"));
            delivery.ack().await.expect("confirmed");
        }
    });
}

#[test]
fn a_consumer_that_is_gone_does_not_keep_the_others_from_being_served() {
    let pool = pool();
    pool.block_on(async {
        let bus = connect(&pool).await;
        let publisher = pool.connect().await;
        let consumers = [consumers(&["gone"]), consumers(&["low"])].concat();
        let start = Instant::now();
        let nothing =
            bus.pull(&consumers, 1, Duration::from_secs(30), std::future::pending::<()>());
        let failed = timeout(Duration::from_secs(20), nothing).await.expect("a short round");
        let message = failed.err().expect("one consumer is gone").to_string();
        assert!(message.contains("x86_64-linux-gone"), "{message}");
        assert!(start.elapsed() > Duration::from_secs(1), "it spins");

        let publishing = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            publisher.publish(subject("low", 1), "x".into()).await.expect("sends");
            publisher.flush().await.expect("sends");
        };
        let pull = bus.pull(&consumers, 1, Duration::from_secs(30), std::future::pending::<()>());
        let (pulled, ()) = tokio::join!(pull, publishing);
        let mut delivery = all(pulled.expect("served")).await.pop().expect("a job");
        delivery.ack().await.expect("confirmed");
    });
}

#[test]
fn a_round_takes_as_many_as_there_is_room_for_and_leaves_the_rest() {
    let pool = pool();
    pool.block_on(async {
        let bus = connect(&pool).await;
        let js = pool.jetstream().await;
        for number in 0..20 {
            let sent = js.publish(subject("normal", number), "x".into()).await.expect("sends");
            sent.await.expect("stored");
        }
        let consumers = consumers(&["high", "normal", "low"]);
        let mut rounds = Vec::new();
        while rounds.iter().sum::<usize>() < 20 {
            let pull =
                bus.pull(&consumers, 8, Duration::from_secs(30), std::future::pending::<()>());
            let taken = all(pull.await.expect("the broker is there")).await;
            rounds.push(taken.len());
            for mut delivery in taken {
                delivery.ack().await.expect("confirmed");
            }
        }
        assert_eq!(rounds, [8, 8, 4]);
    });
    assert_eq!(pool.messages("NBP_JOBS"), 0);
}
