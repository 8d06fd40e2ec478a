//! Things that there must be one of although the forge would take two: look, make, and when nobody
//! knows whether it was made, look again.

use backon::Retryable as _;
use bytes::Bytes;

use super::{
    Error, Forge,
    entity::{Attached, CommentId, Label, LabelId, Marked, NewLabel, PullNumber},
};

/// Does `attempt`, which looks first, again as long as its answer is unclear.
async fn until_clear<F, T, Fut>(forge: &F, attempt: impl FnMut() -> Fut + Send) -> Result<T, Error>
where
    F: Forge + ?Sized,
    Fut: Future<Output = Result<T, Error>> + Send,
{
    attempt.retry(forge.patience().backoff()).when(Error::unclear).await
}

pub(super) async fn labels<F: Forge + ?Sized>(
    forge: &F,
    wanted: &[NewLabel<'_>],
) -> Result<Vec<LabelId>, Error> {
    until_clear(forge, || async {
        let mut there = forge.labels().await?;
        let mut ids = Vec::with_capacity(wanted.len());
        for label in wanted {
            let named = |it: &&Label| it.name == label.name;
            // The oldest of several, so that everybody means the same one.
            let found = there.iter().filter(named).map(|it| it.id).min();
            let id = match found {
                Some(id) => id,
                None => {
                    let made = forge.create_label(*label).await?;
                    there.push(made.clone());
                    made.id
                }
            };
            ids.push(id);
        }
        Ok(ids)
    })
    .await
}

pub(super) async fn comment<F: Forge + ?Sized>(
    forge: &F,
    number: PullNumber,
    marked: Marked<'_>,
) -> Result<CommentId, Error> {
    until_clear(forge, || async {
        let comments = forge.comments(number).await?;
        let ours = comments.into_iter().find(|it| {
            it.author.as_deref() == Some(marked.author) && it.body.starts_with(marked.marker)
        });
        let Some(comment) = ours else {
            return Ok(forge.create_comment(number, marked.body).await?.id);
        };
        if !same_text(&comment.body, marked.body) {
            forge.edit_comment(comment.id, marked.body).await?;
        }
        Ok(comment.id)
    })
    .await
}

pub(super) async fn attachment<F: Forge + ?Sized>(
    forge: &F,
    comment: CommentId,
    name: &str,
    content: Bytes,
) -> Result<Attached, Error> {
    until_clear(forge, || async {
        if forge.attachments(comment).await?.iter().any(|it| it == name) {
            return Ok(Attached::Done);
        }
        forge.attach(comment, name, content.clone()).await
    })
    .await
}

/// Forges may store other line ends, and no blanks at the end.
fn same_text(a: &str, b: &str) -> bool {
    let lines = |text: &str| text.trim_end().replace("\r\n", "\n");
    lines(a) == lines(b)
}
