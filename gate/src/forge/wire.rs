//! The answers' JSON, as little of it as is used. Everything may be absent, null or a word that is
//! not known yet; only an id that cannot be read is an error.

use proto::Revision;
use serde::{Deserialize, Deserializer};

use super::{
    attachments::AttachmentRules,
    entity::{Comment, CommentId, Label, LabelId, Pull, PullNumber, PullState},
};

#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub(super) version: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct User {
    pub(super) login: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Branch {
    commit: Commit,
}

#[derive(Debug, Deserialize)]
struct Commit {
    id: Revision,
}

#[derive(Debug, Deserialize)]
pub(super) struct Attachment {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AttachmentSettings {
    enabled: Option<bool>,
    allowed_types: Option<String>,
    /// In MiB.
    max_size: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireLabel {
    id: u64,
    #[serde(default, deserialize_with = "or_default")]
    name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireComment {
    id: u64,
    #[serde(default, deserialize_with = "or_default")]
    body: String,
    #[serde(default)]
    user: Option<Login>,
}

#[derive(Debug, Deserialize)]
pub(super) struct WirePull {
    number: u64,
    #[serde(default, deserialize_with = "or_default")]
    state: String,
    #[serde(default, deserialize_with = "or_default")]
    merged: bool,
    #[serde(default, deserialize_with = "or_default")]
    title: String,
    #[serde(default, deserialize_with = "or_default")]
    body: String,
    #[serde(default, deserialize_with = "or_default")]
    html_url: String,
    #[serde(default)]
    user: Option<Login>,
    #[serde(default, deserialize_with = "or_default")]
    head: Side,
    #[serde(default, deserialize_with = "or_default")]
    base: Side,
    #[serde(default, deserialize_with = "or_default")]
    labels: Vec<WireLabel>,
}

#[derive(Debug, Deserialize)]
struct Login {
    #[serde(default)]
    login: Option<String>,
}

/// One end of a pull request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Side {
    #[serde(rename = "ref", deserialize_with = "or_default")]
    branch: String,
    #[serde(deserialize_with = "or_default")]
    sha: String,
    repo_id: Option<i64>,
}

/// What a null stands for is what absence stands for.
fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl From<AttachmentSettings> for AttachmentRules {
    fn from(wire: AttachmentSettings) -> Self {
        /// The smallest default there ever was, in MiB.
        const MAX_SIZE_UNKNOWN: u64 = 4;
        Self::new(
            wire.enabled.unwrap_or(true),
            wire.max_size.unwrap_or(MAX_SIZE_UNKNOWN),
            &wire.allowed_types.unwrap_or_default(),
        )
    }
}

impl From<Branch> for Revision {
    fn from(branch: Branch) -> Self {
        branch.commit.id
    }
}

impl From<WireLabel> for Label {
    fn from(WireLabel { id, name }: WireLabel) -> Self {
        Self { id: LabelId(id), name }
    }
}

impl From<WireComment> for Comment {
    fn from(WireComment { id, body, user }: WireComment) -> Self {
        Self { id: CommentId(id), author: login(user), body }
    }
}

impl From<WirePull> for Pull {
    fn from(wire: WirePull) -> Self {
        let state = match (wire.merged, wire.state.as_str()) {
            (true, _) => PullState::Merged,
            (false, "open") => PullState::Open,
            (false, "closed") => PullState::Closed,
            (false, _) => PullState::Unknown,
        };
        Self {
            number: PullNumber(wire.number),
            state,
            title: wire.title,
            body: wire.body,
            url: wire.html_url,
            author: login(wire.user),
            // Without ids nothing says that it is ours, so it is not.
            from_fork: wire.head.repo_id.is_none() || wire.head.repo_id != wire.base.repo_id,
            head: wire.head.branch,
            head_commit: wire.head.sha.parse().ok(),
            base: wire.base.branch,
            labels: wire.labels.into_iter().map(Label::from).collect(),
        }
    }
}

fn login(user: Option<Login>) -> Option<String> {
    user.and_then(|user| user.login).filter(|login| !login.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pull(value: serde_json::Value) -> Pull {
        serde_json::from_value::<WirePull>(value).expect("a pull request").into()
    }

    #[test]
    fn absent_null_and_unknown_values_never_fail_a_decode() {
        let bare = pull(json!({"number": 7}));
        assert_eq!(bare.state, PullState::Unknown);
        assert!(bare.from_fork, "nothing says that it is ours");
        let nulls = json!({
            "number": 7, "state": null, "merged": null, "title": null, "body": null, "user": null,
            "html_url": null, "head": null, "base": null, "labels": null, "requested_reviewers": null,
        });
        assert_eq!(pull(nulls), bare);
        let unknown = pull(json!({
            "number": 7, "state": "queued", "user": {"login": ""}, "labels": [{"id": 1}],
            "head": {"ref": "a", "sha": "", "repo_id": -1, "repo": null},
            "base": {"ref": "b", "sha": "x", "repo_id": 1}, "flow": {"any": "thing"},
        }));
        assert_eq!(
            (unknown.state, unknown.author, unknown.head_commit),
            (PullState::Unknown, None, None)
        );
        assert!(unknown.from_fork);
    }

    #[test]
    fn a_pull_request_of_the_repository_itself_is_told_from_one_of_a_fork() {
        let of = |head: i64| {
            pull(
                json!({"number": 1, "state": "open", "head": {"repo_id": head}, "base": {"repo_id": 1}}),
            )
        };
        assert!(!of(1).from_fork);
        assert!(of(2).from_fork);
        assert_eq!(of(1).state, PullState::Open);
        let merged = json!({"number": 1, "state": "closed", "merged": true});
        assert_eq!(pull(merged).state, PullState::Merged);
    }
}
