//! What a garbage collection leaves, and what it may take.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tests::{Flake, NixStore, Output, Pool, WorkerOptions};

use crate::{DEADLINE, all_built, hosts, text};

/// Deletes everything that no root holds.
#[track_caller]
pub(crate) fn collect(store: &NixStore) {
    let output = store.nix("nix-collect-garbage").output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
}

pub(crate) fn valid(store: &NixStore, path: &str) -> bool {
    let mut check = store.nix("nix-store");
    check.args(["--check-validity", path]).output().expect("it runs").status.success()
}

#[test]
fn collecting_garbage_all_the_time_loses_nothing_that_is_built() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(8).seconds(0.3));
    let _worker = pool.worker("w1");
    let (over, collected) = (AtomicBool::new(false), AtomicUsize::new(0));

    let answer = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                collect(&pool.store);
                collected.fetch_add(1, Ordering::Relaxed);
            }
        });
        let answer = pool.submit(&["--all", "--ref", "master", "--wait", "--json"]);
        over.store(true, Ordering::Relaxed);
        all_built(answer, 8)
    });

    assert!(collected.load(Ordering::Relaxed) > 3, "{collected:?} collections");
    collect(&pool.store);
    for host in hosts(&answer) {
        assert_eq!(host["attempt"], 1, "a collection costs no attempt: {host:#}");
        let out = text(&host["out_path"]);
        assert!(valid(&pool.store, &out) && pool.store.real(&out).join("deps").exists(), "{out}");
    }
    // Asked again, all of it is still there.
    let again = all_built(pool.submit(&["--all", "--ref", "master", "--wait", "--json"]), 8);
    assert!(hosts(&again).all(|host| host["reused"] == true), "{again:#}");
}

/// A `nix-store` that collects all garbage before each build begins: the evaluation has let go of its
/// derivation by then, and the build does not hold it yet.
fn collecting(dir: &Path) {
    let nix_store = tests::process::find("nix-store");
    let nix_store = nix_store.display();
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--realise*.drv*) {nix_store} --gc >&2 || exit 99;; esac\n\
         exec {nix_store} \"$@\"\n"
    );
    program(&dir.join("nix-store"), &script);
}

fn program(file: &Path, script: &str) {
    std::fs::write(file, script).expect("a script");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(file, executable).expect("a script of ours");
}

#[test]
fn a_collection_between_evaluation_and_build_takes_a_derivation_once_at_most() {
    let pool = Pool::start();
    let programs = tests::scratch();
    collecting(programs.path());
    // Elsewhere only the second link is registered before its derivation is written. Below the
    // folder of Nix each link is a root by its place.
    let below = pool.store.real("/nix/var/nix/gcroots/pool");
    for (dir, evaluations) in [(pool.state_of("roots"), 2), (below, 1)] {
        let extra = format!("[roots]\ndir = {dir:?}\n");
        let programs = Some(programs.path());
        let options = WorkerOptions { programs, extra, ..WorkerOptions::default() };
        let _worker = pool.worker_with("w1", &options);
        for force in [&[][..], &["--force"]] {
            let rev =
                pool.commit("master", &Flake::hosts(1).salt(&format!("{evaluations}{force:?}")));
            let args = [&["h01", "--rev", &rev, "--wait", "--json"], force].concat();
            let answer = all_built(pool.submit(&args), 1);
            let host = hosts(&answer).next().expect("a host");
            assert_eq!(host["attempt"], 1, "{host:#}");
            assert!(valid(&pool.store, &text(&host["out_path"])));
            let log = pool.producer(&["logs", &text(&host["job"])]).expect_code(0).stdout;
            let times = |what: &str| log.lines().filter(|line| line.contains(what)).count();
            assert_eq!(times("evaluating h01"), evaluations, "{log}");
            assert_eq!(times("is gone, so it is evaluated again"), evaluations - 1, "{log}");
        }
    }
}

/// A `nix-store` that ends a build as if a collection had missed its result: such a one read the links
/// before this one was made, and the roots of running processes after this one had ended. The first
/// `times` builds end so.
fn collected_meanwhile(dir: &Path, times: u32) {
    let nix_store = tests::process::find("nix-store");
    let (nix_store, taken) = (nix_store.display(), dir.join("taken"));
    let taken = taken.display();
    let script = format!(
        "#!/bin/sh\n\
         {nix_store} \"$@\"; code=$?\n\
         case \"$*\" in *--realise*.drv*--add-root*) ;; *) exit $code;; esac\n\
         [ $code = 0 ] && [ \"$(cat {taken} | wc -l)\" -lt {times} ] || exit $code\n\
         for link; do :; done\n\
         out=$(readlink \"$link\"); rm \"$link\"\n\
         {nix_store} --gc >&2 || exit 99\n\
         ln -s \"$out\" \"$link\"; echo \"$out\" >>{taken}\n"
    );
    std::fs::write(dir.join("taken"), "").expect("a file");
    program(&dir.join("nix-store"), &script);
}

#[test]
fn a_result_that_a_collection_took_before_it_was_kept_is_built_again_in_the_same_attempt() {
    let pool = Pool::start();
    let programs = tests::scratch();
    let options = WorkerOptions { programs: Some(programs.path()), ..WorkerOptions::default() };
    collected_meanwhile(programs.path(), 2);
    let _worker = pool.worker_with("w1", &options);
    let rev = pool.commit("master", &Flake::hosts(1));
    let answer = all_built(pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]), 1);
    let host = hosts(&answer).next().expect("a host");
    assert_eq!(host["attempt"], 1, "{host:#}");
    assert!(valid(&pool.store, &text(&host["out_path"])));
    let log = pool.producer(&["logs", &text(&host["job"])]).expect_code(0).stdout;
    let times = log.lines().filter(|line| line.contains("was collected, so it is built again"));
    assert_eq!(times.count(), 2, "{log}");
    // The host three times, and the leaf as often as it was taken: a process that is not quite over
    // holds what its environment names.
    let built = host["work"]["derivations"].as_u64();
    assert!(built.is_some_and(|it| (4..=6).contains(&it)), "{host:#}");

    // Again and again is no coincidence, and no reason to build for ever.
    collected_meanwhile(programs.path(), u32::MAX);
    let rev = pool.commit("master", &Flake::hosts(1).salt("other"));
    let end = pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]);
    let answer = end.expect_code(3).json();
    assert!(answer.to_string().contains("took the output each time"), "{answer:#}");
}

#[test]
fn what_is_surplus_or_expired_goes_and_the_rest_stays() {
    let pool = Pool::start();
    let roots = tests::scratch();
    let table = format!(
        "[roots]\ndir = {:?}\nkeep_generations = 2\ncandidates_for = \"7d\"\n",
        roots.path()
    );
    let options = WorkerOptions { extra: table.clone(), ..WorkerOptions::default() };
    let mut worker = pool.worker_with("w1", &options);
    let built = |host: &str, branch: &str, salt: &str| {
        let rev = pool.commit(branch, &Flake::hosts(2).salt(salt));
        let answer = all_built(pool.submit(&[host, "--rev", &rev, "--wait", "--json"]), 1);
        text(&hosts(&answer).next().expect("a host")["out_path"])
    };
    let other = built("h02", "master", "a");
    let master: Vec<String> = ["a", "b", "c"].map(|salt| built("h01", "master", salt)).into();
    let candidate = |salt| built("h01", "flake-update/1", salt);
    let candidates: Vec<String> = ["x", "y", "z"].map(candidate).into();

    collect(&pool.store);
    let there: Vec<bool> = master.iter().map(|out| valid(&pool.store, out)).collect();
    assert_eq!(there, [false, true, true], "the newest two");
    assert!(valid(&pool.store, &other), "each host counts for itself");
    assert!(candidates.iter().all(|out| valid(&pool.store, out)));
    let listed = roots_command(&pool, "list").expect_code(0).stdout;
    assert_eq!(listed.lines().filter(|line| line.ends_with("  generation")).count(), 3, "{listed}");
    let json = roots_command(&pool, "list --json").expect_code(0).json();
    let all = json.as_array().expect("a list");
    assert_eq!(all.len() + 1, listed.lines().count());
    let keys: Vec<&String> = all[0].as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["branch", "fate", "host", "left_ms", "out_path", "repo", "revision"]);
    assert_eq!(all.iter().filter(|root| root["fate"] == "generation").count(), 3, "{json:#}");
    assert!(all.iter().any(|root| root["left_ms"].as_u64() > Some(0)), "{json:#}");
    let candidate = "homelab  h01   flake-update/1  ";
    let shown: Vec<&str> = listed.lines().filter(|line| line.starts_with(candidate)).collect();
    assert!(shown.len() == 3 && shown[0].contains("candidate for 6d 23h"), "{listed}");

    // Eight days go by for the first of them, and the worker starts again.
    worker.sigterm();
    worker.wait(DEADLINE);
    let branch = roots.path().join("homelab/h01/flake-update%2F1");
    age(&branch, &candidates[0]);
    let dry = roots_command(&pool, "prune --dry-run").expect_code(0).stdout;
    assert!(dry.contains(&candidates[0]) && dry.contains("expired candidate"), "{dry}");
    assert_eq!(dry.lines().count(), 2, "{dry}");
    let worker = pool.worker_with("w1", &options);
    worker.wait_for_log("let go of expired results", DEADLINE);
    collect(&pool.store);
    assert!(!valid(&pool.store, &candidates[0]) && valid(&pool.store, &candidates[1]));

    candidates[1..].iter().for_each(|out| age(&branch, out));
    let pruned = roots_command(&pool, "prune").expect_code(0).stdout;
    assert!(candidates[1..].iter().all(|out| pruned.contains(out)), "{pruned}");
    assert!(!branch.exists(), "nothing of the branch is left");
    collect(&pool.store);
    assert!(!valid(&pool.store, &candidates[1]) && valid(&pool.store, &master[2]));
    let nothing = roots_command(&pool, "prune").expect_code(0);
    assert!(nothing.stdout.is_empty() && nothing.stderr.contains("nothing to remove"), "{nothing}");
}

/// `worker roots …` with the config of w1.
pub(crate) fn roots_command(pool: &Pool, args: &str) -> Output {
    pool.worker_with_config_of(
        "w1",
        &[&["roots"], &args.split(' ').collect::<Vec<_>>()[..]].concat(),
    )
}

/// Makes the root of a path eight days older.
fn age(branch: &Path, out: &str) {
    let links = std::fs::read_dir(branch).expect("roots").flatten().map(|entry| entry.path());
    let is_root = |link: &std::path::PathBuf| {
        std::fs::read_link(link).is_ok_and(|target| target == Path::new(out))
    };
    let link = links.into_iter().find(is_root).expect("its root");
    let touched =
        Command::new("touch").args(["--no-dereference", "--date", "8 days ago"]).arg(link).status();
    assert!(touched.expect("touch").success());
}
