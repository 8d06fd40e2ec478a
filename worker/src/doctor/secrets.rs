//! Files that nobody else may read, and the keys in them. Pure: no secret arrives here.

use std::path::PathBuf;

use super::finding::{Check, Finding, Group};

/// One file with a secret.
#[derive(Clone, Debug)]
pub struct SecretFile {
    /// What it is for.
    pub what: Secret,
    /// The repo whose it is, if it is one's.
    pub of: Option<String>,
    /// Where it is.
    pub path: PathBuf,
    /// Its mode and the public half of what it holds, or why it cannot be used.
    pub read: Result<Readable, Unreadable>,
}

/// What a secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// The worker's NKey.
    Seed,
    /// What pushed paths are signed with.
    SigningKey,
    /// Logins of a repository.
    GitCredentials,
}

/// A file that can be used.
#[derive(Clone, Debug)]
pub struct Readable {
    /// Permission bits.
    pub mode: u32,
    /// The public key, or what else may be shown.
    pub public: String,
}

/// A file that cannot.
#[derive(Clone, Debug)]
pub enum Unreadable {
    /// It cannot be read.
    Io(String),
    /// It holds something else.
    Content,
}

/// What there is to say of each.
pub fn findings(files: &[SecretFile]) -> Vec<Finding> {
    let mut all: Vec<Finding> = files.iter().map(finding).collect();
    if !files.iter().any(|file| file.what == Secret::Seed) {
        let seen = "none: the broker must let in whoever connects, and results are not signed";
        all.insert(0, Check(Group::Secrets, Secret::Seed.name()).ok(seen));
    }
    all
}

impl Secret {
    fn name(self) -> &'static str {
        match self {
            Self::Seed => "NKey seed",
            Self::SigningKey => "signing key",
            Self::GitCredentials => "git credentials",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Seed => "[nats] nkey_file (or --nkey-file, NATS_NKEY)",
            Self::SigningKey => "[cache] sign_key_file",
            Self::GitCredentials => "git_credentials_file",
        }
    }

    /// What others could do with it.
    fn loss(self) -> &'static str {
        match self {
            Self::Seed => "whoever reads it can take this worker's jobs and sign results as it",
            Self::SigningKey => "whoever reads it can sign paths that every host will trust",
            Self::GitCredentials => "whoever reads it can log in at the forge",
        }
    }

    fn made_by(self) -> &'static str {
        match self {
            Self::Seed => "make one with `producer keys new worker NAME`",
            Self::SigningKey => {
                "make one with `nix-store --generate-binary-cache-key NAME-1 FILE FILE.pub`"
            }
            Self::GitCredentials => "a line per forge: https://USER:TOKEN@HOST",
        }
    }
}

impl SecretFile {
    /// Handed over by systemd, for one user. What stands as the group's bits there is the mask of
    /// the list that says so.
    fn is_credential(&self) -> bool {
        self.path.starts_with("/run/credentials")
    }
}

fn finding(file: &SecretFile) -> Finding {
    let check = Check(Group::Secrets, file.what.name());
    let path = file.path.display();
    let finding = match &file.read {
        Err(Unreadable::Io(error)) => check.problem(
            format!("{path} cannot be read: {error}"),
            "the worker cannot work without it",
            format!(
                "let the worker's user read it (mode 0600, its own), or correct {}; {}",
                file.what.key(),
                file.what.made_by()
            ),
        ),
        Err(Unreadable::Content) => check.problem(
            format!("{path} holds no {}", file.what.name()),
            "the worker cannot work without it",
            format!("{}, or correct {}", file.what.made_by(), file.what.key()),
        ),
        Ok(Readable { mode, .. }) if mode & 0o007 != 0 => check.problem(
            format!("everybody on this machine may read {path} (mode {mode:04o})"),
            file.what.loss(),
            format!("chmod 600 {path}; and replace it if anybody else works on this machine"),
        ),
        Ok(Readable { mode, .. }) if mode & 0o070 != 0 && !file.is_credential() => check.warning(
            format!("its group may read {path} (mode {mode:04o})"),
            file.what.loss(),
            format!("chmod 600 {path}"),
        ),
        Ok(Readable { mode, public }) => check.ok(format!("{public} ({path}, mode {mode:04o})")),
    };
    match &file.of {
        Some(of) => finding.of(of),
        None => finding,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    fn check(what: Secret, read: Result<Readable, Unreadable>, level: Level, words: &str) {
        let file = SecretFile { what, of: None, path: "/k".into(), read };
        let found = finding(&file);
        assert_eq!(found.level, level, "{found:?}");
        let text = format!("{} {:?} {:?}", found.seen, found.why, found.fix);
        assert!(text.contains(words), "{text}");
    }

    #[test]
    fn a_secret_is_its_owners_alone() {
        let mode = |mode| Ok(Readable { mode, public: "UABC".into() });
        check(Secret::Seed, mode(0o600), Level::Ok, "UABC");
        check(Secret::Seed, mode(0o400), Level::Ok, "mode 0400");
        check(Secret::Seed, mode(0o640), Level::Warning, "chmod 600 /k");
        check(Secret::SigningKey, mode(0o644), Level::Problem, "every host will trust");
        let gone = Err(Unreadable::Io("No such file".into()));
        check(Secret::SigningKey, gone, Level::Problem, "--generate-binary-cache-key");
        check(Secret::Seed, Err(Unreadable::Content), Level::Problem, "producer keys new worker");
    }

    #[test]
    fn the_group_of_a_credential_of_systemd_is_nobody() {
        let read = Ok(Readable { mode: 0o440, public: "UABC".into() });
        let path = "/run/credentials/worker.service/nkey".into();
        let file = SecretFile { what: Secret::Seed, of: None, path, read };
        assert_eq!(finding(&file).level, Level::Ok);
    }

    #[test]
    fn a_broker_without_keys_is_said() {
        let all = findings(&[]);
        assert!(all[0].seen.contains("not signed") && all[0].level == Level::Ok);
    }
}
