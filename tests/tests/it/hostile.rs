//! Names, messages, commits and configs that somebody made up.

use std::{
    ffi::OsStr,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
};

use tests::{Flake, NixStore, Pool, WorkerOptions, eventually, flake::system_name, process::run};

use crate::{DEADLINE, all_built, host};

const ANY_REV: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn bad_names_on_the_command_line_are_refused() {
    let pool = Pool::start();
    let long = "x".repeat(300);
    for bad in ["../x", "a b", "$(id)", &long, ""] {
        let output = pool.submit(&[bad, "--rev", ANY_REV]).expect_code(2);
        assert!(output.stderr.contains("host name"), "{output}");
    }
    let mut producer = pool.client("producer");
    producer.args(["submit", "--repo", "homelab"]).arg(OsStr::from_bytes(b"\xff\xfe"));
    let output = run(producer.args(["--rev", ANY_REV]), DEADLINE).expect_code(2);
    assert!(!output.stderr.contains("panicked"), "{output}");
    pool.commit("master", &Flake::hosts(1));
    for (wrong, named) in [
        (["h01", "--rev", "abc"], "full commit"),
        (["h01", "--rev", "HEAD"], "full commit"),
        (["h01", "--ref", "nosuch"], "no such ref"),
        (["h01", "--ref", "$(id)"], "$(id)"),
        (["h01", "--ref", "../master"], "../master"),
        (["h01", "--ref", "--upload-pack=id"], "--upload-pack"),
    ] {
        let output = pool.submit(&wrong).expect_code(2);
        assert!(output.stderr.contains(named), "{output}");
    }
    // The same names wherever else a host, a repo or a job is named.
    for bad in ["../x", "a b", "$(id)", &long, ""] {
        let key = format!("homelab.{ANY_REV}.{bad}");
        for args in [
            &["logs", bad][..],
            &["logs", &key],
            &["status", "--repo", bad],
            &["submit", "--repo", bad, "h01", "--rev", ANY_REV],
            &["setup", "--classes", bad],
        ] {
            let output = pool.producer(args).expect_code(2);
            assert!(output.stderr.contains("is refused: "), "{output}");
        }
        let output = pool.gate_check(&["--rev", ANY_REV, "--hosts", bad]).expect_code(2);
        assert!(output.stderr.contains("host name"), "{output}");
    }
    let output = pool.producer(&["submit", "--repo", "nosuch", "--all", "--ref", "master"]);
    assert!(output.expect_code(2).stderr.contains("nosuch: "));
    assert_eq!((pool.messages("NBP_JOBS"), pool.messages("KV_nbp-runs")), (0, 0));
}

#[test]
fn bad_names_in_the_flake_are_refused_by_name() {
    let pool = Pool::start();
    let long = "x".repeat(300);
    let names: [(&str, &str); 5] = [
        ("\"a b\"", "\"a b\""),
        ("\"../x \\$(id)\"", "../x $(id)"),
        ("\"\"", "it is empty"),
        (&format!("\"{long}\""), "(cut, 300 bytes in all)"),
        // Half of a character: bytes that are no text.
        ("${builtins.substring 0 1 \"é\"}", "\u{fffd}"),
    ];
    let host = "{ config.system.build.toplevel = throw \"never asked for\"; }";
    let flake = |names: &[(&str, &str)]| {
        let hosts: String = names.iter().map(|(name, _)| format!("{name} = {host}; ")).collect();
        format!("{{ outputs = _: {{ nixosConfigurations = {{ good = {host}; {hosts} }}; }}; }}")
    };
    for some in names.chunks(1).chain([&names[..]]) {
        pool.repo.commit("master", &[("flake.nix", flake(some))]);

        let output = pool.submit(&["--all", "--ref", "master"]).expect_code(2);

        for (_, told) in some {
            assert!(output.stderr.contains(told), "{told}: {output}");
        }
        assert!(!output.stderr.contains("\"good\""), "{output}");
    }
    assert_eq!((pool.messages("NBP_JOBS"), pool.messages("KV_nbp-runs")), (0, 0));
    // Left out on purpose, none of them keeps the good one from being asked for.
    let excluded =
        ["--exclude", "\u{fffd}", "--exclude", "*[ /]*", "--exclude", "", "--exclude", "xx*"];
    let output = pool.submit(&[&["--all", "--ref", "master"], &excluded[..]].concat());
    assert_eq!(output.expect_code(0).stdout.lines().count(), 1);
    assert_eq!(pool.messages("NBP_JOBS"), 1);
}

#[test]
fn a_system_that_is_no_text_hides_no_other_system() {
    let pool = Pool::start();
    let flake = Flake::hosts(3)
        .system("h02", "aarch64-linux")
        .host_expression("h03", "{ pkgs.system = builtins.substring 0 1 \"é\"; }");
    pool.commit("master", &flake);
    let answer = pool.submit(&["--all", "--ref", "master", "--json"]).expect_code(0).json();
    let class = |name: &str| host(&answer, name)["class"].clone();
    assert_eq!(["h01", "h02", "h03"].map(class), ["x86_64-linux", "aarch64-linux", "x86_64-linux"]);
}

#[test]
fn messages_that_name_no_job_are_dead_letters_and_good_jobs_go_on() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    let uuid = "0190f0d4-0000-7000-8000-000000000001";
    for host in ["$(id)", "..x".trim_matches('.'), "ä", &"x".repeat(300)] {
        let subject = format!("nbp.build.x86_64-linux.high.homelab.{rev}.{host}.{uuid}");
        pool.publish(&subject, b"\xff\xfe not JSON");
    }
    pool.publish("nbp.build.x86_64-linux.high.short", b"{}");
    let _worker = pool.worker("w1");

    all_built(pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]), 1);

    // `x` is a name like any other, but nobody asked for it: its message is stale.
    eventually("four dead letters", DEADLINE, || (pool.messages("NBP_DEAD") == 4).then_some(()));
    eventually("an empty queue", DEADLINE, || (pool.messages("NBP_JOBS") == 0).then_some(()));
    assert_eq!(pool.results().len(), 1);
}

#[test]
fn a_poisoned_message_ends_its_job_as_refused_with_a_dead_letter() {
    let long = format!("{{\"v\":1,{}", " ".repeat(200_000));
    for (payload, why) in [
        (r#"{"v":1,"job":"homelab.other","incarnation":"x","at":0}"#, "job"),
        (r#"{"v":2,"job":"of a newer version"}"#, "unknown version 2"),
        ("\u{0}\u{1}", "expected value"),
        (&long, "EOF"),
    ] {
        let pool = Pool::start();
        // Larger than the queue takes by itself, as when an operator has raised its limit.
        take_large_messages(&pool);
        let rev = pool.commit("master", &Flake::hosts(1));
        pool.submit(&["h01", "--rev", &rev]).expect_code(0);
        let requests = pool.bucket("nbp-requests");
        let incarnation = requests.values().next().expect("a request")["incarnation"].clone();
        let incarnation = incarnation.as_str().expect("a uuid");
        let subject = format!("nbp.build.x86_64-linux.high.homelab.{rev}.h01.{incarnation}");
        pool.publish(&subject, payload.as_bytes());
        // One slot, so that the urgent message is met before the good one.
        let options = WorkerOptions { slots: 1, ..WorkerOptions::default() };
        let mut worker = pool.worker_with("w1", &options);

        let record = eventually("a result", DEADLINE, || pool.result(&rev, "h01"));

        let outcome = &record["state"]["outcome"];
        assert_eq!(outcome["result"], "infra-failed", "{record:#}");
        assert_eq!(outcome["kind"], "refused", "{record:#}");
        assert!(crate::text(&outcome["failure"]["message"]).contains(why), "{why}: {record:#}");
        assert_eq!(pool.store.builds_begun(&system_name("h01")), 0);
        eventually("an empty queue", DEADLINE, || (pool.messages("NBP_JOBS") == 0).then_some(()));
        let letters = pool.producer(&["dead", "list", "--json"]).expect_code(0).json();
        assert_eq!(letters.as_array().map(Vec::len), Some(1), "{letters:#}");
        assert_eq!(letters[0]["job"], format!("homelab.{rev}.h01"));
        // Asked anew it is built: the poison was in the message, not in the job.
        pool.producer(&["dead", "requeue", "1"]).expect_code(0);
        all_built(pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]), 1);
        assert!(worker.is_running());
    }
}

#[test]
fn a_message_that_is_too_large_never_comes_into_the_queue() {
    let pool = Pool::start();
    let refused = pool.block_on(async {
        let subject = format!(
            "nbp.build.x86_64-linux.high.homelab.{ANY_REV}.h01.0190f0d4-0000-7000-8000-000000000001"
        );
        let context = pool.jetstream().await;
        let published = context.publish(subject, vec![b' '; 20 << 10].into()).await;
        published.expect("a connected client").await
    });
    let refused = refused.expect_err("20 KiB").to_string();
    assert!(refused.contains("message size exceeds maximum allowed"), "{refused}");
    assert_eq!(pool.messages("NBP_JOBS"), 0);
}

fn take_large_messages(pool: &Pool) {
    pool.block_on(async {
        let context = pool.jetstream().await;
        let stream = context.get_stream("NBP_JOBS").await.expect("the stream");
        let mut config = stream.cached_info().config.clone();
        config.max_message_size = 1 << 20;
        context.update_stream(config).await.expect("updates");
    });
}

#[test]
fn forged_jobs_are_refused_and_told_and_nothing_of_them_runs() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(2));
    let uuid = "0190f0d4-0000-7000-8000-000000000001";
    // What git or Nix would take for an option, and a name where a commit belongs.
    for (repo, rev, host) in [
        ("homelab", &*rev, "--impure"),
        ("--upload-pack=id", &rev, "h01"),
        ("homelab", "master", "h01"),
        ("homelab", "--all", "h01"),
    ] {
        pool.publish(&format!("nbp.build.x86_64-linux.high.{repo}.{rev}.{host}.{uuid}"), b"{}");
    }
    // Larger than any job is: the queue does not take it.
    let large = vec![b' '; 17 << 10];
    let refused = pool.block_on(async {
        let subject = format!("nbp.build.x86_64-linux.high.homelab.{rev}.h02.{uuid}");
        let context = pool.jetstream().await;
        context.publish(subject, large.into()).await.expect("connected").await
    });
    assert!(format!("{refused:?}").contains("message size exceeds"), "{refused:?}");
    // A job of ours whose payload names another host, met before the good message.
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    let key = format!("homelab.{rev}.h01");
    let incarnation = pool.bucket("nbp-requests")[&key]["incarnation"].clone();
    let incarnation = incarnation.as_str().expect("a uuid");
    let payload = serde_json::json!({
        "v": 1, "job": format!("homelab.{rev}.h02"), "incarnation": incarnation, "at": 0,
    });
    let subject = format!("nbp.build.x86_64-linux.high.{key}.{incarnation}");
    pool.publish(&subject, payload.to_string().as_bytes());
    // A repo that no worker knows is left to one that might: it waits, and nothing is fetched.
    let unknown = ["submit", "--repo", "nosuch", "h01", "--rev", &rev, "--json"];
    let unknown = pool.producer(&unknown).expect_code(0).json();

    let _worker = pool.worker_with("w1", &WorkerOptions { slots: 1, ..WorkerOptions::default() });

    let record = eventually("a result", DEADLINE, || pool.result(&rev, "h01"));
    assert_eq!(record["state"]["outcome"]["kind"], "refused", "{record:#}");
    eventually("five dead letters", DEADLINE, || (pool.messages("NBP_DEAD") == 5).then_some(()));
    let told = || pool.events("nbp.event.job.dead.>");
    let told = eventually("an event", DEADLINE, || Some(told()).filter(|told| !told.is_empty()));
    let reason = told[0]["what"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("names another job than the subject"), "{told:#?}");
    let run = unknown["run"].as_str().expect("a run");
    let status = pool.producer(&["status", run, "--json"]).json();
    assert_eq!(host(&status, "h01")["state"], "queued", "{status:#}");
    let left = || pool.events("nbp.event.job.refused.nosuch.>");
    let left = eventually("an event", DEADLINE, || Some(left()).filter(|left| !left.is_empty()));
    assert_eq!(left[0]["what"]["reason"], "this worker's config has no [repos.nosuch]");
    for name in ["h01", "h02"] {
        assert_eq!(pool.store.builds_begun(&system_name(name)), 0);
    }
    assert_eq!(pool.messages("NBP_LOGS"), 0, "something was begun");
}

#[test]
fn a_commit_on_no_allowed_ref_is_refused_before_evaluation() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(1));
    let secret = pool.commit("secret", &Flake::hosts(2).salt("secret"));
    let _worker = pool.worker("w1");

    let output = pool.submit(&["h02", "--rev", &secret, "--wait", "--json"]).expect_code(3).json();

    let refused = host(&output, "h02");
    let message = refused["failure"]["message"].as_str().expect("a message");
    assert!(message.contains(&secret) && message.contains("flake-update/*"), "{refused:#}");
    let logs = pool.producer(&["logs", "h02", "--rev", &secret]);
    assert!(!logs.stdout.contains("evaluating"), "{logs}");
    assert_eq!(pool.store.builds_begun(&system_name("h02")), 0);
}

#[test]
fn a_commit_on_no_allowed_ref_is_refused_also_when_nix_and_the_mirror_have_it_by_other_ways() {
    let pool = Pool::start();
    let master = pool.commit("master", &Flake::hosts(1));
    pool.repo.set_branch("secret", &master);
    let secret = pool.commit("secret", &Flake::hosts(2).salt("secret"));
    let worker = pool.worker("w1");
    all_built(pool.submit(&["h01", "--rev", &master, "--wait", "--json"]), 1);
    // Somebody fetches it into the worker's own mirror, below no branch and below one that is not
    // allowed, and evaluates it there as the worker would, with its store and its cache.
    let state = pool.state_of("w1");
    let mirror = state.join("mirrors/homelab.git");
    let git = |args: &[&str]| {
        let mut git = tests::process::command("git");
        git.arg("--git-dir").arg(&mirror).args(args).env("HOME", &state);
        run(&mut git, DEADLINE).expect_code(0);
    };
    git(&["fetch", "--quiet", &pool.repo.url(), &secret]);
    for name in ["refs/heads/secret", &format!("refs/nbp/{secret}")] {
        git(&["update-ref", name, &secret]);
    }
    let flake = format!("git+file://{}?ref=secret&rev={secret}", mirror.display());
    let toplevel = "nixosConfigurations.h02.config.system.build.toplevel.drvPath";
    let mut nix = pool.store.nix("nix");
    nix.env("HOME", state.join("home"));
    nix.args(["eval", "--raw", "--no-accept-flake-config", &format!("{flake}#{toplevel}")]);
    run(&mut nix, DEADLINE).expect_code(0);

    let output = pool.submit(&["h02", "--rev", &secret, "--wait", "--json"]).expect_code(3).json();

    let message = host(&output, "h02")["failure"]["message"].as_str().expect("a message");
    assert!(message.contains("is on no branch that this worker may build"), "{output:#}");
    let logs = pool.producer(&["logs", "h02", "--rev", &secret, "--repo", "homelab"]);
    assert!(logs.stdout.contains("fetching") && !logs.stdout.contains("evaluating"), "{logs}");
    assert_eq!(pool.store.builds_begun(&system_name("h02")), 0);
    drop(worker);
}

#[test]
fn a_commit_that_left_its_ref_is_refused_although_mirror_and_nix_still_have_it() {
    let pool = Pool::start();
    let master = pool.commit("master", &Flake::hosts(1));
    pool.repo.set_branch("flake-update/x", &master);
    let candidate = pool.commit("flake-update/x", &Flake::hosts(3).salt("candidate"));
    let _worker = pool.worker("w1");
    all_built(pool.submit(&["h01", "--rev", &candidate, "--wait", "--json"]), 1);

    pool.repo.delete_branch("flake-update/x");
    // Another commit makes the worker fetch, and so learn that the branch is gone.
    let newer = pool.commit("master", &Flake::hosts(1).salt("newer"));
    all_built(pool.submit(&["h01", "--rev", &newer, "--wait", "--json"]), 1);

    let output = pool.submit(&["h02", "--rev", &candidate, "--wait", "--json"]).expect_code(3);
    assert_eq!(host(&output.json(), "h02")["outcome"], "infra-failed");
    assert_eq!(pool.store.builds_begun(&system_name("h02")), 0);
}

#[test]
fn a_flake_that_asks_for_settings_gets_none() {
    let pool = Pool::start();
    let dir = tests::scratch();
    let (hook, ran) = (dir.path().join("hook"), dir.path().join("ran"));
    std::fs::write(&hook, format!("#!/bin/sh\n: > {}\n", ran.display()))
        .expect("a writable folder");
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).expect("our own file");
    // Evaluation builds something here, so that a setting for builds shows.
    let step = |name: &str, command: &str| {
        format!(
            "(derivation {{ name = \"{name}\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; \
             args = [ \"-c\" \"{command}\" ]; }})"
        )
    };
    let imported = step("imported", "echo 1 > $out");
    let toplevel = format!("builtins.seq (import {imported}) {}", step("top", "mkdir $out"));
    let flake = Flake::hosts(1)
        .extra(&format!("nixConfig.post-build-hook = {hook:?};"))
        .toplevel("h01", &toplevel);
    let rev = pool.commit("master", &flake);
    // This flake does reach whoever accepts what it asks for.
    let gullible = NixStore::new();
    let url = format!("git+{}?ref=master&rev={rev}#nixosConfigurations.h01", pool.repo.url());
    let mut nix = gullible.nix("nix");
    nix.args(["build", "--no-link", "--accept-flake-config"]);
    run(nix.arg(format!("{url}.config.system.build.toplevel")), DEADLINE).expect_code(0);
    std::fs::remove_file(&ran).expect("the hook ran");

    let _worker = pool.worker("w1");
    all_built(pool.submit(&["--all", "--ref", "master", "--wait", "--json"]), 1);
    assert!(!ran.exists(), "the flake's hook ran");
}

#[test]
fn a_typo_in_a_config_file_is_named_with_the_key_that_was_meant() {
    let dir = tests::scratch();
    let path = dir.path().join("typo.toml");
    let typo = path.to_str().expect("a plain path");
    for (text, parts, commands) in [
        (
            "[worker]\nname = \"w\"\nslotss = 2\n[repos.r]\nurl = \"/r\"\n",
            ["line 3", "slotss", "did you mean `slots`?"],
            &["worker check-config", "worker run --config", "worker standalone --config"][..],
        ),
        (
            "[nats]\nurl = \"nats://127.0.0.1:1\"\nca_fil = \"/x\"\n",
            ["line 3", "ca_fil", "did you mean `ca_file`?"],
            &[
                "producer status --config",
                "gate check --repo r --rev REV --hosts h --config",
                "worker check-config",
            ],
        ),
        (
            "[repos.r]\nurl = \"/r\"\nrefs = [\"master\"\n",
            ["typo.toml", "line", "array"],
            &["producer status --config", "gate check --repo r --rev REV --hosts h --config"],
        ),
    ] {
        std::fs::write(&path, text).expect("a writable folder");
        for command in commands {
            let command = command.replace("REV", ANY_REV);
            let mut words = command.split(' ');
            let program = tests::process::binary(words.next().expect("a program"));
            let mut command = tests::process::command(program);
            let output = run(command.args(words).arg(typo), DEADLINE).expect_code(2);
            for part in parts {
                assert!(output.stderr.contains(part), "{part}: {output}");
            }
            assert_eq!(output.stdout, "");
        }
    }
}
