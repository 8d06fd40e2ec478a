//! Calls that only ask, and a build of nothing: what `worker doctor` needs beside a build's own.

use super::{CLOSURE_STDOUT_MAX, Nix, StorePath};
use crate::{config::CacheUrl, nix::process::Invocation};

/// The flags without which newer commands refuse to run; no option of ours among them.
const FEATURES: [&str; 2] = ["--extra-experimental-features", "nix-command flakes"];

impl Nix {
    /// Which Nix it is.
    pub fn version(&self) -> Invocation {
        self.call("nix", ["--version"])
    }

    /// The settings as JSON. Newer versions call it `config show`, 2.8 has only the old name.
    pub fn settings(&self, new_name: bool) -> Invocation {
        let name: &[&str] = if new_name { &["config", "show"] } else { &["show-config"] };
        self.call("nix", name.iter().copied().chain(["--json"]).chain(FEATURES))
    }

    /// Whether the store answers, by its newest name and form first: `attempt` counts from 0.
    /// None when there is no further form.
    pub fn store_info(&self, attempt: usize) -> Option<Invocation> {
        let forms: [&[&str]; 3] =
            [&["store", "info", "--json"], &["store", "ping", "--json"], &["store", "ping"]];
        let form = forms.get(attempt)?;
        Some(self.call("nix", form.iter().copied().chain(FEATURES)))
    }

    /// The derivation of an empty folder that nobody has built yet. It needs no shell, and goes
    /// through the same sandbox as any other.
    pub fn trial(&self, salt: &str) -> Invocation {
        let derivation = format!(
            "(derivation {{ name = \"nix-build-pool-doctor\"; system = \"builtin\"; \
             builder = \"builtin:buildenv\"; derivations = \"\"; manifest = \"/dev/null\"; \
             salt = \"{salt}\"; }}).drvPath"
        );
        self.nix_call(&["eval"], ["--raw", "--impure", "--expr", &derivation])
    }

    /// Builds a derivation without a root. One of [`Nix::trial`] is no loss when it is collected.
    pub fn realise_unrooted(&self, drv: &StorePath) -> Invocation {
        self.store_call(["--realise", drv.as_str()])
    }

    /// Deletes paths that nothing roots.
    pub fn delete<'a>(&'a self, paths: impl IntoIterator<Item = &'a StorePath>) -> Invocation {
        self.store_call(std::iter::once("--delete").chain(paths.into_iter().map(StorePath::as_str)))
    }

    /// Deletes a path from a cache that is another Nix.
    pub fn delete_from(&self, cache: &CacheUrl, path: &StorePath) -> Invocation {
        self.nix_call(&["store", "delete"], ["--store", cache.as_str(), path.as_str()])
    }

    /// All paths of several closures, each once, one a line.
    pub fn closures<'a>(&'a self, of: impl IntoIterator<Item = &'a StorePath>) -> Invocation {
        let paths = of.into_iter().map(StorePath::as_str);
        let mut call = self.store_call(["--query", "--requisites"].into_iter().chain(paths));
        call.stdout_bytes_max = CLOSURE_STDOUT_MAX;
        call
    }
}
