//! Results that a trusted worker did not sign, as they stand on the broker: never a pass.

use std::collections::BTreeSet;

use proto::{Built, Finished, JobKey, Outcome, Record, State};
use tests::{Flake, KeyedPool, pool::REPO};

use crate::{DEADLINE, all_built, text};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build().expect("a runtime").block_on(work)
}

/// A pool in which h01 and h02 were built by w1, whom the gate trusts, and nobody works any more.
struct Built2 {
    pool: KeyedPool,
    rev: String,
    trusting: String,
}

impl Built2 {
    fn new() -> Self {
        let pool = KeyedPool::start();
        let rev = pool.repo.commit("master", &Flake::hosts(2).files());
        let mut worker = pool.worker("w1", "");
        let args = ["submit", "--repo", REPO, "--all", "--ref", "master", "--wait", "--json"];
        all_built(pool.producer("ci", &args), 2);
        worker.sigterm();
        worker.wait(DEADLINE);
        let trusting = format!("trusted_workers = [{:?}]", pool.keys().public("w1"));
        Self { pool, rev, trusting }
    }

    fn job(&self, host: &str) -> JobKey {
        format!("{REPO}.{}.{host}", self.rev).parse().expect("a job")
    }

    fn record(&self, host: &str) -> Record {
        let job = self.job(host).to_string();
        let entry = block_on(async { self.pool.bus("reader").await.results().get(&job).await });
        entry.expect("an answer").value.expect("a result")
    }

    /// Mallory is a worker: the broker lets him write any result.
    fn written_by_mallory(&self, host: &str, record: &Record) {
        block_on(async {
            let bus = self.pool.bus("mallory").await;
            bus.results().put(&self.job(host).to_string(), record).await.expect("his right");
        });
    }

    #[track_caller]
    fn missing(&self, hosts: &str, host: &str, why: &str) {
        let output = self.pool.gate_check(&self.trusting, &["--rev", &self.rev, "--hosts", hosts]);
        let output = output.expect_code(3);
        assert_eq!(output.json()["verdict"], "undecided", "{output}");
        assert_eq!(output.json()["hosts"][host], "missing", "{output}");
        assert!(output.stderr.contains(why), "{output}");
    }

    #[track_caller]
    fn pass(&self, table: &str, hosts: &str) {
        let checked = self.pool.gate_check(table, &["--rev", &self.rev, "--hosts", hosts]);
        assert_eq!(checked.expect_code(0).json()["verdict"], "pass");
    }
}

fn finish(record: &mut Record) -> &mut Finished {
    match &mut record.state {
        State::Finished(finished) => finished,
        other => panic!("not finished: {other:?}"),
    }
}

#[test]
fn a_result_without_a_trusted_signature_never_passes_a_gate() {
    let it = Built2::new();
    it.pass(&it.trusting, "h01,h02");
    let genuine = it.record("h01");

    // What is not signed.
    let mut record = genuine.clone();
    finish(&mut record).signature = None;
    it.written_by_mallory("h01", &record);
    it.missing("h01,h02", "h01", "is not signed");
    it.pass("", "h01,h02");

    // Signed by somebody else.
    let job = it.job("h01");
    let foreign = block_on(async { it.pool.bus("mallory").await.signed(&job, genuine.clone()) });
    it.written_by_mallory("h01", &foreign);
    it.missing("h01,h02", "h01", "a worker that is not trusted");

    // Signed by somebody else in the trusted one's name.
    let mut record = foreign;
    let by = finish(&mut genuine.clone()).signature.clone().expect("signed").by;
    finish(&mut record).signature.as_mut().expect("signed").by = by;
    it.written_by_mallory("h01", &record);
    it.missing("h01,h02", "h01", "a signature of something else");

    // The genuine one of another host, of another claim, with another word around it.
    it.written_by_mallory("h01", &it.record("h02"));
    it.missing("h01,h02", "h01", "a signature of something else");
    let mut record = genuine.clone();
    record.epoch.0 += 1;
    it.written_by_mallory("h01", &record);
    it.missing("h01,h02", "h01", "a signature of something else");
    let mut record = genuine.clone();
    let Outcome::Built(Built { out_path, .. }) = &mut finish(&mut record).outcome else {
        panic!("not built: {record:?}");
    };
    out_path.push_str("-evil");
    it.written_by_mallory("h01", &record);
    it.missing("h01,h02", "h01", "a signature of something else");

    // And the genuine one in its place, whoever puts it back.
    it.written_by_mallory("h01", &genuine);
    it.pass(&it.trusting, "h01,h02");
}

#[test]
fn a_failure_that_nobody_trusted_signed_is_no_verdict_either() {
    let it = Built2::new();
    let mut record = it.record("h01");
    let (kind, failure) = (proto::FailureKind::BuildFailed, proto::Failure::message("made up"));
    finish(&mut record).outcome = Outcome::Failed { kind, failure };
    it.written_by_mallory("h01", &record);
    it.missing("h01,h02", "h01", "a signature of something else");
    let args = ["--rev", &it.rev, "--hosts", "h01,h02"];
    it.pool.gate_check("", &args).expect_code(1);
}

#[test]
fn a_job_that_another_worker_closes_is_signed_by_that_one() {
    let pool = KeyedPool::start();
    let rev = pool.repo.commit("master", &Flake::hosts(1).files());
    let args = ["submit", "--repo", REPO, "h01", "--rev", &rev, "--json"];
    let run = pool.producer("ci", &args).expect_code(0).json();
    pool.producer("ci", &["cancel", &text(&run["run"])]).expect_code(0);
    let _worker = pool.worker("mallory", "");
    let job: JobKey = text(&run["hosts"][0]["job"]).parse().expect("a job");

    let record = tests::eventually("the cancelled job's record", DEADLINE, || {
        block_on(async { pool.bus("reader").await.results().get(&job.to_string()).await })
            .expect("an answer")
            .value
    });

    assert_eq!(record.outcome(), Some(&Outcome::Cancelled));
    let key: bus::PublicKey = pool.keys().public("mallory").parse().expect("a key");
    let trusted = BTreeSet::from([key.clone()]);
    let verified = bus::signature::verify(&job, &record, &trusted);
    assert_eq!(verified, bus::signature::Verified::Valid { by: key });
}

#[test]
fn a_worker_vouches_for_no_path_that_somebody_else_wrote_down() {
    let it = Built2::new();
    let older = it.record("h01");
    let newer = it.pool.repo.commit("master", &Flake::hosts(2).salt("newer").files());
    // What the older commit came to, written as what the newer one did: the path is valid.
    let job = format!("{REPO}.{newer}.h01");
    block_on(async {
        let bus = it.pool.bus("mallory").await;
        bus.results().put(&job, &older).await.expect("his right");
    });
    let _worker = it.pool.worker("w1", "");
    let args = ["submit", "--repo", REPO, "h01", "--ref", "master", "--wait", "--json"];
    all_built(it.pool.producer("ci", &args), 1);

    let built = Built2 { rev: newer, ..it };
    let path = |record: &Record| match record.outcome() {
        Some(Outcome::Built(Built { out_path, reused, .. })) => (out_path.clone(), *reused),
        other => panic!("not built: {other:?}"),
    };
    let (new, reused) = path(&built.record("h01"));
    assert_ne!(new, path(&older).0, "the path of another commit, signed by a worker");
    assert!(!reused);
    built.pass(&built.trusting, "h01");

    // What the worker signed itself is taken over as ever.
    all_built(built.pool.producer("ci", &args), 1);
    assert_eq!(path(&built.record("h01")), (new, true));
}
