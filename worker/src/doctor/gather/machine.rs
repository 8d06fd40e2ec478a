//! Facts about the user, folders, memory and files with secrets.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::{CALL_WALL, ask, looked};
use crate::{
    config::Config,
    doctor::{
        machine::{Folder, MachineFacts, User},
        secrets::{Readable, Secret, SecretFile, Unreadable},
        trouble::Trouble,
    },
    nix::process::{Invocation, Supervisor},
};

/// The machine's facts.
pub(in crate::doctor) async fn machine(supervisor: &Supervisor, config: &Config) -> MachineFacts {
    let (state, roots) = (config.state_dir.clone(), config.roots_dir.clone());
    let (user, state, roots) =
        tokio::join!(user(supervisor), folder(supervisor, state), folder(supervisor, roots));
    let pressure_told = Path::new("/proc/pressure/memory").exists();
    MachineFacts { user, state, roots, memory: memory(), pressure_told }
}

async fn user(supervisor: &Supervisor) -> Result<User, Trouble> {
    let name = id(supervisor, ["-un"]).await?;
    let groups = id(supervisor, ["-Gn"]).await?;
    Ok(User { name, groups: groups.split_whitespace().map(str::to_owned).collect() })
}

async fn id<const N: usize>(supervisor: &Supervisor, args: [&str; N]) -> Result<String, Trouble> {
    ask(supervisor, &Invocation::new("id", args), CALL_WALL).await?.good()
}

async fn folder(supervisor: &Supervisor, path: PathBuf) -> Result<Folder, Trouble> {
    let (owner, folder) = looked(move || look(path)).await?;
    let owner = match owner {
        Some(uid) => id(supervisor, ["-un", &uid.to_string()]).await.ok(),
        None => None,
    };
    Ok(Folder { owner, ..folder })
}

/// The folder and who owns it.
fn look(path: PathBuf) -> (Option<u32>, Folder) {
    let there = path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned();
    // Has no name, so that nothing stays whatever happens to us.
    let written = tempfile::tempfile_in(&there).map(drop).map_err(|error| said(&error));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let real = there.canonicalize().unwrap_or_else(|_| there.clone());
    let filesystem = filesystem_of(&real, &mounts);
    let owner = fs::metadata(&there).ok().map(|of| of.uid());
    (owner, Folder { path, there, owner: None, written, filesystem })
}

/// The type of the file system that a path is on, by the kernel's list of mounts.
fn filesystem_of(path: &Path, mounts: &str) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        // Blanks in a path stand there in octal.
        let at = mount.split(' ').nth(4)?.replace("\\040", " ");
        Some((PathBuf::from(at), filesystem.split(' ').next()?))
    });
    let over = mounts.filter(|(at, _)| path.starts_with(at));
    // Of two at one place the later one hides the other.
    let nearest = over.max_by_key(|(at, _)| at.components().count());
    nearest.map(|(_, filesystem)| filesystem.to_owned())
}

/// What the machine has, or what our control group and those above it leave of it.
fn memory() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let total = line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? << 10;
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group.lines().find_map(|line| line.strip_prefix("0::/"));
    let limits = group.into_iter().flat_map(|group| {
        let groups = Path::new(group).ancestors();
        groups.map(|group| Path::new("/sys/fs/cgroup").join(group).join("memory.max"))
    });
    let limits = limits.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    Some(limits.fold(total, u64::min))
}

/// The files with secrets that a config names. `seed` is the NKey's, wherever that was named.
pub(in crate::doctor) async fn secrets(
    config: &Config,
    seed: Option<&Path>,
) -> Result<Vec<SecretFile>, Trouble> {
    let mut files: Vec<(Secret, Option<String>, PathBuf)> = Vec::new();
    files.extend(seed.map(|path| (Secret::Seed, None, path.to_owned())));
    let signing = config.cache.as_ref().and_then(|cache| cache.sign_key_file.clone());
    files.extend(signing.map(|path| (Secret::SigningKey, None, path)));
    for (repo, of) in &config.repos {
        let file = of.table.git_credentials_file.clone();
        files.extend(file.map(|path| (Secret::GitCredentials, Some(repo.to_string()), path)));
    }
    looked(move || {
        let read = |(what, of, path): (Secret, Option<String>, PathBuf)| {
            let read = read(what, &path);
            SecretFile { what, of, path, read }
        };
        files.into_iter().map(read).collect()
    })
    .await
}

fn read(what: Secret, path: &Path) -> Result<Readable, Unreadable> {
    let failed = |error: io::Error| Unreadable::Io(said(&error));
    let text = fs::read_to_string(path).map_err(failed)?;
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o7777;
    let public = match what {
        Secret::Seed => bus::public_key_in(path).ok().map(|key| key.to_string()),
        Secret::SigningKey => signing_key(&text),
        Secret::GitCredentials => Some("logins".to_owned()).filter(|_| text.contains("://")),
    };
    public.map(|public| Readable { mode, public }).ok_or(Unreadable::Content)
}

/// The public half of a key as `nix-store --generate-binary-cache-key` makes it: a name, and in
/// base 64 a secret of 32 bytes with the public key of 32 bytes behind it.
fn signing_key(text: &str) -> Option<String> {
    let (name, key) = text.trim().split_once(':')?;
    let key = data_encoding::BASE64.decode(key.trim().as_bytes()).ok()?;
    let public = key.get(32..).filter(|public| public.len() == 32 && !name.is_empty())?;
    Some(format!("{name}:{}", data_encoding::BASE64.encode(public)))
}

/// Without the number that Rust puts behind.
fn said(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_tells_the_file_system() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/a rw\n\
            2 1 0:5 / /var/lib rw shared:1 - nfs4 server:/x rw\n\
            3 1 0:6 / /var/lib2 rw - xfs /dev/b rw\n\
            4 1 0:7 / /a\\040b rw - btrfs /dev/c rw\n";
        let check = |path: &str, expected: &str| {
            assert_eq!(filesystem_of(Path::new(path), mounts).as_deref(), Some(expected), "{path}");
        };
        check("/etc", "ext4");
        check("/var/lib/x/y", "nfs4");
        check("/var/lib2/x", "xfs");
        check("/a b/c", "btrfs");
    }

    #[test]
    fn of_a_signing_key_only_the_public_half_is_told() {
        let (secret, public) = ([7_u8; 32], [9_u8; 32]);
        let key = data_encoding::BASE64.encode(&[secret, public].concat());
        let told = signing_key(&format!("cache-1:{key}\n")).expect("a key");
        assert_eq!(told, format!("cache-1:{}", data_encoding::BASE64.encode(&public)));
        for bad in ["", "cache-1", "cache-1:AAAA", &format!(":{key}"), "cache-1:???"] {
            assert_eq!(signing_key(bad), None, "{bad}");
        }
    }
}
