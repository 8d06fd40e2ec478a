//! Flake inputs that a job replaces by commits of other repositories, and the digest that names
//! them in its revision token.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    revision::Revision,
    token::{Input, Repo, TokenError},
};

/// The commit that takes an input's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Its repository, as the configs name it: a worker fetches it through its own mirror, and only
    /// from the branches that its config allows.
    pub repo: Repo,
    /// The commit, with nothing overridden in turn.
    pub revision: Revision,
}

/// Inputs of the job's own flake by name, and what takes their place. Empty for most jobs.
///
/// Written out as a map from input to repo and revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<Input, Override>", into = "BTreeMap<Input, Override>")]
pub struct Overrides(BTreeMap<Input, Override>);

/// Overrides of one job: a flake has few inputs, and requests must stay small.
pub const OVERRIDES_MAX: usize = 32;

impl Overrides {
    /// Checked overrides.
    ///
    /// # Errors
    /// When there are more than [`OVERRIDES_MAX`], or one is of a revision with overrides itself.
    pub fn new(inputs: BTreeMap<Input, Override>) -> Result<Self, TokenError> {
        if inputs.len() > OVERRIDES_MAX {
            let reason = format!("more than {OVERRIDES_MAX} inputs are overridden");
            return Err(TokenError::new("overrides", &inputs.len().to_string(), reason));
        }
        let nested = inputs.values().find(|it| it.revision.overrides().is_some());
        match nested {
            Some(it) => {
                let reason = "what overrides an input cannot have overridden inputs itself";
                Err(TokenError::new("overrides", it.revision.as_str(), reason))
            }
            None => Ok(Self(inputs)),
        }
    }

    /// Nothing is overridden.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The inputs and what takes their place, in the order of the inputs' names.
    pub fn iter(&self) -> impl Iterator<Item = (&Input, &Override)> {
        self.0.iter()
    }

    /// The digest in the revision token of a job with these overrides; none without any.
    ///
    /// It is the first 48 bits of SHA-256 over the lines `<input> <repo> <commit>` in the order of
    /// the inputs' names. No part can hold a blank or a line break, so different overrides never
    /// have the same lines. So few bits keep jobs apart that come about by themselves, but whoever
    /// wants to can find two sets with one digest. So the digest names overrides and never stands
    /// for them: requests and results carry them in full, and asking, reuse and verdict compare
    /// those.
    pub fn digest(&self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let mut hash = Sha256::new();
        for (input, Override { repo, revision }) in &self.0 {
            hash.update(format!("{input} {repo} {}\n", revision.commit()));
        }
        let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Some(hex[..Revision::OVERRIDE_DIGITS].to_owned())
    }
}

impl TryFrom<BTreeMap<Input, Override>> for Overrides {
    type Error = TokenError;
    fn try_from(inputs: BTreeMap<Input, Override>) -> Result<Self, TokenError> {
        Self::new(inputs)
    }
}

impl From<Overrides> for BTreeMap<Input, Override> {
    fn from(overrides: Overrides) -> Self {
        overrides.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn overrides(of: &[(&str, &str, &str)]) -> Overrides {
        let one = |(input, repo, commit): &(&str, &str, &str)| {
            let revision = commit.parse().expect("a commit");
            let repo = repo.parse().expect("a repo");
            (input.parse().expect("an input"), Override { repo, revision })
        };
        Overrides::new(of.iter().map(one).collect()).expect("overrides")
    }

    #[test]
    fn a_digest_is_of_every_part_and_of_no_order() {
        let digest = |of: &[(&str, &str, &str)]| overrides(of).digest();
        assert_eq!(digest(&[]), None);
        let other = &COMMIT.replace("01", "10");
        let one = digest(&[("a", "r", COMMIT)]);
        // `printf 'a r <commit>\n' | sha256sum`: what is on the wire must never change.
        assert_eq!(one.as_deref(), Some("92d736a807e5"));
        for differs in [
            &[("b", "r", COMMIT)][..],
            &[("a", "s", COMMIT)],
            &[("a", "r", other)],
            &[("a", "r", COMMIT), ("b", "r", COMMIT)],
        ] {
            assert_ne!(digest(differs), one, "{differs:?}");
        }
        let (x, y) = (("x", "r", COMMIT), ("y", "s", other.as_str()));
        assert_eq!(digest(&[x, y]), digest(&[y, x]));
    }

    #[test]
    fn a_revision_names_its_overrides() {
        let commit: Revision = COMMIT.parse().expect("a commit");
        let some = overrides(&[("a", "r", COMMIT)]);
        let named = commit.with(&some);
        assert_eq!((named.commit(), named.overrides()), (COMMIT, some.digest().as_deref()));
        assert_eq!(named.to_string().parse(), Ok(named.clone()), "it is a legal token");
        assert!(named.names(&some) && !named.names(&Overrides::default()));
        assert!(!named.names(&overrides(&[("b", "r", COMMIT)])));
        assert_eq!(named.with(&Overrides::default()), commit);
        assert!(commit.names(&Overrides::default()) && !commit.names(&some));
    }

    #[test]
    fn what_is_no_name_or_no_plain_commit_is_refused() {
        let decode = |json: &str| serde_json::from_str::<Overrides>(json);
        let of = |input: &str, revision: &str| {
            format!("{{{input:?}:{{\"repo\":\"r\",\"revision\":{revision:?}}}}}")
        };
        assert!(decode(&of("servers", COMMIT)).is_ok());
        for input in ["--impure", "a/b", "a b", "", "a.b", "$(id)"] {
            let error = decode(&of(input, COMMIT)).expect_err(input).to_string();
            assert!(error.starts_with("input name "), "{error}");
        }
        let nested = format!("{COMMIT}-0123456789ab");
        let error = decode(&of("a", &nested)).expect_err("nested").to_string();
        assert!(error.contains("cannot have overridden inputs"), "{error}");
        assert!(decode(&of("a", "master")).is_err());
        let many: Vec<String> = (0..=OVERRIDES_MAX)
            .map(|n| of(&format!("i{n}"), COMMIT).trim_matches(['{', '}']).to_owned() + "}")
            .collect();
        let error = decode(&format!("{{{}}}", many.join(","))).expect_err("many").to_string();
        assert!(error.contains("more than 32"), "{error}");
    }
}
