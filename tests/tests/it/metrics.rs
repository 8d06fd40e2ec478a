//! What Prometheus gets to see: real scrapes, the shipped rules, real pushes.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    net::{SocketAddr, TcpStream},
    path::Path,
};

use tests::{
    Flake, KeyedPool, Pool, Prometheus, PushGateway, Spawned, Updates, WorkerOptions, eventually,
    flake::system_name,
    pool::REPO,
    prometheus::{Page, lint, names, read, value},
};

use crate::{DEADLINE, all_built, text};

/// `[telemetry]` with a port that the worker chooses.
const LISTEN: &str = "[telemetry]\nlisten = \"127.0.0.1:0\"\n";

fn options() -> WorkerOptions<'static> {
    WorkerOptions { worker: "sweep_every = \"300ms\"", extra: LISTEN.into(), ..Default::default() }
}

/// Where a worker serves its metrics.
#[track_caller]
fn address(worker: &Spawned) -> SocketAddr {
    eventually("the address of the metrics", DEADLINE, || {
        let log = worker.log();
        let (_, after) = log.split_once("metrics at http://")?;
        after.split_once("/metrics")?.0.parse().ok()
    })
}

#[track_caller]
fn page(address: SocketAddr) -> String {
    eventually("a page of metrics", DEADLINE, || Some(read(address, "/metrics")?.body))
}

/// Waits until a series of a worker has this value.
#[track_caller]
fn becomes(address: SocketAddr, name: &str, labels: &[&str], wanted: f64) {
    eventually(&format!("{name} {labels:?} to be {wanted}"), DEADLINE, || {
        (value(&page(address), name, labels)? == wanted).then_some(())
    });
}

#[track_caller]
fn answers(address: SocketAddr, path: &str, status: u16, body: &str) {
    eventually(&format!("{path} to say {status} {body}"), DEADLINE, || {
        let page = read(address, path)?;
        (page.status == status && page.body.contains(body)).then_some(())
    });
}

#[test]
fn an_alert_fires_when_a_workers_jobs_wait_with_nobody_to_build_them() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(2).system("h02", "aarch64-linux"));
    let worker = pool.worker_with("w1", &options());
    let prometheus = Prometheus::start(address(&worker));
    eventually("a scrape", DEADLINE, || {
        let up = prometheus.query("nbp_jobs_waiting{reason=\"no-worker\"}");
        (!up.is_empty()).then_some(())
    });

    // One that is built: what only waits for its turn is no alert.
    all_built(pool.submit(&["h01", "--ref", "master", "--wait", "--json"]), 1);
    assert_eq!(prometheus.firing("NbpJobsWithoutWorker"), [0; 0]);

    let run = pool.submit(&["--all", "--exclude", "h01", "--ref", "master", "--json"]);
    let run = text(&run.expect_code(0).json()["run"]);
    let alert =
        eventually("an alert", DEADLINE, || prometheus.firing("NbpJobsWithoutWorker").pop());
    assert_eq!(alert["class"], "aarch64-linux");
    assert_eq!(alert["reason"], "no-worker");
    assert_eq!(alert["severity"], "critical");

    pool.producer(&["cancel", &run]).expect_code(0);
    eventually("the alert to end", DEADLINE, || {
        prometheus.firing("NbpJobsWithoutWorker").is_empty().then_some(())
    });
    assert_eq!(prometheus.firing("NbpWorkerDown"), [0; 0]);
    drop(worker);
    eventually("the dead worker to be missed", DEADLINE, || {
        prometheus.firing("NbpWorkerDown").pop()
    });
}

#[test]
fn a_worker_that_dies_leaves_jobs_that_another_one_sees_waiting() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let arm = WorkerOptions { systems: vec!["aarch64-linux"], ..options() };
    let witness = pool.worker_with("w2", &arm);
    let witness = address(&witness);
    let mut worker = pool.worker_with("w1", &options());
    pool.submit(&["h01", "--rev", &rev, "--ref", "master"]).expect_code(0);
    pool.store.wait_for_build(&system_name("h01"), DEADLINE);
    let waits = &["class=\"x86_64-linux\"", "reason=\"no-worker\""];
    // In the hands of w1, as it says itself within 15 s.
    becomes(witness, "nbp_jobs_waiting", &["class=\"x86_64-linux\"", "served"], 0.0);
    becomes(witness, "nbp_jobs_waiting", waits, 0.0);

    worker.sigkill();

    // Presence is forgotten after 45 s.
    becomes(witness, "nbp_jobs_waiting", waits, 1.0);
    assert!(value(&page(witness), "nbp_queue_oldest_seconds", &["x86_64"]) > Some(0.0));
}

#[test]
fn a_worker_counts_what_it_builds_from_zero_on() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(2).failing("h02"));
    let worker = pool.worker_with("w1", &options());
    let metrics = address(&worker);
    let reason = "reason=\"disk-full\"";
    assert_eq!(value(&page(metrics), "nbp_retries_total", &[reason]), Some(0.0));
    becomes(metrics, "nbp_broker_connected", &[], 1.0);
    becomes(metrics, "nbp_dead_letters", &[], 0.0);

    let submit = || pool.submit(&["--all", "--ref", "master", "--wait", "--json"]);
    submit().expect_code(1);
    let ended = |host: &str, outcome: &str| {
        let labels = [&*format!("host=\"{host}\""), &*format!("outcome=\"{outcome}\"")];
        becomes(metrics, "nbp_builds_total", &labels, 1.0);
    };
    ended("h01", "built");
    ended("h02", "build-failed");
    let seen = page(metrics);
    let of = |name: &str, labels: &[&str]| value(&seen, name, labels);
    let other = of("nbp_builds_total", &["host=\"h01\"", "outcome=\"build-failed\""]);
    assert_eq!(other, Some(0.0));
    assert_eq!(of("nbp_build_duration_seconds_count", &["repo=\"homelab\""]), Some(2.0));
    assert_eq!(of("nbp_phase_duration_seconds_count", &["phase=\"evaluate\""]), Some(2.0));
    assert_eq!(of("nbp_queue_wait_seconds_count", &[]), Some(2.0));
    assert_eq!(of("nbp_builds_in_progress", &[]), Some(0.0));
    assert!(of("nbp_store_free_bytes", &["place=\"store\""]) > Some(0.0));
    // That one is found by the worker's next look at the pool.
    eventually("the time of the success", DEADLINE, || {
        let at = value(&page(metrics), "nbp_last_success_timestamp_seconds", &["host=\"h01\""]);
        (at > Some(1e9)).then_some(())
    });

    // What a worker knows of successes it has from the pool: a restart forgets nothing.
    drop(worker);
    let worker = pool.worker_with("w2", &options());
    let other = address(&worker);
    eventually("the successes of another worker", DEADLINE, || {
        let seen = page(other);
        let at = |host| value(&seen, "nbp_last_success_timestamp_seconds", &[host]);
        (at("host=\"h01\"")? > 1e9 && at("host=\"h02\"")? == 0.0).then_some(())
    });
}

/// A worker that takes nothing, so that it only sweeps.
fn onlooker() -> WorkerOptions<'static> {
    WorkerOptions { admission: "store_free = \"8EiB\"", ..options() }
}

/// When hosts were built last, by a worker's word after its first sweep.
#[track_caller]
fn successes<const N: usize>(address: SocketAddr, hosts: [&str; N]) -> [Option<f64>; N] {
    eventually("a sweep", DEADLINE, || {
        let seen = page(address);
        let swept = value(&seen, "nbp_swept_timestamp_seconds", &[])? > 1e9;
        let of = |host: &str| {
            let host = format!("host=\"{host}\"");
            value(&seen, "nbp_last_success_timestamp_seconds", &[&host])
        };
        swept.then(|| hosts.map(of))
    })
}

#[test]
fn a_host_that_is_asked_for_again_was_built_all_the_same() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(3));
    pool.commit("flake-update/x", &Flake::hosts(3).salt("x"));
    let worker = pool.worker("w1");
    // No note of a last good build is made of a branch that is not tracked.
    for (host, branch) in [("h01", "master"), ("h02", "flake-update/x")] {
        all_built(pool.submit(&[host, "--ref", branch, "--wait", "--json"]), 1);
    }
    drop(worker);
    for (host, branch) in [("h01", "master"), ("h02", "flake-update/x"), ("h03", "master")] {
        pool.submit(&[host, "--ref", branch, "--force"]).expect_code(0);
    }

    let witness = pool.worker_with("w2", &onlooker());
    let [first, second, third] = successes(address(&witness), ["h01", "h02", "h03"]);

    assert!(first > Some(1e9) && second > Some(1e9), "{first:?} {second:?}");
    assert_eq!(third, Some(0.0), "that one was never built");
}

#[test]
fn a_success_outlives_the_request_that_it_answered() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(1));
    let forgetful = "sweep_every = \"200ms\"\nkeep_requests = \"1s\"";
    let worker =
        pool.worker_with("w1", &WorkerOptions { worker: forgetful, ..WorkerOptions::default() });
    all_built(pool.submit(&["h01", "--ref", "master", "--wait", "--json"]), 1);
    eventually("no request", DEADLINE, || pool.bucket("nbp-requests").is_empty().then_some(()));
    drop(worker);
    pool.commit("master", &Flake::hosts(1).salt("newer"));
    pool.submit(&["h01", "--ref", "master"]).expect_code(0);

    let witness = pool.worker_with("w2", &onlooker());
    let [seen] = successes(address(&witness), ["h01"]);

    assert!(seen > Some(1e9), "{seen:?}");
}

#[test]
fn probes_say_whether_a_worker_lives_and_whether_it_takes_jobs() {
    let mut pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    pool.nats.kill();
    let worker = pool.worker_with("w1", &options());
    let probes = address(&worker);
    answers(probes, "/healthz", 200, "ok");
    answers(probes, "/readyz", 503, "not connected to the broker");
    assert_eq!(value(&page(probes), "nbp_broker_connected", &[]), Some(0.0));

    pool.nats.restart();
    answers(probes, "/readyz", 200, "ok");
    answers(probes, "/healthz", 200, "ok");
    pool.nats.kill();
    answers(probes, "/readyz", 503, "not connected to the broker");
    pool.nats.restart();
    answers(probes, "/readyz", 200, "ok");

    pool.submit(&["h01", "--rev", &rev, "--ref", "master"]).expect_code(0);
    pool.store.wait_for_build(&system_name("h01"), DEADLINE);
    becomes(probes, "nbp_builds_in_progress", &[], 1.0);
    worker.sigterm();
    answers(probes, "/readyz", 503, "draining");
    becomes(probes, "nbp_draining", &[], 1.0);
    answers(probes, "/healthz", 200, "ok");
    pool.store.release("h01");
}

#[test]
fn a_worker_without_room_says_so_and_is_not_ready() {
    let pool = Pool::start();
    let worker = WorkerOptions { admission: "store_free = \"8EiB\"", ..options() };
    let worker = pool.worker_with("w1", &worker);
    let metrics = address(&worker);
    answers(metrics, "/readyz", 503, "taking no new jobs: space");
    answers(metrics, "/healthz", 200, "ok");
    becomes(metrics, "nbp_admission_paused", &["reason=\"space\""], 1.0);
    becomes(metrics, "nbp_admission_paused", &["reason=\"inodes\""], 0.0);
}

#[test]
fn hostile_scrapers_do_not_hurt_a_worker() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(2));
    let worker = pool.worker_with("w1", &options());
    let metrics = address(&worker);
    let mut hostile = Vec::new();
    for number in 0..100 {
        let Ok(mut stream) = TcpStream::connect_timeout(&metrics, DEADLINE) else { continue };
        let noise: &[u8] = match number % 4 {
            0 => b"",
            1 => b"GET /metrics HTTP/1.1\r\nX: ",
            2 => &[0xff; 4096],
            _ => b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        };
        stream.write_all(noise).ok();
        hostile.push(stream);
    }
    let open = fs::read_dir(format!("/proc/{}/fd", worker.id())).expect("its files").count();
    assert!(open < 64, "{open} open files");

    all_built(pool.submit(&["--all", "--ref", "master", "--wait", "--json"]), 2);
    // A scraper waits its turn; the silent ones are dropped one after the other.
    let Page { status, head, body } =
        eventually("a page", DEADLINE, || read(metrics, "/metrics").filter(|it| it.status == 200));
    assert!(head.contains("text/plain; version=0.0.4"), "{status} {head}");
    assert!(body.contains("nbp_builds_total{"));
}

#[test]
fn a_port_that_is_taken_ends_a_worker_with_words() {
    let pool = Pool::start();
    let first = pool.worker_with("w1", &options());
    let extra = format!("[telemetry]\nlisten = \"{}\"\n", address(&first));
    let mut second = pool.worker_with("w2", &WorkerOptions { extra, ..options() });
    assert_eq!(second.wait(DEADLINE).code(), Some(2));
    assert!(second.log().contains("[telemetry] listen"), "{}", second.log());
}

#[test]
fn a_worker_with_no_more_rights_than_its_role_counts_the_dead_letters() {
    let pool = KeyedPool::start();
    let worker = pool.worker("w1", &format!("sweep_every = \"300ms\"\n{LISTEN}"));
    let metrics = address(&worker);
    becomes(metrics, "nbp_dead_letters", &[], 0.0);
    assert!(value(&page(metrics), "nbp_swept_timestamp_seconds", &[]) > Some(1e9));
}

#[test]
fn a_push_gateway_gets_each_host_of_submits_and_gate_runs_and_the_docs_name_all_there_is() {
    let site = Updates::start(&Flake::hosts(2));
    let gateway = PushGateway::start();
    let worker = site.pool.worker_with("w1", &options());
    let push = ["--push-metrics", &gateway.url()];
    let submit = ["--all", "--ref", "master", "--wait", "--json"];
    all_built(site.pool.submit(&[&submit[..], &push[..]].concat()), 2);
    let pushed = gateway.page();
    let of_host = |page: &str, name: &str, host: &str| {
        let host = format!("host=\"{host}\"");
        value(page, name, &[&host, "job=\"nbp_submit\"", "repo=\"homelab\""])
    };
    assert_eq!(of_host(&pushed, "nbp_submit_host_success", "h01"), Some(1.0));
    assert!(of_host(&pushed, "nbp_submit_host_duration_seconds", "h02") > Some(0.0));
    assert_eq!(value(&pushed, "nbp_submit_hosts", &["result=\"built\""]), Some(2.0));
    assert_eq!(value(&pushed, "nbp_submit_success", &[]), Some(1.0));

    site.upstream(&Flake::hosts(2).salt("newer").failing("h02"));
    let answer = site.run(&push).expect_code(1).json();
    let pushed = gateway.page();
    let gate = |name: &str, label: &str| {
        value(&pushed, name, &["job=\"nbp_gate\"", "base=\"master\"", label])
    };
    assert_eq!(gate("nbp_gate_host_success", "host=\"h01\""), Some(1.0));
    assert_eq!(gate("nbp_gate_host_success", "host=\"h02\""), Some(0.0));
    assert_eq!(gate("nbp_gate_verdict", "verdict=\"fail\""), Some(1.0));
    assert_eq!(gate("nbp_gate_end", "end=\"failed\""), Some(1.0));
    assert_eq!(gate("nbp_gate_last_pass_timestamp_seconds", ""), None);

    site.upstream(&Flake::hosts(2).salt("newest"));
    site.run(&push).expect_code(0);
    let rev = text(&answer["candidate"]["revision"]);
    let check = ["check", "--repo", REPO, "--rev", &rev, "--hosts", "h01,h02"];
    site.pool.gate(&[&check[..], &push[..]].concat()).expect_code(1);
    // One host alone, which fails: what was told of the other stays.
    let one = ["h02", "--ref", "master", "--rev", &rev, "--wait"];
    site.pool.submit(&[&one[..], &push[..]].concat()).expect_code(1);
    let pushed = gateway.page();
    let failed = "verdict=\"fail\"";
    assert_eq!(value(&pushed, "nbp_gate_check_verdict", &[failed]), Some(1.0));
    assert!(value(&pushed, "nbp_gate_last_pass_timestamp_seconds", &[]) > Some(1e9));
    assert_eq!(of_host(&pushed, "nbp_submit_host_success", "h01"), Some(1.0));
    assert_eq!(of_host(&pushed, "nbp_submit_host_success", "h02"), Some(0.0));
    let last = "nbp_submit_host_last_success_timestamp_seconds";
    assert!(of_host(&pushed, last, "h02") > Some(1e9), "the last success stays");

    let served = page(address(&worker));
    lint(&served);
    docs_name_all_there_is(&served, &pushed);
}

/// The tables of docs/operate.md, from which scripts/check-metrics takes what rules and dashboard
/// may use.
fn docs_name_all_there_is(worker: &str, pushed: &str) {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operate.md");
    let docs = fs::read_to_string(docs).expect("the docs");
    let (_, section) = docs.split_once("\n## Metrics\n").expect("a section");
    let (section, _) = section.split_once("\n## ").expect("another section");
    let words = section.lines().filter(|line| line.starts_with('|')).flat_map(|it| it.split('`'));
    let named: BTreeSet<String> =
        words.filter(|word| word.starts_with("nbp_")).map(str::to_owned).collect();
    let ours = |page: &str| names(page).into_iter().filter(|name| name.starts_with("nbp_"));
    let served: BTreeSet<String> = ours(worker).chain(ours(pushed)).collect();
    assert_eq!(named, served, "left: docs/operate.md; right: what programs say");
}

#[test]
fn a_push_that_fails_is_said_once_and_changes_no_exit_code() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(1));
    let _worker = pool.worker("w1");
    let submit = ["--all", "--ref", "master", "--wait", "--json", "--push-metrics"];
    let to = |url: &str| pool.submit(&[&submit[..], &[url]].concat());

    let output = to("http://me:hunter2@127.0.0.1:1/hunter2");
    assert_eq!(output.stderr.matches("metrics were not pushed").count(), 1, "{output}");
    assert!(!output.stderr.contains("hunter2"), "{output}");
    all_built(output, 1);

    let output = to("hunter2").expect_code(2);
    assert!(output.stderr.contains("--push-metrics"), "{output}");
    assert!(!output.stderr.contains("hunter2"), "{output}");
    let mut help = pool.client("producer");
    help.args(["submit", "--help"]).env("NBP_PUSH_METRICS", "http://me:hunter2@x");
    let help = tests::process::run(&mut help, DEADLINE);
    assert!(!help.stdout.contains("hunter2"), "{help}");
}

#[test]
fn a_submit_that_never_came_to_a_build_is_told_as_no_success() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(1));
    let gateway = PushGateway::start();
    let submit = ["--all", "--ref", "gone", "--wait", "--push-metrics", &gateway.url()];
    pool.submit(&submit).expect_code(2);
    assert_eq!(value(&gateway.page(), "nbp_submit_success", &["homelab"]), Some(0.0));
}

#[test]
fn a_submit_that_is_told_to_stop_tells_how_far_it_came() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(1));
    let gateway = PushGateway::start();
    let submit = ["submit", "--repo", REPO, "--all", "--ref", "master", "--wait"];
    let push = ["--push-metrics", &gateway.url()];
    let mut submit = pool.spawn_producer("submit", &[&submit[..], &push[..]].concat());
    submit.wait_for_log("0 of 1", DEADLINE);

    submit.sigterm();

    assert_eq!(submit.wait(DEADLINE).code(), Some(3), "{}", submit.log());
    assert!(submit.log().contains("the builds go on"), "{}", submit.log());
    let pushed = gateway.page();
    assert_eq!(value(&pushed, "nbp_submit_success", &[]), Some(0.0));
    assert_eq!(value(&pushed, "nbp_submit_hosts", &["result=\"open\""]), Some(1.0));
}

#[test]
fn what_was_built_is_told_also_when_it_cannot_be_printed() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    let _worker = pool.worker("w1");
    let gateway = PushGateway::start();
    let unprinted = |program: &str, args: &[&str]| {
        let mut command = pool.client(program);
        let full = fs::File::options().write(true).open("/dev/full").expect("/dev/full");
        command.args(args).args(["--json", "--push-metrics", &gateway.url()]).stdout(full);
        assert_eq!(command.status().expect("it starts").code(), Some(3), "{program}");
    };

    unprinted("producer", &["submit", "--repo", REPO, "--all", "--ref", "master", "--wait"]);
    unprinted("gate", &["check", "--repo", REPO, "--rev", &rev, "--hosts", "h01"]);

    let pushed = gateway.page();
    assert_eq!(value(&pushed, "nbp_submit_success", &[]), Some(1.0));
    assert_eq!(value(&pushed, "nbp_submit_host_success", &["host=\"h01\""]), Some(1.0));
    assert_eq!(value(&pushed, "nbp_gate_check_verdict", &["verdict=\"pass\""]), Some(1.0));
}

#[test]
fn a_gate_that_cannot_work_is_told_as_no_verdict() {
    let mut site = Updates::start(&Flake::hosts(1));
    let gateway = PushGateway::start();
    let push = ["--push-metrics", &gateway.url()];
    let worker = site.pool.worker("w1");
    let rev = site.rev("master");
    site.run(&push).expect_code(0);
    let check = ["check", "--repo", REPO, "--rev", &rev, "--hosts", "h01", "--patience", "1s"];
    let check = [&check[..], &push[..]].concat();
    let [run, verdict] = ["nbp_gate_verdict", "nbp_gate_check_verdict"];
    let is = |name: &str, label: &str| {
        let label = format!("=\"{label}\"");
        assert_eq!(value(&gateway.page(), name, &[&label]), Some(1.0), "{name} {label}");
    };
    is(run, "pass");
    drop(worker);

    // Nobody has set a queue up for these.
    site.upstream(&Flake::hosts(2).system("h02", "riscv64-linux"));
    site.run(&push).expect_code(2);
    is(run, "undecided");
    is("nbp_gate_end", "error");
    assert!(value(&gateway.page(), "nbp_gate_last_pass_timestamp_seconds", &[]) > Some(1e9));
    let told = || value(&gateway.page(), "nbp_gate_timestamp_seconds", &[]).expect("a time");
    let before = told();
    let mut resume = site.gate(&[&["resume"][..], &push[..]].concat());
    tests::process::run(&mut resume, DEADLINE).expect_code(2);
    assert!(told() > before, "told of again");

    site.pool.nats.kill();
    site.pool.gate(&check).expect_code(3);
    is(verdict, "undecided");
    for name in [run, verdict] {
        assert_eq!(value(&gateway.page(), name, &["verdict=\"pass\""]).unwrap_or(0.0), 0.0);
    }
}
