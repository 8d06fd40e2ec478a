//! The user, the worker's folders and the memory. Pure.

use std::path::PathBuf;

use super::{
    finding::{Check, Finding, Group},
    quantity::bytes,
    trouble::Trouble,
};

/// What is known of the machine.
#[derive(Clone, Debug)]
pub struct MachineFacts {
    /// As whom this runs.
    pub user: Result<User, Trouble>,
    /// `[worker] state_dir`.
    pub state: Result<Folder, Trouble>,
    /// `[roots] dir`.
    pub roots: Result<Folder, Trouble>,
    /// Bytes of memory; the control group's limit where that is less.
    pub memory: Option<u64>,
    /// The kernel tells how much tasks wait for memory.
    pub pressure_told: bool,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its groups.
    pub groups: Vec<String>,
}

/// A folder that is written to, or the one that it will be made in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// As configured.
    pub path: PathBuf,
    /// It, or the nearest one above it that is there.
    pub there: PathBuf,
    /// Whose that is, by name.
    pub owner: Option<String>,
    /// Whether a file could be made in it.
    pub written: Result<(), String>,
    /// The type of its file system.
    pub filesystem: Option<String>,
}

/// What evaluations may use.
#[derive(Clone, Copy, Debug)]
pub struct EvalBudget {
    /// Bytes of each.
    pub each: u64,
    /// How many at once.
    pub slots: usize,
}

/// Where locks are not what they seem.
const NETWORK_FILESYSTEMS: [&str; 6] = ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"];

/// What there is to say of it.
pub fn findings(facts: &MachineFacts, eval: EvalBudget) -> Vec<Finding> {
    let state = folder("state folder", "[worker] state_dir", &facts.state);
    let roots = folder("roots folder", "[roots] dir", &facts.roots);
    let mut all = vec![user(facts), state, roots, memory(facts.memory, eval)];
    let check = Check(Group::Machine, "memory pressure");
    all.push(match facts.pressure_told {
        true => check.ok("told by the kernel"),
        false => check.warning(
            "not told by this kernel (no /proc/pressure/memory)",
            "the worker cannot see that the machine swaps, and goes on taking jobs \
             ([admission] memory_pressure has no effect)",
            "boot with the kernel parameter psi=1",
        ),
    });
    all
}

fn user(facts: &MachineFacts) -> Finding {
    let check = Check(Group::Machine, "user");
    let name = match &facts.user {
        Ok(user) => &user.name,
        Err(trouble) => {
            return check.undecided(
                trouble.to_string(),
                "what the user may do is not known",
                "install coreutils (`id`)",
            );
        }
    };
    let owner = facts.state.as_ref().ok().filter(|it| it.there == it.path);
    let owner = owner.and_then(|folder| folder.owner.as_deref());
    match owner.filter(|owner| name == "root" && *owner != "root") {
        Some(owner) => check.warning(
            format!("root, but the state folder is {owner}'s"),
            "the worker runs as another user, who may do less: what is ok here may not be there",
            format!("sudo -u {owner} worker doctor --config …"),
        ),
        None => check.ok(name),
    }
}

fn folder(name: &'static str, key: &str, folder: &Result<Folder, Trouble>) -> Finding {
    let check = Check(Group::Machine, name);
    let folder = match folder {
        Ok(folder) => folder,
        Err(trouble) => {
            return check.undecided(
                trouble.to_string(),
                "a file system that does not answer holds up every build",
                format!("look at the mount, or set {key} elsewhere"),
            );
        }
    };
    let path = folder.path.display();
    let filesystem = folder.filesystem.as_deref().unwrap_or("unknown file system");
    let made = folder.there == folder.path;
    let seen = format!("{path} ({filesystem}{})", if made { "" } else { ", to be made" });
    if let Err(error) = &folder.written {
        return check.problem(
            format!("{} cannot be written: {error}", folder.there.display()),
            "the worker keeps its mirrors, homes and roots there and does not start without",
            format!(
                "sudo install -d -m 750 -o THE-WORKERS-USER {path}, or set {key} to a folder \
                 that it may write"
            ),
        );
    }
    if NETWORK_FILESYSTEMS.contains(&filesystem) {
        return check.warning(
            seen,
            "locks and links over a network may be lost with it",
            format!("set {key} to a folder on a disk of this machine"),
        );
    }
    if filesystem == "tmpfs" && made {
        return check.warning(
            seen,
            "it is lost at a reboot: mirrors are cloned again, and what was rooted is not any more",
            format!("set {key} to a folder on a disk"),
        );
    }
    check.ok(seen)
}

fn memory(memory: Option<u64>, eval: EvalBudget) -> Finding {
    let check = Check(Group::Machine, "memory");
    let EvalBudget { each, slots } = eval;
    let wanted = each.saturating_mul(u64::try_from(slots).unwrap_or(u64::MAX));
    let may = format!("{slots} × {} for evaluations", bytes(each));
    match memory {
        None => check.ok(format!("unknown; {may}")),
        Some(memory) if wanted > memory => check.warning(
            format!("{} for all, but {may}", bytes(memory)),
            "an evaluation that grows is ended by the kernel before the worker can end it, \
             perhaps with something else instead of it",
            format!("[limits] eval_memory_max = \"{}\"", bytes(memory / 2 / slots.max(1) as u64)),
        ),
        Some(memory) => check.ok(format!("{}, of it {may}", bytes(memory))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    fn facts(folder: Folder) -> MachineFacts {
        MachineFacts {
            user: Ok(User { name: "root".into(), groups: vec!["root".into()] }),
            state: Ok(folder.clone()),
            roots: Ok(folder),
            memory: Some(8 << 30),
            pressure_told: true,
        }
    }

    fn good() -> Folder {
        Folder {
            path: "/s".into(),
            there: "/s".into(),
            owner: Some("root".into()),
            written: Ok(()),
            filesystem: Some("ext4".into()),
        }
    }

    const EVAL: EvalBudget = EvalBudget { each: 4 << 30, slots: 1 };

    #[track_caller]
    fn check(facts: &MachineFacts, eval: EvalBudget, at: usize, level: Level, words: &str) {
        let finding = findings(facts, eval).remove(at);
        assert_eq!(finding.level, level, "{finding:?}");
        let text = format!("{} {:?} {:?}", finding.seen, finding.why, finding.fix);
        assert!(text.contains(words), "{text}");
    }

    #[test]
    fn each_machine_gets_its_word() {
        let fine = facts(good());
        for at in 0..5 {
            check(&fine, EVAL, at, Level::Ok, "");
        }
        let others = Folder { owner: Some("pool".into()), ..good() };
        check(&facts(others), EVAL, 0, Level::Warning, "sudo -u pool worker doctor");
        let read_only = Folder { written: Err("Read-only file system".into()), ..good() };
        check(&facts(read_only.clone()), EVAL, 1, Level::Problem, "Read-only");
        check(&facts(read_only), EVAL, 2, Level::Problem, "[roots] dir");
        let nfs = Folder { filesystem: Some("nfs4".into()), ..good() };
        check(&facts(nfs), EVAL, 1, Level::Warning, "network");
        let tmpfs = Folder { filesystem: Some("tmpfs".into()), ..good() };
        check(&facts(tmpfs), EVAL, 1, Level::Warning, "reboot");
        let future = Folder { path: "/s/x/y".into(), ..good() };
        check(&facts(future), EVAL, 1, Level::Ok, "to be made");
        let hungry = EvalBudget { each: 3 << 30, slots: 3 };
        check(&fine, hungry, 3, Level::Warning, "1.3 GiB");
        check(
            &MachineFacts { pressure_told: false, ..fine.clone() },
            EVAL,
            4,
            Level::Warning,
            "psi=1",
        );
        let hung = MachineFacts { state: Err(Trouble::Late(super::super::SECOND)), ..fine };
        check(&hung, EVAL, 1, Level::Undecided, "no answer in 1 s");
    }
}
