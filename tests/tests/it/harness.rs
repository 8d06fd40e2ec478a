//! The harness keeps its promises.

use std::{net::TcpStream, time::Duration};

use async_nats::jetstream::stream;
use tests::{
    Flake, NatsServer, NixStore, Output, Repo, Spawned, eventually,
    flake::{BROKEN_LEAF, LAST_WORDS, SHARED_LEAF, system_name},
    process::{command, run},
    scratch,
};

const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn broker_killed_and_restarted_keeps_its_port_and_what_was_acked() {
    let mut nats = NatsServer::start();
    let url = nats.url();
    let config = stream::Config { name: "S".to_owned(), ..Default::default() };
    let context = nats.jetstream().await;
    context.create_stream(config).await.expect("creates a stream");
    let publish = context.publish("S", "kept".into()).await.expect("publishes");
    publish.await.expect("is acked");

    nats.kill();
    let address = url.trim_start_matches("nats://");
    assert!(TcpStream::connect(address).is_err(), "nobody answers while the broker is down");
    nats.restart();

    assert_eq!(nats.url(), url);
    let context = nats.jetstream().await;
    let stream = context.get_stream("S").await.expect("the stream is still there");
    assert_eq!(stream.cached_info().state.messages, 1);
}

#[test]
fn brokers_run_side_by_side() {
    let servers: Vec<NatsServer> = (0..3).map(|_| NatsServer::start()).collect();
    let urls: std::collections::BTreeSet<String> = servers.iter().map(NatsServer::url).collect();
    assert_eq!(urls.len(), 3);
}

#[test]
fn repo_commits_over_what_a_branch_has() {
    let repo = Repo::new();
    let first = repo.commit("master", &[("a", "one\n"), ("dir/b", "two\n")]);
    let second = repo.commit("master", &[("a", "three")]);
    repo.set_branch("flake-update/x", &first);
    let third = repo.commit("flake-update/x", &[("c", "")]);

    assert_eq!(first.len(), 40);
    assert_eq!(repo.rev("master"), second);
    assert_eq!(repo.git(&["ls-tree", "-r", "--name-only", &third]), "a\nc\ndir/b");
    assert_eq!(repo.git(&["show", &format!("{second}:a")]), "three");
    repo.delete_branch("flake-update/x");
    assert_eq!(repo.git(&["for-each-ref", "--format=%(refname)"]), "refs/heads/master");
    assert_eq!(repo.rev(&third), third, "a deleted branch leaves its commits");
}

#[test]
fn hosts_build_with_real_nix_and_share_a_leaf() {
    let (repo, store) = (Repo::new(), NixStore::new());
    let rev = repo.commit("master", &Flake::hosts(2).files());
    let first = realise(&store, &evaluate(&repo, &store, &rev, "h01").expect_code(0).stdout);
    realise(&store, &evaluate(&repo, &store, &rev, "h02").expect_code(0).stdout).expect_code(0);

    let out = first.expect_code(0).stdout;
    assert!(store.real(out.trim()).join("deps").exists());
    assert_eq!(store.builds_ended(SHARED_LEAF), 1);
    assert_eq!(store.builds_ended(&system_name("h02")), 1);
}

#[test]
fn failing_host_fails_in_its_leaf() {
    let (repo, store) = (Repo::new(), NixStore::new());
    let rev = repo.commit("master", &Flake::hosts(2).failing("h02").files());
    let drv = evaluate(&repo, &store, &rev, "h02").expect_code(0).stdout;

    let output = realise(&store, &drv);

    assert_ne!(output.code, Some(0));
    assert!(output.stderr.contains(LAST_WORDS), "{output}");
    assert_eq!(store.builds_ended(BROKEN_LEAF), 1);
    assert_eq!(store.builds_begun(&system_name("h02")), 0);
}

#[test]
fn hosts_that_do_not_evaluate_hide_no_other_host() {
    let (repo, store) = (Repo::new(), NixStore::new());
    let flake = Flake::named(&["good", "aborts", "unknown", "../x $(id) ${x} \""])
        .toplevel("aborts", "abort \"no such module\"")
        .host_expression("unknown", "let x = x; in x");
    let rev = repo.commit("master", &flake.files());

    let aborted = evaluate(&repo, &store, &rev, "aborts");

    assert_eq!(aborted.code, Some(1));
    assert!(aborted.stderr.contains("no such module"), "{aborted}");
    let recursion = evaluate(&repo, &store, &rev, "unknown").expect_code(1);
    assert!(recursion.stderr.contains("infinite recursion"), "{recursion}");
    evaluate(&repo, &store, &rev, "good").expect_code(0);
    let names = flake_eval(&repo, &store, &rev, "", "builtins.attrNames").expect_code(0).json();
    assert_eq!(names, serde_json::json!(flake.names()));
}

#[test]
fn held_build_waits_for_its_release() {
    let (repo, store) = (Repo::new(), NixStore::new());
    let rev = repo.commit("master", &Flake::hosts(1).held("h01").files());
    let drv = evaluate(&repo, &store, &rev, "h01").expect_code(0).stdout;
    let dir = scratch();
    let mut nix = Spawned::start("nix", store.nix("nix-store").args(["-r", &drv]), dir.path());
    store.wait_for_build(&system_name("h01"), DEADLINE);
    assert!(nix.is_running());
    assert!(store.processes().len() >= 2, "Nix and its builder are seen");

    store.release("h01");

    assert!(nix.wait(DEADLINE).success(), "{}", nix.log());
    eventually("no process to use the store", DEADLINE, || {
        store.processes().is_empty().then_some(())
    });
}

#[test]
fn store_that_goes_takes_its_builders_along() {
    let (repo, store) = (Repo::new(), NixStore::new());
    let rev = repo.commit("master", &Flake::hosts(1).held("h01").files());
    let drv = evaluate(&repo, &store, &rev, "h01").expect_code(0).stdout;
    let dir = scratch();
    let mut nix = Spawned::start("nix", store.nix("nix-store").args(["-r", &drv]), dir.path());
    store.wait_for_build(&system_name("h01"), DEADLINE);
    nix.sigkill();
    let builders = store.processes();

    // Panics when anything survives it, or stays in the temporary folder.
    drop(store);

    let alive =
        |id: &u32| std::fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|c| !c.is_empty());
    assert!(!builders.iter().any(alive), "{builders:?}");
}

#[test]
#[should_panic(expected = "killed after")]
fn command_that_does_not_end_is_killed() {
    run(command("sleep").arg("600"), Duration::from_millis(50));
}

fn evaluate(repo: &Repo, store: &NixStore, rev: &str, host: &str) -> Output {
    let path = format!(".\"{host}\".config.system.build.toplevel.drvPath");
    run(nix_eval(repo, store, rev, &path).arg("--raw"), DEADLINE)
}

fn flake_eval(repo: &Repo, store: &NixStore, rev: &str, path: &str, apply: &str) -> Output {
    run(nix_eval(repo, store, rev, path).args(["--json", "--apply", apply]), DEADLINE)
}

fn nix_eval(repo: &Repo, store: &NixStore, rev: &str, path: &str) -> std::process::Command {
    let url = format!("git+{}?ref=master&rev={rev}#nixosConfigurations{path}", repo.url());
    let mut nix = store.nix("nix");
    nix.args(["eval", "--no-accept-flake-config", &url]);
    nix
}

fn realise(store: &NixStore, drv: &str) -> Output {
    run(store.nix("nix-store").args(["--realise", drv]), DEADLINE)
}
