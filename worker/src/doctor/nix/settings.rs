//! Nix's settings, and what they mean for a worker. Pure.

use serde_json::Value;

use super::{NIX_CONF, Wanted};
use crate::doctor::{
    finding::{Check, Finding, Group},
    machine::User,
    quantity::bytes,
};

/// What `nix config show --json` prints.
#[derive(Clone, Debug)]
pub struct NixSettings {
    all: Value,
    /// There are machines that builds are sent to.
    pub has_builders: bool,
}

impl NixSettings {
    /// None when the text is none of it.
    pub fn parse(json: &str) -> Option<Self> {
        let all: Value = serde_json::from_str(json).ok()?;
        all.get("system").is_some().then_some(Self { all, has_builders: false })
    }

    /// A setting as text; a list with blanks between.
    pub fn text(&self, name: &str) -> String {
        match self.all.get(name).and_then(|it| it.get("value")) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(list)) => {
                let words = list.iter().map(|it| it.as_str().unwrap_or_default());
                words.collect::<Vec<_>>().join(" ")
            }
            Some(other) => other.to_string(),
        }
    }

    fn words(&self, name: &str) -> Vec<String> {
        self.text(name).split_whitespace().map(str::to_owned).collect()
    }

    /// Whether `trusted-users` holds the user, one of its groups, or everybody.
    pub fn trusts(&self, user: &User) -> bool {
        self.lists("trusted-users", user)
    }

    /// Whether the daemon talks to the user at all.
    pub fn allows(&self, user: &User) -> bool {
        self.lists("allowed-users", user) || self.trusts(user)
    }

    fn lists(&self, setting: &str, user: &User) -> bool {
        let group = |word: &str| {
            let group = word.strip_prefix('@');
            group.is_some_and(|group| user.groups.iter().any(|it| it == group))
        };
        let listed = |word: &String| *word == user.name || word == "*" || group(word);
        self.words(setting).iter().any(listed)
    }

    pub(super) fn findings(&self, wanted: &Wanted) -> Vec<Finding> {
        let mut all = vec![self.sandbox()];
        all.extend(wanted.systems.iter().map(|system| self.system(system)));
        all.extend(wanted.features.iter().map(|feature| self.feature(feature)));
        all.extend([self.substituters(), self.kept(), self.collected()]);
        all
    }

    fn sandbox(&self) -> Finding {
        let check = Check(Group::Nix, "sandbox");
        let fix = || format!("sandbox = true and sandbox-fallback = false {NIX_CONF}");
        match self.text("sandbox").as_str() {
            "true" => check.ok("on"),
            "relaxed" => check.warning(
                "relaxed",
                "a derivation may leave the sandbox by asking for it",
                fix(),
            ),
            other => check.problem(
                format!("off (sandbox = {other})"),
                "builds see this machine's files and network: whoever may push to an allowed \
                 branch reads what the build users can read, and results depend on the machine",
                fix(),
            ),
        }
    }

    fn system(&self, system: &str) -> Finding {
        let check = Check(Group::Nix, "system");
        let mut own = vec![self.text("system")];
        own.extend(self.words("extra-platforms"));
        let finding = if own.iter().any(|it| it == system) {
            check.ok("Nix builds it here")
        } else if self.has_builders {
            check.warning(
                format!("this Nix builds {}; others only by its remote builders", own.join(", ")),
                "when no remote builder for it answers, its jobs fail as wrong-system",
                format!("extra-platforms = {system} {NIX_CONF}, if this machine can run it"),
            )
        } else {
            check.problem(
                format!("this Nix builds {} only", own.join(", ")),
                "the worker takes jobs of this system, and each fails as wrong-system",
                format!(
                    "take it out of [worker] systems; or, where the machine can run it (NixOS: \
                     boot.binfmt.emulatedSystems), extra-platforms = {system} {NIX_CONF}"
                ),
            )
        };
        finding.of(system)
    }

    fn feature(&self, feature: &str) -> Finding {
        let check = Check(Group::Nix, "feature");
        let features = self.words("system-features");
        let finding = match features.iter().any(|it| it == feature) || self.has_builders {
            true => check.ok("Nix has it"),
            false => check.problem(
                format!("this Nix has {} only", features.join(", ")),
                "Nix refuses to build what requires it",
                format!(
                    "take it out of [worker] features, or system-features = {} {feature} \
                     {NIX_CONF}",
                    features.join(" ")
                ),
            ),
        };
        finding.of(feature)
    }

    fn substituters(&self) -> Finding {
        let check = Check(Group::Nix, "substituters");
        let all = self.words("substituters");
        match all.is_empty() {
            true => check.ok("none: whatever is not in the store is built here"),
            false => check.ok(all.join(", ")),
        }
    }

    /// What the collector leaves beside what is rooted.
    fn kept(&self) -> Finding {
        let check = Check(Group::Nix, "kept beside roots");
        let settings = ["keep-outputs", "keep-derivations", "auto-optimise-store"];
        let said = settings.map(|name| format!("{name} = {}", self.text(name)));
        let seen = said.join(", ");
        match self.text("keep-outputs").as_str() {
            "true" => check.warning(
                format!("{seen}: a root also keeps what its derivations were built with"),
                "compilers and sources stay as long as the result: several times its size",
                format!("keep-outputs = false {NIX_CONF}, or plan for the room"),
            ),
            _ => check.ok(seen),
        }
    }

    fn collected(&self) -> Finding {
        let check = Check(Group::Nix, "collects by itself");
        let size = |name| self.text(name).parse::<u64>().unwrap_or_default();
        let (min, max) = (size("min-free"), size("max-free"));
        match min {
            0 => check.ok("no (min-free = 0): `nix-collect-garbage` on a timer keeps room"),
            min if max < min => check.warning(
                format!("below {} free, up to {} (max-free)", bytes(min), bytes(max)),
                "it stops before it has made the room that starts it: every build collects",
                format!("max-free larger than min-free {NIX_CONF}"),
            ),
            min => check.ok(format!("below {} free", bytes(min))),
        }
    }
}
