//! What a forge holds and this program reads or writes: as values, without their JSON.

use std::fmt;

use proto::Revision;
use serde::{Deserialize, Serialize};

/// Number of a pull request in its repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PullNumber(pub u64);

/// Id of a label. Labels are given by id only: the forge drops names that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LabelId(pub u64);

/// Id of a comment, over all repositories of a forge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommentId(pub u64);

/// A pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    pub number: PullNumber,
    pub state: PullState,
    pub title: String,
    pub body: String,
    /// Its page, for people.
    pub url: String,
    /// Login of whoever opened it; `None` when that account is gone.
    pub author: Option<String>,
    /// The branch it asks to be taken from.
    pub head: String,
    /// Where that branch is. `None` when the forge does not say, as for a deleted branch.
    pub head_commit: Option<Revision>,
    /// Whether the head lies in another repository. Anybody can name a branch there as we do.
    pub from_fork: bool,
    /// The branch it asks to be taken into.
    pub base: String,
    pub labels: Vec<Label>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullState {
    Open,
    Closed,
    Merged,
    /// A word of a newer server. Neither open nor done as far as we can tell.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub id: LabelId,
    pub name: String,
}

/// A label to be made if there is none of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewLabel<'a> {
    pub name: &'a str,
    /// `#rrggbb`.
    pub color: &'a str,
    pub description: &'a str,
}

/// A pull request to be opened, between branches of the repository itself.
#[derive(Clone, Copy, Debug)]
pub struct NewPull<'a> {
    pub base: &'a str,
    pub head: &'a str,
    pub title: &'a str,
    pub body: &'a str,
    pub labels: &'a [LabelId],
}

/// What `create_pull` came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    Created(Pull),
    /// There was one open from this head into this base, perhaps of an earlier try. Its title, body
    /// and labels are what they were.
    Exists(Pull),
}

/// What changes about a pull request; `None` leaves it.
#[derive(Clone, Copy, Debug, Default)]
pub struct PullEdit<'a> {
    pub title: Option<&'a str>,
    pub body: Option<&'a str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    pub id: CommentId,
    pub author: Option<String>,
    pub body: String,
}

/// A comment that there is one of: recognised by the text that it starts with and by its author, as
/// others quote it.
#[derive(Clone, Copy, Debug)]
pub struct Marked<'a> {
    pub author: &'a str,
    pub marker: &'a str,
    /// All of it; starts with the marker.
    pub body: &'a str,
}

/// What an upload came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attached {
    Done,
    /// HTTP 413: over the size limit or a quota.
    TooLarge {
        message: String,
    },
    /// HTTP 422: not one of the allowed types.
    TypeRefused {
        message: String,
    },
}

/// State of a commit in one context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusState {
    Pending,
    Success,
    Failure,
    /// Undecided for good: nobody's fault.
    Error,
}

/// What is said about a commit. The newest one of a context counts.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    pub state: StatusState,
    pub context: &'a str,
    /// One short line.
    pub description: &'a str,
    /// Where more is to be read, if anywhere.
    pub target_url: Option<&'a str>,
}

/// A branch to be moved, on the condition that it is where it was.
#[derive(Clone, Copy, Debug)]
pub struct BranchMove<'a> {
    pub branch: &'a str,
    pub old: &'a Revision,
    /// On the server already, and a descendant of `old`.
    pub new: &'a Revision,
}

/// What a move came to. Nothing here is a guess: in doubt the branch was read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The branch is at `new`; by us, now or in an earlier try.
    Done,
    /// It was not moved and is at `at` (`None`: it is gone). `at` can be `old` when `new` is not a
    /// descendant of it, and a descendant of `new` when an earlier try had won and somebody went on.
    Lost { at: Option<Revision> },
    /// A protection rule or a missing right stands against it.
    Denied { message: String },
    /// This forge cannot; push with a lease instead.
    Unsupported,
}

/// What deleting a branch came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    Done,
    /// There was none, perhaps since an earlier try.
    Absent,
    /// It is protected, or the default branch.
    Denied {
        message: String,
    },
}

impl StatusState {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for PullNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
