//! Jobs that nobody can build yet, and people who watch them.

use tests::{Flake, Pool, Updates, WorkerOptions, eventually};

use crate::{DEADLINE, all_built, host, text};

#[test]
fn jobs_wait_for_a_worker_and_say_who_is_missing() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(2));

    let submitted = pool.submit(&["--all", "--ref", "master", "--json"]).expect_code(0).json();

    let run = text(&submitted["run"]);
    assert_eq!(host(&submitted, "h01")["state"], "queued");
    let status = pool.producer(&["status", &run]).expect_code(0);
    let waits = "no worker for class x86_64-linux (asked for ";
    assert!(status.stdout.contains(waits), "{status}");

    // Leaving a watch cancels nothing.
    let left = pool.producer(&["watch", &run, "--timeout", "300ms"]).expect_code(3);
    assert!(!left.stderr.is_empty());
    let watch = pool.spawn_producer("watch", &["watch", &run, "--json"]);
    let mut watch = watch;
    let _worker = pool.worker("w1");
    assert!(watch.wait(DEADLINE).success(), "{}", watch.log());
    all_built(pool.producer(&["status", &run, "--json"]), 2);
}

#[test]
fn a_class_that_no_worker_serves_waits_while_others_are_built() {
    let pool = Pool::start();
    let flake = Flake::hosts(2).system("h02", "aarch64-linux");
    pool.commit("master", &flake);
    let _worker = pool.worker("w1");

    let submitted = pool.submit(&["--all", "--ref", "master", "--json"]).expect_code(0).json();

    let run = text(&submitted["run"]);
    assert_eq!(host(&submitted, "h02")["class"], "aarch64-linux");
    eventually("h01 to be built", DEADLINE, || {
        let status = pool.producer(&["status", &run, "--json"]).json();
        (host(&status, "h01")["outcome"] == "built").then_some(())
    });
    let status = pool.producer(&["status", &run]);
    assert!(status.stdout.contains("no worker for class aarch64-linux (asked for "), "{status}");
}

#[test]
fn a_repo_that_no_worker_has_waits_and_says_so() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    let mut worker = pool.worker("w1");
    worker.wait_for_log("ready for jobs", DEADLINE);
    let submit = ["submit", "--repo", "homelba", "h01", "--rev", &rev, "--json"];
    let run = text(&pool.producer(&submit).expect_code(0).json()["run"]);

    let status = pool.producer(&["status", &run]).expect_code(0);

    let waits = "queued: no worker for repo homelba of class x86_64-linux (asked for ";
    assert!(status.stdout.contains(waits), "{status}");
    // A worker that has it comes, and builds it. (While the other one runs, both are offered it.)
    worker.sigterm();
    worker.wait(DEADLINE);
    let extra = format!("[repos.homelba]\nurl = {:?}\n", pool.repo.url());
    let _second = pool.worker_with("w2", &WorkerOptions { extra, ..WorkerOptions::default() });
    all_built(pool.producer(&["watch", &run, "--timeout", "180s", "--json"]), 1);
}

#[test]
fn without_a_terminal_lines_say_why_nobody_takes_what_waits() {
    let site = Updates::start(&Flake::hosts(1));
    let rev = site.rev("master");
    site.upstream(&Flake::hosts(2));
    let worker = site.pool.worker("w1");
    worker.wait_for_log("ready for jobs", DEADLINE);
    site.pool.producer(&["pause", "x86_64-linux"]).expect_code(0);
    let wait = ["submit", "--repo", "homelab", "h01", "--rev", &rev, "--wait"];

    let mut submit = site.pool.spawn_producer("submit", &wait);
    let mut gate = site.spawn("gate", &[], None);

    let paused = "queued: class x86_64-linux is paused; `producer resume x86_64-linux`";
    submit.wait_for_log(&format!("0 of 1 finished, 1 {paused}"), DEADLINE);
    eventually("all of it to be asked for", DEADLINE, || {
        (site.pool.messages("NBP_JOBS") == 3).then_some(())
    });
    // Its first sign of life comes after half a minute.
    gate.wait_for_log(&format!("0 of 2 hosts have ended, 2 {paused}"), DEADLINE);
    site.pool.producer(&["resume", "x86_64-linux"]).expect_code(0);
    assert!(submit.wait(DEADLINE).success(), "{}", submit.log());
    assert!(gate.wait(DEADLINE).success(), "{}", gate.log());
}

#[test]
fn one_broken_host_does_not_hide_the_systems_of_the_others_for_ever() {
    // The second evaluation fails as a whole: the config's class decides, and every host is asked.
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(2).host_expression("h02", "abort \"gone\""));
    let submitted = pool.submit(&["--all", "--ref", "master", "--json"]).expect_code(0).json();
    assert_eq!(host(&submitted, "h01")["class"], "x86_64-linux");
    assert_eq!(host(&submitted, "h02")["class"], "x86_64-linux");
}

#[test]
fn a_class_that_nobody_set_up_is_refused() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(1).system("h01", "riscv64-linux"));

    let output = pool.submit(&["--all", "--ref", "master"]).expect_code(2);

    assert!(output.stderr.contains("producer setup --classes"), "{output}");
    assert_eq!(pool.messages("NBP_JOBS"), 0);
}

#[test]
fn excluded_hosts_are_left_out_and_recorded() {
    let pool = Pool::start();
    pool.commit("master", &Flake::named(&["web1", "web2", "db"]));
    let _worker = pool.worker_with("w1", &WorkerOptions::default());

    let output =
        pool.submit(&["--all", "--ref", "master", "--exclude", "web*", "--wait", "--json"]);

    all_built(output, 1);
    let runs = pool.bucket("nbp-runs");
    let run = runs.values().next().expect("a run");
    assert_eq!(run["excluded"], serde_json::json!(["web1", "web2"]));
}
