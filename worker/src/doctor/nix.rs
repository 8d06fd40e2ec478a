//! Nix, its settings, its daemon, and whether it builds at all. Pure.

mod settings;

pub use settings::NixSettings;

use super::{
    finding::{Check, Finding, Group},
    machine::User,
    trouble::Trouble,
};
use crate::config::Config;

/// What is known of Nix here.
#[derive(Clone, Debug)]
pub struct NixFacts {
    /// What `nix --version` says.
    pub version: Result<String, Trouble>,
    /// Its settings, as JSON.
    pub settings: Result<NixSettings, Trouble>,
    /// Whether the store answers.
    pub store: Result<StoreAnswer, Trouble>,
    /// What came of a build of nothing.
    pub built: Result<(), Trouble>,
}

/// What a store says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreAnswer {
    /// How Nix calls it, e.g. `daemon` or `local`.
    pub url: String,
    /// Whether the daemon trusts us; older ones do not say.
    pub trusted: Option<bool>,
}

/// What the worker asks of Nix.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// `[worker] systems`.
    pub systems: Vec<String>,
    /// `[worker] features`.
    pub features: Vec<String>,
    /// Keys of its config that only a trusted user may set.
    pub needs_trust: Vec<&'static str>,
}

/// The oldest one that everything here works with, major and minor.
const VERSION_MIN: (u32, u32) = (2, 8);
/// Where the fixes belong.
pub(super) const NIX_CONF: &str =
    "in /etc/nix/nix.conf (NixOS: nix.settings), then `systemctl restart nix-daemon`";

impl Wanted {
    /// As a config says.
    pub fn of(config: &Config) -> Self {
        let (mut systems, mut features) = (Vec::new(), Vec::new());
        for class in &config.classes {
            let after = &class.as_str()[class.system().len()..];
            systems.push(class.system().to_owned());
            features.extend(after.split('_').filter(|it| !it.is_empty()).map(str::to_owned));
        }
        for all in [&mut systems, &mut features] {
            all.sort_unstable();
            all.dedup();
        }
        let signs_here = config
            .cache
            .as_ref()
            .is_some_and(|cache| cache.sign_key_file.is_some() && !cache.push_to.is_binary_cache());
        let needs = [
            ("[nix] substituters", !config.substituters.is_empty()),
            ("[nix] trusted_public_keys", !config.trusted_public_keys.is_empty()),
            ("[cache] sign_key_file for a push_to over ssh", signs_here),
        ];
        let needs_trust = needs.into_iter().filter(|(_, needed)| *needed).map(|(key, _)| key);
        Self { systems, features, needs_trust: needs_trust.collect() }
    }
}

impl StoreAnswer {
    /// Behind a daemon, which may trust us or not.
    fn is_daemon(&self) -> bool {
        self.url == "daemon" || self.url.starts_with("unix://")
    }
}

/// What there is to say of it. Without a Nix there is one thing to say.
pub fn findings(facts: &NixFacts, user: Option<&User>, wanted: &Wanted) -> Vec<Finding> {
    let mut all = vec![version(&facts.version)];
    if facts.version.is_err() {
        return all;
    }
    let settings = facts.settings.as_ref();
    let shut_out = settings.ok().zip(user).is_some_and(|(settings, user)| !settings.allows(user));
    all.push(store(&facts.store, shut_out));
    if let (Ok(answer), Ok(settings)) = (&facts.store, settings) {
        all.push(trust(answer, settings, user, wanted));
    }
    match settings {
        Ok(settings) => all.extend(settings.findings(wanted)),
        Err(trouble) => all.push(Check(Group::Nix, "settings").undecided(
            trouble.to_string(),
            "whether builds are sandboxed, and for which systems, is not known",
            "run `nix show-config` (newer: `nix config show`) as the worker's user",
        )),
    }
    if facts.store.is_ok() {
        all.push(built(&facts.built));
    }
    all
}

fn version(version: &Result<String, Trouble>) -> Finding {
    let check = Check(Group::Nix, "version");
    let text = match version {
        Ok(text) => text,
        Err(trouble @ Trouble::Missing(_)) => {
            return check.problem(
                trouble.to_string(),
                "every build is one of Nix's",
                "install it: `apt-get install nix-bin nix-setup-systemd`, or \
                 https://nixos.org/download; in a unit, Environment=PATH=…",
            );
        }
        Err(trouble) => {
            return check.undecided(
                trouble.to_string(),
                "every build is one of Nix's",
                "run `nix --version` as the worker's user",
            );
        }
    };
    let (major, minor) = VERSION_MIN;
    match parsed(text) {
        Some(version) if version < VERSION_MIN => check.problem(
            text,
            "it lacks commands and options that the worker uses",
            format!("install Nix {major}.{minor} or later"),
        ),
        Some(_) => check.ok(text),
        None => check.warning(
            format!("{text:?}, which names no version"),
            "whether it has what the worker uses is not known",
            format!("use Nix {major}.{minor} or later"),
        ),
    }
}

/// Of `nix (Nix) 2.8.0` and its relatives' words.
fn parsed(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().next_back()?.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?;
    let digits = minor.find(|c: char| !c.is_ascii_digit()).unwrap_or(minor.len());
    Some((major, minor[..digits].parse().ok()?))
}

/// `shut_out`: by Nix's settings the daemon does not talk to this user. Older ones hang up without a
/// word then.
fn store(store: &Result<StoreAnswer, Trouble>, shut_out: bool) -> Finding {
    let check = Check(Group::Nix, "store");
    let why = "evaluations and builds go through it";
    let trouble = match store {
        Ok(answer) if answer.is_daemon() => {
            return check.ok(format!("{}: the daemon answers", answer.url));
        }
        Ok(answer) => return check.ok(format!("{}: opened without a daemon", answer.url)),
        Err(trouble) => trouble,
    };
    let seen = trouble.to_string();
    let hung_up = || trouble.says(&["connection reset", "end-of-file", "broken pipe"]);
    if trouble.says(&["is not allowed to connect"]) || (shut_out && hung_up()) {
        let fix = format!("add the worker's user to `allowed-users` {NIX_CONF}");
        let why = "the daemon turns whoever is not in allowed-users away, and with it every build";
        return check.problem(seen, why, fix);
    }
    if trouble.says(&["permission denied", "read-only", "needs to be writable"]) {
        let fix = "run it as a user who may use the store: through the daemon, \
                   NIX_REMOTE=daemon or [nix] store = \"daemon\"";
        return check.problem(seen, why, fix);
    }
    let fix = "sudo systemctl enable --now nix-daemon.socket nix-daemon; \
               or correct [nix] store, NIX_REMOTE";
    check.undecided(seen, why, fix)
}

fn trust(
    store: &StoreAnswer,
    settings: &NixSettings,
    user: Option<&User>,
    wanted: &Wanted,
) -> Finding {
    let check = Check(Group::Nix, "trust");
    if !store.is_daemon() {
        return check.ok("no daemon between: whatever the config says is taken");
    }
    let listed = user.map(|user| settings.trusts(user));
    let by = if store.trusted.is_some() { "the daemon says" } else { "trusted-users says" };
    let name = user.map_or("this user", |user| user.name.as_str());
    match store.trusted.or(listed) {
        Some(true) => check.ok(format!("{name} is trusted ({by})")),
        Some(false) if wanted.needs_trust.is_empty() => {
            check.ok(format!("{name} is not trusted ({by}), and need not be"))
        }
        Some(false) => check.problem(
            format!(
                "{name} is not trusted ({by}), but the config has {}",
                wanted.needs_trust.join(", ")
            ),
            "the daemon ignores these of whoever it does not trust: nothing is fetched from such \
             a cache, nothing is signed",
            format!(
                "trusted-users = root {name} {NIX_CONF}; or without trust: substituters and \
                 trusted-public-keys in nix.conf instead of worker.toml"
            ),
        ),
        None => check.undecided(
            "it is not known whether the daemon trusts this user",
            "the daemon ignores some settings of whoever it does not trust",
            "run `nix store ping` as the worker's user",
        ),
    }
}

fn built(built: &Result<(), Trouble>) -> Finding {
    let check = Check(Group::Nix, "trial build");
    let why = "an empty folder could not be built, so nothing can";
    let trouble = match built {
        Ok(()) => return check.ok("an empty folder was built, and is deleted again"),
        Err(trouble) => trouble,
    };
    let seen = trouble.to_string();
    if trouble.says(&["namespace", "cloning builder", "operation not permitted", "sandbox"]) {
        let fix = "let the kernel make namespaces (sysctl kernel.unprivileged_userns_clone=1; in \
                   a container: run beside a nix-daemon of the host's, or with CAP_SYS_ADMIN)";
        return check.problem(seen, why, fix);
    }
    if trouble.says(&["no space left", "disk quota"]) {
        return check.problem(seen, why, "make room: see Space; `nix-collect-garbage`");
    }
    if matches!(trouble, Trouble::Late(_)) {
        let fix = "see whether another Nix holds the store's lock: `ps ax | grep nix`";
        return check.undecided(seen, "it is not known whether this machine can build", fix);
    }
    check.problem(seen, why, "mend what Nix says, as the worker's user")
}

#[cfg(test)]
mod tests;
