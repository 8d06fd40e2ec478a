//! `worker doctor`: looks at everything that a worker needs, and says what is wrong and what mends
//! it.
//!
//! Facts come from `gather`; what they mean is decided by pure functions of them, one module per
//! group: [`machine`], [`secrets`], [`nix`], [`space`], [`broker`], [`git`], [`cache`]. It changes
//! nothing and goes on after whatever fails.

pub mod broker;
pub mod cache;
pub mod finding;
mod gather;
pub mod git;
pub mod machine;
pub mod nix;
mod quantity;
pub mod render;
pub mod secrets;
pub mod space;
mod trouble;

use std::path::Path;

use bus::Endpoint;
use proto::ExitCode;

use self::{
    cache::CacheFacts,
    finding::{Check, Finding, Group, exit_code},
    machine::EvalBudget,
    nix::Wanted,
    space::SpaceFacts,
};
use crate::{
    config::Config,
    error::Error,
    nix::{command::Nix, process::Supervisor},
};

pub use self::trouble::Trouble;

/// Looks at everything and tells it on stdout; gives the exit code.
///
/// # Errors
/// stdout cannot be written.
pub async fn run(
    config: Config,
    nats: &options::Broker,
    json: bool,
    console: &options::Console,
) -> Result<ExitCode, Error> {
    let name = format!("nbp-doctor-{}", config.name);
    let endpoint = nats.endpoint(&config.nats, name, Some(gather::broker::CONNECT_WALL));
    let findings = findings(&config, &endpoint).await;
    let text = match json {
        true => render::json(&config.name, &findings),
        false => render::text(&findings, &options::Page::of(console)),
    };
    console.data(&text).map_err(Error::Output)?;
    Ok(exit_code(&findings))
}

async fn findings(config: &Config, endpoint: &Endpoint) -> Vec<Finding> {
    let supervisor = &Supervisor::this_program();
    // Gone at the end, and with it what Nix and git remember in a home.
    let home = match tempfile::tempdir() {
        Ok(home) => home,
        Err(error) => {
            let check = Check(Group::Machine, "temporary folder");
            let dir = std::env::temp_dir();
            return vec![check.problem(
                format!("{} cannot be written: {error}", dir.display()),
                "Nix and git need one; nothing else was looked at",
                "make it writable, or set TMPDIR",
            )];
        }
    };
    let nix = &Nix::new(config, home.path().to_owned());
    // Logins may lie in the worker's own home; asking leaves nothing there.
    let own = config.state_dir.join("home");
    let at_home = &Nix::new(config, own.clone());
    let has_home = gather::looked(move || own.is_dir()).await.unwrap_or(false);
    let pushing = if has_home { at_home } else { nix };
    let seed = endpoint.nkey_file.as_deref();
    let (machine, secrets, (nix_facts, cache), (broker, newest), repos) = tokio::join!(
        gather::machine::machine(supervisor, config),
        gather::machine::secrets(config, seed),
        nix_and_cache(supervisor, nix, pushing, config),
        gather::broker::broker(config, endpoint),
        gather::git::repos(supervisor, at_home, config),
    );
    let newest = match &nix_facts.store {
        Ok(_) => newest,
        Err(trouble) => Err(trouble.clone()),
    };
    let space = space(supervisor, nix, config, newest).await;

    let mut all = machine::findings(&machine, eval_budget(config));
    match &secrets {
        Ok(secrets) => all.extend(secrets::findings(secrets)),
        Err(trouble) => all.push(Check(Group::Secrets, "files").undecided(
            trouble.to_string(),
            "who may read them is not known",
            "look at the mount that they are on",
        )),
    }
    all.extend(nix::findings(&nix_facts, machine.user.as_ref().ok(), &Wanted::of(config)));
    all.extend(space::findings(&space));
    all.extend(broker::findings(&broker));
    all.extend(git::findings(&repos));
    let has_key = config.cache.as_ref().is_some_and(|cache| cache.sign_key_file.is_some());
    all.extend(cache::findings(&cache, has_key));
    all
}

/// The trial build is what is pushed.
async fn nix_and_cache(
    supervisor: &Supervisor,
    nix: &Nix,
    pushing: &Nix,
    config: &Config,
) -> (nix::NixFacts, CacheFacts) {
    let (facts, trial) = gather::nix::nix(supervisor, nix).await;
    let push_to = config.cache.as_ref().map(|cache| cache.push_to.to_string());
    let mut cache = CacheFacts { push_to, pushed: None };
    if let Some(trial) = &trial {
        if let Some(to) = &config.cache {
            cache.pushed = Some(gather::cache::push(supervisor, pushing, to, trial).await);
        }
        gather::nix::delete(supervisor, nix, &[&trial.out, &trial.drv]).await;
    }
    (facts, cache)
}

async fn space(
    supervisor: &Supervisor,
    nix: &Nix,
    config: &Config,
    newest: Result<Vec<gather::space::Newest>, Trouble>,
) -> SpaceFacts {
    let roots: &Path = &config.roots_dir;
    let kept = match newest {
        Ok(newest) => gather::space::kept(supervisor, nix, roots, &newest).await,
        Err(trouble) => Err(trouble),
    };
    let places = gather::space::places(config).await;
    SpaceFacts { places, kept, keep_generations: config.keep_generations }
}

fn eval_budget(config: &Config) -> EvalBudget {
    let each = config.repos.values().map(|repo| repo.limits.eval_memory_max).max();
    EvalBudget { each: each.unwrap_or_default(), slots: config.eval_slots }
}

/// A deadline in tests.
#[cfg(test)]
const SECOND: std::time::Duration = std::time::Duration::from_secs(1);
