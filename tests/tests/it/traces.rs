//! Traces: what a real collector is sent of a job's way, and what happens without one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    path::Path,
    time::Duration,
};

use tests::{
    Collector, Flake, NixStore, Pool, PoolOptions, Updates, WorkerOptions,
    collector::{Arrived, Manner, env_for},
    eventually,
    flake::system_name,
    forge::Persona,
};

use crate::{DEADLINE, host, text};

fn pool_with(env: Vec<(String, String)>) -> Pool {
    Pool::start_with(&PoolOptions { env, ..PoolOptions::default() })
}

/// A job that w1 gives back in the middle and w2 finishes, traced; gives its run.
fn two_attempts(pool: &Pool, rev: &str) -> String {
    let second = NixStore::new();
    second.release("h01");
    let mut first =
        pool.worker_with("w1", &WorkerOptions { drain_timeout: "200ms", ..Default::default() });
    let submitted = pool.submit(&["h01", "--rev", rev, "--json"]).expect_code(0).json();
    pool.store.wait_for_build(&system_name("h01"), DEADLINE);
    first.sigterm();
    assert!(first.wait(DEADLINE).success(), "{}", first.log());
    let mut second =
        pool.worker_with("w2", &WorkerOptions { store: Some(&second), ..Default::default() });
    let run = text(&submitted["run"]);
    pool.producer(&["watch", &run]).expect_code(0);
    eventually("an empty queue", DEADLINE, || (pool.messages("NBP_JOBS") == 0).then_some(()));
    // Its last spans are sent before it ends.
    second.sigterm();
    assert!(second.wait(DEADLINE).success(), "{}", second.log());
    run
}

/// The spans that can be reached from one, by parents and links in either direction.
fn connected<'a>(spans: &'a [Arrived], from: &'a Arrived) -> BTreeSet<&'a [u8]> {
    let mut ties: BTreeMap<&[u8], BTreeSet<&[u8]>> = BTreeMap::new();
    for span in spans {
        let others = span.links.iter().map(|(_, span)| span).chain([&span.parent]);
        for other in others.filter(|other| !other.is_empty()) {
            ties.entry(&span.span).or_default().insert(other);
            ties.entry(other).or_default().insert(&span.span);
        }
    }
    let mut reached: BTreeSet<&[u8]> = BTreeSet::new();
    let mut next: Vec<&[u8]> = vec![&from.span];
    while let Some(span) = next.pop() {
        if reached.insert(span) {
            next.extend(ties.get(span).into_iter().flatten());
        }
    }
    reached
}

#[track_caller]
fn said(span: &Arrived, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        let found = span.attributes.get(*name).map(String::as_str);
        assert_eq!(found, Some(*value), "{name} of {span:#?}");
    }
}

#[track_caller]
fn counted(span: &Arrived, expected: &[(&str, i64)]) {
    for (name, value) in expected {
        assert_eq!(span.numbers.get(*name), Some(value), "{name} of {span:#?}");
    }
}

/// A span that says that it failed, by this type and for a reason that has these words.
#[track_caller]
fn failed(span: &Arrived, kind: &str, words: &str) {
    said(span, &[("error.type", kind)]);
    assert!(span.failed.as_ref().is_some_and(|why| why.contains(words)), "{span:#?}");
}

/// The tables of docs/traces.md.
#[track_caller]
fn docs_name_all_attributes(spans: &[Arrived]) {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/traces.md");
    let docs = fs::read_to_string(docs).expect("the docs");
    let told: BTreeSet<&str> = docs.split('`').collect();
    for span in spans {
        for name in span.attributes.keys().chain(span.numbers.keys()) {
            assert!(told.contains(name.as_str()), "{name} of {span:#?}");
        }
    }
}

#[test]
fn one_trace_connects_the_submit_two_attempts_on_two_workers_and_the_check() {
    let collector = Collector::start(Manner::Takes);
    let pool = pool_with(collector.env());
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));

    let run = two_attempts(&pool, &rev);
    pool.gate_check(&["--rev", &rev, "--run", &run]).expect_code(0);

    let attempts = collector.wait_for("process nbp.build", 2, DEADLINE);
    let [submit] = &collector.wait_for("submit", 1, DEADLINE)[..] else { panic!("one submit") };
    let [publish] = &collector.wait_for("publish nbp.build", 1, DEADLINE)[..] else {
        panic!("one publish")
    };
    let [check] = &collector.wait_for("gate check", 1, DEADLINE)[..] else { panic!("one check") };
    let [first, second] = &attempts[..] else { panic!("two attempts: {attempts:#?}") };
    let (own, asking) = (&submit.trace, (publish.trace.clone(), publish.span.clone()));
    assert_eq!((&submit.parent.len(), &publish.parent), (&0, &submit.span));
    assert_eq!((&first.trace, &first.parent, first.links.len()), (own, &publish.span, 0));
    assert_eq!((&second.parent.len(), &second.links), (&0, &vec![asking]), "linked, not nested");
    assert_eq!((&check.trace, &check.parent), (own, &submit.span));
    let spans = collector.spans();
    let reached = connected(&spans, submit);
    let apart: Vec<&Arrived> =
        spans.iter().filter(|span| !reached.contains(&span.span[..])).collect();
    assert!(apart.is_empty(), "not connected: {apart:#?}");
    what_they_say(&spans, &rev, &run);
}

fn what_they_say(spans: &[Arrived], rev: &str, run: &str) {
    let named = |name: &'static str| spans.iter().filter(move |span| span.name == name);
    let job = format!("homelab.{rev}.h01");
    for submit in named("submit") {
        assert_eq!(submit.service, "nbp-producer");
        said(submit, &[("cicd.pipeline.name", "homelab"), ("cicd.pipeline.run.id", run)]);
        said(submit, &[("vcs.ref.head.revision", rev)]);
        counted(submit, &[("nbp.hosts", 1)]);
    }
    for publish in named("publish nbp.build") {
        said(publish, &[("messaging.system", "nats"), ("messaging.operation.name", "publish")]);
        said(publish, &[("messaging.operation.type", "send"), ("nbp.asked", "queued")]);
        said(publish, &[("nbp.job", &job), ("messaging.destination.name", "NBP_JOBS")]);
    }
    let ends = ["handed-back", "built"].into_iter().zip(["cancellation", "success"]);
    for (n, (attempt, (outcome, result))) in (1..).zip(named("process nbp.build").zip(ends)) {
        assert_eq!(attempt.service, "nbp-worker");
        said(attempt, &[("nbp.outcome", outcome), ("cicd.pipeline.task.run.result", result)]);
        said(attempt, &[("cicd.worker.name", &format!("w{n}"))]);
        counted(attempt, &[("nbp.attempt", n), ("nbp.epoch", n)]);
        assert!(attempt.numbers["nbp.deliveries"] > 0, "{attempt:#?}");
        said(attempt, &[("nbp.job", &job), ("messaging.operation.type", "process")]);
        said(attempt, &[("messaging.consumer.group.name", "x86_64-linux-normal")]);
        let inside =
            |name: &'static str| named(name).filter(|span| span.parent == attempt.span).count();
        assert_eq!(["fetch", "evaluate", "build"].map(inside), [1, 1, 1], "phases of attempt {n}");
        let settled = if n == 1 { "nak nbp.build" } else { "ack nbp.build" };
        assert_eq!(inside(settled), 1, "{settled} of attempt {n}");
    }
    for check in named("gate check") {
        assert_eq!(check.service, "nbp-gate");
        said(check, &[("nbp.verdict", "pass"), ("vcs.ref.head.revision", rev)]);
        said(check, &[("cicd.pipeline.result", "success")]);
    }
    docs_name_all_attributes(spans);
}

#[test]
fn a_job_that_a_sweep_found_is_a_part_of_what_asked_for_it() {
    let collector = Collector::start(Manner::Takes);
    let pool = pool_with(collector.env());
    let rev = pool.commit("master", &Flake::hosts(1));
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    pool.block_on(async {
        let stream = pool.jetstream().await.get_stream("NBP_JOBS").await.expect("the stream");
        stream.purge().await.expect("purged");
    });
    let often = WorkerOptions { worker: "sweep_every = \"1s\"", ..WorkerOptions::default() };
    let _worker = pool.worker_with("w1", &often);

    let [publish] = &collector.wait_for("publish nbp.build", 1, DEADLINE)[..] else {
        panic!("one publish")
    };
    let attempts = collector.wait_for("process nbp.build", 1, DEADLINE);
    assert_eq!((&attempts[0].trace, &attempts[0].parent), (&publish.trace, &publish.span));
}

#[test]
fn a_landing_is_one_trace_from_the_gate_to_the_builds() {
    let collector = Collector::start(Manner::Takes);
    let options = PoolOptions { env: collector.env(), ..PoolOptions::default() };
    let site = Updates::start_with(&Flake::hosts(1), Persona::Gitea126, &options);
    let _worker = site.pool.worker("w1");
    site.upstream(&Flake::hosts(2));

    site.run(&[]).expect_code(0);

    let gate = collector.wait_for("gate run", 1, DEADLINE).remove(0);
    said(&gate, &[("nbp.end", "landed"), ("vcs.ref.base.name", "master")]);
    said(&gate, &[("cicd.pipeline.result", "success")]);
    docs_name_all_attributes(&collector.spans());
    for step in ["pin", "prepare", "publish", "list", "test", "land", "tell", "clear"] {
        let step = collector.wait_for(&format!("gate {step}"), 1, DEADLINE).remove(0);
        assert_eq!((&step.trace, &step.parent), (&gate.trace, &gate.span), "{step:#?}");
    }
    for attempt in collector.wait_for("process nbp.build", 2, DEADLINE) {
        assert_eq!(attempt.trace, gate.trace, "{attempt:#?}");
    }
    let [run] = &site.records()[..] else { panic!("one run") };
    assert!(run["trace"].is_string(), "for whoever goes on with it: {run:#}");
}

#[test]
fn what_fails_says_so_by_its_span() {
    let collector = Collector::start(Manner::Takes);
    let pool = pool_with(collector.env());
    let rev = pool.commit("master", &Flake::hosts(1).failing("h01"));
    pool.submit(&["h01", "--ref", "gone"]).expect_code(2);
    let submit = collector.wait_for("submit", 1, DEADLINE).remove(0);
    failed(&submit, "usage", "gone");
    said(&submit, &[("cicd.pipeline.result", "error")]);
    pool.submit(&["h01", "--ref", "master", "--wait", "--timeout", "100ms"]).expect_code(3);
    let submit = collector.wait_for("submit", 2, DEADLINE).remove(1);
    failed(&submit, "timeout", "timeout");
    said(&submit, &[("cicd.pipeline.result", "timeout")]);

    let _worker = pool.worker("w1");
    pool.submit(&["h01", "--ref", "master", "--wait"]).expect_code(1);
    let submit = collector.wait_for("submit", 3, DEADLINE).remove(2);
    failed(&submit, "failed", "failed");
    said(&submit, &[("cicd.pipeline.result", "failure"), ("vcs.ref.head.name", "master")]);
    let attempt = collector.wait_for("process nbp.build", 1, DEADLINE).remove(0);
    failed(&attempt, "build-failed", "build-failed");
    failed(&collector.wait_for("build", 1, DEADLINE)[0], "build-failed", "build-failed");
    for well in ["fetch", "evaluate"] {
        assert_eq!(collector.wait_for(well, 1, DEADLINE)[0].failed, None, "{well}");
    }

    pool.gate_check(&["--rev", &rev, "--hosts", "h01"]).expect_code(1);
    let unknown = "01a205c2-16b4-7095-a68f-a42b236999a4";
    pool.gate_check(&["--rev", &rev, "--run", unknown]).expect_code(2);
    let checks = collector.wait_for("gate check", 2, DEADLINE);
    failed(&checks[0], "fail", "fail");
    said(&checks[0], &[("cicd.pipeline.result", "failure")]);
    failed(&checks[1], "usage", unknown);
    said(&checks[1], &[("cicd.pipeline.result", "error")]);
    docs_name_all_attributes(&collector.spans());
}

#[test]
fn a_gate_run_that_stops_in_the_middle_says_at_which_step() {
    let collector = Collector::start(Manner::Takes);
    let options = PoolOptions { env: collector.env(), ..PoolOptions::default() };
    let site = Updates::start_with(&Flake::hosts(1), Persona::Gitea126, &options);
    // Nobody has set a queue up for these.
    site.upstream(&Flake::hosts(2).system("h02", "riscv64-linux"));

    site.run(&[]).expect_code(2);

    let gate = collector.wait_for("gate run", 1, DEADLINE).remove(0);
    failed(&gate, "usage", "riscv64-linux");
    said(&gate, &[("nbp.end", "error"), ("cicd.pipeline.result", "error")]);
    let spans = collector.spans();
    let steps: Vec<&Arrived> = spans.iter().filter(|it| it.parent == gate.span).collect();
    let (last, before) = steps.split_last().expect("steps");
    failed(last, "usage", "riscv64-linux");
    assert!(before.iter().all(|step| step.failed.is_none()), "{before:#?}");
}

#[test]
fn a_small_queue_in_the_environment_loses_no_span() {
    let collector = Collector::start(Manner::Takes);
    let mut env = collector.env();
    env.push(("OTEL_BSP_MAX_QUEUE_SIZE".to_owned(), "1".to_owned()));
    let pool = pool_with(env);
    pool.commit("master", &Flake::hosts(40));

    pool.submit(&["--all", "--ref", "master"]).expect_code(0);

    collector.wait_for("publish nbp.build", 40, DEADLINE);
    collector.wait_for("submit", 1, DEADLINE);
}

#[test]
fn a_trace_that_a_ci_began_goes_on_in_the_pool() {
    let collector = Collector::start(Manner::Takes);
    let mut env = collector.env();
    let began = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    env.push(("TRACEPARENT".to_owned(), began.to_owned()));
    let pool = pool_with(env);
    let rev = pool.commit("master", &Flake::hosts(1));

    pool.submit(&["h01", "--rev", &rev]).expect_code(0);

    let submit = collector.wait_for("submit", 1, DEADLINE).remove(0);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(format!("00-{}-{}-01", hex(&submit.trace), hex(&submit.parent)), began);
}

/// What is built with such a collector: a job to its end by a worker, which says once that traces
/// are lost, and ends when it is told to.
#[track_caller]
fn builds_all_the_same(env: Vec<(String, String)>, complaint: &str, calls: impl Fn() -> bool) {
    let pool = pool_with(env);
    let rev = pool.commit("master", &Flake::hosts(2));
    let mut worker = pool.worker("w1");

    let answer = pool.submit(&["--all", "--ref", "master", "--wait", "--json"]).expect_code(0);

    for name in ["h01", "h02"] {
        assert_eq!(host(&answer.json(), name)["outcome"], "built");
    }
    assert_eq!(text(&answer.json()["rev"]), rev);
    if !complaint.is_empty() {
        worker.wait_for_log(complaint, DEADLINE);
        eventually("several tries", DEADLINE, || calls().then_some(()));
    }
    worker.sigterm();
    assert!(worker.wait(DEADLINE).success(), "{}", worker.log());
    let said = worker.log().matches("the collector takes no traces").count();
    assert!(said <= 1, "said {said} times:\n{}", worker.log());
    assert!(!worker.log().contains('\u{1b}'), "a collector's words are foreign: {}", worker.log());
}

#[test]
fn a_collector_that_is_away_costs_no_build_and_is_told_of_once() {
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
    builds_all_the_same(env_for(closed), "the collector takes no traces", || true);
}

#[test]
fn a_collector_that_refuses_costs_no_build_and_is_told_of_once() {
    let collector = Collector::start(Manner::Refuses);
    let several = || collector.calls() >= 3;
    builds_all_the_same(collector.env(), "the collector takes no traces", several);
    assert!(collector.spans().is_empty());
}

#[test]
fn a_collector_that_hangs_costs_no_build() {
    let collector = Collector::start(Manner::Hangs);
    builds_all_the_same(collector.env(), "", || true);
    assert!(collector.calls() > 0, "it was asked");
}

#[test]
fn without_a_collector_nothing_of_a_trace_is_written_anywhere() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    let request = &pool.bucket("nbp-requests")[&format!("homelab.{rev}.h01")];
    assert!(request.get("trace").is_none(), "{request:#}");
    for run in pool.bucket("nbp-runs").into_values() {
        assert!(run.get("trace").is_none(), "{run:#}");
    }
}

#[test]
fn a_setting_that_cannot_be_followed_is_named_and_fails_no_command() {
    let check = |name: &str, value: &str, complaint: &str| {
        let mut env = env_for(([127, 0, 0, 1], 1).into());
        env.push((name.to_owned(), value.to_owned()));
        let pool = pool_with(env);
        let rev = pool.commit("master", &Flake::hosts(1));
        let said = pool.submit(&["h01", "--rev", &rev]).expect_code(0).stderr;
        assert_eq!(said.matches("there will be no traces: failed to ").count(), 1, "{said}");
        assert!(said.contains(complaint), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    };
    let no_address = "follow OTEL_EXPORTER_OTLP_ENDPOINT: it is no address of a collector";
    for bad in ["127.0.0.1:4317", "http://me:hunter2@", "http://me:hunter2@a b:4317", "hunter2"] {
        check("OTEL_EXPORTER_OTLP_ENDPOINT", bad, no_address);
    }
    check("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "only \"grpc\" is spoken here");
    check("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem", "read /nowhere.pem");
}

#[test]
fn the_protocol_may_be_written_in_capitals() {
    let collector = Collector::start(Manner::Takes);
    let mut env = collector.env();
    env.push(("OTEL_EXPORTER_OTLP_PROTOCOL".to_owned(), "GRPC".to_owned()));
    let pool = pool_with(env);
    let rev = pool.commit("master", &Flake::hosts(1));
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    collector.wait_for("submit", 1, DEADLINE);
}

#[test]
fn a_collectors_token_reaches_no_child_of_a_worker() {
    let token = format!("token-{}", fastrand::u64(..));
    let collector = Collector::start(Manner::Takes);
    let mut env = collector.env();
    env.push(("OTEL_EXPORTER_OTLP_HEADERS".to_owned(), format!("authorization={token}")));
    let pool = pool_with(env);
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let worker = pool.worker("w1");
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    pool.store.wait_for_build(&system_name("h01"), DEADLINE);

    let holders: Vec<u32> = fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            String::from_utf8_lossy(&environ).contains(&token)
        })
        .collect();

    assert_eq!(holders, [worker.id()], "the worker and nobody else");
    assert!(!worker.log().contains(&token), "{}", worker.log());
}

/// Longest that a hanging collector may hold a command that has ended.
const HELD_MAX: Duration = Duration::from_secs(30);

#[test]
fn a_collector_that_hangs_does_not_hold_a_command_for_long() {
    let collector = Collector::start(Manner::Hangs);
    let mut env = collector.env();
    env.push(("OTEL_EXPORTER_OTLP_TIMEOUT".to_owned(), "600000".to_owned()));
    let pool = pool_with(env);
    let rev = pool.commit("master", &Flake::hosts(1));
    let mut submit =
        pool.spawn_producer("submit", &["submit", "--repo", "homelab", "h01", "--rev", &rev]);
    assert!(submit.wait(HELD_MAX).success(), "{}", submit.log());
    // Its submit and its publish.
    let said = submit.log();
    assert_eq!(
        said.matches("2 spans are lost: the collector did not take them").count(),
        1,
        "{said}"
    );
}
