//! Disks that are full or cannot be written, repositories that are away or do not let in, and
//! caches that take nothing.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use tests::{Flake, MockForge, Pool, SmallDisk, WorkerOptions, forge::Persona, scratch};

use super::{LIMITS, bad, doctor, examined, found, options};
use crate::cache::Cache;

#[track_caller]
fn pool() -> Pool {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(1));
    pool
}

#[test]
fn a_store_that_is_nearly_full_and_one_without_inodes_are_told() {
    let pool = pool();
    let disk = SmallDisk::new("size=16m,nr_inodes=64");
    let admission = |free: &str, inodes: u64| {
        format!(
            "store_dir = {0:?}\nbuild_dir = {0:?}\nstore_free = {free:?}\nbuild_free = \"0B\"\n\
             inodes_free = {inodes}",
            disk.path()
        )
    };
    let few = admission("0B", 100);
    let report = examined(&mut doctor(&pool, &WorkerOptions { admission: &few, ..options() }), 2);
    let words = ["below 100 inodes", "nix-collect-garbage", "inodes_free"];
    found(&report, "the store", "problem", &words);

    disk.fill("big", 12);
    let little = admission("8MiB", 1);
    let little = WorkerOptions { admission: &little, ..options() };
    let report = examined(&mut doctor(&pool, &little), 2);
    let words = ["4.0 MiB of 16.0 MiB free", "below 8.0 MiB", "keep_generations", "store_free"];
    found(&report, "the store", "problem", &words);
    found(&report, "the build folder", "ok", &[]);
}

#[test]
fn a_repository_that_is_away_and_one_without_the_allowed_branch_are_told() {
    let pool = pool();
    {
        let _hidden = pool.repo.hide();
        let report = examined(&mut doctor(&pool, &options()), 2);
        let words = ["homelab", "does not appear to be a git repository", "[repos.homelab] url"];
        found(&report, "access", "problem", &words);
        assert_eq!(bad(&report).len(), 1, "{report:#}");
    }
    let nowhere = "[repos.far]\nurl = \"http://127.0.0.1:9/far.git\"\n".to_owned() + LIMITS;
    let report = examined(&mut doctor(&pool, &WorkerOptions { extra: nowhere, ..options() }), 3);
    found(&report, "access", "undecided", &["far", "git ls-remote http://127.0.0.1:9/far.git"]);
    found(&report, "access", "ok", &["homelab"]);

    pool.repo.git(&["branch", "-m", "master", "main"]);
    let report = examined(&mut doctor(&pool, &options()), 2);
    let words = ["no branch that may be built (master, flake-update/*)", "it has main"];
    found(&report, "allowed refs", "problem", &words);
}

#[test]
fn a_private_repository_asks_for_a_login_and_refuses_a_wrong_one() {
    let pool = pool();
    let forge = MockForge::start(Persona::Gitea126, &pool.repo);
    forge.set(|settings| settings.private = true);
    let dir = scratch();
    let file = dir.path().join("git-credentials");
    let with = |login: Option<&str>| {
        let url = forge.git_url();
        let mut table = format!("[repos.private]\nurl = {url:?}\n");
        if let Some(login) = login {
            let line = url.replace("://", &format!("://{login}@"));
            fs::write(&file, line + "\n").expect("a writable folder");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
            table += &format!("git_credentials_file = {file:?}\n");
        }
        WorkerOptions { extra: table + LIMITS, ..options() }
    };
    let report = examined(&mut doctor(&pool, &with(None)), 2);
    let words = ["private", "[repos.private] git_credentials_file = "];
    found(&report, "access", "problem", &words);
    let report = examined(&mut doctor(&pool, &with(Some("gate-bot:hunter2"))), 2);
    let into = format!("into {}", file.display());
    found(&report, "access", "problem", &["private", "Authentication failed", &into]);
    let right = format!("gate-bot:{}", forge.token());
    let report = examined(&mut doctor(&pool, &with(Some(&right))), 0);
    found(&report, "access", "ok", &["private"]);
    found(&report, "git credentials", "ok", &["private", "mode 0600"]);
}

#[test]
fn a_cache_that_cannot_be_written_and_a_signing_key_that_is_wrong_are_told() {
    let pool = pool();
    let cache = Cache::new(&pool.store);
    let disk = SmallDisk::new("size=1m,ro");
    let to = |url: &str, key: &Path| {
        let table = format!("[cache]\npush_to = {url:?}\nsign_key_file = {key:?}\n");
        WorkerOptions { extra: table + LIMITS, ..options() }
    };
    let read_only = format!("file://{}", disk.path().join("cache").display());
    let report = examined(&mut doctor(&pool, &to(&read_only, &cache.key())), 2);
    found(&report, "push", "problem", &["Read-only file system", "[cache] push_to"]);
    assert_eq!(bad(&report).len(), 1, "{report:#}");

    let report = examined(&mut doctor(&pool, &to(&cache.url(), Path::new("/no/key"))), 2);
    let words = ["/no/key", "No such file", "--generate-binary-cache-key"];
    found(&report, "signing key", "problem", &words);
    found(&report, "push", "problem", &["could not be signed", "sign_key_file"]);

    fs::set_permissions(cache.key(), fs::Permissions::from_mode(0o644)).expect("a file of ours");
    let report = examined(&mut doctor(&pool, &to(&cache.url(), &cache.key())), 2);
    let words = ["mode 0644", "every host will trust", "chmod 600"];
    found(&report, "signing key", "problem", &words);

    let refused = "http://127.0.0.1:9/cache";
    fs::set_permissions(cache.key(), fs::Permissions::from_mode(0o600)).expect("a file of ours");
    let report = examined(&mut doctor(&pool, &to(refused, &cache.key())), 3);
    found(&report, "push", "undecided", &["nix store ping --store"]);
}

#[test]
fn a_state_folder_that_cannot_be_written_is_told() {
    let pool = pool();
    let options = options();
    let command = &mut doctor(&pool, &options);
    let _disk = SmallDisk::on(&pool.state_of("w1"), "size=1m,ro");
    let report = examined(command, 2);
    let words = ["Read-only file system", "sudo install -d", "[worker] state_dir"];
    found(&report, "state folder", "problem", &words);
    found(&report, "roots folder", "problem", &["[roots] dir"]);
    found(&report, "trial build", "ok", &[]);
}
