//! The copy of a result to the cache: signed, tried again, and seen there afterwards.
//!
//! What is there already, signed, is left alone. Whatever goes wrong here is the infrastructure's
//! fault (`push-failed`): the build itself was good, and stays in the worker's store.

use std::{path::Path, time::Duration};

use proto::{InfraKind, Phase};
use tokio::{sync::Semaphore, time::sleep};

use super::{BuildEnd, Limits, attempt::Attempt, attempt::infra, attempt::unless};
use crate::{
    config::{Cache, Retry},
    nix::{
        classify,
        command::StorePath,
        evaluate::{Said, call},
        process::{Exit, Guard, Halt, Invocation},
    },
};

/// Copies of one attempt; a lost connection is back by then, or the next attempt has better luck.
const TRIES_MAX: u32 = 3;
/// For one question to the cache: Nix itself tries five times within a minute.
const ASK_WALL: Duration = Duration::from_secs(2 * 60);

/// The cache as all attempts of a worker share it.
#[derive(Debug)]
pub struct Push {
    cache: Cache,
    slots: Semaphore,
    retry: Retry,
}

impl Push {
    /// To `cache`; a copy that failed is tried again after a delay as between two attempts.
    pub fn new(cache: &Cache, retry: Retry) -> Self {
        Self { cache: cache.clone(), slots: Semaphore::new(cache.push_slots), retry }
    }

    fn delay(&self, failures: u32) -> Duration {
        let bound = self.retry.delay_min.saturating_mul(1 << (failures - 1).min(16));
        bound.min(self.retry.delay_max).mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

/// What the cache says of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum There {
    No,
    Unsigned,
    Yes,
}

impl Attempt<'_> {
    /// Puts the closure of `out` into the cache, if this worker has one to push to.
    pub(super) async fn push(&mut self, out: &StorePath, limits: &Limits) -> Result<(), BuildEnd> {
        let Some(push) = &self.ctx.push else { return Ok(()) };
        self.enter(Phase::Push).await;
        let key = push.cache.sign_key_file.as_deref();
        let key_name = match key.map(key_name).transpose() {
            Ok(name) => name,
            Err(reason) => return Err(infra(InfraKind::PushFailed, reason)),
        };
        // A question that gets no answer is asked again by the copy.
        if let Ok(There::Yes) = self.there(push, out, key_name.as_deref()).await? {
            return Ok(());
        }
        let _slot = unless(&self.stop, push.slots.acquire()).await?;
        let to = &push.cache.push_to;
        for failures in 1.. {
            let reason = match self.pushed(push, out, key_name.as_deref(), limits).await? {
                Ok(()) => return Ok(()),
                Err(reason) => format!("push {out} to {to}: {reason}"),
            };
            if failures >= TRIES_MAX {
                return Err(infra(InfraKind::PushFailed, format!("failed to {reason}")));
            }
            let delay = push.delay(failures);
            self.log.say(format!("failed to {reason}; again in {delay:?}"));
            unless(&self.stop, sleep(delay)).await?;
        }
        unreachable!("the last failure returns")
    }

    /// One try; the inner error is why it failed.
    async fn pushed(
        &self,
        push: &Push,
        out: &StorePath,
        key_name: Option<&str>,
        limits: &Limits,
    ) -> Result<Result<(), String>, BuildEnd> {
        let (nix, to) = (&self.ctx.nix, &push.cache.push_to);
        let key = push.cache.sign_key_file.as_deref();
        // A cache of files is signed by whoever writes it. Another Nix wants to see signatures, and
        // there to be able to sign in its own store the worker must be trusted by its daemon.
        if let (Some(key), false) = (key, to.is_binary_cache()) {
            let said = self.within(limits.wall, &nix.sign(None, key, out)).await?;
            if !said.exit.success() {
                return Ok(Err(explained(reason(&said))));
            }
        }
        let said = self.within(limits.wall, &nix.copy(to, key, out)).await?;
        if !said.exit.success() {
            return Ok(Err(reason(&said)));
        }
        let there = match self.there(push, out, key_name).await? {
            // It was there before, put by somebody without our key.
            Ok(There::Unsigned) if to.is_binary_cache() => {
                if let Some(key) = key {
                    let said = self.within(limits.wall, &nix.sign(Some(to), key, out)).await?;
                    if !said.exit.success() {
                        return Ok(Err(reason(&said)));
                    }
                }
                self.there(push, out, key_name).await?
            }
            there => there,
        };
        Ok(match there {
            Ok(There::Yes) => Ok(()),
            Ok(There::Unsigned) => Err("it is there without our signature".to_owned()),
            Ok(There::No) => Err("it was copied, and is not there".to_owned()),
            Err(reason) => Err(reason),
        })
    }

    /// Whether the cache has the path, under a signature of our key if there is one.
    async fn there(
        &self,
        push: &Push,
        out: &StorePath,
        key_name: Option<&str>,
    ) -> Result<Result<There, String>, BuildEnd> {
        let ask = self.ctx.nix.path_info(&push.cache.push_to, out);
        let said = self.quiet_within(ASK_WALL, &ask).await?;
        if !said.exit.success() {
            let why = reason(&said);
            return Ok(if why.contains("is not valid") { Ok(There::No) } else { Err(why) });
        }
        Ok(Ok(there(said.exit.text().unwrap_or_default(), out, key_name)))
    }

    /// A call that may take long and says what it does.
    async fn within(&self, wall: Duration, invocation: &Invocation) -> Result<Said, BuildEnd> {
        let guard = Guard::new(&self.stop, wall);
        match call(self.ctx, invocation, &guard, &self.log).await {
            Ok(said) => Ok(said),
            Err((Halt::Stopped, _)) => Err(BuildEnd::Stopped),
            Err((halt, mut stderr)) => {
                stderr.push(format!("error: {halt}"));
                Ok(Said { exit: Exit::default(), stderr })
            }
        }
    }
}

/// Why a call failed, in Nix's words.
fn reason(said: &Said) -> String {
    match classify::store_call_failed(said.exit.code, &said.stderr) {
        BuildEnd::Infra { failure, .. } => failure.message,
        // A store call is never anybody else's fault.
        _ => "Nix failed".to_owned(),
    }
}

/// What to do when our own daemon does not let us sign.
fn explained(reason: String) -> String {
    match reason.contains("not privileged") {
        true => format!(
            "{reason}; have the daemon sign what it builds (`secret-key-files` in nix.conf) and leave \
             out [cache] sign_key_file"
        ),
        false => reason,
    }
}

/// What `nix path-info --sigs` says: the path, and after it the signatures, `<key name>:<base64>`.
pub(crate) fn there(answer: &str, out: &StorePath, key_name: Option<&str>) -> There {
    let line = answer.lines().find(|line| line.starts_with(out.as_str()));
    let Some(line) = line else { return There::No };
    let mut signatures = line.split_whitespace().filter_map(|word| word.split_once(':'));
    match key_name {
        Some(name) if !signatures.any(|(by, _)| by == name) => There::Unsigned,
        _ => There::Yes,
    }
}

/// The name before the colon in a secret key's file; the rest is let go.
fn key_name(file: &Path) -> Result<String, String> {
    let path = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("failed to read the signing key {path}: {error}"))?;
    let name = text.split_once(':').map(|(name, _)| name.trim().to_owned());
    name.filter(|name| !name.is_empty()).ok_or_else(|| {
        format!("failed to use the signing key {path}: it is none; make one with `nix-store --generate-binary-cache-key`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_there_under_our_own_signature() {
        let out = StorePath::parse("/nix/store/9xrddrmcsbs455fw279vpapndfq6rqcn-web");
        let out = out.expect("a path");
        let check = |answer: &str, name, expected| {
            assert_eq!(there(answer, &out, name), expected, "{answer}");
        };
        check("", None, There::No);
        check(&format!("{out}\n"), None, There::Yes);
        check(&format!("{out}\n"), Some("pool-1"), There::Unsigned);
        check(&format!("{out}\tpool-1:abc= other-1:x\n"), Some("pool-1"), There::Yes);
        check(&format!("{out}\tultimate other-pool-1:abc=\n"), Some("pool-1"), There::Unsigned);
    }

    #[test]
    fn a_daemon_that_does_not_let_us_sign_is_explained() {
        let said = explained("you are not privileged to add signatures (exit code 1)".to_owned());
        assert!(said.contains("`secret-key-files` in nix.conf"), "{said}");
        assert_eq!(explained("no route".to_owned()), "no route");
    }

    #[test]
    fn a_key_is_known_by_its_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("key");
        let error = key_name(&file).expect_err("no file");
        assert!(error.contains("failed to read the signing key"), "{error}");
        std::fs::write(&file, "hunter2").expect("a file");
        let error = key_name(&file).expect_err("no key");
        assert!(error.contains("--generate-binary-cache-key") && !error.contains("hunter2"));
        std::fs::write(&file, "pool-1:hunter2==").expect("a file");
        assert_eq!(key_name(&file).as_deref(), Ok("pool-1"));
    }
}
