//! Flakes whose inputs are replaced by commits of another repository: a workstation's flake that is
//! built with what a fleet's update would give it.

use serde_json::Value;
use tests::{Flake, Pool, Repo, WorkerOptions, eventually, pool::REPO};

use crate::{DEADLINE, all_built, host, text};

/// A second repository beside the pool's own, whose flake takes the system of its host `gunter`
/// from its input `servers`: the pool's repository at the locked commit.
struct Workstation {
    repo: Repo,
    rev: String,
}

impl Workstation {
    fn locked_to(pool: &Pool, servers: &str) -> Self {
        let repo = Repo::new();
        let url = format!("git+{}?ref=master&rev={servers}", pool.repo.url());
        let flake = format!(
            "{{\n  inputs.servers.url = {url:?};\n  outputs = {{ self, servers }}: {{\n    \
             nixosConfigurations.gunter = servers.nixosConfigurations.h01;\n  }};\n}}\n"
        );
        let rev = repo.commit("master", &[("flake.nix", &flake)]);
        // The lock is made by Nix, in a clone.
        let clone = tests::scratch();
        let run = |command: &mut std::process::Command| {
            let output = command.current_dir(clone.path()).output().expect("it runs");
            assert!(output.status.success(), "{output:?}");
        };
        run(std::process::Command::new("git").args(["clone", "--quiet", &repo.url(), "."]));
        run(pool.store.nix("nix").args(["flake", "lock"]));
        let lock = std::fs::read_to_string(clone.path().join("flake.lock")).expect("a lock file");
        assert!(lock.contains(servers), "{lock}");
        let locked = repo.commit("master", &[("flake.lock", &lock)]);
        assert_ne!(rev, locked);
        Self { repo, rev: locked }
    }

    fn options(&self) -> WorkerOptions<'static> {
        let url = self.repo.url();
        let extra = format!("[repos.workstation]\nurl = {url:?}\n");
        WorkerOptions { extra, ..WorkerOptions::default() }
    }

    /// Submits its host with the input `name` replaced.
    fn submit(&self, pool: &Pool, name: &str, servers: &str) -> tests::Output {
        let over = format!("{name}={REPO}@{servers}");
        let args = ["submit", "--repo", "workstation", "gunter", "--rev", &self.rev];
        pool.producer(&[&args[..], &["--override-input", &over, "--wait", "--json"]].concat())
    }
}

fn drv(answer: &Value) -> String {
    text(&host(answer, "gunter")["drv_path"])
}

#[test]
fn an_external_flake_is_built_against_a_candidate_of_another_repository() {
    let pool = Pool::start();
    let before = pool.commit("master", &Flake::hosts(1).salt("before"));
    let workstation = Workstation::locked_to(&pool, &before);
    pool.repo.set_branch("flake-update/x", &before);
    let candidate = pool.commit("flake-update/x", &Flake::hosts(1).salt("candidate"));
    let roots = tests::scratch();
    let mut options = workstation.options();
    options.extra += &format!("[roots]\ndir = {:?}\n", roots.path());
    let _worker = pool.worker_with("w1", &options);
    let args = ["submit", "--repo", "workstation", "gunter", "--rev", &workstation.rev];
    let plain = all_built(pool.producer(&[&args[..], &["--wait", "--json"]].concat()), 1);

    let answer = all_built(workstation.submit(&pool, "servers", &candidate), 1);

    assert_ne!(drv(&plain), drv(&answer), "it is another system");
    let token = text(&answer["rev"]);
    let (commit, digest) = token.split_once('-').expect("a digest of the overrides");
    assert_eq!((commit, digest.len()), (workstation.rev.as_str(), 12));
    let own = all_built(pool.submit(&["h01", "--rev", &candidate, "--wait", "--json"]), 1);
    assert_eq!(host(&own, "h01")["out_path"], host(&answer, "gunter")["out_path"]);
    let results = pool.results();
    let record = &results[&format!("workstation.{token}.gunter")];
    let overrides = serde_json::json!({"servers": {"repo": REPO, "revision": candidate}});
    assert_eq!(record["state"]["overrides"], overrides, "{record:#}");
    let runs = pool.bucket("nbp-runs");
    assert!(runs.values().any(|run| run["overrides"] == overrides), "{runs:#?}");

    // It takes the place of no generation of the branch.
    let generations = |branch: &str| {
        let dir = roots.path().join("workstation/gunter").join(branch);
        let links = std::fs::read_dir(dir).expect("generations");
        links
            .map(|link| std::fs::read_link(link.expect("an entry").path()).expect("a link"))
            .collect::<Vec<_>>()
    };
    let out = |answer| std::path::PathBuf::from(text(&host(answer, "gunter")["out_path"]));
    assert_eq!(generations("master"), [out(&plain)]);
    assert_eq!(generations("master~overridden"), [out(&answer)]);

    // The same again is reused; the plain one is a job of its own, and stays the last good one.
    let again = all_built(workstation.submit(&pool, "servers", &candidate), 1);
    assert_eq!((&host(&again, "gunter")["reused"], &again["rev"]), (&true.into(), &answer["rev"]));
    let good = eventually("a last good build", DEADLINE, || {
        pool.bucket("nbp-last-good").remove("workstation.gunter")
    });
    assert_eq!(good["revision"], workstation.rev, "{good:#}");
}

#[test]
fn an_override_that_fits_no_input_or_is_on_no_allowed_branch_builds_nothing() {
    let pool = Pool::start();
    let before = pool.commit("master", &Flake::hosts(1));
    let workstation = Workstation::locked_to(&pool, &before);
    let private = pool.commit("private", &Flake::hosts(1).salt("private"));
    let options = WorkerOptions { max_attempts: 1, ..workstation.options() };
    let _worker = pool.worker_with("w1", &options);

    let answer = workstation.submit(&pool, "nosuch", &before).expect_code(1).json();
    let failure = &host(&answer, "gunter")["failure"];
    assert_eq!(failure["class"], "eval-failed", "{answer:#}");
    assert!(text(&failure["message"]).contains("no input of this name"), "{failure:#}");

    let answer = workstation.submit(&pool, "servers", &private).expect_code(3).json();
    let failure = &host(&answer, "gunter")["failure"];
    assert_eq!(failure["class"], "fetch-failed", "{answer:#}");
    assert!(text(&failure["message"]).contains("on no branch that this worker may build"));
    assert_eq!(pool.store.builds_begun("nixos-system-h01-26.05"), 0);
}

#[test]
fn a_digest_that_its_overrides_do_not_have_is_refused() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    let forged = format!("{rev}-0123456789ab");
    let refused = pool.submit(&["h01", "--rev", &forged]).expect_code(2);
    assert!(refused.stderr.contains("--override-input"), "{refused}");

    // One who writes requests by hand.
    let run = pool.submit(&["h01", "--rev", &rev, "--json"]).expect_code(0).json();
    let (key, job) = (format!("{REPO}.{rev}.h01"), format!("{REPO}.{forged}.h01"));
    let request = pool.bucket("nbp-requests").remove(&key).expect("a request");
    let incarnation = text(&request["incarnation"]);
    let subject = format!("nbp.build.x86_64-linux.normal.{job}.{incarnation}");
    let message = serde_json::json!({"v": 1, "job": job, "incarnation": incarnation, "at": 1});
    pool.publish(&format!("$KV.nbp-requests.{job}"), request.to_string().as_bytes());
    pool.publish(&subject, message.to_string().as_bytes());
    let _worker = pool.worker("w1");

    all_built(pool.producer(&["watch", &text(&run["run"]), "--json"]), 1);
    let record = eventually("the forged one's end", DEADLINE, || pool.results().remove(&job));
    assert_eq!(record["state"]["outcome"]["kind"], "refused", "{record:#}");
    eventually("a dead letter", DEADLINE, || (pool.messages("NBP_DEAD") == 1).then_some(()));
    assert_eq!(pool.store.builds_begun("nixos-system-h01-26.05"), 1, "the plain one");
}
