//! Machines without Nix, with an old one, without a sandbox, and with a daemon that is away or does
//! not trust the worker.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use tests::{Flake, NixDaemon, NixStore, Pool, WorkerOptions, process::find, scratch};

use super::{bad, doctor, examined, found, options};

#[track_caller]
fn pool() -> Pool {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(1));
    pool
}

#[test]
fn no_nix_and_one_that_is_too_old_are_told() {
    let pool = pool();
    // A machine that has what the doctor needs beside Nix.
    let bin = scratch();
    for program in ["git", "id", "sh", "setpriv"] {
        symlink(find(program), bin.path().join(program)).expect("a writable folder");
    }
    let without = || {
        let mut command = doctor(&pool, &options());
        command.env("PATH", bin.path());
        command
    };
    let report = examined(&mut without(), 2);
    let words = ["no program nix on the PATH", "apt-get install nix-bin"];
    found(&report, "version", "problem", &words);
    found(&report, "access", "ok", &[]);
    found(&report, "rights", "ok", &[]);

    let old = bin.path().join("nix");
    fs::write(&old, "#!/bin/sh\necho 'nix (Nix) 2.3.16'\n").expect("a writable folder");
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).expect("a file of ours");
    let report = examined(&mut without(), 2);
    found(&report, "version", "problem", &["2.3.16", "install Nix 2.8 or later"]);
}

#[test]
fn builds_without_a_sandbox_and_systems_that_nix_does_not_build_are_told() {
    let pool = pool();
    let open = NixStore::with_config("sandbox = false");
    let arm = WorkerOptions {
        systems: vec!["x86_64-linux", "aarch64-linux"],
        store: Some(&open),
        ..options()
    };
    let report = examined(&mut doctor(&pool, &arm), 2);
    found(&report, "sandbox", "problem", &["sandbox = false", "sandbox = true"]);
    let words = ["aarch64-linux", "[worker] systems", "extra-platforms = aarch64-linux"];
    found(&report, "system", "problem", &words);
    found(&report, "system", "ok", &["x86_64-linux"]);
    found(&report, "class", "ok", &["aarch64-linux"]);
    assert_eq!(bad(&report).len(), 2, "{report:#}");

    let emulating = NixStore::with_config("extra-platforms = aarch64-linux");
    let report = examined(&mut doctor(&pool, &WorkerOptions { store: Some(&emulating), ..arm }), 0);
    found(&report, "system", "ok", &["aarch64-linux"]);
}

#[test]
fn a_feature_that_nix_does_not_have_is_told() {
    let pool = pool();
    let plain = NixStore::with_config("system-features = benchmark");
    let kvm = WorkerOptions { store: Some(&plain), worker: "features = [\"kvm\"]", ..options() };
    let report = examined(&mut doctor(&pool, &kvm), 2);
    found(&report, "feature", "problem", &["kvm", "system-features = benchmark kvm"]);
}

#[test]
fn a_daemon_that_is_away_is_undecided() {
    let pool = pool();
    let away = WorkerOptions { store_uri: Some("unix:///no/such/socket"), ..options() };
    let report = examined(&mut doctor(&pool, &away), 3);
    let words = ["cannot connect to socket", "systemctl enable --now nix-daemon.socket"];
    found(&report, "store", "undecided", &words);
    found(&report, "sandbox", "ok", &[]);
    found(&report, "rights", "ok", &[]);
}

#[test]
fn who_the_daemon_does_not_trust_learns_what_needs_it_and_who_it_turns_away_why() {
    let pool = pool();
    let store = NixStore::with_config("trusted-users = nobody");
    let daemon = NixDaemon::start(&store);
    let behind = WorkerOptions { store: Some(&store), store_uri: Some(daemon.uri()), ..options() };
    let report = examined(&mut doctor(&pool, &behind), 0);
    found(&report, "trust", "ok", &["is not trusted", "need not be"]);
    found(&report, "trial build", "ok", &[]);
    let nix = "substituters = [\"https://cache.example\"]";
    let report = examined(&mut doctor(&pool, &WorkerOptions { nix, ..behind }), 2);
    let words = ["is not trusted", "[nix] substituters", "trusted-users = root "];
    found(&report, "trust", "problem", &words);

    let shut = NixStore::with_config("trusted-users = nobody\nallowed-users = nobody");
    let daemon = NixDaemon::start(&shut);
    let before = WorkerOptions { store: Some(&shut), store_uri: Some(daemon.uri()), ..options() };
    let report = examined(&mut doctor(&pool, &before), 2);
    found(
        &report,
        "store",
        "problem",
        &["whoever is not in allowed-users", "add the worker's user"],
    );
}
