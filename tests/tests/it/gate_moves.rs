//! The base moves while its update is built: forward, back, or away. What was not tested is never
//! landed.

use tests::{
    Flake, PoolOptions, Updates,
    forge::{ALICE, BOT, On, Persona},
    process::Spawned,
};

use crate::DEADLINE;

/// Two hosts, an update of them that waits in a build, and the gate that waits for it.
struct Waiting {
    // Processes end before the pool that they belong to.
    gate: Spawned,
    _worker: Spawned,
    site: Updates,
    base: String,
}

impl Waiting {
    fn start(persona: Persona) -> Self {
        let site = Updates::start_with(&Flake::hosts(2), persona, &PoolOptions::default());
        site.pool.repo.commit("master", &[("README", "one more, so that there is a past")]);
        let worker = site.pool.worker("w1");
        let base = site.rev("master");
        site.upstream(&Flake::hosts(2).salt("newer").held("h01"));
        let gate = site.spawn("gate", &[], None);
        site.pool.store.wait_for_build(&tests::flake::system_name("h01"), DEADLINE);
        Self { site, gate, base, _worker: worker }
    }

    /// Lets the build end, and the gate.
    fn end(&mut self, code: i32) -> serde_json::Value {
        self.site.pool.store.release("h01");
        assert_eq!(self.gate.wait(DEADLINE).code(), Some(code), "{}", self.gate.log());
        self.site.status()[0].clone()
    }
}

#[test]
fn a_base_that_moved_on_in_another_file_is_followed_without_building_anew() {
    let mut waiting = Waiting::start(Persona::Gitea126);
    let moved = waiting.site.pool.repo.commit("master", &[("README", "moved on")]);

    let answer = waiting.end(0);

    let site = &waiting.site;
    assert_eq!((&answer["end"], &answer["rounds"]), (&"landed".into(), &2.into()), "{answer:#}");
    assert_eq!(site.rev("master^"), moved, "on top of what somebody pushed");
    assert_eq!(site.changed("master"), ["flake.lock"]);
    let builds = site.pool.store.builds_begun(&tests::flake::system_name("h01"));
    assert_eq!(builds, 1, "its derivation is the same");
    assert_eq!(site.landings().len(), 1);
    assert_eq!(site.branches(), Vec::<String>::new());
}

#[test]
fn a_base_whose_lock_moved_on_is_updated_anew() {
    let mut waiting = Waiting::start(Persona::Gitea126);
    let site = &waiting.site;
    // Somebody updates by hand, to something else.
    site.upstream(&Flake::hosts(2).salt("by hand"));
    let moved = site.commit_lock("master");
    site.upstream(&Flake::hosts(2).salt("newest"));

    let answer = waiting.end(0);

    let site = &waiting.site;
    assert_eq!(answer["end"], "landed", "{answer:#}");
    assert_eq!(site.rev("master^"), moved);
    assert_eq!(answer["candidate"]["revision"], *site.rev("master"));
    assert_eq!(answer["candidate"]["base"], *moved);
}

#[test]
fn a_base_that_got_the_same_update_leaves_nothing_to_do() {
    let mut waiting = Waiting::start(Persona::Gitea126);
    let moved = waiting.site.commit_lock("master");

    let answer = waiting.end(0);

    let site = &waiting.site;
    assert_eq!(answer["end"], "unchanged", "{answer:#}");
    assert_eq!(site.rev("master"), moved);
    assert_eq!(site.branches(), Vec::<String>::new());
    assert!(site.landings().is_empty());
}

/// A plain push of the tested commit would bring back what somebody has dropped.
fn rewound(persona: Persona) {
    let mut waiting = Waiting::start(persona);
    let past = waiting.site.rev("master^");
    waiting.site.pool.repo.set_branch("master", &past);

    let answer = waiting.end(3);

    let site = &waiting.site;
    assert_eq!(answer["end"], "base-rewound", "{answer:#}");
    assert_eq!(site.rev("master"), past, "what was dropped stays dropped");
    assert!(site.landings().is_empty());
    assert_eq!(site.branches(), Vec::<String>::new());
}

#[test]
fn a_base_that_was_rewound_gets_nothing_of_gitea() {
    rewound(Persona::Gitea126);
}

#[test]
fn a_base_that_was_rewound_gets_nothing_of_forgejo() {
    rewound(Persona::Forgejo);
}

#[test]
fn a_base_that_is_gone_is_not_made_again() {
    let mut waiting = Waiting::start(Persona::Gitea126);
    waiting.site.pool.repo.delete_branch("master");

    let answer = waiting.end(3);

    assert_eq!(answer["end"], "branch-gone", "{answer:#}");
    assert_eq!(waiting.site.branches(), Vec::<String>::new());
    assert!(waiting.site.landings().is_empty());
}

fn protected(persona: Persona) {
    let mut waiting = Waiting::start(persona);
    waiting.site.forge.protect("master", &[ALICE]);

    let answer = waiting.end(2);

    let site = &waiting.site;
    assert_eq!(answer["end"], "denied", "{answer:#}");
    assert_eq!(site.rev("master"), waiting.base);
    let pulls = site.forge.pulls();
    assert_eq!(pulls.len(), 1);
    assert!(pulls[0].body.contains(BOT) && pulls[0].body.contains("master"), "{}", pulls[0].body);
    assert_eq!(site.forge.labels_of(pulls[0].number), ["needs-review"]);

    // Once the rule is changed, the same branch lands.
    site.forge.protect("master", &[BOT]);
    let head = pulls[0].head.clone();
    let answer = site.run(&["--branch", &head]).expect_code(0).json();
    assert_eq!(answer["end"], "landed", "{answer:#}");
    assert_eq!(site.rev("master^"), waiting.base);
    assert!(!site.forge.pull(pulls[0].number).open);
    assert_eq!(site.branches(), Vec::<String>::new());
}

#[test]
fn a_protected_base_is_explained_on_gitea() {
    protected(Persona::Gitea126);
}

#[test]
fn a_protected_base_is_explained_on_forgejo() {
    protected(Persona::Forgejo);
}

/// Somebody pushes in exactly the gap between the gate's last read and its write: what is tested is
/// followed there, and nobody's commit is lost.
fn raced(persona: Persona, race: impl FnOnce(&Updates, &str)) {
    let mut waiting = Waiting::start(persona);
    let site = &waiting.site;
    // A commit on top of the base that no branch has yet.
    site.pool.repo.set_branch("somebody", &waiting.base);
    let theirs = site.pool.repo.commit("somebody", &[("unrelated", "x")]);
    site.pool.repo.delete_branch("somebody");
    race(site, &theirs);

    let answer = waiting.end(0);

    let site = &waiting.site;
    assert_eq!((&answer["end"], &answer["rounds"]), (&"landed".into(), &2.into()), "{answer:#}");
    assert_eq!(site.rev("master^"), theirs, "on top of what somebody pushed");
    assert_eq!(site.changed("master"), ["flake.lock"]);
    assert_eq!(answer["candidate"]["revision"], *site.rev("master"), "what was tested");
    assert_eq!(site.landings().len(), 1);
    assert_eq!(site.branches(), Vec::<String>::new());
}

/// In the same gap somebody takes the base back: what they dropped stays dropped.
fn rewound_in_the_gap(persona: Persona, on: On) {
    let mut waiting = Waiting::start(persona);
    let site = &waiting.site;
    let past = site.rev("master^");
    site.forge.move_before(on, "master", &past);

    let answer = waiting.end(3);

    let site = &waiting.site;
    assert_eq!(answer["end"], "base-rewound", "{answer:#}");
    assert_eq!(site.rev("master"), past);
    assert!(site.landings().is_empty());
    assert_eq!(site.branches(), Vec::<String>::new());
}

/// The gap of a server that compares by itself.
fn put() -> On {
    On::new("PUT", "/branches/master")
}

/// The gaps of one that does not: git is about to look where the base is, and has looked and sends
/// what it pushes.
fn pushes() -> [On; 2] {
    [On::new("GET", "/info/refs?service=git-receive-pack"), On::new("POST", "/git-receive-pack")]
}

#[test]
fn a_push_in_the_gap_before_the_forge_moves_the_base_is_not_overwritten() {
    raced(Persona::Gitea126, |site, theirs| site.forge.move_before(put(), "master", theirs));
}

#[test]
fn a_push_inside_the_forges_own_move_is_not_overwritten() {
    raced(Persona::Gitea126, |site, theirs| site.forge.move_inside("master", theirs));
}

#[test]
fn a_push_in_the_gaps_of_gits_own_push_is_not_overwritten() {
    for (persona, gap) in [Persona::Gitea125, Persona::Forgejo].into_iter().zip(pushes()) {
        raced(persona, |site, theirs| site.forge.move_before(gap, "master", theirs));
    }
}

#[test]
fn a_rewind_in_the_gap_before_the_forge_moves_the_base_is_not_undone() {
    rewound_in_the_gap(Persona::Gitea126, put());
}

#[test]
fn a_rewind_in_the_gaps_of_gits_own_push_is_not_undone() {
    for (persona, gap) in [Persona::Forgejo, Persona::Gitea125].into_iter().zip(pushes()) {
        rewound_in_the_gap(persona, gap);
    }
}

#[test]
fn two_gates_at_once_are_one() {
    let mut waiting = Waiting::start(Persona::Gitea126);
    let second = waiting.site.run(&[]).expect_code(3);
    assert!(second.stderr.contains("has it for"), "{second}");
    assert!(second.stderr.contains("process "), "it says who: {second}");
    let resumed = waiting.site.resume().expect_code(3);
    assert!(resumed.stderr.contains("has it for"), "{resumed}");
    waiting.end(0);
    assert_eq!(waiting.site.landings().len(), 1);
}
