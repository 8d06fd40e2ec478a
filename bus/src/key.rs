//! NKeys: the file that holds a seed, the public key that is an identity, and new pairs.
//!
//! A seed is read, handed to whoever signs with it, and never shown: no type here that holds one
//! can be printed.

use std::{
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use nkeys::{KeyPair, KeyPairType};
use proto::{Identity, token::shown};
use serde::Deserialize;
use tracing::warn;

use crate::connection::ConnectError;

/// The public NKey of a user, checked: it starts with `U` and its checksum is right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicKey(Identity);

/// A text that is no public NKey of a user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no public NKey: {1}")]
pub struct PublicKeyError(String, &'static str);

impl PublicKey {
    /// As the identity that its holder has.
    pub fn identity(&self) -> &Identity {
        &self.0
    }

    pub(crate) fn of(keys: &KeyPair) -> Self {
        Self(keys.public_key().parse().expect("an encoded key is letters and digits, 56 of them"))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(value: &str) -> Result<Self, PublicKeyError> {
        if value.starts_with('S') && KeyPair::from_seed(value).is_ok() {
            // Neither shown nor kept: whoever put it here has shown it once too often already.
            let why = "it is a seed, which is a secret; its public key starts with U";
            return Err(PublicKeyError("what is given".into(), why));
        }
        let refuse = |why| PublicKeyError(shown(value), why);
        let keys = KeyPair::from_public_key(value);
        let keys = keys.map_err(|_| refuse("expected 56 letters and digits, U first, as made"))?;
        match keys.key_pair_type() {
            KeyPairType::User => Ok(Self::of(&keys)),
            _ => Err(refuse("it is not a user's, which starts with U")),
        }
    }
}

impl TryFrom<String> for PublicKey {
    type Error = PublicKeyError;
    fn try_from(value: String) -> Result<Self, PublicKeyError> {
        value.parse()
    }
}

/// The keys in a seed file, and the seed as the client wants it.
pub(crate) fn read_seed(path: &Path) -> Result<(String, KeyPair), ConnectError> {
    let failed = |source| ConnectError::ReadSeed { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(failed)?;
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        let path = path.display();
        warn!("others can read the NKey seed {path} (mode {:03o}); chmod 600 it", mode & 0o777);
    }
    // Seed files of `nk` and `nsc` may hold comments around the one line that counts.
    let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
    let keys = seed.and_then(|seed| Some((seed.to_owned(), KeyPair::from_seed(seed).ok()?)));
    keys.ok_or_else(|| ConnectError::Seed { path: path.to_owned() })
}

/// The public key of the seed in a file.
///
/// # Errors
/// It cannot be read, or holds no seed of a user.
pub fn public_key_in(seed_file: &Path) -> Result<PublicKey, ConnectError> {
    read_seed(seed_file).map(|(_, keys)| PublicKey::of(&keys))
}

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum NewKeyError {
    /// There is a file, perhaps with somebody's only key.
    #[error("make a key in {path}: it exists, and a key is never overwritten; remove it first")]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("write {path}: {source}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Who reads a new seed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedForm {
    /// Programs of ours, and the tools of NATS.
    Plain,
    /// A nats-server, whose config includes the file.
    ServerInclude,
}

/// Makes a user's key pair: the seed into a new file of mode 0600, the public key as the answer.
///
/// # Errors
/// The file exists, or cannot be written.
pub fn new_key(seed_file: &Path, form: SeedForm) -> Result<PublicKey, NewKeyError> {
    let keys = KeyPair::new_user();
    let path = || seed_file.to_owned();
    let write = |source| NewKeyError::Write { path: path(), source };
    let seed = keys.seed().map_err(|_| write(io::Error::other("the pair has no seed")))?;
    let mut options = fs::OpenOptions::new();
    let mut file =
        options.write(true).create_new(true).mode(0o600).open(seed_file).map_err(|source| {
            match source.kind() {
                io::ErrorKind::AlreadyExists => NewKeyError::Exists { path: path() },
                _ => write(source),
            }
        })?;
    let key = match form {
        SeedForm::Plain => "",
        SeedForm::ServerInclude => "nkey: ",
    };
    writeln!(file, "{key}{seed}").and_then(|()| file.sync_all()).map_err(write)?;
    Ok(PublicKey::of(&keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_is_checked_and_a_seed_is_not_shown() {
        let keys = KeyPair::new_user();
        let public = keys.public_key();
        assert_eq!(public.parse::<PublicKey>().expect("a key").to_string(), public);
        let seed = keys.seed().expect("a seed");
        let flipped =
            public.replace(&public[20..21], if &public[20..21] == "A" { "B" } else { "A" });
        for (bad, why) in [
            ("", "56 letters"),
            ("UA…", "56 letters"),
            (&flipped, "56 letters"),
            (&KeyPair::new_account().public_key(), "not a user's"),
            (&seed, "it is a seed"),
        ] {
            let error = bad.parse::<PublicKey>().expect_err("refused").to_string();
            assert!(error.contains(why) && !error.contains(&seed), "{error}");
        }
    }
}
