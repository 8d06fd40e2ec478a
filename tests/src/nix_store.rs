//! A private Nix store, the environment of Nix processes that use it, and what builds tell the test.
//!
//! Builds are sandboxed. Besides busybox as `/bin/sh` the sandbox has one folder, `/control`, through
//! which the steps of a [`crate::Flake`] report that they run and are held until released.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    disk::SmallDisk,
    poll::{eventually, within},
    process::{find, run},
    scratch::scratch,
};

/// To make an empty store on a machine busy with other tests.
const INIT_DEADLINE: Duration = Duration::from_secs(60);

/// For killed processes to be gone.
const KILL_DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct NixStore {
    /// Unmounted before its folder is removed.
    disk: Option<SmallDisk>,
    dir: TempDir,
    substituters: String,
    /// Further lines of Nix's config.
    config: String,
}

impl NixStore {
    pub fn new() -> Self {
        Self::with("", None)
    }

    /// That asks these binary caches.
    pub fn with_substituters(urls: &str) -> Self {
        Self::with(urls, None)
    }

    /// With these further lines of Nix's config, such as `extra-platforms = aarch64-linux`.
    pub fn with_config(lines: &str) -> Self {
        let mut store = Self::new();
        lines.clone_into(&mut store.config);
        store
    }

    /// On a file system of its own with these options of tmpfs.
    pub fn on_small_disk(options: &str) -> Self {
        Self::with("", Some(options))
    }

    fn with(substituters: &str, small_disk: Option<&str>) -> Self {
        let dir = scratch();
        for name in ["store", "control", "home", "tmp"] {
            fs::create_dir(dir.path().join(name)).expect("an empty temporary folder");
        }
        let disk = small_disk.map(|options| SmallDisk::on(&dir.path().join("store"), options));
        let (substituters, config) = (substituters.to_owned(), String::new());
        let store = Self { disk, dir, substituters, config };
        // Two Nix processes that make the same new store at once break it for each other.
        run(store.nix("nix-store").arg("--init"), INIT_DEADLINE).expect_code(0);
        store
    }

    /// The store as `NIX_REMOTE` and the config key `nix.store` name it.
    pub fn uri(&self) -> String {
        format!("local?root={}", self.dir.path().join("store").display())
    }

    /// Where a store path really lies on this machine.
    pub fn real(&self, store_path: &str) -> PathBuf {
        self.dir.path().join("store").join(store_path.trim_start_matches('/'))
    }

    /// The environment of every process that calls Nix.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let dir = |name: &str| self.dir.path().join(name).display().to_string();
        let config = [
            "experimental-features = nix-command flakes".to_owned(),
            "build-users-group =".to_owned(),
            format!("substituters = {}", self.substituters),
            "sandbox = true".to_owned(),
            format!("sandbox-paths = /bin/sh={} /control={}", busybox().display(), dir("control")),
            self.config.clone(),
        ];
        vec![
            ("NIX_REMOTE", self.uri()),
            ("NIX_CONFIG", config.join("\n") + "\n"),
            ("HOME", dir("home")),
            ("TMPDIR", dir("tmp")),
        ]
    }

    /// A Nix program that uses this store.
    pub fn nix(&self, program: &str) -> Command {
        let mut command = crate::process::command(program);
        command.envs(self.env());
        command
    }

    /// How often the build of the derivation with this name was begun.
    pub fn builds_begun(&self, name: &str) -> usize {
        self.reports(&format!("begin {name}"))
    }

    /// How often it came to its end, good or bad.
    pub fn builds_ended(&self, name: &str) -> usize {
        self.reports(&format!("end {name}"))
    }

    /// Waits until the build of the derivation with this name has begun.
    #[track_caller]
    pub fn wait_for_build(&self, name: &str, deadline: Duration) {
        let what = format!("the build of {name} to begin");
        eventually(&what, deadline, || (self.builds_begun(name) > 0).then_some(()));
    }

    /// Lets builds of hosts that are [`crate::Flake::moody`] succeed here.
    pub fn soothe(&self) {
        let file = self.dir.path().join("control/soothed");
        fs::write(file, "").expect("a writable temporary folder");
    }

    /// Lets a host that is held ([`crate::Flake::held`]) finish its build, now and later.
    pub fn release(&self, host: &str) {
        fs::write(self.control(&format!("release-{host}")), "").expect("a writable control folder");
    }

    /// Takes a release back: builds that begin from now on are held again.
    pub fn hold(&self, host: &str) {
        fs::remove_file(self.control(&format!("release-{host}"))).expect("it was released");
    }

    /// Processes that use this store: Nix itself and builders, whoever started them.
    pub fn processes(&self) -> Vec<u32> {
        // A disk of its own is mounted here for everybody who was started since.
        let files: &[&str] = match self.disk {
            Some(_) => &["cmdline", "environ"],
            None => &["cmdline", "environ", "mountinfo"],
        };
        processes_using(self.dir.path(), files)
    }

    /// Builders in their sandbox, which is mounted from below the store.
    pub fn builders(&self) -> Vec<u32> {
        processes_using(self.dir.path(), &["mountinfo"])
    }

    fn reports(&self, line: &str) -> usize {
        let reports = fs::read_to_string(self.control("reports")).unwrap_or_default();
        reports.lines().filter(|report| *report == line).count()
    }

    fn control(&self, name: &str) -> PathBuf {
        self.dir.path().join("control").join(name)
    }
}

impl Default for NixStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for NixStore {
    /// Ends what still uses the store (a builder outlives a killed Nix), and makes it removable.
    fn drop(&mut self) {
        let gone = within(KILL_DEADLINE, || {
            let left = self.processes();
            for id in &left {
                if let Some(pid) = i32::try_from(*id).ok().and_then(Pid::from_raw) {
                    // It may have ended by itself meanwhile.
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            left.is_empty().then_some(())
        });
        self.disk = None;
        make_writable(self.dir.path());
        assert!(
            gone.is_some() || std::thread::panicking(),
            "processes survive the store: {:?}",
            self.processes()
        );
    }
}

/// The static busybox that is the sandbox's shell.
fn busybox() -> PathBuf {
    let path = find("busybox");
    path.canonicalize().expect("a file that was just found")
}

/// Processes other than us of which one of these files names the folder.
///
/// A builder has a clean environment; its sandbox is mounted from below the store. Mounts of our
/// own namespace are everybody's and say nothing.
fn processes_using(dir: &Path, files: &[&str]) -> Vec<u32> {
    let name = dir.to_str().expect("a temporary folder with a plain name").as_bytes();
    let holds = |file: PathBuf| {
        // Unreadable: ended, or somebody else's.
        fs::read(file).is_ok_and(|bytes| bytes.windows(name.len()).any(|part| part == name))
    };
    let namespace = |id: &str| fs::read_link(format!("/proc/{id}/ns/mnt")).ok();
    let ours = namespace("self");
    let all = fs::read_dir("/proc").expect("a system with /proc").flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|id: &u32| *id != std::process::id())
        .filter(|id| {
            let process = PathBuf::from(format!("/proc/{id}"));
            let sandboxed = || namespace(&id.to_string()) != ours;
            let tells = |file: &&str| *file != "mountinfo" || sandboxed();
            files.iter().filter(|file| tells(file)).any(|file| holds(process.join(file)))
        })
        .collect()
}

/// Store paths are read-only, and who is not root cannot remove what lies in a read-only folder.
fn make_writable(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // Whatever stays read-only is reported by the removal.
            let _ = fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o700));
            make_writable(&entry.path());
        }
    }
}
