//! Evaluates one host to its derivation.
//!
//! It does not build, and it does not know where the commit comes from.

use std::collections::VecDeque;

use proto::{Failure, FailureKind, Host, Input};
use tokio_util::sync::CancellationToken;

use super::{
    classify::{self, EvalEnd, Evaluated},
    command::{FlakeRef, Pinned, StorePath},
    process::{Exit, Guard, Halt, Invocation},
    watcher::{TAIL_LINES, cut},
};
use crate::{
    build::{BuildContext, BuildEnd, Limits, halted},
    log_sink::LogSink,
};

/// Longest line of stderr that is kept for the excerpt.
const LINE_BYTES_MAX: usize = 2 << 10;

/// A short call and its last words.
#[derive(Debug)]
pub struct Said {
    /// How it ended.
    pub exit: Exit,
    /// Its last lines of stderr.
    pub stderr: Vec<String>,
}

/// Runs a short call to its end; every line of its stderr goes into the log.
pub async fn call(
    ctx: &BuildContext,
    invocation: &Invocation,
    guard: &Guard,
    log: &LogSink,
) -> Result<Said, (Halt, Vec<String>)> {
    let mut stderr = VecDeque::new();
    let end = ctx.supervisor.run(invocation, guard, |line| {
        if stderr.len() == TAIL_LINES {
            stderr.pop_front();
        }
        stderr.push_back(cut(&super::events::plain(&line.text), LINE_BYTES_MAX));
        log.say(&line.text);
    });
    let end = end.await;
    let stderr = stderr.into();
    match end {
        Ok(exit) => Ok(Said { exit, stderr }),
        Err(halt) => Err((halt, stderr)),
    }
}

/// The derivation of `host`, or how the attempt ends.
pub async fn evaluate(
    ctx: &BuildContext,
    limits: &Limits,
    flake: &Pinned,
    host: &Host,
    stop: &CancellationToken,
    log: &LogSink,
) -> Result<StorePath, BuildEnd> {
    // The deadline starts with the slot: waiting for it is no fault of the flake.
    let _slot = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(BuildEnd::Stopped),
        slot = ctx.eval_slots.acquire() => slot,
    };
    let memory_max = Some(limits.eval_memory_max);
    let guard = Guard { memory_max, ..Guard::new(stop, limits.eval_wall) };
    if !flake.overrides.is_empty() {
        must_override(ctx, flake, &guard, log).await?;
    }
    let (end, exit) = judged(ctx, &ctx.nix.eval_drv_path(flake, host), &guard, log).await?;
    match end {
        EvalEnd::Answered => {
            let drv = exit.text().and_then(StorePath::parse_drv);
            drv.ok_or_else(|| no_derivation(&exit))
        }
        EvalEnd::NoAttribute(failure) => {
            let kind = match has_host(ctx, flake, host, &guard, log).await? {
                true => FailureKind::EvalFailed,
                false => FailureKind::MissingHost,
            };
            Err(BuildEnd::Failed { kind, failure })
        }
        EvalEnd::Over(end) => Err(end),
    }
}

/// Runs a call of the evaluator and says what its end means.
async fn judged(
    ctx: &BuildContext,
    invocation: &Invocation,
    guard: &Guard,
    log: &LogSink,
) -> Result<(EvalEnd, Exit), BuildEnd> {
    let (exit, stderr, timed_out) = match call(ctx, invocation, guard, log).await {
        Ok(said) => (said.exit, said.stderr, false),
        Err((Halt::Deadline, stderr)) => (Exit::default(), stderr, true),
        Err((halt @ Halt::Memory { .. }, log_tail)) => {
            let failure = Failure { message: halt.to_string(), drv: None, log_tail };
            return Err(BuildEnd::Failed { kind: FailureKind::OutOfMemory, failure });
        }
        Err((halt, _)) => return Err(halted(&halt, "evaluate")),
    };
    let stopped = guard.stop.is_cancelled();
    let seen = Evaluated { stopped, timed_out, exit: exit.code, stderr: &stderr };
    Ok((classify::evaluated(&seen), exit))
}

/// Nix only warns of an override that fits no input, and would evaluate something else. So it is
/// asked what the inputs come to.
async fn must_override(
    ctx: &BuildContext,
    flake: &Pinned,
    guard: &Guard,
    log: &LogSink,
) -> Result<(), BuildEnd> {
    let failed = |failure| Err(BuildEnd::Failed { kind: FailureKind::EvalFailed, failure });
    let (end, exit) = judged(ctx, &ctx.nix.flake_metadata(flake), guard, log).await?;
    match end {
        EvalEnd::Answered => {}
        EvalEnd::NoAttribute(failure) => return failed(failure),
        EvalEnd::Over(end) => return Err(end),
    }
    let metadata = serde_json::from_slice(&exit.stdout).unwrap_or_default();
    let wrong = |(input, by): &&(Input, FlakeRef)| locked(&metadata, input) != Some(&by.commit);
    match flake.overrides.iter().find(wrong) {
        None => Ok(()),
        Some((input, _)) => failed(Failure::message(format!(
            "input {input} cannot be overridden: the flake has no input of this name"
        ))),
    }
}

/// The commit that an input of the flake itself comes to.
fn locked<'a>(metadata: &'a serde_json::Value, input: &Input) -> Option<&'a str> {
    let locks = metadata.get("locks")?;
    let node = |name: &str| locks.get("nodes")?.get(name);
    let root = node(locks.get("root")?.as_str()?)?;
    let input = root.get("inputs")?.get(input.as_str())?.as_str()?;
    node(input)?.get("locked")?.get("rev")?.as_str()
}

/// Only a plain `false` is a missing host; an answer that cannot be had is none.
async fn has_host(
    ctx: &BuildContext,
    flake: &Pinned,
    host: &Host,
    guard: &Guard,
    log: &LogSink,
) -> Result<bool, BuildEnd> {
    match call(ctx, &ctx.nix.eval_has_host(flake, host), guard, log).await {
        // Without any `nixosConfigurations` the call fails in the same words, for the same reason.
        Ok(said) if !said.exit.success() => {
            Ok(!said.stderr.iter().any(|line| line.contains("does not provide attribute")))
        }
        Ok(said) => Ok(said.exit.text() != Some("false")),
        Err((Halt::Deadline | Halt::Memory { .. }, _)) => Ok(true),
        Err((halt, _)) => Err(halted(&halt, "evaluate")),
    }
}

/// The flake's `drvPath` can be any string: it never reaches a command line unchecked.
fn no_derivation(exit: &Exit) -> BuildEnd {
    let shown = proto::token::shown(&String::from_utf8_lossy(&exit.stdout));
    let message = format!("toplevel.drvPath is {shown}, not a derivation in /nix/store");
    let failure = proto::Failure::message(message);
    BuildEnd::Failed { kind: FailureKind::EvalFailed, failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_comes_to_what_its_node_is_locked_to() {
        let metadata = serde_json::json!({"locks": {
            "root": "root",
            "nodes": {
                "root": {"inputs": {"servers": "servers_2", "follows": ["servers", "nixpkgs"]}},
                "servers": {"locked": {"rev": "other"}},
                "servers_2": {"locked": {"rev": "this"}},
            },
        }});
        let locked = |input: &str| locked(&metadata, &input.parse().expect("an input"));
        assert_eq!(locked("servers"), Some("this"));
        assert_eq!((locked("follows"), locked("nosuch"), locked("root")), (None, None, None));
        assert_eq!(super::locked(&serde_json::Value::Null, &"a".parse().expect("an input")), None);
    }
}
