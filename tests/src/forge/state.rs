//! What the forge remembers besides the repository, and its JSON.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

/// Id of the repository itself; forks have others.
const REPO_ID: i64 = 1;
const FORK_ID: i64 = 2;
const TIME: &str = "2026-01-01T00:00:00Z";

/// A pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    pub number: u64,
    pub open: bool,
    pub merged: bool,
    pub title: String,
    pub body: String,
    pub author: String,
    pub head: String,
    /// Where the head was when it was last looked at.
    pub head_commit: String,
    pub base: String,
    pub from_fork: bool,
    pub labels: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostedComment {
    pub id: u64,
    pub pull: u64,
    pub author: String,
    pub body: String,
    pub files: Vec<File>,
    /// How often its text was replaced.
    pub edits: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub name: String,
    pub content: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostedStatus {
    pub context: String,
    pub state: String,
    pub description: String,
    pub target_url: String,
}

/// What the server is configured to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[attachment] ALLOWED_TYPES`.
    pub attachment_types: String,
    /// `[attachment] MAX_SIZE`, in MiB.
    pub attachment_max_size: usize,
    /// `[api] MAX_RESPONSE_ITEMS`: elements of a page, whatever is asked for.
    pub page_max: usize,
    /// Whether lists say how long they are.
    pub total_count: bool,
    /// Whether lists of requests can be filtered by base; Gitea 1.22 ignores that it is asked to.
    pub base_filter: bool,
    /// Whether fetching needs a login.
    pub private: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            attachment_types: ".gz,.json,.log,.md,.patch,.pdf,.png,.tgz,.txt,.zip".to_owned(),
            attachment_max_size: 100,
            page_max: 50,
            total_count: true,
            base_filter: true,
            private: false,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) pulls: Vec<PullRequest>,
    pub(super) comments: Vec<PostedComment>,
    /// In the order of their ids, which start at 1.
    pub(super) labels: Vec<String>,
    /// By commit, oldest first.
    pub(super) statuses: BTreeMap<String, Vec<PostedStatus>>,
    /// Protected branches, and who may push there.
    pub(super) protected: Vec<(String, Vec<String>)>,
}

impl State {
    pub(super) fn may_push(&self, branch: &str, user: &str) -> bool {
        let rule = self.protected.iter().find(|(it, _)| it == branch);
        rule.is_none_or(|(_, allowed)| allowed.iter().any(|it| it == user))
    }

    pub(super) fn pull(&mut self, number: u64) -> Option<&mut PullRequest> {
        self.pulls.iter_mut().find(|pull| pull.number == number)
    }

    pub(super) fn comment(&mut self, id: u64) -> Option<&mut PostedComment> {
        self.comments.iter_mut().find(|comment| comment.id == id)
    }

    pub(super) fn next_pull(&self) -> u64 {
        1 + self.pulls.len() as u64
    }

    pub(super) fn next_comment(&self) -> u64 {
        // Over all repositories of a server: not where a pull request's number could be.
        1001 + self.comments.len() as u64
    }

    /// Adds those of `ids` that there are, as both forges do.
    pub(super) fn known_labels(&self, ids: &[u64]) -> Vec<u64> {
        ids.iter().copied().filter(|id| self.label(*id).is_some()).collect()
    }

    fn label(&self, id: u64) -> Option<&String> {
        self.labels.get(usize::try_from(id).ok()?.checked_sub(1)?)
    }

    pub(super) fn label_json(&self, id: u64) -> Value {
        let name = self.label(id).map_or("", String::as_str);
        json!({
            "id": id, "name": name, "color": "d73a4a", "description": "", "exclusive": false,
            "is_archived": false, "url": format!("http://127.0.0.1/labels/{id}"),
        })
    }

    pub(super) fn pull_json(&self, pull: &PullRequest) -> Value {
        let labels: Vec<Value> = pull.labels.iter().map(|id| self.label_json(*id)).collect();
        let head_repo = if pull.from_fork { FORK_ID } else { REPO_ID };
        json!({
            "id": 5000 + pull.number, "number": pull.number, "title": pull.title,
            "body": pull.body, "state": if pull.open { "open" } else { "closed" },
            "merged": pull.merged, "user": user_json(&pull.author), "labels": labels,
            "html_url": format!("http://127.0.0.1/pulls/{}", pull.number),
            "head": side_json(&pull.head, &pull.head_commit, head_repo),
            "base": side_json(&pull.base, "", REPO_ID),
            // As Go writes what is empty.
            "assignees": null, "milestone": null, "merged_at": null, "requested_reviewers": null,
            "created_at": TIME, "updated_at": TIME,
        })
    }
}

impl PostedComment {
    pub(super) fn json(&self) -> Value {
        let files: Vec<Value> = self.files.iter().map(File::json).collect();
        json!({
            "id": self.id, "body": self.body, "user": user_json(&self.author), "assets": files,
            "html_url": format!("http://127.0.0.1/pulls/{}#issuecomment-{}", self.pull, self.id),
            "created_at": TIME, "updated_at": TIME,
        })
    }
}

impl File {
    pub(super) fn json(&self) -> Value {
        json!({
            "id": 1, "name": self.name, "size": self.content.len(), "created_at": TIME,
            "download_count": 0, "uuid": "a7ab5a0e-0000-4000-8000-000000000001",
            "browser_download_url": format!("http://127.0.0.1/attachments/{}", self.name),
        })
    }
}

impl PostedStatus {
    pub(super) fn json(&self) -> Value {
        json!({
            "id": 1, "context": self.context, "status": self.state,
            "description": self.description, "target_url": self.target_url,
            "created_at": TIME, "updated_at": TIME, "creator": null,
        })
    }
}

pub(super) fn user_json(login: &str) -> Value {
    json!({"id": 7, "login": login, "full_name": "", "email": format!("{login}@example.org")})
}

pub(super) fn branch_json(name: &str, commit: &str, protected: bool) -> Value {
    json!({
        "name": name, "protected": protected,
        "commit": {"id": commit, "message": "change", "added": null, "timestamp": TIME},
    })
}

fn side_json(branch: &str, commit: &str, repo: i64) -> Value {
    json!({"label": branch, "ref": branch, "sha": commit, "repo_id": repo, "repo": null})
}
