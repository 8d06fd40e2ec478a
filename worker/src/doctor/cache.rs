//! The binary cache: whether a path can be put there, signed, and seen. Pure.

use super::{
    finding::{Check, Finding, Group},
    trouble::Trouble,
};

/// What came of a trial push.
#[derive(Clone, Debug)]
pub struct CacheFacts {
    /// `[cache] push_to`; none where the store is the cache.
    pub push_to: Option<String>,
    /// How far the trial came; none when there was nothing to push or nowhere to push it.
    pub pushed: Option<Result<Pushed, PushTrouble>>,
}

/// A path that was seen in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Under our signature.
    pub signed: bool,
    /// And taken out of it again.
    pub deleted: bool,
}

/// Where a push ended.
#[derive(Clone, Debug)]
pub struct PushTrouble {
    /// Doing what.
    pub step: PushStep,
    /// Why.
    pub trouble: Trouble,
}

/// The steps of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushStep {
    /// Signing in the own store.
    Sign,
    /// Copying.
    Copy,
    /// Looking for it there.
    Verify,
}

/// Nobody answers there, or there is no such machine. curl says it one way, ssh another.
const AWAY: [&str; 7] = [
    "could not resolve",
    "couldn't resolve",
    "couldn't connect",
    "connection refused",
    "timed out",
    "timeout was reached",
    "no route to host",
];

/// What there is to say of it.
pub fn findings(facts: &CacheFacts, has_key: bool) -> Vec<Finding> {
    let check = Check(Group::Cache, "push");
    let Some(url) = &facts.push_to else {
        return vec![check.ok("nothing to push: this store is the cache (no [cache] push_to)")];
    };
    let finding = match &facts.pushed {
        None => check.undecided(
            format!("{url}: not tried, there is no trial build to push"),
            "whether results can be pushed is not known",
            "mend what is said under Nix, then ask again",
        ),
        Some(Ok(pushed)) => pushed_well(check, url, *pushed, has_key),
        Some(Err(error)) => trouble(check, url, error),
    };
    vec![finding]
}

fn pushed_well(check: Check, url: &str, pushed: Pushed, has_key: bool) -> Finding {
    let stays = match pushed.deleted {
        true => "deleted again",
        false => "which stays there: Nix deletes nothing from such a cache",
    };
    let Pushed { signed, .. } = pushed;
    match (signed, has_key) {
        (true, _) => check.ok(format!("{url} took an empty folder, signed, {stays}")),
        (false, true) => check.problem(
            format!("{url} took an empty folder, but shows no signature of ours"),
            "hosts take only what is signed; each build ends as push-failed",
            "let whoever serves it keep signatures, or correct [cache] sign_key_file",
        ),
        (false, false) => check.warning(
            format!("{url} took an empty folder, unsigned, {stays}"),
            "hosts take only what is signed, if not by us then by whoever serves the cache",
            "nix-store --generate-binary-cache-key NAME-1 FILE FILE.pub, and \
             [cache] sign_key_file = \"FILE\"",
        ),
    }
}

fn trouble(check: Check, url: &str, PushTrouble { step, trouble }: &PushTrouble) -> Finding {
    let seen = |doing| format!("{url}: {doing}: {trouble}");
    let why = "each build of this worker ends as push-failed";
    if *step == PushStep::Sign {
        let fix = "make [cache] sign_key_file readable; over ssh the daemon here must also trust \
                   this user (trusted-users in nix.conf)";
        return check.problem(seen("the path could not be signed"), why, fix);
    }
    let doing = match step {
        PushStep::Copy => "the path could not be copied",
        PushStep::Sign | PushStep::Verify => "the path could not be seen there afterwards",
    };
    if trouble.says(&["lacks a valid signature", "lacks a signature", "not trusted"]) {
        let fix = "there, in nix.conf: extra-trusted-public-keys = this worker's public key (see \
                   Secrets); here: [cache] sign_key_file";
        return check.problem(seen(doing), why, fix);
    }
    let host_key = ["host key verification failed"];
    if trouble.says(&host_key) {
        let fix = "ssh-keyscan HOST | sudo tee -a /etc/ssh/ssh_known_hosts, after comparing the \
                   fingerprint";
        return check.problem(seen(doing), why, fix);
    }
    if trouble.says(&AWAY) || matches!(trouble, Trouble::Late(_)) {
        let fix = format!("see whether {url} is up: `nix store ping --store '{url}'`");
        return check.undecided(seen(doing), why, fix);
    }
    let denied =
        ["permission denied", "read-only", "forbidden", "error 401", "error 403", "error 405"];
    if trouble.says(&denied) {
        let fix = "let the worker's user write there (file: the folder's owner; ssh: its key in \
                   authorized_keys; http, s3: a login in a netrc file or AWS credentials); or \
                   correct [cache] push_to";
        return check.problem(seen(doing), why, fix);
    }
    check.problem(seen(doing), why, "correct [cache] push_to, or mend what Nix says")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    #[track_caller]
    fn check(pushed: Option<Result<Pushed, PushTrouble>>, key: bool, level: Level, words: &str) {
        let facts = CacheFacts { push_to: Some("file:///c".into()), pushed };
        let found = findings(&facts, key).remove(0);
        assert_eq!(found.level, level, "{found:?}");
        let text = format!("{} {:?} {:?}", found.seen, found.why, found.fix);
        assert!(text.contains(words), "{text}");
    }

    #[test]
    fn each_end_of_a_push_has_its_remedy() {
        let pushed = |signed, deleted| Some(Ok(Pushed { signed, deleted }));
        check(pushed(true, true), true, Level::Ok, "deleted again");
        check(pushed(true, false), true, Level::Ok, "stays there");
        check(pushed(false, true), true, Level::Problem, "no signature of ours");
        check(pushed(false, true), false, Level::Warning, "--generate-binary-cache-key");
        let failed = |step, words: &str| {
            Some(Err(PushTrouble { step, trouble: Trouble::Failed(words.into()) }))
        };
        let copy = |words| failed(PushStep::Copy, words);
        check(failed(PushStep::Sign, "no"), true, Level::Problem, "trusted-users");
        check(copy("Permission denied"), true, Level::Problem, "authorized_keys");
        check(copy("path lacks a valid signature"), true, Level::Problem, "extra-trusted");
        check(copy("ssh: connect: Connection refused"), true, Level::Undecided, "nix store ping");
        check(copy("Couldn't connect to server (7)"), true, Level::Undecided, "is up");
        check(copy("Host key verification failed."), true, Level::Problem, "ssh-keyscan");
        check(copy("odd"), true, Level::Problem, "push_to");
        check(None, true, Level::Undecided, "under Nix");
        let own = CacheFacts { push_to: None, pushed: None };
        assert!(findings(&own, false)[0].seen.contains("this store is the cache"));
    }
}
