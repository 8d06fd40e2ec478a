//! The newest good build of each host on its tracked branch.

use tests::{Flake, Output, Pool, eventually};

use crate::{DEADLINE, all_built, host, text};

fn last_good(pool: &Pool, host: &str) -> Output {
    pool.producer(&["last-good", host, "--repo", "homelab", "--json"])
}

fn is_last_good(pool: &Pool, rev: &str) -> serde_json::Value {
    eventually("the last good build", DEADLINE, || {
        let output = last_good(pool, "h01");
        (output.code == Some(0)).then(|| output.json()).filter(|good| good["rev"] == rev)
    })
}

fn builds(pool: &Pool, rev: &str) -> serde_json::Value {
    all_built(pool.submit(&["h01", "--rev", rev, "--wait", "--json"]), 1)
}

#[test]
fn the_newest_commit_of_the_tracked_branch_is_the_last_good_one() {
    let pool = Pool::start();
    let flake = |salt: &str| Flake::hosts(1).salt(salt);
    let first = pool.commit("master", &flake("first"));
    let _worker = pool.worker("w1");
    let unknown = last_good(&pool, "h01").expect_code(2);
    assert!(unknown.stderr.contains("no commit of its tracked branch was built"), "{unknown}");

    let answer = builds(&pool, &first);

    let good = is_last_good(&pool, &first);
    assert_eq!(good["out_path"], host(&answer, "h01")["out_path"], "{good:#}");
    assert_eq!((text(&good["worker"]), text(&good["host"])), ("w1".into(), "h01".into()));
    assert!(good["closure_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{good:#}");
    let shown = pool.producer(&["last-good", "h01", "--repo", "homelab"]).expect_code(0);
    assert!(shown.stdout.starts_with(&format!("h01 of homelab at {first}, built ")), "{shown}");

    // An older one that is asked for again, a failing one and one of another branch do not count.
    let second = pool.commit("master", &flake("second"));
    builds(&pool, &second);
    is_last_good(&pool, &second);
    let result = pool.result(&second, "h01").expect("a result");
    let diff = &result["state"]["outcome"]["diff"];
    assert_eq!(diff["from"], first, "{result:#}");
    assert_eq!(diff["from_path"], good["out_path"]);
    builds(&pool, &first);
    pool.repo.set_branch("flake-update/x", &second);
    let update = pool.commit("flake-update/x", &flake("update"));
    builds(&pool, &update);
    let broken = pool.commit("master", &flake("broken").failing("h01"));
    pool.submit(&["h01", "--rev", &broken, "--wait"]).expect_code(1);
    // What follows on a moved branch does, also when it was moved back.
    pool.repo.set_branch("master", &update);
    let landed = pool.commit("master", &flake("landed"));
    builds(&pool, &landed);
    is_last_good(&pool, &landed);
    pool.repo.set_branch("master", &first);
    let rewound = pool.commit("master", &flake("rewound"));
    builds(&pool, &rewound);
    is_last_good(&pool, &rewound);
    builds(&pool, &first);

    let history = pool.histories("nbp-last-good").remove("homelab.h01").expect("a history");
    let revisions: Vec<String> = history.iter().map(|good| text(&good["revision"])).collect();
    assert_eq!(revisions, [first, second, landed, rewound]);
}

#[test]
fn how_long_a_host_takes_stays_known_over_commits_that_change_nothing_in_it() {
    let pool = Pool::start();
    let _worker = pool.worker("w1");
    let real_ms = |rev: &str| {
        is_last_good(&pool, rev);
        pool.bucket("nbp-last-good")["homelab.h01"]["real_ms"].as_u64().expect("a length")
    };
    let first = pool.commit("master", &Flake::hosts(1).seconds(1.0));
    let took = host(&builds(&pool, &first), "h01")["build_ms"].as_u64().expect("a length");
    assert_eq!(real_ms(&first), took);
    for number in ["one", "two"] {
        let same = pool.repo.commit("master", &[("README", number)]);
        builds(&pool, &same);
        assert_eq!(real_ms(&same), took, "{number}");
    }
    let other = pool.commit("master", &Flake::hosts(1).salt("other"));
    let other_took = host(&builds(&pool, &other), "h01")["build_ms"].as_u64();
    assert_eq!(Some(real_ms(&other)), other_took);
    // Built anew: the note is of the same commit, and the time is the newer one.
    let force = pool.submit(&["h01", "--rev", &other, "--force", "--wait", "--json"]);
    let anew = host(&all_built(force, 1), "h01")["build_ms"].as_u64();
    eventually("the time of the newer build", DEADLINE, || {
        (Some(real_ms(&other)) == anew).then_some(())
    });
}
