//! The client of Gitea and Forgejo: the calls, one by one.

use backon::Retryable as _;
use bytes::Bytes;
use proto::Revision;
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    Error, Forge,
    attachments::AttachmentRules,
    config::{ForgeConfig, RepoName},
    entity::{
        Attached, BranchMove, Comment, CommentId, Deleted, Label, LabelId, Moved, NewLabel,
        NewPull, Opened, Pull, PullEdit, PullNumber, PullState, Status,
    },
    features::Features,
    move_branch::move_branch,
    patience::Patience,
    request::{Ask, Content, Repeat},
    token::Token,
    transport::Transport,
    wire,
};

/// Longest body of a pull request or comment. Gitea and Forgejo have no limit of their own, but
/// databases and proxies before them do; GitHub's is 65,536.
pub const TEXT_BYTES_MAX: usize = 60_000;

/// Elements of a page of a list: the most that servers give unless configured otherwise.
const PAGE_LIMIT: usize = 50;
/// Pages of one list. Whoever has 10,000 open pull requests has another problem first.
const PAGES_MAX: usize = 200;

/// One repository on a Gitea or Forgejo.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
    repo: RepoName,
    features: Features,
}

impl Client {
    /// Reads the token and asks the server what it is.
    ///
    /// # Errors
    /// No token, no such server, or no answer.
    pub async fn connect(config: &ForgeConfig) -> Result<Self, Error> {
        Self::connect_with(config, Patience::default()).await
    }

    /// The same with another patience.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_with(config: &ForgeConfig, patience: Patience) -> Result<Self, Error> {
        let token = Token::read(&config.token_file)?;
        let mut transport = Transport::new(config, token)?;
        transport.patience = patience;
        let what = format!("read the version of the forge at {}", config.url);
        let ask = Ask::get(what, vec!["version".to_owned()]);
        let wire::Version { version } = transport.send(&ask).await?.decode()?;
        tracing::debug!("the forge at {} is version {version}", config.url);
        Ok(Self { transport, repo: config.repo.clone(), features: Features::of(&version) })
    }

    /// The token, for what else is done on the forge: pushes.
    pub fn token(&self) -> &Token {
        self.transport.token()
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// A request about the repository.
    pub(super) fn ask(&self, method: Method, what: String, path: Vec<String>) -> Ask {
        let root = ["repos", self.repo.owner(), self.repo.name()].map(str::to_owned);
        let path = root.into_iter().chain(path).collect();
        Ask { method, ..Ask::get(what, path) }
    }

    pub(super) fn branch_path(branch: &str) -> Vec<String> {
        std::iter::once("branches").chain(branch.split('/')).map(str::to_owned).collect()
    }

    async fn get<T: DeserializeOwned>(&self, what: String, path: &[&str]) -> Result<T, Error> {
        self.transport.send(&self.ask(Method::GET, what, owned(path))).await?.decode()
    }

    /// All pages of a list. A server may give less per page than asked for, so a short page is not
    /// taken for the last.
    async fn list<T: DeserializeOwned>(&self, mut ask: Ask) -> Result<Vec<T>, Error> {
        let filters = ask.query.clone();
        let mut all = Vec::new();
        for page in 1..=PAGES_MAX {
            ask.query = filters.clone();
            ask.query.push(("limit", PAGE_LIMIT.to_string()));
            ask.query.push(("page", page.to_string()));
            let answer = self.transport.send(&ask).await?;
            let total = answer.total;
            let elements: Option<Vec<T>> = answer.decode()?;
            let elements = elements.unwrap_or_default();
            let last = elements.is_empty();
            all.extend(elements);
            if last || total.is_some_and(|total| all.len() >= total) {
                return Ok(all);
            }
        }
        let reason = format!("a list of more than {PAGES_MAX} pages");
        Err(Error::Foreign { what: ask.what, reason })
    }

    async fn find_open(&self, new: NewPull<'_>) -> Result<Option<Pull>, Error> {
        let pulls = self.open_pulls(new.base).await?;
        Ok(pulls.into_iter().find(|pull| pull.head == new.head && !pull.from_fork))
    }

    async fn try_create_pull(&self, new: NewPull<'_>) -> Result<Opened, Error> {
        let what = format!("open a pull request from {} into {}", new.head, new.base);
        let mut ask = self.ask(Method::POST, what, owned(&["pulls"]));
        let labels: Vec<u64> = new.labels.iter().map(|label| label.0).collect();
        ask.content = Content::Json(json!({
            "base": new.base, "head": new.head, "title": new.title, "body": new.body,
            "labels": labels,
        }));
        ask.repeat = Repeat::Doubles;
        let answer = match self.transport.send(&ask).await {
            // The forge itself refuses a second one, so asking again is no risk; but one that was
            // made is found sooner.
            Err(doubt) if doubt.unclear() => {
                return self.find_open(new).await?.map(Opened::Exists).ok_or(doubt);
            }
            answer => answer?,
        };
        if answer.status == StatusCode::CONFLICT {
            let found = self.find_open(new).await?;
            return found.map(Opened::Exists).ok_or_else(|| answer.refusal());
        }
        Ok(Opened::Created(answer.decode::<wire::WirePull>()?.into()))
    }

    async fn patch_pull(&self, what: &str, number: PullNumber, edit: Value) -> Result<(), Error> {
        let path = owned(&["pulls", &number.0.to_string()]);
        let mut ask = self.ask(Method::PATCH, format!("{what} pull request {number}"), path);
        ask.content = Content::Json(edit);
        let answer = self.transport.send(&ask).await?;
        // What is merged cannot be closed, and need not be.
        match answer.status {
            StatusCode::PRECONDITION_FAILED => Ok(()),
            _ => answer.done(),
        }
    }
}

impl Forge for Client {
    fn features(&self) -> &Features {
        &self.features
    }

    fn patience(&self) -> Patience {
        self.transport.patience
    }

    async fn me(&self) -> Result<String, Error> {
        let ask = Ask::get("read the token's user".to_owned(), vec!["user".to_owned()]);
        Ok(self.transport.send(&ask).await?.decode::<wire::User>()?.login)
    }

    async fn branch(&self, branch: &str) -> Result<Option<Revision>, Error> {
        let what = format!("read branch {branch}");
        let ask = self.ask(Method::GET, what.clone(), Self::branch_path(branch));
        let answer = self.transport.send(&ask).await?;
        if answer.status == StatusCode::NOT_FOUND {
            // Without the repository there is no branch either, and that is another matter.
            self.get::<Value>(what, &[]).await?;
            return Ok(None);
        }
        Ok(Some(answer.decode::<wire::Branch>()?.into()))
    }

    async fn move_branch(&self, step: BranchMove<'_>) -> Result<Moved, Error> {
        move_branch(self, step).await
    }

    async fn delete_branch(&self, branch: &str) -> Result<Deleted, Error> {
        let what = format!("delete branch {branch}");
        let ask = self.ask(Method::DELETE, what, Self::branch_path(branch));
        let answer = self.transport.send(&ask).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(Deleted::Absent),
            StatusCode::FORBIDDEN => Ok(Deleted::Denied { message: answer.message }),
            _ => answer.done().map(|()| Deleted::Done),
        }
    }

    async fn set_status(&self, commit: &Revision, status: Status<'_>) -> Result<(), Error> {
        let what = format!("set status {} of commit {}", status.context, commit.short());
        let mut ask = self.ask(Method::POST, what, owned(&["statuses", commit.commit()]));
        ask.content = Content::Json(json!({
            "state": status.state.as_str(), "context": status.context,
            "description": status.description, "target_url": status.target_url.unwrap_or_default(),
        }));
        self.transport.send(&ask).await?.done()
    }

    async fn labels(&self) -> Result<Vec<Label>, Error> {
        let ask = self.ask(Method::GET, "list the labels".to_owned(), owned(&["labels"]));
        let labels: Vec<wire::WireLabel> = self.list(ask).await?;
        Ok(labels.into_iter().map(Label::from).collect())
    }

    async fn create_label(&self, label: NewLabel<'_>) -> Result<Label, Error> {
        let what = format!("make the label {}", label.name);
        let mut ask = self.ask(Method::POST, what, owned(&["labels"]));
        let NewLabel { name, color, description } = label;
        ask.content =
            Content::Json(json!({"name": name, "color": color, "description": description}));
        ask.repeat = Repeat::Doubles;
        Ok(self.transport.send(&ask).await?.decode::<wire::WireLabel>()?.into())
    }

    async fn add_labels(&self, number: PullNumber, labels: &[LabelId]) -> Result<(), Error> {
        let path = owned(&["issues", &number.0.to_string(), "labels"]);
        let mut ask = self.ask(Method::POST, format!("label pull request {number}"), path);
        let ids: Vec<u64> = labels.iter().map(|label| label.0).collect();
        ask.content = Content::Json(json!({"labels": ids}));
        self.transport.send(&ask).await?.done()
    }

    async fn open_pulls(&self, base: &str) -> Result<Vec<Pull>, Error> {
        let what = format!("list the open pull requests into {base}");
        let mut ask = self.ask(Method::GET, what, owned(&["pulls"]));
        ask.query.push(("state", "open".to_owned()));
        ask.query.push((self.features.base_filter(), base.to_owned()));
        let pulls: Vec<wire::WirePull> = self.list(ask).await?;
        let mut pulls: Vec<Pull> = pulls.into_iter().map(Pull::from).collect();
        // Servers that do not know the filter ignore it.
        pulls.retain(|pull| pull.base == base && pull.state == PullState::Open);
        // One that slid to the next page while we read is there twice.
        pulls.sort_by_key(|pull| pull.number);
        pulls.dedup_by_key(|pull| pull.number);
        Ok(pulls)
    }

    async fn pull(&self, number: PullNumber) -> Result<Option<Pull>, Error> {
        let what = format!("read pull request {number}");
        let path = owned(&["pulls", &number.0.to_string()]);
        let answer = self.transport.send(&self.ask(Method::GET, what.clone(), path)).await?;
        if answer.status == StatusCode::NOT_FOUND {
            self.get::<Value>(what, &[]).await?;
            return Ok(None);
        }
        Ok(Some(answer.decode::<wire::WirePull>()?.into()))
    }

    async fn create_pull(&self, new: NewPull<'_>) -> Result<Opened, Error> {
        fits(new.body, || format!("open a pull request from {}", new.head))?;
        let attempt = || self.try_create_pull(new);
        attempt.retry(self.transport.patience.backoff()).when(Error::unclear).await
    }

    async fn edit_pull(&self, number: PullNumber, edit: PullEdit<'_>) -> Result<(), Error> {
        fits(edit.body.unwrap_or_default(), || format!("edit pull request {number}"))?;
        let mut change = serde_json::Map::new();
        for (key, text) in [("title", edit.title), ("body", edit.body)] {
            change.extend(text.map(|text| (key.to_owned(), text.into())));
        }
        self.patch_pull("edit", number, change.into()).await
    }

    async fn close_pull(&self, number: PullNumber) -> Result<(), Error> {
        self.patch_pull("close", number, json!({"state": "closed"})).await
    }

    async fn comments(&self, number: PullNumber) -> Result<Vec<Comment>, Error> {
        let what = format!("list the comments on pull request {number}");
        // The one list without pages.
        let comments: Option<Vec<wire::WireComment>> =
            self.get(what, &["issues", &number.0.to_string(), "comments"]).await?;
        let mut comments: Vec<Comment> =
            comments.unwrap_or_default().into_iter().map(Comment::from).collect();
        comments.sort_by_key(|comment| comment.id);
        Ok(comments)
    }

    async fn create_comment(&self, number: PullNumber, body: &str) -> Result<Comment, Error> {
        let what = format!("comment on pull request {number}");
        fits(body, || what.clone())?;
        let path = owned(&["issues", &number.0.to_string(), "comments"]);
        let mut ask = self.ask(Method::POST, what, path);
        ask.content = Content::Json(json!({"body": body}));
        ask.repeat = Repeat::Doubles;
        Ok(self.transport.send(&ask).await?.decode::<wire::WireComment>()?.into())
    }

    async fn edit_comment(&self, comment: CommentId, body: &str) -> Result<(), Error> {
        let what = format!("edit comment {}", comment.0);
        fits(body, || what.clone())?;
        let path = owned(&["issues", "comments", &comment.0.to_string()]);
        let mut ask = self.ask(Method::PATCH, what, path);
        ask.content = Content::Json(json!({"body": body}));
        self.transport.send(&ask).await?.done()
    }

    async fn attachment_rules(&self) -> Result<AttachmentRules, Error> {
        let path = owned(&["settings", "attachment"]);
        let ask = Ask::get("read the rules for attachments".to_owned(), path);
        Ok(self.transport.send(&ask).await?.decode::<wire::AttachmentSettings>()?.into())
    }

    async fn attachments(&self, comment: CommentId) -> Result<Vec<String>, Error> {
        let what = format!("list the attachments of comment {}", comment.0);
        let files: Option<Vec<wire::Attachment>> =
            self.get(what, &["issues", "comments", &comment.0.to_string(), "assets"]).await?;
        Ok(files.unwrap_or_default().into_iter().map(|file| file.name).collect())
    }

    async fn attach(
        &self,
        comment: CommentId,
        name: &str,
        content: Bytes,
    ) -> Result<Attached, Error> {
        let path = owned(&["issues", "comments", &comment.0.to_string(), "assets"]);
        let mut ask = self.ask(Method::POST, format!("attach {name}"), path);
        ask.query.push(("name", name.to_owned()));
        ask.content = Content::File { field: "attachment", name: name.to_owned(), bytes: content };
        ask.repeat = Repeat::Doubles;
        let answer = self.transport.send(&ask).await?;
        let message = answer.message.clone();
        match answer.status {
            StatusCode::PAYLOAD_TOO_LARGE => Ok(Attached::TooLarge { message }),
            StatusCode::UNPROCESSABLE_ENTITY => Ok(Attached::TypeRefused { message }),
            _ => answer.done().map(|()| Attached::Done),
        }
    }
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|&part| part.to_owned()).collect()
}

fn fits(text: &str, what: impl FnOnce() -> String) -> Result<(), Error> {
    let bytes = text.len();
    match bytes > TEXT_BYTES_MAX {
        true => Err(Error::TooLong { what: what(), bytes, max: TEXT_BYTES_MAX }),
        false => Ok(()),
    }
}
