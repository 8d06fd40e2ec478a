//! The forge, which is Gitea or Forgejo: branches, commit statuses, pull requests and what hangs on
//! them.
//!
//! It knows HTTP and JSON, and which server does what how. It knows nothing of gates, verdicts, Nix
//! or git, and it decides nothing: each answer comes back as a value. Two things it does not leave
//! to others: a request that twice would make two is never blindly repeated, and the token is in no
//! message.

mod attachments;
mod client;
mod config;
mod entity;
mod error;
mod features;
mod move_branch;
mod once;
mod patience;
mod request;
mod token;
mod transport;
mod wire;

pub use attachments::AttachmentRules;
pub use client::{Client, TEXT_BYTES_MAX};
pub use config::{ForgeConfig, ForgeUrl, ForgeUrlError, RepoName, RepoNameError};
pub use entity::{
    Attached, BranchMove, Comment, CommentId, Deleted, Label, LabelId, Marked, Moved, NewLabel,
    NewPull, Opened, Pull, PullEdit, PullNumber, PullState, Status, StatusState,
};
pub use error::Error;
pub use features::{Features, Kind};
pub use patience::Patience;
pub use token::Token;

use bytes::Bytes;
use proto::Revision;

/// One repository on a forge.
///
/// Everything can be called again after any error, but `create_label`, `create_comment` and `attach`:
/// when nobody knows whether they did it they fail with [`Error::Unclear`]. The `ensure_…` methods
/// look again then, so that there is one of each.
pub trait Forge: Sync {
    /// What the server can do.
    fn features(&self) -> &Features;

    /// Login of the token's user.
    fn me(&self) -> impl Future<Output = Result<String, Error>> + Send;

    /// Where a branch is; `None` when there is none.
    ///
    /// # Errors
    /// Also [`Error::Missing`] when there is no such repository, or none that we may see.
    fn branch(&self, branch: &str) -> impl Future<Output = Result<Option<Revision>, Error>> + Send;

    /// Moves a branch by compare-and-set, never backwards.
    fn move_branch(
        &self,
        step: BranchMove<'_>,
    ) -> impl Future<Output = Result<Moved, Error>> + Send;

    /// Deletes a branch, which closes the open pull requests from it.
    fn delete_branch(&self, branch: &str) -> impl Future<Output = Result<Deleted, Error>> + Send;

    /// Says something about a commit that is on the server.
    fn set_status(
        &self,
        commit: &Revision,
        status: Status<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// All labels of the repository.
    fn labels(&self) -> impl Future<Output = Result<Vec<Label>, Error>> + Send;

    /// Makes a label. Nothing keeps a forge from having two of one name: see
    /// [`Forge::ensure_labels`].
    fn create_label(
        &self,
        label: NewLabel<'_>,
    ) -> impl Future<Output = Result<Label, Error>> + Send;

    /// Gives a pull request labels besides those that it has.
    fn add_labels(
        &self,
        number: PullNumber,
        labels: &[LabelId],
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// All open pull requests into a branch, those from forks included.
    fn open_pulls(&self, base: &str) -> impl Future<Output = Result<Vec<Pull>, Error>> + Send;

    /// One pull request; `None` when there is none of that number.
    fn pull(&self, number: PullNumber) -> impl Future<Output = Result<Option<Pull>, Error>> + Send;

    /// Opens a pull request, or finds the one that is open from this head into this base. In doubt
    /// it looks and asks again, so there are never two.
    fn create_pull(&self, new: NewPull<'_>) -> impl Future<Output = Result<Opened, Error>> + Send;

    /// Changes title or body.
    fn edit_pull(
        &self,
        number: PullNumber,
        edit: PullEdit<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Closes it. One that is closed or merged is left as it is.
    fn close_pull(&self, number: PullNumber) -> impl Future<Output = Result<(), Error>> + Send;

    /// All comments on a pull request, oldest first.
    fn comments(
        &self,
        number: PullNumber,
    ) -> impl Future<Output = Result<Vec<Comment>, Error>> + Send;

    /// Writes a comment.
    fn create_comment(
        &self,
        number: PullNumber,
        body: &str,
    ) -> impl Future<Output = Result<Comment, Error>> + Send;

    /// Replaces the text of a comment of ours.
    fn edit_comment(
        &self,
        comment: CommentId,
        body: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// What may be attached.
    fn attachment_rules(&self) -> impl Future<Output = Result<AttachmentRules, Error>> + Send;

    /// Names of the files at a comment.
    fn attachments(
        &self,
        comment: CommentId,
    ) -> impl Future<Output = Result<Vec<String>, Error>> + Send;

    /// Adds a file to a comment of ours. A second one of the same name stands beside the first.
    fn attach(
        &self,
        comment: CommentId,
        name: &str,
        content: Bytes,
    ) -> impl Future<Output = Result<Attached, Error>> + Send;

    /// Ids of these labels, in their order; makes those that are missing.
    fn ensure_labels(
        &self,
        wanted: &[NewLabel<'_>],
    ) -> impl Future<Output = Result<Vec<LabelId>, Error>> + Send {
        once::labels(self, wanted)
    }

    /// The one comment with this marker, with this text: found, edited if it says something else,
    /// or written.
    fn ensure_comment(
        &self,
        number: PullNumber,
        marked: Marked<'_>,
    ) -> impl Future<Output = Result<CommentId, Error>> + Send {
        once::comment(self, number, marked)
    }

    /// One file of this name at a comment. One that is there already is left as it is.
    fn ensure_attachment(
        &self,
        comment: CommentId,
        name: &str,
        content: Bytes,
    ) -> impl Future<Output = Result<Attached, Error>> + Send {
        once::attachment(self, comment, name, content)
    }

    /// How long to go on when an answer is unclear.
    fn patience(&self) -> Patience {
        Patience::default()
    }
}
