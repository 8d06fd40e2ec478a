//! Moving a branch by compare-and-set (`PUT /branches/{branch}`), and finding out what became of it.
//!
//! Inside, the server compares in its database and then pushes with a lease; a race lost between
//! the two can come back as HTTP 500. So an unclear answer is never taken for an answer: the branch
//! is read, and only when it is still where it was the move is asked for again.

use backon::BackoffBuilder as _;
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{
    Error, Forge as _,
    client::Client,
    entity::{BranchMove, Moved},
    request::{Content, Repeat},
};

pub(super) async fn move_branch(client: &Client, step: BranchMove<'_>) -> Result<Moved, Error> {
    if !client.features().compare_and_set {
        return Ok(Moved::Unsupported);
    }
    let BranchMove { branch, old, new } = step;
    let mut ask =
        client.ask(Method::PUT, format!("move branch {branch}"), Client::branch_path(branch));
    ask.content = Content::Json(json!({
        "old_commit_id": old.commit(), "new_commit_id": new.commit(), "force": false,
    }));
    // Harmless to repeat, but the first answer is needed: the second would say "lost".
    ask.repeat = Repeat::Doubles;
    let mut delays = client.patience().backoff().build();
    loop {
        let doubt = match client.transport().send(&ask).await {
            Ok(answer) => match answer.status {
                StatusCode::FORBIDDEN => return Ok(Moved::Denied { message: answer.message }),
                StatusCode::METHOD_NOT_ALLOWED => return Ok(Moved::Unsupported),
                // The path is unknown, or the branch is.
                StatusCode::NOT_FOUND => {
                    return Ok(match client.branch(branch).await? {
                        Some(_) => Moved::Unsupported,
                        None => Moved::Lost { at: None },
                    });
                }
                StatusCode::UNPROCESSABLE_ENTITY | StatusCode::CONFLICT => {
                    let at = client.branch(branch).await?;
                    return Ok(if at.as_ref() == Some(new) {
                        Moved::Done
                    } else {
                        Moved::Lost { at }
                    });
                }
                _ => return answer.done().map(|()| Moved::Done),
            },
            Err(doubt) if doubt.unclear() => doubt,
            Err(error) => return Err(error),
        };
        match client.branch(branch).await? {
            Some(at) if at == *new => return Ok(Moved::Done),
            Some(at) if at == *old => {}
            at => return Ok(Moved::Lost { at }),
        }
        let Some(delay) = delays.next() else { return Err(doubt) };
        tracing::warn!("trying again in {delay:?}: failed to {doubt}");
        tokio::time::sleep(delay).await;
    }
}
