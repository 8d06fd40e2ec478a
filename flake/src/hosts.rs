//! Which hosts a flake has, and for which systems: one evaluation, or two, none of which builds.
//!
//! It does not know what becomes of a host. A host's own errors do not show here: an evaluation of
//! the names looks at them alone, and in the one of the systems a host that cannot tell is left out.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use proto::{Host, Input, Revision};
use serde::de::DeserializeOwned;
use settings::RepoUrl;
use tokio::process::Command;

use crate::{
    git::{self, Access},
    process,
};

/// A flake that did not tell its hosts. Each message goes on after "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum FlakeError {
    /// The flake is at fault.
    #[error("list the hosts of the flake, which is broken:\n{message}")]
    Broken {
        /// What Nix said.
        message: String,
    },
    /// Nix, the network, or the time it may take.
    #[error("list the hosts of the flake:\n{message}")]
    Failed {
        /// What Nix said.
        message: String,
    },
    /// Nix's answer is not what was asked for.
    #[error("read the hosts of the flake from Nix: {0}")]
    Answer(serde_json::Error),
}

/// A flake at one commit of one ref.
#[derive(Clone, Copy, Debug)]
pub struct Flake<'a> {
    /// Where it is fetched from.
    pub url: &'a RepoUrl,
    /// A ref that contains the commit, in full.
    pub git_ref: &'a str,
    /// The commit.
    pub revision: &'a Revision,
    /// How git logs in there, and at the inputs.
    pub access: &'a Access,
    /// Inputs that are replaced, and the flakes that take their place.
    pub overrides: &'a [(Input, String)],
}

/// For the names, and for the systems of all hosts together: fetching nixpkgs over a slow line and
/// evaluating hundreds of hosts both fit.
const EVAL_MAX: Duration = Duration::from_secs(30 * 60);

/// Where a NixOS host may tell its system, tried in this order. Each on its own: one that throws
/// (an option without a value) must not hide the next.
const SYSTEM_OF: &str = "builtins.mapAttrs (_: host: let
  told = system: let it = builtins.tryEval system; in
    if it.success && builtins.isString it.value then it.value else null;
  first = systems: if systems == [] then null else
    let it = told (builtins.head systems); in
    if it != null then it else first (builtins.tail systems);
in first [
  (host.config.nixpkgs.hostPlatform.system or null)
  (host.pkgs.stdenv.hostPlatform.system or null)
  (host.pkgs.system or null)
  (host.config.system.build.toplevel.system or null)
])";

/// Words of Nix's evaluator, for faults that no other network or machine would mend. A message
/// that has none of them may be about a fetch, so nobody's flake is blamed for it.
const FLAKE_FAULTS: [&str; 15] = [
    "syntax error",
    "undefined variable",
    "does not provide attribute",
    "does not contain a 'flake.nix' file",
    "infinite recursion",
    "stack overflow",
    "evaluation aborted",
    "' missing",
    "was expected",
    "cannot coerce",
    "not a function",
    "called with unexpected argument",
    "called without required argument",
    "cannot write modified lock file",
    // What newer ones say of a string that is no text.
    "invalid UTF-8",
];

/// What one evaluation says of all hosts.
#[derive(serde::Deserialize)]
struct Both {
    names: Vec<String>,
    systems: BTreeMap<String, Option<String>>,
}

impl Flake<'_> {
    /// The names of all hosts, whatever state the hosts are in.
    pub async fn names(&self) -> Result<Vec<String>, FlakeError> {
        answer(&self.eval("builtins.attrNames").await?)
    }

    /// Both at once: the names of all hosts, and their systems as far as they tell.
    ///
    /// # Errors
    /// Also when one host cannot be looked at: then its name can be had all the same, apart.
    pub async fn names_and_systems(
        &self,
    ) -> Result<(Vec<String>, BTreeMap<String, Option<String>>), FlakeError> {
        let both =
            format!("hosts: {{ names = builtins.attrNames hosts; systems = {SYSTEM_OF} hosts; }}");
        let Both { names, systems } = answer(&self.eval(&both).await?)?;
        Ok((names, systems))
    }

    /// The systems of these hosts, as far as they tell. `tryEval` does not catch an abort or a type
    /// error, so a part that fails is asked again in halves, until the broken host is alone.
    pub async fn systems(&self, hosts: &[Host]) -> BTreeMap<String, Option<String>> {
        let give_up = Instant::now() + EVAL_MAX;
        let (mut told, mut open) = (BTreeMap::new(), vec![hosts]);
        while let Some(part) = open.pop() {
            match self.systems_at_once(part).await {
                Ok(systems) => told.extend(systems),
                // Anything else (a fetch, the network) would fail for each half alike.
                Err(FlakeError::Broken { .. }) if part.len() > 1 && Instant::now() < give_up => {
                    let (left, right) = part.split_at(part.len() / 2);
                    open.extend([left, right]);
                }
                Err(error) => tracing::info!(hosts = part.len(), "systems unknown: {error}"),
            }
        }
        told
    }

    async fn systems_at_once(
        &self,
        hosts: &[Host],
    ) -> Result<BTreeMap<String, Option<String>>, FlakeError> {
        answer(&self.eval(&systems_of(hosts)).await?)
    }

    /// As Nix names it.
    pub fn reference(&self) -> String {
        flake_url(self.url, self.git_ref, self.revision)
    }

    async fn eval(&self, function: &str) -> Result<Vec<u8>, FlakeError> {
        let url = self.reference();
        let mut command = Command::new("nix");
        command
            .args(["--extra-experimental-features", "nix-command flakes"])
            .args(["eval", "--json", "--no-accept-flake-config"])
            .args(["--option", "allow-import-from-derivation", "false"])
            .arg(format!("{url}#nixosConfigurations"))
            .args(["--apply", function]);
        for (input, by) in self.overrides {
            command.args(["--override-input", input.as_str(), by]);
        }
        if !self.overrides.is_empty() {
            command.arg("--no-write-lock-file");
        }
        git::unattended(&mut command, self.access);
        let done = process::finished("nix", &mut command, EVAL_MAX)
            .await
            .map_err(|error| FlakeError::Failed { message: error.to_string() })?;
        if done.status.success() {
            return Ok(done.stdout);
        }
        Err(fault(done.stderr.trim_end()))
    }
}

/// Strings of Nix are bytes, and Nix 2.8 writes them into its JSON as they are. What is no text
/// makes no legal name either, and is refused by that name instead of hiding all others.
fn answer<T: DeserializeOwned>(json: &[u8]) -> Result<T, FlakeError> {
    serde_json::from_str(&String::from_utf8_lossy(json)).map_err(FlakeError::Answer)
}

/// The function that Nix applies. Host names are tokens: inside quotes they mean only themselves.
fn systems_of(hosts: &[Host]) -> String {
    let names: String = hosts.iter().map(|host| format!("\"{host}\" = null; ")).collect();
    format!("hosts: {SYSTEM_OF} (builtins.intersectAttrs {{ {names}}} hosts)")
}

fn fault(message: &str) -> FlakeError {
    let message = message.to_owned();
    match FLAKE_FAULTS.iter().any(|words| message.contains(words)) {
        true => FlakeError::Broken { message },
        false => FlakeError::Failed { message },
    }
}

/// The URL by which Nix fetches a repository at one commit. The ref is needed too: without it Nix
/// looks for the commit on the default branch only.
pub fn flake_url(url: &RepoUrl, git_ref: &str, revision: &Revision) -> String {
    let url = url.as_str();
    let place = if let Some((scheme, rest)) = url.split_once("://") {
        // A URL has its percent signs already.
        format!("{scheme}://{}", encoded(rest, "/:@[]%"))
    } else if url.starts_with('/') {
        format!("file://{}", encoded(url, "/"))
    } else {
        // `user@host:path`. A relative path means the same as an absolute one to the forges; a
        // bare sshd would start at the home folder, and such a repository needs an ssh:// URL.
        let (place, path) = url.split_once(':').unwrap_or((url, ""));
        format!("ssh://{place}/{}", encoded(path.trim_start_matches('/'), "/"))
    };
    format!("git+{place}?ref={}&rev={}", encoded(git_ref, "/"), revision.commit())
}

/// Percent-encodes all but RFC 3986's unreserved characters and those in `kept`.
fn encoded(text: &str, kept: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain || kept.as_bytes().contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use settings::Branch;

    use super::*;

    const REV: &str = "0123456789abcdef0123456789abcdef01234567";

    #[track_caller]
    fn check(url: &str, branch: &str, place: &str, git_ref: &str) {
        let url: RepoUrl = url.parse().expect("a url");
        let branch: Branch = branch.parse().expect("a branch");
        let made = flake_url(&url, &git::full_ref(&branch), &REV.parse().expect("a revision"));
        assert_eq!(made, format!("git+{place}?ref=refs/heads/{git_ref}&rev={REV}"));
    }

    #[test]
    fn a_mistake_in_the_flake_is_told_from_trouble_on_the_way() {
        for broken in [
            "error: 'outputs' at /flake.nix:3:13 called with unexpected argument 'x'",
            "error: function 'outputs' called without required argument 'nixpkgs'",
            "error: attribute 'hosts' missing",
        ] {
            assert!(matches!(fault(broken), FlakeError::Broken { .. }), "{broken}");
        }
        let away = "error: unable to download 'https://x': Couldn't resolve host name (6)";
        assert!(matches!(fault(away), FlakeError::Failed { .. }), "{away}");
    }

    #[test]
    fn each_form_of_url_has_its_flake_url() {
        check("https://git.example/o/r.git", "master", "https://git.example/o/r.git", "master");
        check("https://me@git.example:3000/r", "m", "https://me@git.example:3000/r", "m");
        check("https://git.example/a%20b", "m", "https://git.example/a%20b", "m");
        check("https://git.example/r?x=1#y", "m", "https://git.example/r%3Fx%3D1%23y", "m");
        check("ssh://git@[::1]:22/r", "m", "ssh://git@[::1]:22/r", "m");
        check("git@git.example:o/r.git", "m", "ssh://git@git.example/o/r.git", "m");
        check("git@git.example:/srv/r", "m", "ssh://git@git.example/srv/r", "m");
        check("file:///srv/r", "m", "file:///srv/r", "m");
        check("/srv/r#1%?é", "m", "file:///srv/r%231%25%3F%C3%A9", "m");
        check("/srv/r", "update/a+b#c=1@x", "file:///srv/r", "update/a%2Bb%23c%3D1%40x");
    }

    #[test]
    fn host_names_reach_nix_as_quoted_names() {
        let hosts = ["web", "0-if"].map(|host| host.parse::<Host>().expect("a host"));
        let function = systems_of(&hosts);
        let names = r#"(builtins.intersectAttrs { "web" = null; "0-if" = null; } hosts)"#;
        assert!(function.ends_with(names), "{function}");
    }

    #[test]
    fn only_the_evaluators_own_words_blame_the_flake() {
        let broken = |text: &str| matches!(fault(text), FlakeError::Broken { .. });
        assert!(broken("error: syntax error, unexpected '}'"));
        assert!(broken("error: flake 'x' does not provide attribute 'nixosConfigurations'"));
        assert!(!broken("error: unable to download 'https://x': Couldn't resolve host name"));
        assert!(!broken("error: program 'git' failed with exit code 128"));
        assert!(!broken(""));
    }
}
