//! A host counts as built only when its path is where the hosts get it from, signed by that
//! cache's key.

use tests::{Flake, Updates, WorkerOptions};

use crate::{DEADLINE, cache::Cache};

fn gate_table(cache: &Cache, key: &str) -> String {
    format!("[cache]\nurl = {:?}\npublic_key = {:?}\n", cache.url(), key.trim())
}

#[test]
fn what_is_in_the_cache_and_signed_lands() {
    let mut site = Updates::start(&Flake::hosts(2));
    let cache = Cache::new(&site.pool.store);
    site.tables = gate_table(&cache, &cache.public());
    let options = WorkerOptions { extra: cache.pushed_to(), ..WorkerOptions::default() };
    let _worker = site.pool.worker_with("w1", &options);
    site.upstream(&Flake::hosts(2).salt("newer"));

    let answer = site.run(&[]).expect_code(0).json();

    assert_eq!(answer["end"], "landed", "{answer:#}");
}

#[test]
fn what_the_cache_does_not_have_is_nobodys_fault_and_asked_for_again() {
    let mut site = Updates::start(&Flake::hosts(2));
    let cache = Cache::new(&site.pool.store);
    site.tables = gate_table(&cache, &cache.public());
    let base = site.rev("master");
    // It builds, and pushes nothing.
    let mut worker = site.pool.worker("w1");
    site.upstream(&Flake::hosts(2).salt("newer"));

    let answer = site.run(&[]).expect_code(3);

    assert!(answer.stderr.contains("no fault of the update"), "{answer}");
    assert_eq!(site.rev("master"), base);
    assert!(site.forge.pulls().is_empty());
    worker.sigterm();
    worker.wait(DEADLINE);

    // One that pushes what is there already.
    let options = WorkerOptions { extra: cache.pushed_to(), ..WorkerOptions::default() };
    let _worker = site.pool.worker_with("w2", &options);
    assert_eq!(site.resume().expect_code(0).json()[0]["end"], "landed");
}

#[test]
fn what_is_signed_by_another_key_is_undecided_too() {
    let mut site = Updates::start(&Flake::hosts(1));
    let (cache, other) = (Cache::new(&site.pool.store), Cache::new(&site.pool.store));
    site.tables = gate_table(&cache, &other.public());
    let base = site.rev("master");
    let options = WorkerOptions { extra: cache.pushed_to(), ..WorkerOptions::default() };
    let _worker = site.pool.worker_with("w1", &options);
    site.upstream(&Flake::hosts(1).salt("newer"));

    site.run(&[]).expect_code(3);

    assert_eq!(site.rev("master"), base);
}
