//! Memory of a process and its descendants, from `/proc`.

use std::fs;

/// Bytes that a process and all its descendants have for themselves: what is neither shared nor
/// backed by a file, and so what the kernel cannot take back. 0 for what is gone.
pub(super) fn of_tree(pid: u32) -> u64 {
    children(pid).into_iter().map(of_tree).fold(own(pid), u64::saturating_add)
}

fn own(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
    kib.map_or(0, |kib: u64| kib << 10)
}

/// Each thread has its own list of the children that it made.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|it| fs::read_to_string(it.path().join("children")).ok());
    let pids = lists.flat_map(|list| {
        let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
        pids.collect::<Vec<_>>()
    });
    pids.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_grandchildren_counts() {
        // A shell whose child holds 64 MiB: `tail` keeps a line without end in memory.
        let script = "(head -c 64M /dev/zero; sleep 60) | tail -c 65M & wait";
        let mut command = std::process::Command::new("/bin/sh");
        let mut child = command.args(["-c", script]).spawn().expect("a shell");
        let begun = std::time::Instant::now();
        let grown = loop {
            let used = of_tree(child.id());
            if used >= 64 << 20 || begun.elapsed().as_secs() > 20 {
                break used;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        };
        for pid in children(child.id()) {
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid"));
            let killed =
                rustix::process::kill_process(pid.expect("a pid"), rustix::process::Signal::KILL);
            killed.expect("our own descendant");
        }
        child.wait().expect("our own child");
        assert!((64 << 20..256 << 20).contains(&grown), "{grown} bytes");
    }
}
