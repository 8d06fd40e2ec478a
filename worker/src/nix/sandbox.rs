//! Builders in their sandboxes, wherever in the process tree they are.
//!
//! Behind a daemon a builder is no descendant of ours: our Nix ends, and the daemon kills the
//! builder when it notices. What a sandbox is mounted from (`<drv>.chroot`) can be read by anybody
//! in `/proc/<pid>/mountinfo`, so that its end can be seen. Where processes of others are hidden
//! (`hidepid`), or without a sandbox, nothing is seen and nothing waited for.

use std::{fs, time::Duration};

use crate::supervise::{Process, all_pids, process_of};

/// Between two looks: a daemon notices within milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Processes in the sandboxes of some derivations.
#[derive(Debug, Default)]
pub(super) struct Builders {
    names: Vec<String>,
    found: Vec<(i32, Process)>,
}

impl Builders {
    /// Those at work now. `drvs` are store paths.
    pub(super) async fn of(drvs: Vec<String>) -> Self {
        let names: Vec<String> = drvs.iter().filter_map(|drv| chroot_name(drv)).collect();
        if names.is_empty() {
            return Self::default();
        }
        let look = move || {
            let found = all_pids().into_iter().filter(|pid| inside(*pid, &names));
            let found = found.filter_map(|pid| Some((pid, process_of(pid)?))).collect();
            Self { names, found }
        };
        // A look that panicked saw nothing.
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }

    /// Waits until all of them are gone. No deadline, as for our own children: only their end is
    /// proof.
    pub(super) async fn gone(mut self) {
        loop {
            let names = &self.names;
            // One that is dead and not yet reaped has no mounts any more.
            self.found.retain(|(pid, process)| {
                process_of(*pid).is_some_and(|now| now == *process) && inside(*pid, names)
            });
            if self.found.is_empty() {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// The folder that the sandbox of a derivation's builder has as its root.
fn chroot_name(drv: &str) -> Option<String> {
    let name = drv.strip_prefix("/nix/store/")?;
    (!name.is_empty()).then(|| format!("/{name}.chroot"))
}

fn inside(pid: i32, names: &[String]) -> bool {
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    names.iter().any(|name| mounts.contains(name.as_str()))
}
