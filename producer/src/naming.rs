//! Commits and jobs as people name them: by the first digits of the commit, as tables print it.
//!
//! What is named whole is what it says, and costs no question. What is cut short is looked for among
//! the jobs that are recorded; nothing here reads a repository.

use std::{collections::BTreeSet, fmt, str::FromStr};

use bus::Bus;
use proto::{Host, JobKey, Repo, Revision, token::shown};

use crate::{error::Error, outage::retried, suggest};

/// Digits of a commit from which on one is looked for: git prints no fewer.
const DIGITS_MIN: usize = 7;
/// Names that a refusal lists.
const FITTING_SHOWN: usize = 10;

/// The revision of a recorded job, as somebody names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RevisionName {
    Whole(Revision),
    Short(Digits),
}

/// The first digits of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digits {
    commit: String,
    /// The first digits of the digest of overridden inputs, where somebody says that there are any.
    overrides: Option<String>,
}

/// A job as somebody names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobName {
    pub(crate) repo: Repo,
    pub(crate) revision: RevisionName,
    pub(crate) host: Host,
}

/// The jobs that are known, as somebody asked for them or as they ended; `filter` is a key with
/// wildcards.
pub(crate) async fn recorded(bus: &Bus, filter: &str) -> Result<BTreeSet<JobKey>, bus::Error> {
    let (results, requests) =
        (bus.results().keys(filter).await?, bus.requests().keys(filter).await?);
    Ok(results.iter().chain(&requests).filter_map(|key| key.parse().ok()).collect())
}

impl RevisionName {
    /// As a token of a filter over keys: what is cut short may be any.
    pub(crate) fn wildcard(&self) -> &str {
        match self {
            Self::Whole(revision) => revision.as_str(),
            Self::Short(_) => "*",
        }
    }

    /// The one of these that is meant, if any is: a commit comes before itself with other inputs.
    ///
    /// # Errors
    /// Those that may be meant, if that is more than one.
    pub(crate) fn among<'a>(
        &'a self,
        known: impl Iterator<Item = &'a Revision>,
    ) -> Result<Option<&'a Revision>, BTreeSet<&'a Revision>> {
        let digits = match self {
            Self::Whole(revision) => return Ok(Some(revision)),
            Self::Short(digits) => digits,
        };
        let fitting: BTreeSet<&Revision> = known.filter(|it| digits.fit(it)).collect();
        let commits: BTreeSet<&str> = fitting.iter().map(|it| it.commit()).collect();
        let plain = || fitting.iter().find(|it| it.overrides().is_none()).copied();
        match (fitting.len(), commits.len()) {
            (0 | 1, _) => Ok(fitting.first().copied()),
            // Of one commit, it comes before itself with other inputs.
            (_, 1) => plain().map_or(Err(fitting.clone()), |plain| Ok(Some(plain))),
            _ => Err(fitting),
        }
    }
}

impl Digits {
    fn fit(&self, revision: &Revision) -> bool {
        let overrides = self.overrides.as_deref();
        revision.commit().starts_with(&self.commit)
            && overrides.is_none_or(|digits| {
                revision.overrides().is_some_and(|digest| digest.starts_with(digits))
            })
    }
}

impl JobName {
    /// The job that is meant.
    ///
    /// # Errors
    /// Nobody asked for one of this name, or several have it; no answer.
    pub(crate) async fn find(&self, bus: &Bus) -> Result<JobKey, Error> {
        let Self { repo, revision, host } = self;
        let job = |revision: &Revision| {
            let (repo, revision, host) = (repo.clone(), revision.clone(), host.clone());
            JobKey { repo, revision, host }
        };
        if let RevisionName::Whole(revision) = revision {
            return Ok(job(revision));
        }
        let filter = format!("{repo}.{}.{host}", revision.wildcard());
        let known = retried(|| recorded(bus, &filter)).await?;
        match revision.among(known.iter().map(|it| &it.revision)) {
            Ok(Some(revision)) => Ok(job(revision)),
            Ok(None) => Err(suggest::unknown(bus, self.clone()).await),
            Err(fitting) => Err(ambiguous(self, fitting.into_iter().map(job))),
        }
    }
}

/// A name that is cut so short that it is the name of several.
pub(crate) fn ambiguous(
    name: &impl ToString,
    fitting: impl ExactSizeIterator<Item = impl ToString>,
) -> Error {
    Error::Ambiguous { name: name.to_string(), fitting: listed(fitting) }
}

/// What a name may mean: as many as can be read.
pub(crate) fn listed(fitting: impl ExactSizeIterator<Item = impl ToString>) -> String {
    let more = fitting.len().saturating_sub(FITTING_SHOWN);
    let shown: Vec<String> = fitting.take(FITTING_SHOWN).map(|it| it.to_string()).collect();
    let mut fitting = shown.join(", ");
    if more > 0 {
        fitting += &format!(" and {more} more");
    }
    fitting
}

impl FromStr for RevisionName {
    type Err = String;

    fn from_str(value: &str) -> Result<Self, String> {
        if let Ok(revision) = value.parse() {
            return Ok(Self::Whole(revision));
        }
        let (commit, overrides) = match (value.strip_suffix('+'), value.split_once('-')) {
            // As tables mark one with overridden inputs.
            (Some(commit), _) => (commit, Some("")),
            (None, Some((commit, digest))) if !digest.is_empty() => (commit, Some(digest)),
            (None, _) => (value, None),
        };
        let hex = |text: &str| text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
        let digest = overrides.unwrap_or_default();
        let fits = (DIGITS_MIN..=Revision::COMMIT_DIGITS).contains(&commit.len())
            && digest.len() <= Revision::OVERRIDE_DIGITS;
        if fits && hex(commit) && hex(digest) {
            let overrides = overrides.map(str::to_owned);
            return Ok(Self::Short(Digits { commit: commit.to_owned(), overrides }));
        }
        let value = shown(value);
        Err(format!(
            "revision name {value} is refused: it is neither a commit of 40 lowercase hex digits \
             nor its first {DIGITS_MIN} or more"
        ))
    }
}

impl FromStr for JobName {
    type Err = String;

    fn from_str(value: &str) -> Result<Self, String> {
        let parts: Vec<&str> = value.split('.').collect();
        let [repo, revision, host] = parts[..] else {
            let value = shown(value);
            return Err(format!("job name {value} is refused: it is not <repo>.<revision>.<host>"));
        };
        let refused = |error: proto::TokenError| error.to_string();
        Ok(Self {
            repo: repo.parse().map_err(refused)?,
            revision: revision.parse()?,
            host: host.parse().map_err(refused)?,
        })
    }
}

impl From<&JobKey> for JobName {
    fn from(job: &JobKey) -> Self {
        let JobKey { repo, revision, host } = job.clone();
        Self { repo, revision: RevisionName::Whole(revision), host }
    }
}

impl fmt::Display for RevisionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self {
            Self::Whole(revision) => return revision.fmt(f),
            Self::Short(digits) => digits,
        };
        f.write_str(&digits.commit)?;
        match digits.overrides.as_deref() {
            None => Ok(()),
            Some("") => f.write_str("+"),
            Some(digest) => write!(f, "-{digest}"),
        }
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.repo, self.revision, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0123456789abcdef0123456789abcdef01234567";
    const B: &str = "0123456789abffff0123456789abcdef01234567";
    const OVER: &str = "0123456789abcdef0123456789abcdef01234567-aaaa56789012";
    const OTHER: &str = "0123456789abcdef0123456789abcdef01234567-aabb56789012";

    fn name(text: &str) -> RevisionName {
        text.parse().unwrap_or_else(|why| panic!("{why}"))
    }

    /// What a name is taken for, of those that are known: one, none, or several of them.
    #[track_caller]
    fn check(named: &str, known: &[&str], meant: Result<Option<&str>, &[&str]>) {
        let known: Vec<Revision> = known.iter().map(|it| it.parse().expect("whole")).collect();
        let name = name(named);
        let found = name.among(known.iter());
        let found = found.map(|it| it.map(Revision::as_str));
        let found = found.map_err(|all| all.into_iter().map(Revision::as_str).collect::<Vec<_>>());
        assert_eq!(found, meant.map_err(<[&str]>::to_vec), "{named}");
    }

    #[test]
    fn the_first_digits_are_those_of_one_commit_or_of_several() {
        check("0123456", &[], Ok(None));
        check("1234567", &[A, B], Ok(None));
        check("0123456", &[A], Ok(Some(A)));
        check("0123456", &[A, A], Ok(Some(A)));
        check("0123456789ab", &[A, B], Err(&[A, B]));
        check("0123456789abf", &[A, B], Ok(Some(B)));
        check(&A[..39], &[A, B], Ok(Some(A)));
        // Whole ones are not looked for.
        check(A, &[], Ok(Some(A)));
        check(OVER, &[A], Ok(Some(OVER)));
    }

    #[test]
    fn overridden_inputs_are_meant_where_somebody_says_so_or_nothing_else_is_known() {
        check("0123456", &[A, OVER, OTHER], Ok(Some(A)));
        check("0123456", &[OVER], Ok(Some(OVER)));
        check("0123456", &[OVER, OTHER], Err(&[OVER, OTHER]));
        check("0123456", &[B, OVER], Err(&[OVER, B]));
        check("0123456+", &[A, OVER], Ok(Some(OVER)));
        check("0123456+", &[A, OVER, OTHER], Err(&[OVER, OTHER]));
        check("0123456-aab", &[A, OVER, OTHER], Ok(Some(OTHER)));
        check(&format!("{A}-aaaa"), &[A, OVER, OTHER], Ok(Some(OVER)));
        check("0123456-b", &[A, OVER, OTHER], Ok(None));
    }

    #[test]
    fn a_name_reads_back_as_written_or_says_what_it_should_be() {
        for text in [A, OVER, "0123456", "0123456+", "0123456-ab"] {
            let job = format!("nixos.{text}.web");
            assert_eq!(job.parse::<JobName>().map(|it| it.to_string()), Ok(job));
        }
        for bad in
            ["", "012345", "HEAD", "0123456x", "0123456-x", "ABCDEF0", "0123456+a", "0123456-"]
        {
            let why = bad.parse::<RevisionName>().expect_err(bad);
            assert!(why.contains("nor its first 7 or more"), "{why}");
        }
        let long = [format!("{A}0"), format!("{A}-0123456789abc"), format!("{OVER}+")];
        assert!(long.iter().all(|it| it.parse::<RevisionName>().is_err()));
        for bad in
            ["", "web", "a.b", "..", "nixos.0123456", "nixos.0123456.web.x", "n*.0123456.web"]
        {
            assert!(bad.parse::<JobName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refusal_lists_no_more_than_can_be_read() {
        let said = |n: u32| ambiguous(&"x", (0..n).collect::<Vec<_>>().into_iter()).to_string();
        assert!(said(2).contains("several fit: 0, 1; "), "{}", said(2));
        assert!(said(12).contains("8, 9 and 2 more; "), "{}", said(12));
    }
}
