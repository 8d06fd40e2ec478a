//! A small file system, to fill it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::scratch::scratch;

/// A file system in memory; unmounted with the value.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
    /// Removed after the file system, as fields are dropped after the value.
    dir: Option<TempDir>,
}

impl SmallDisk {
    /// On a folder of its own. `options` are those of tmpfs, such as `size=16m,nr_inodes=64`.
    pub fn new(options: &str) -> Self {
        let dir = scratch();
        let mut disk = Self::on(dir.path(), options);
        disk.dir = Some(dir);
        disk
    }

    /// Over a folder that is there; what lies in it is hidden.
    pub fn on(path: &Path, options: &str) -> Self {
        let mut mount = as_root("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path).output();
        let mount = mount.expect("mount is there");
        assert!(mount.status.success(), "mount a tmpfs: {mount:?}");
        Self { path: path.to_owned(), dir: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn fill(&self, name: &str, mib: usize) {
        fs::write(self.path.join(name), vec![1; mib << 20]).expect("room in the file system");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that still looks at it is no reason to keep it.
        let umount = as_root("umount").arg("-l").arg(&self.path).status();
        let gone = umount.is_ok_and(|status| status.success());
        assert!(gone || std::thread::panicking(), "{} stays mounted", self.path.display());
    }
}

fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", program]);
    sudo
}
