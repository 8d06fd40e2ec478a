//! Candidates whose commit has landed: they stay in the store as what the tracked branch was.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tests::{Flake, Pool, Spawned, WorkerOptions};

use crate::{
    DEADLINE, all_built, hosts,
    roots::{collect, roots_command, valid},
    text,
};

/// A pool where two generations stay, and each candidate is due at once.
struct Site {
    pool: Pool,
    roots: tempfile::TempDir,
    /// Programs that come before Nix's.
    programs: tempfile::TempDir,
}

impl Site {
    fn start() -> Self {
        Self { pool: Pool::start(), roots: tests::scratch(), programs: tests::scratch() }
    }

    fn worker(&self) -> Spawned {
        let extra = format!(
            "[roots]\ndir = {:?}\nkeep_generations = 2\ncandidates_for = \"1ms\"\n",
            self.roots.path()
        );
        let programs = Some(self.programs.path());
        let options = WorkerOptions { programs, extra, ..WorkerOptions::default() };
        self.pool.worker_with("w1", &options)
    }

    /// Ends a worker; the next one looks at its roots at once.
    fn another(&self, mut worker: Spawned) -> Spawned {
        worker.sigterm();
        assert!(worker.wait(DEADLINE).success(), "{}", worker.log());
        self.worker()
    }

    /// Builds a new commit of a branch that starts at another; gives commit and output.
    fn built(&self, branch: &str, from: Option<&str>, salt: &str) -> (String, String) {
        if let Some(from) = from {
            self.pool.repo.set_branch(branch, from);
        }
        let rev = self.pool.commit(branch, &Flake::hosts(1).salt(salt));
        let answer = all_built(self.pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]), 1);
        (rev, text(&hosts(&answer).next().expect("a host")["out_path"]))
    }

    fn prune(&self, args: &str) -> String {
        roots_command(&self.pool, &format!("prune{args}")).expect_code(0).stdout
    }

    /// The generations of `master`, oldest first, as commits.
    fn generations(&self) -> Vec<String> {
        let listed = roots_command(&self.pool, "list").expect_code(0).stdout;
        let lines = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let lines = lines.filter(|words| words.starts_with(&["homelab", "h01", "master"]));
        let lines = lines.inspect(|words| assert!(words.ends_with(&["generation"]), "{words:?}"));
        lines.map(|words| words[3][..12].to_owned()).collect()
    }

    fn candidates(&self, branch: &str) -> PathBuf {
        self.roots.path().join("homelab/h01").join(branch)
    }

    /// Makes `nix-store` refuse to root one path.
    fn refuse_to_root(&self, path: &str) -> PathBuf {
        let nix_store = tests::process::find("nix-store");
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *{path}*--add-root*) echo refused >&2; exit 1;; esac\n\
             exec {} \"$@\"\n",
            nix_store.display()
        );
        let file = self.programs.path().join("nix-store");
        fs::write(&file, script).expect("a script");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a script of ours");
        file
    }
}

fn short(revs: &[&str]) -> Vec<String> {
    revs.iter().map(|rev| rev[..12].to_owned()).collect()
}

fn line_of<'a>(lines: &'a str, out: &str) -> &'a str {
    lines.lines().find(|line| line.contains(out)).unwrap_or_default()
}

#[test]
fn a_candidate_that_landed_becomes_a_generation_in_its_place_and_others_go() {
    let site = Site::start();
    let repo = &site.pool.repo;
    let worker = site.worker();
    let (a, out_a) = site.built("master", None, "a");
    let (c, out_c) = site.built("flake-update/1", Some(&a), "c");
    let (_, out_lost) = site.built("flake-update/2", Some(&a), "lost");
    // It lands, its branch is gone, and somebody else commits on top, before anybody looks.
    repo.set_branch("master", &c);
    repo.delete_branch("flake-update/1");
    let (d, out_d) = site.built("master", None, "d");
    assert_eq!(site.generations(), short(&[&a, &d]));

    // Whether it landed only the repository knows.
    let away = repo.hide();
    let kept = roots_command(&site.pool, "prune").expect_code(0);
    for out in [&out_c, &out_lost] {
        let line = line_of(&kept.stdout, out);
        assert!(line.ends_with("kept until it is known whether it landed"), "{kept}");
    }
    assert!(kept.stderr.contains("whether they landed is unknown: git fetch"), "{kept}");
    drop(away);
    // To ask what would happen changes nothing.
    let dry = site.prune(" --dry-run");
    assert!(line_of(&dry, &out_c).ends_with("landed candidate, so now a generation"), "{dry}");
    assert!(line_of(&dry, &out_lost).ends_with("expired candidate"), "{dry}");
    assert_eq!(site.generations(), short(&[&a, &d]));
    collect(&site.pool.store);
    assert!([&out_a, &out_c, &out_lost, &out_d].iter().all(|out| valid(&site.pool.store, out)));

    let worker = site.another(worker);
    worker.wait_for_log("candidates that landed are generations now", DEADLINE);
    worker.wait_for_log("let go of expired results", DEADLINE);
    assert_eq!(site.generations(), short(&[&c, &d]), "ordered by commit, the newest two");
    assert!(!site.candidates("flake-update%2F1").exists());
    collect(&site.pool.store);
    let left = [&out_a, &out_c, &out_lost, &out_d].map(|out| valid(&site.pool.store, out));
    assert_eq!(left, [false, true, false, true]);
    assert_eq!(site.prune(""), "", "nothing is left to do");

    let (e, _) = site.built("master", None, "e");
    assert_eq!(site.generations(), short(&[&d, &e]), "and it goes as others do");
    collect(&site.pool.store);
    assert!(!valid(&site.pool.store, &out_c) && valid(&site.pool.store, &out_d));
}

#[test]
fn a_landing_that_is_cut_short_leaves_nothing_without_a_root_and_is_completed() {
    let site = Site::start();
    let worker = site.worker();
    let (a, _) = site.built("master", None, "a");
    let (c, out_c) = site.built("flake-update/1", Some(&a), "c");
    site.pool.repo.set_branch("master", &c);
    let (d, out_d) = site.built("master", None, "d");
    let candidate = site.candidates("flake-update%2F1").join(format!("1-{}", &c[..12]));
    let both_stay = |when: &str| {
        collect(&site.pool.store);
        assert!(candidate.symlink_metadata().is_ok(), "{when}");
        for out in [&out_c, &out_d] {
            assert!(valid(&site.pool.store, out), "{when}: {out}");
        }
    };

    // Before the first new link.
    let refusing = site.refuse_to_root(&out_c);
    let worker = site.another(worker);
    // The log goes on from worker to worker.
    let refused = |root: &str, rev: &str| {
        format!("{root}-{} stays where it is: root it: nix-store said: refused", &rev[..12])
    };
    worker.wait_for_log(&refused("flake-update%2F1/1", &c), DEADLINE);
    both_stay("nothing was done");
    assert_eq!(site.generations(), short(&[&a, &d]));
    // Between the first and the second.
    site.refuse_to_root(&out_d);
    let worker = site.another(worker);
    worker.wait_for_log(&refused("master/2", &d), DEADLINE);
    both_stay("half of it was done");
    assert_eq!(site.generations(), short(&[&d, &c]));

    fs::remove_file(refusing).expect("a script of ours");
    let worker = site.another(worker);
    worker.wait_for_log("candidates that landed are generations now", DEADLINE);
    assert_eq!(site.generations(), short(&[&c, &d]));
    assert!(!Path::new(&candidate).exists());
    collect(&site.pool.store);
    assert!(valid(&site.pool.store, &out_c) && valid(&site.pool.store, &out_d));
}
