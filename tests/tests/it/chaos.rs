//! Everything at once, from a seed: workers killed, frozen and told to stop, the broker killed, and
//! people who submit meanwhile. `make chaos SEED=… MINUTES=…` runs the long one.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use serde_json::Value;
use tests::{Flake, NixStore, Pool, Spawned, WorkerOptions, eventually};

use crate::{DEADLINE, text};

const WORKERS: usize = 3;
const HOSTS_PER_COMMIT: usize = 10;

/// What `make chaos` sets; else a short run from a seed that is always the same.
struct Length {
    seed: u64,
    faults: Duration,
    jobs: usize,
}

impl Length {
    #[expect(clippy::disallowed_methods, reason = "libtest has no arguments of ours")]
    fn from_env() -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse::<u64>().ok());
        let seed = number("NBP_SEED").unwrap_or(1);
        match number("NBP_MINUTES") {
            // The rest of the time is for what is left when the faults stop.
            Some(minutes) => {
                let faults = Duration::from_secs(minutes.clamp(1, 60) * 60 * 3 / 5);
                Self { seed, faults, jobs: 500 }
            }
            None => Self { seed, faults: Duration::from_secs(20), jobs: 60 },
        }
    }
}

/// What was done to workers and broker.
#[derive(Debug, Default)]
struct Toll {
    workers_killed: u32,
    workers_frozen: u32,
    workers_stopped: u32,
    brokers_killed: u32,
}

/// A worker that is started again whenever it is gone.
struct Victim {
    name: String,
    store: NixStore,
    process: Option<Spawned>,
    frozen_until: Option<Instant>,
    log: String,
}

impl Victim {
    fn start(&mut self, pool: &Pool) {
        let options = WorkerOptions {
            store: Some(&self.store),
            max_attempts: 16,
            drain_timeout: "2s",
            worker: "sweep_every = \"1s\"",
            ..WorkerOptions::default()
        };
        self.process = Some(pool.worker_with(&self.name, &options));
    }

    fn suffer(&mut self, rng: &mut Rng, pool: &Pool, toll: &mut Toll) {
        let Some(process) = &mut self.process else { return self.start(pool) };
        if !process.is_running() {
            return self.start(pool);
        }
        match rng.u32(0..10) {
            0..3 => {
                process.sigkill();
                toll.workers_killed += 1;
            }
            3..6 => {
                toll.workers_frozen += 1;
                process.sigstop();
                let frozen = Duration::from_millis(rng.u64(200..5000));
                self.frozen_until = Some(Instant::now() + frozen);
            }
            6..8 => {
                process.sigterm();
                toll.workers_stopped += 1;
            }
            _ => {}
        }
    }

    fn thaw(&mut self, at: Instant) {
        if self.frozen_until.take_if(|until| *until <= at).is_some()
            && let Some(process) = &self.process
        {
            process.sigcont();
        }
    }
}

#[test]
fn every_job_ends_once_whatever_happens_to_workers_and_broker() {
    let length = Length::from_env();
    let seed = length.seed;
    let mut rng = Rng::with_seed(seed);
    let mut pool = Pool::start();
    let mut victims: Vec<Victim> = (0..WORKERS)
        .map(|number| {
            let name = format!("w{number}");
            let (store, log) = (NixStore::new(), String::new());
            Victim { name, store, process: None, frozen_until: None, log }
        })
        .collect();
    for victim in &mut victims {
        victim.start(&pool);
    }
    let (mut wanted, mut toll) = (BTreeSet::new(), Toll::default());
    let begun = Instant::now();
    let end = Instant::now() + length.faults;
    let commits = length.jobs / HOSTS_PER_COMMIT;
    let mut submitted = 0;
    while Instant::now() < end || submitted < commits {
        if submitted < commits {
            let rev = commit(&pool, submitted);
            // With the broker down it waits; it is asked again below if it gives up.
            pool.submit(&["--all", "--ref", "master"]);
            wanted.insert(rev);
            submitted += 1;
        }
        if Instant::now() < end {
            let victim = rng.usize(0..WORKERS);
            victims[victim].suffer(&mut rng, &pool, &mut toll);
            if rng.u32(0..12) == 0 {
                pool.nats.kill();
                toll.brokers_killed += 1;
                thread::sleep(Duration::from_millis(rng.u64(0..3000)));
                pool.nats.restart();
            }
            thread::sleep(Duration::from_millis(rng.u64(50..600)));
        }
        victims.iter_mut().for_each(|it| it.thaw(Instant::now()));
    }

    make_peace(&pool, &mut victims, &wanted, seed);
    let jobs = wanted.len() * HOSTS_PER_COMMIT;
    eventually(&format!("an empty queue, seed {seed}"), DEADLINE, || {
        (pool.messages("NBP_JOBS") == 0).then_some(())
    });
    check_histories(&pool, &format!("seed {seed}"));
    let took = begun.elapsed();
    println!("seed {seed}: {jobs} jobs ended once in {took:?}; {toll:?}; {}", claims(&pool));
    for victim in &mut victims {
        victim.log = victim.process.as_ref().map_or_else(String::new, Spawned::log);
        assert!(!victim.log.contains("panicked"), "seed {seed}: {}", victim.log);
    }
}

/// All workers run, and whoever could not ask asks again; until all jobs have ended.
fn make_peace(pool: &Pool, victims: &mut [Victim], wanted: &BTreeSet<String>, seed: u64) {
    let forever = Instant::now() + Duration::from_secs(3600);
    for victim in victims.iter_mut() {
        victim.thaw(forever);
        if victim.process.as_mut().is_none_or(|process| !process.is_running()) {
            victim.start(pool);
        }
    }
    for rev in wanted {
        let hosts = (1..=HOSTS_PER_COMMIT).map(|number| format!("h{number:02}"));
        let hosts: Vec<String> = hosts.collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        pool.submit(&[&hosts[..], &["--rev", rev]].concat()).expect_code(0);
    }
    let jobs = wanted.len() * HOSTS_PER_COMMIT;
    eventually(&format!("the end of {jobs} jobs, seed {seed}"), 4 * DEADLINE, || {
        for victim in victims.iter_mut() {
            // Told to stop in the last moment of the faults.
            if victim.process.as_mut().is_none_or(|process| !process.is_running()) {
                victim.start(pool);
            }
        }
        let open = open_jobs(pool, wanted);
        (open == 0).then_some(())
    });
}

fn commit(pool: &Pool, number: usize) -> String {
    let salt = format!("chaos {number}");
    pool.commit("master", &Flake::hosts(HOSTS_PER_COMMIT).salt(&salt))
}

/// How often what was claimed was not finished.
fn claims(pool: &Pool) -> String {
    let told = |kind: &str| pool.events(&format!("nbp.event.job.{kind}.>")).len();
    format!(
        "{} claims, {} fenced, {} late, {} handed back, {} found by sweeps",
        told("claimed"),
        told("fenced"),
        told("late"),
        told("handed-back"),
        told("requeued"),
    )
}

/// Jobs that are not finished for their newest request.
fn open_jobs(pool: &Pool, wanted: &BTreeSet<String>) -> usize {
    let results = pool.results();
    let requests = pool.bucket("nbp-requests");
    let done = |key: &str, request: &Value| {
        let record = results.get(key);
        record.is_some_and(|record| {
            record["state"]["is"] == "finished" && record["incarnation"] == request["incarnation"]
        })
    };
    let open = requests.iter().filter(|(key, request)| !done(key, request)).count();
    let missing = (wanted.len() * HOSTS_PER_COMMIT).saturating_sub(requests.len());
    open + missing
}

/// Over all that each record ever was (as far as the bucket keeps it): one end per incarnation, and
/// an epoch that never falls; and every end that was told is the one that stands.
pub(crate) fn check_histories(pool: &Pool, of_what: &str) {
    let mut told: BTreeMap<(String, String), BTreeSet<(u64, String)>> = BTreeMap::new();
    for event in pool.events("nbp.event.job.finished.>") {
        let of = (text(&event["job"]), text(&event["incarnation"]));
        let end = (event["epoch"].as_u64().expect("an epoch"), text(&event["what"]["outcome"]));
        told.entry(of).or_default().insert(end);
    }
    for (of, ends) in &told {
        assert_eq!(ends.len(), 1, "{of_what}: {of:?} ended as {ends:?}");
    }
    for (key, history) in pool.histories("nbp-results") {
        let epochs: Vec<u64> = history.iter().filter_map(|it| it["epoch"].as_u64()).collect();
        assert!(epochs.is_sorted(), "{of_what}: {key}: {epochs:?}");
        let mut ended = BTreeSet::new();
        for record in history.iter().filter(|it| it["state"]["is"] == "finished") {
            let of = text(&record["incarnation"]);
            assert!(ended.insert(of.clone()), "{of_what}: {key}: {of} ended twice");
            assert_eq!(record["state"]["outcome"]["result"], "built", "{of_what}: {record:#}");
            if let Some(ends) = told.get(&(key.clone(), of)) {
                let epoch = record["epoch"].as_u64().expect("an epoch");
                assert!(ends.iter().all(|end| end.0 == epoch), "{of_what}: {key}: {ends:?}");
            }
        }
    }
}
