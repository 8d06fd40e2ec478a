//! The command line of every Nix call, as data.
//!
//! Pure. Nothing from the wire arrives here unchecked: hosts are tokens, commits are hex, store
//! paths went through [`StorePath`]; and nothing passes a shell.

mod questions;

use std::{ffi::OsString, fmt, os::unix::ffi::OsStrExt, path::Path, path::PathBuf};

use proto::{Host, Input};

use crate::{
    config::{CacheUrl, Config},
    nix::process::Invocation,
};

/// What all Nix calls share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nix {
    /// Becomes `NIX_REMOTE` when given.
    pub store: Option<String>,
    /// `HOME` of every child: nobody's trusted settings, caches of our own.
    pub home: PathBuf,
    /// Binary caches beside those of the machine's Nix, with blanks between.
    pub substituters: String,
    /// Public keys of whoever signs there, with blanks between.
    pub trusted_public_keys: String,
}

/// A flake at one commit of a local mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlakeRef {
    /// The bare repository.
    pub mirror: PathBuf,
    /// A ref that reaches the commit, in full (`refs/…`). Without one Nix does not find a commit
    /// that is not on the default branch.
    pub git_ref: String,
    /// 40 hex digits.
    pub commit: String,
}

/// A flake with some of its inputs replaced by other flakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The flake.
    pub flake: FlakeRef,
    /// Its inputs that are replaced, and by what.
    pub overrides: Vec<(Input, FlakeRef)>,
}

/// A path directly in the store, e.g. `/nix/store/<hash>-name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath(String);

/// These would let a user's or another program's settings in, or move git's repository away.
const ENV_REMOVED: &[&str] = &[
    // May hold a collector's token, which a fixed-output derivation could ask for by its name.
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_CACHE_HOME",
    "XDG_STATE_HOME",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
];
/// A closure of 100 000 paths of 80 bytes; a large NixOS host has about 5 000.
const CLOSURE_STDOUT_MAX: usize = 8 << 20;
/// Store path hash, in Nix's base 32.
const HASH_CHARS: usize = 32;
/// Longest store path name that Nix allows.
const NAME_CHARS_MAX: usize = 211;

impl Nix {
    /// As a worker's config has it.
    pub fn new(config: &Config, home: PathBuf) -> Self {
        Self {
            store: config.store.clone(),
            home,
            substituters: config.substituters.join(" "),
            trusted_public_keys: config.trusted_public_keys.join(" "),
        }
    }

    /// The derivation of a host.
    pub fn eval_drv_path(&self, of: &Pinned, host: &Host) -> Invocation {
        let attr = "config.system.build.toplevel.drvPath";
        let installable = format!("{}#nixosConfigurations.\"{host}\".{attr}", of.flake);
        self.flake_call(&["eval"], of, ["--raw", &installable])
    }

    /// Whether the flake has the host at all: `true` or `false`. Nix's own "does not provide
    /// attribute" may as well mean a host without a toplevel.
    pub fn eval_has_host(&self, of: &Pinned, host: &Host) -> Invocation {
        let installable = format!("{}#nixosConfigurations", of.flake);
        let apply = format!("c: c ? \"{host}\"");
        self.flake_call(&["eval"], of, ["--json", &installable, "--apply", &apply])
    }

    /// What the flake's inputs resolve to, overrides included, as JSON.
    pub fn flake_metadata(&self, of: &Pinned) -> Invocation {
        self.flake_call(&["flake", "metadata"], of, ["--json", &of.flake.to_string()])
    }

    /// Builds a derivation and roots its output.
    pub fn realise(&self, drv: &StorePath, root: &Path) -> Invocation {
        let build = ["--realise", drv.as_str(), "--log-format", "internal-json", "-v"];
        self.store_call(build.into_iter().chain(LOCKS_POLLED_OFTEN)).arg("--add-root").arg(root)
    }

    /// Builds a derivation whose output is valid once more and compares.
    pub fn rebuild(&self, drv: &StorePath) -> Invocation {
        let log = ["--log-format", "internal-json", "-v"];
        self.store_call(["--realise", "--check", drv.as_str()].into_iter().chain(log))
    }

    /// Roots a valid path.
    pub fn add_root(&self, path: &StorePath, root: &Path) -> Invocation {
        self.store_call(["--realise", path.as_str()]).arg("--add-root").arg(root)
    }

    /// Roots a derivation, also one that is not there: what is written to its path later stays.
    pub fn add_drv_root(&self, drv: &StorePath, root: &Path) -> Invocation {
        // Only `nix-instantiate` roots derivations. Characters of a store path need no escapes.
        let of = r#"type = "derivation"; name = "x"; outputName = "out";"#;
        let expression = format!("{{ {of} drvPath = \"{drv}\"; }}");
        let expression = ["--expr", &expression, "--indirect"];
        let args = expression.into_iter().chain(OPTIONS).chain(self.caches());
        self.call("nix-instantiate", args).arg("--add-root").arg(root)
    }

    /// Exit code 0 when the path is valid.
    pub fn check_validity(&self, path: &StorePath) -> Invocation {
        self.store_call(["--check-validity", path.as_str()])
    }

    /// Prints the path when it is not valid, with exit code 0 either way.
    pub fn print_invalid(&self, path: &StorePath) -> Invocation {
        self.store_call(["--check-validity", "--print-invalid", path.as_str()])
    }

    /// Output paths of a derivation, one a line.
    pub fn outputs(&self, drv: &StorePath) -> Invocation {
        self.store_call(["--query", "--outputs", drv.as_str()])
    }

    /// NAR sizes, one a line.
    pub fn sizes<'a>(&'a self, paths: impl IntoIterator<Item = &'a str>) -> Invocation {
        self.store_call(["--query", "--size"].into_iter().chain(paths))
    }

    /// The path, blanks, and the NAR sizes of its closure in sum. As text: the JSON of it has three
    /// forms, and newer versions demand to be told which.
    pub fn closure_size(&self, path: &StorePath) -> Invocation {
        self.nix_call(&["path-info"], ["--closure-size", path.as_str()])
    }

    /// What differs between two valid closures, a package a line.
    pub fn diff_closures(&self, from: &StorePath, to: &StorePath) -> Invocation {
        self.nix_call(&["store", "diff-closures"], [from.as_str(), to.as_str()])
    }

    /// Copies a closure to a cache; one of files is signed on the way.
    pub fn copy(&self, to: &CacheUrl, key: Option<&Path>, out: &StorePath) -> Invocation {
        let url = match key.filter(|_| to.is_binary_cache()) {
            Some(key) => to.with("secret-key", &percent_encoded(key.as_os_str().as_bytes(), b"/")),
            None => to.as_str().to_owned(),
        };
        self.nix_call(&["copy"], ["--to", &url, out.as_str()])
    }

    /// Signs a closure in a cache, or in the own store.
    pub fn sign(&self, cache: Option<&CacheUrl>, key: &Path, out: &StorePath) -> Invocation {
        let store = cache.into_iter().flat_map(|cache| ["--store", cache.as_str()]);
        let args = store.chain(["--recursive", out.as_str()]);
        self.nix_call(&["store", "sign"], args).arg("--key-file").arg(key)
    }

    /// What a cache knows of a path and its signatures, as it is now: what was looked up before
    /// does not count.
    pub fn path_info(&self, cache: &CacheUrl, out: &StorePath) -> Invocation {
        let fresh = ["narinfo-cache-positive-ttl", "narinfo-cache-negative-ttl"];
        let fresh = fresh.into_iter().flat_map(|option| ["--option", option, "0"]);
        let args = ["--sigs", "--store", cache.as_str(), out.as_str()];
        self.nix_call(&["path-info"], fresh.chain(args))
    }

    /// A git call under the same environment: no prompt can wait for an answer, no hook runs.
    pub fn git<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Invocation {
        let fixed = ["-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never"];
        let fixed = fixed.into_iter().chain(["-c", "gc.auto=0"]);
        let mut call = self.call("git", fixed.chain(args));
        // Its messages are looked at.
        call.env.push(("LC_ALL", "C.UTF-8".into()));
        call.env.push(("GIT_TERMINAL_PROMPT", "0".into()));
        call.env.push(("GIT_ASKPASS", OsString::new()));
        call.env.push(("SSH_ASKPASS", OsString::new()));
        call
    }

    fn flake_call<'a>(
        &'a self,
        subcommand: &[&'a str],
        of: &Pinned,
        args: impl IntoIterator<Item = &'a str>,
    ) -> Invocation {
        let mut call = self.nix_call(subcommand, args);
        for (input, by) in &of.overrides {
            call = call.arg("--override-input").arg(input.as_str()).arg(by.to_string());
        }
        // Only with overrides: a lock file that does not fit by itself stays the flake's error.
        match of.overrides.is_empty() {
            true => call,
            false => call.arg("--no-write-lock-file"),
        }
    }

    fn nix_call<'a>(
        &'a self,
        subcommand: &[&'a str],
        args: impl IntoIterator<Item = &'a str>,
    ) -> Invocation {
        let features = ["--extra-experimental-features", "nix-command flakes"];
        let fixed = features.into_iter().chain(["--no-accept-flake-config"]);
        let fixed = fixed.chain(OPTIONS).chain(self.caches());
        // `nix` wants its subcommand first.
        self.call("nix", subcommand.iter().copied().chain(fixed).chain(args))
    }

    fn store_call<'a>(&'a self, args: impl IntoIterator<Item = &'a str>) -> Invocation {
        self.call("nix-store", args.into_iter().chain(OPTIONS).chain(self.caches()))
    }

    /// The caches of the config; nothing without any, so that the machine's own word stands.
    fn caches(&self) -> impl Iterator<Item = &str> {
        let options = [
            ("extra-substituters", &self.substituters),
            ("extra-trusted-public-keys", &self.trusted_public_keys),
        ];
        let given = options.into_iter().filter(|(_, value)| !value.is_empty());
        given.flat_map(|(name, value)| ["--option", name, value])
    }

    fn call<'a>(
        &self,
        program: &'static str,
        args: impl IntoIterator<Item = &'a str>,
    ) -> Invocation {
        let mut call = Invocation::new(program, args);
        call.env_remove = ENV_REMOVED;
        call.env.push(("HOME", self.home.clone().into()));
        if let Some(store) = &self.store {
            call.env.push(("NIX_REMOTE", store.into()));
        }
        call
    }
}

/// No silent loss of the sandbox; a cache that is down is no failure; and it is given up soon.
const OPTIONS: [&str; 9] = [
    "--option",
    "sandbox-fallback",
    "false",
    "--option",
    "fallback",
    "true",
    "--option",
    "connect-timeout",
    "15",
];

/// Whoever waits for another build's lock looks for it at this pace, in seconds. Nix's own is 5: a
/// dependency that many hosts share would cost each of them half of that, and hold its slot for it.
const LOCKS_POLLED_OFTEN: [&str; 3] = ["--option", "build-poll-interval", "1"];

impl Invocation {
    fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }
}

impl fmt::Display for FlakeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = percent_encoded(self.mirror.as_os_str().as_bytes(), b"/");
        let git_ref = percent_encoded(self.git_ref.as_bytes(), b"/");
        write!(f, "git+file://{path}?ref={git_ref}&rev={}", self.commit)
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986 and `also`.
pub fn percent_encoded(bytes: &[u8], also: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        let kept = byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || also.contains(byte);
        match kept {
            true => out.push(char::from(*byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl StorePath {
    /// Takes `text` if it is a path directly in `/nix/store`. Other store folders are not served
    /// to NixOS hosts.
    pub fn parse(text: &str) -> Option<Self> {
        let (hash, name) = text.strip_prefix("/nix/store/")?.split_once('-')?;
        let word = |part: &str, also: &str| {
            part.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
        };
        let fits = hash.len() == HASH_CHARS
            && word(hash, "")
            && (1..=NAME_CHARS_MAX).contains(&name.len())
            && word(name, "+-._?=");
        fits.then(|| Self(text.to_owned()))
    }

    /// Takes `text` if it is the path of a derivation.
    pub fn parse_drv(text: &str) -> Option<Self> {
        Self::parse(text).filter(|path| path.0.ends_with(".drv"))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nix() -> Nix {
        Nix {
            store: Some("local?root=/x".into()),
            home: "/state/home".into(),
            substituters: String::new(),
            trusted_public_keys: String::new(),
        }
    }

    fn words(call: &Invocation) -> String {
        let args: Vec<_> = call.args.iter().map(|arg| arg.to_string_lossy()).collect();
        format!("{} {}", call.program, args.join(" "))
    }

    #[test]
    fn evaluation_pins_the_commit_and_takes_no_flake_config() {
        let flake = FlakeRef {
            mirror: "/state/mir rors/a.git".into(),
            git_ref: "refs/heads/a&b#c".into(),
            commit: "0".repeat(40),
        };
        let mut flake = Pinned { flake, overrides: Vec::new() };
        let host = "web".parse().expect("a host");
        let call = nix().eval_drv_path(&flake, &host);
        let words = words(&call);
        assert!(words.starts_with("nix eval "), "{words}");
        assert!(words.contains(" --no-accept-flake-config "), "{words}");
        assert!(words.contains(" --option sandbox-fallback false "), "{words}");
        let installable = format!(
            " --raw git+file:///state/mir%20rors/a.git?ref=refs/heads/a%26b%23c&rev={}\
             #nixosConfigurations.\"web\".config.system.build.toplevel.drvPath",
            "0".repeat(40)
        );
        assert!(words.ends_with(&installable), "{words}");
        assert!(!words.contains("lock-file"), "{words}");
        assert!(call.env.contains(&("HOME", "/state/home".into())));
        assert!(call.env.contains(&("NIX_REMOTE", "local?root=/x".into())));
        let by = FlakeRef { commit: "1".repeat(40), ..flake.flake.clone() };
        flake.overrides.push(("servers".parse().expect("an input"), by.clone()));
        for call in [nix().eval_drv_path(&flake, &host), nix().eval_has_host(&flake, &host)] {
            let words = self::words(&call);
            let overridden = format!(" --override-input servers {by} --no-write-lock-file");
            assert!(words.ends_with(&overridden), "{words}");
        }
    }

    #[test]
    fn a_copy_is_signed_where_it_is_written_and_names_no_key_elsewhere() {
        let out = "/nix/store/9xrddrmcsbs455fw279vpapndfq6rqcn-nixos-system-web";
        let path = StorePath::parse(out).expect("a path");
        let url = |text: &str| text.parse::<CacheUrl>().expect("a url");
        let key = Some(Path::new("/run/k&1"));
        let to_files = words(&nix().copy(&url("file:///c?compression=none"), key, &path));
        let signed = format!("--to file:///c?compression=none&secret-key=/run/k%261 {out}");
        assert!(to_files.starts_with("nix copy ") && to_files.ends_with(&signed), "{to_files}");
        let to_nix = words(&nix().copy(&url("ssh-ng://h"), key, &path));
        assert!(to_nix.ends_with(&format!(" --to ssh-ng://h {out}")), "{to_nix}");
        assert!(!to_files.contains("extra-substituters"), "{to_files}");
        let nix = Nix { substituters: "https://a https://b".into(), ..nix() };
        let realise = words(&nix.realise(&path, Path::new("/r")));
        assert!(realise.contains(" --option extra-substituters https://a https://b"), "{realise}");
    }

    #[test]
    fn only_paths_in_the_store_are_store_paths() {
        let good = "/nix/store/9xrddrmcsbs455fw279vpapndfq6rqcn-nixos-system-web.drv";
        assert!(StorePath::parse_drv(good).is_some());
        let hash = &good[11..43];
        for bad in [
            "",
            "--help",
            "/etc/passwd",
            &format!("/nix/store/{hash}"),
            &format!("/nix/store/{hash}-"),
            &format!("/nix/store/{hash}-a/b"),
            &format!("/nix/store/{hash}-a b"),
            &format!("/nix/store/{hash}-a!out"),
            &format!("/nix/store/../{hash}-a"),
            &format!("/nix/store/{}-a", &hash[1..]),
            &format!("/nix/store/{hash}-{}", "x".repeat(300)),
        ] {
            assert!(StorePath::parse(bad).is_none(), "{bad}");
        }
        assert!(StorePath::parse_drv(&good[..good.len() - 4]).is_none());
    }
}
