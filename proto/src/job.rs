//! One host of one revision, and the message that queues it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    record::Record,
    request::Request,
    revision::Revision,
    time::Timestamp,
    token::{Host, Repo, TokenError},
    version::V1,
};

/// Names a job: `<repo>.<revision>.<host>`, the key of its request and of its record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobKey {
    /// The repository, as configs name it.
    pub repo: Repo,
    /// The commit.
    pub revision: Revision,
    /// The `nixosConfigurations` attribute.
    pub host: Host,
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.repo, self.revision, self.host)
    }
}

impl FromStr for JobKey {
    type Err = TokenError;

    fn from_str(value: &str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = value.split('.').collect();
        let [repo, revision, host] = parts[..] else {
            return Err(TokenError::new("job", value, "it is not <repo>.<revision>.<host>"));
        };
        Ok(Self { repo: repo.parse()?, revision: revision.parse()?, host: host.parse()? })
    }
}

impl TryFrom<String> for JobKey {
    type Error = TokenError;
    fn try_from(value: String) -> Result<Self, TokenError> {
        value.parse()
    }
}

impl From<JobKey> for String {
    fn from(key: JobKey) -> String {
        key.to_string()
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = TokenError;
            fn from_str(value: &str) -> Result<Self, TokenError> {
                // Only the hyphenated form: one incarnation must not have two subjects.
                let id = Uuid::try_parse(value).ok().filter(|id| id.to_string() == value);
                id.map(Self).ok_or_else(|| {
                    TokenError::new($kind, value, "it is not a lowercase hyphenated uuid")
                })
            }
        }
    };
}

id!(
    /// What one `submit` asked for.
    RunId, "run"
);
id!(
    /// One try of a gate to land something on a branch.
    GateId, "gate run"
);
id!(
    /// One asking for a job; a forced rebuild is a new one.
    Incarnation, "incarnation"
);
id!(
    /// One life of a worker process: a restarted worker has the same name and another instance.
    Instance, "instance"
);

impl Incarnation {
    /// When it was asked for, by the asker's clock: its id is a uuid of version 7. `None` for an id
    /// of somebody else's making.
    pub fn asked_at(self) -> Option<Timestamp> {
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        Some(Timestamp(seconds.saturating_mul(1000).saturating_add(u64::from(nanos / 1_000_000))))
    }
}

/// The payload of a job message. Identity comes from the subject alone; what is repeated here is
/// for people who look at the stream, and a payload that contradicts its subject is a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobMessage {
    /// Version of this shape.
    pub v: V1,
    /// The job, as in the subject.
    pub job: JobKey,
    /// The asking, as in the subject.
    pub incarnation: Incarnation,
    /// When it was published, by the publisher's clock: the start of the queue time.
    pub at: Timestamp,
    /// What was known of the job then. A hint, which never decides how the job ends: it saves
    /// whoever takes it a question or a slot, and costs a question or a hand-over if it is wrong.
    #[serde(
        default,
        skip_serializing_if = "Before::is_unknown",
        deserialize_with = "crate::lenient"
    )]
    pub before: Before,
}

/// What a job's record said when its message was published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Before {
    /// Nothing that would help, or nobody has looked.
    #[default]
    Unknown,
    /// There was no record.
    Nothing,
    /// It was built, and can be reused.
    Built,
}

impl Before {
    /// What there is to say to whoever takes the job.
    pub fn of(record: Option<&Record>, request: &Request) -> Self {
        match record {
            None => Self::Nothing,
            Some(record) if record.reusable(request).is_some() => Self::Built,
            Some(_) => Self::Unknown,
        }
    }

    fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "nixos-servers.0123456789abcdef0123456789abcdef01234567.ns1";

    #[test]
    fn a_job_key_reads_back_as_written() {
        let key: JobKey = KEY.parse().expect("a key");
        assert_eq!(key.to_string(), KEY);
        assert_eq!(key.host.as_str(), "ns1");
        for bad in ["", "a.b", "a.b.c", &format!("{KEY}.x"), &KEY.replace("ns1", "")] {
            assert!(bad.parse::<JobKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_asking_of_ours_says_when_it_was_made() {
        let at = |id: &str| Incarnation(id.parse().expect("a uuid")).asked_at();
        assert_eq!(at("018bcfe5-6800-7000-8000-000000000001"), Some(Timestamp(1_700_000_000_000)));
        assert_eq!(at("00000000-0000-0000-0000-000000000000"), None);
        assert_eq!(at("c0ffee00-0000-4000-8000-000000000000"), None);
    }

    #[test]
    fn a_hint_of_another_making_is_no_hint() {
        let before = |hint: &str| {
            let message = format!(
                r#"{{"v":1,"job":"{KEY}","incarnation":"018bcfe5-6800-7000-8000-000000000001",
                     "at":1{hint}}}"#
            );
            serde_json::from_str::<JobMessage>(&message).expect("a message").before
        };
        assert_eq!(before(r#","before":"nothing""#), Before::Nothing);
        assert_eq!(before(r#","before":"built""#), Before::Built);
        for other in ["", r#","before":"sold""#, r#","before":{"a":[1]}"#, r#","before":null"#] {
            assert_eq!(before(other), Before::Unknown, "{other}");
        }
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id = "0190f0d4-0000-7000-8000-000000000001";
        assert!(id.parse::<RunId>().is_ok());
        assert!(id.replace('-', "").parse::<RunId>().is_err());
        assert!("0190F0D4-0000-7000-8000-000000000001".parse::<RunId>().is_err());
    }
}
