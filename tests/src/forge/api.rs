//! What each operation does: to the repository by git, to the rest in memory. Statuses, refusals
//! and their words are those of Gitea 1.26.3's handlers.

use serde_json::{Value, json};

use super::{
    Persona,
    faults::Faults,
    git::Git,
    http::{Answer, Request},
    spec::{Operation, Spec},
    state::{File, PostedComment, PostedStatus, PullRequest, State, branch_json, user_json},
};

const DEFAULT_BRANCH: &str = "master";
const REPO: &str = "/repos/{owner}/{repo}";
/// Page length of who asks for none.
const PAGE_DEFAULT: usize = 30;

/// One request, with all that it may touch.
pub(super) struct Call<'a> {
    pub(super) spec: &'a Spec,
    pub(super) persona: Persona,
    pub(super) git: &'a Git,
    pub(super) faults: &'a Faults,
    pub(super) state: &'a mut State,
    pub(super) request: &'a Request,
    pub(super) operation: &'a Operation,
    /// Login of whose token it is.
    pub(super) user: &'a str,
}

impl Call<'_> {
    /// `None` when the mock does not have this operation.
    pub(super) fn answer(&mut self) -> Option<Answer> {
        let path = self.operation.path.strip_prefix(REPO);
        let method = self.request.method.as_str();
        Some(match (method, path.unwrap_or(&self.operation.path)) {
            ("GET", "/version") => Answer::json(200, &self.spec.version()),
            ("GET", "/user") => Answer::json(200, &user_json(self.user)),
            ("GET", "/settings/attachment") => self.attachment_settings(),
            ("GET", "") => Answer::json(
                200,
                &json!({
                    "id": 1, "name": self.operation.parameter("repo"), "default_branch": DEFAULT_BRANCH,
                }),
            ),
            ("GET", "/branches/{branch}") => self.branch(),
            ("PUT", "/branches/{branch}") => self.move_branch(),
            ("DELETE", "/branches/{branch}") => self.delete_branch(),
            ("POST", "/statuses/{sha}") => self.set_status(),
            ("GET", "/labels") => self.list_labels(),
            ("POST", "/labels") => self.create_label(),
            ("POST", "/issues/{index}/labels") => self.add_labels(),
            ("GET", "/pulls") => self.list_pulls(),
            ("POST", "/pulls") => self.create_pull(),
            ("GET", "/pulls/{index}") => self.pull(),
            ("PATCH", "/pulls/{index}") => self.edit_pull(),
            ("GET", "/issues/{index}/comments") => self.list_comments(),
            ("POST", "/issues/{index}/comments") => self.create_comment(),
            ("PATCH", "/issues/comments/{id}") => self.edit_comment(),
            ("GET", "/issues/comments/{id}/assets") => self.list_files(),
            ("POST", "/issues/comments/{id}/assets") => self.attach(),
            _ => return None,
        })
    }

    /// Open requests follow their branches; those whose branch is gone are closed.
    pub(super) fn follow_branches(&mut self) {
        for pull in self.state.pulls.iter_mut().filter(|it| it.open && !it.from_fork) {
            match self.git.branch(&pull.head) {
                Some(commit) => pull.head_commit = commit,
                None => pull.open = false,
            }
        }
    }

    fn branch(&self) -> Answer {
        let name = self.operation.parameter("branch");
        let protected = self.state.protected.iter().any(|(it, _)| it == name);
        match self.git.branch(name) {
            Some(commit) => Answer::json(200, &branch_json(name, &commit, protected)),
            None => not_found(),
        }
    }

    fn move_branch(&self) -> Answer {
        let name = self.operation.parameter("branch");
        let body = self.request.json();
        let (old, new) = (text(&body["old_commit_id"]), text(&body["new_commit_id"]));
        let Some(at) = self.git.branch(name) else { return not_found() };
        if !old.is_empty() && old != at {
            let why = format!("branch commit does not match [expected: {old}, given: {at}]");
            return Answer::refusal(422, &why);
        }
        if !self.git.has_commit(&new) {
            return Answer::refusal(500, "object does not exist");
        }
        if new == at {
            return Answer::empty(204);
        }
        let force = body["force"] == true;
        if !force && !self.git.is_ancestor(&at, &new) {
            let why = format!("Force push {name} need a confirm force parameter");
            return Answer::refusal(422, &why);
        }
        if !self.state.may_push(name, self.user) {
            let why = format!("Gitea: Not allowed to push to protected branch {name}");
            return Answer::refusal(403, &why);
        }
        // Between the look into the database and the push with a lease.
        self.faults.inside(self.request);
        match self.git.update(name, &at, &new) {
            Ok(_) => Answer::empty(204),
            Err(_) => Answer::refusal(500, "PushOutOfDate Error: stale info"),
        }
    }

    fn delete_branch(&mut self) -> Answer {
        let name = self.operation.parameter("branch");
        if name == DEFAULT_BRANCH {
            return Answer::refusal(403, "can not delete default or pull request target branch");
        }
        if self.state.protected.iter().any(|(it, _)| it == name) {
            return Answer::refusal(403, "branch protected");
        }
        if self.git.branch(name).is_none() {
            return not_found();
        }
        self.git.delete(name).expect("a branch that is there can be deleted");
        self.follow_branches();
        Answer::empty(204)
    }

    fn set_status(&mut self) -> Answer {
        let sha = self.operation.parameter("sha");
        if !self.git.has_commit(sha) {
            return not_found();
        }
        let body = self.request.json();
        let status = PostedStatus {
            context: text(&body["context"]),
            state: text(&body["state"]),
            description: text(&body["description"]),
            target_url: text(&body["target_url"]),
        };
        let answer = Answer::json(201, &status.json());
        self.state.statuses.entry(sha.to_owned()).or_default().push(status);
        answer
    }

    fn list_labels(&self) -> Answer {
        let ids = 1..=self.state.labels.len() as u64;
        self.page(ids.map(|id| self.state.label_json(id)).collect())
    }

    fn create_label(&mut self) -> Answer {
        let body = self.request.json();
        let color = text(&body["color"]);
        let digits = color.trim_start_matches('#');
        if digits.len() != 6 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return Answer::refusal(422, &format!("invalid color: {color}"));
        }
        // Nothing looks whether there is one of this name.
        self.state.labels.push(text(&body["name"]));
        Answer::json(201, &self.state.label_json(self.state.labels.len() as u64))
    }

    fn add_labels(&mut self) -> Answer {
        let ids = self.state.known_labels(&numbers(&self.request.json()["labels"]));
        let Some(pull) = self.state.pull(self.operation.number("index")) else {
            return not_found();
        };
        pull.labels.extend(ids);
        pull.labels.sort_unstable();
        pull.labels.dedup();
        let labels = pull.labels.clone();
        let labels: Vec<Value> = labels.iter().map(|id| self.state.label_json(*id)).collect();
        Answer::json(200, &labels.into())
    }

    fn list_pulls(&self) -> Answer {
        let state = self.request.query_value("state").unwrap_or_else(|| "open".to_owned());
        let filter = if self.persona == Persona::Forgejo { "base" } else { "base_branch" };
        let base = self.request.query_value(filter).filter(|_| self.state.settings.base_filter);
        let wanted = |pull: &&PullRequest| {
            (state == "all" || (state == "open") == pull.open)
                && base.as_ref().is_none_or(|base| *base == pull.base)
        };
        // Newest first.
        let pulls = self.state.pulls.iter().rev().filter(wanted);
        self.page(pulls.map(|pull| self.state.pull_json(pull)).collect())
    }

    fn create_pull(&mut self) -> Answer {
        let body = self.request.json();
        let (base, head) = (text(&body["base"]), text(&body["head"]));
        let (Some(at), Some(_)) = (self.git.branch(&head), self.git.branch(&base)) else {
            return not_found();
        };
        if base == head || self.git.is_ancestor(&at, &base) {
            let why = "Invalid PullRequest: There are no changes between the head and the base";
            return Answer::refusal(422, why);
        }
        let same =
            |it: &&PullRequest| it.open && !it.from_fork && it.head == head && it.base == base;
        if let Some(pull) = self.state.pulls.iter().find(same) {
            let why =
                format!("pull request already exists for these targets [id: {}]", pull.number);
            return Answer::refusal(409, &why);
        }
        let pull = PullRequest {
            number: self.state.next_pull(),
            open: true,
            merged: false,
            title: text(&body["title"]),
            body: text(&body["body"]),
            author: self.user.to_owned(),
            head,
            head_commit: at,
            base,
            from_fork: false,
            labels: self.state.known_labels(&numbers(&body["labels"])),
        };
        let answer = Answer::json(201, &self.state.pull_json(&pull));
        self.state.pulls.push(pull);
        answer
    }

    fn pull(&mut self) -> Answer {
        let number = self.operation.number("index");
        match self.state.pull(number).cloned() {
            Some(pull) => Answer::json(200, &self.state.pull_json(&pull)),
            None => not_found(),
        }
    }

    fn edit_pull(&mut self) -> Answer {
        let (body, number) = (self.request.json(), self.operation.number("index"));
        let Some(pull) = self.state.pull(number) else { return not_found() };
        if let Some(title) = body["title"].as_str().filter(|it| !it.is_empty()) {
            title.clone_into(&mut pull.title);
        }
        if let Some(body) = body["body"].as_str() {
            body.clone_into(&mut pull.body);
        }
        if let Some(state) = body["state"].as_str() {
            if pull.merged {
                let why = "cannot change state of this pull request, it was already merged";
                return Answer::refusal(412, why);
            }
            pull.open = state == "open";
        }
        let pull = pull.clone();
        Answer::json(201, &self.state.pull_json(&pull))
    }

    fn list_comments(&mut self) -> Answer {
        let number = self.operation.number("index");
        if self.state.pull(number).is_none() {
            return not_found();
        }
        let comments = self.state.comments.iter().filter(|it| it.pull == number);
        Answer::json(200, &comments.map(PostedComment::json).collect())
    }

    fn create_comment(&mut self) -> Answer {
        let pull = self.operation.number("index");
        if self.state.pull(pull).is_none() {
            return not_found();
        }
        let comment = PostedComment {
            id: self.state.next_comment(),
            pull,
            author: self.user.to_owned(),
            body: text(&self.request.json()["body"]),
            files: Vec::new(),
            edits: 0,
        };
        let answer = Answer::json(201, &comment.json());
        self.state.comments.push(comment);
        answer
    }

    fn edit_comment(&mut self) -> Answer {
        let (body, user) = (text(&self.request.json()["body"]), self.user.to_owned());
        let Some(comment) = self.state.comment(self.operation.number("id")) else {
            return not_found();
        };
        if comment.author != user {
            return Answer::refusal(403, "not the poster of this comment");
        }
        comment.body = body;
        comment.edits += 1;
        Answer::json(200, &comment.json())
    }

    fn list_files(&mut self) -> Answer {
        match self.state.comment(self.operation.number("id")) {
            Some(comment) => Answer::json(200, &comment.files.iter().map(File::json).collect()),
            None => not_found(),
        }
    }

    fn attach(&mut self) -> Answer {
        let settings = self.state.settings.clone();
        let file = self.request.file().expect("a request that the description accepts");
        let name = self.request.query_value("name").unwrap_or(file.name);
        let id = self.operation.number("id");
        let Some(comment) = self.state.comment(id) else { return not_found() };
        let allowed = settings.attachment_types.split(',');
        if !allowed.into_iter().any(|it| name.ends_with(it) || it == "*/*") {
            return Answer::refusal(
                422,
                "This file cannot be uploaded or modified due to a forbidden \
                                         file extension or type.",
            );
        }
        let bytes_max = settings.attachment_max_size << 20;
        if file.content.len() > bytes_max {
            let why = format!("attachment exceeds limit {bytes_max}");
            return Answer::refusal(413, &why);
        }
        let file = File { name, content: file.content };
        let answer = Answer::json(201, &file.json());
        comment.files.push(file);
        answer
    }

    fn attachment_settings(&self) -> Answer {
        let settings = &self.state.settings;
        Answer::json(
            200,
            &json!({
                "enabled": true, "allowed_types": settings.attachment_types, "max_files": 5,
                "max_size": settings.attachment_max_size,
            }),
        )
    }

    fn page(&self, all: Vec<Value>) -> Answer {
        let number = |name: &str| self.request.query_value(name).and_then(|it| it.parse().ok());
        let settings = &self.state.settings;
        let limit = number("limit").unwrap_or(PAGE_DEFAULT).min(settings.page_max);
        let page = number("page").unwrap_or(1).max(1);
        let total = all.len();
        let shown: Vec<Value> = all.into_iter().skip((page - 1) * limit).take(limit).collect();
        let answer = Answer::json(200, &shown.into());
        match settings.total_count {
            true => answer.with("x-total-count", &total.to_string()),
            false => answer,
        }
    }
}

fn not_found() -> Answer {
    Answer::refusal(404, "The target couldn't be found.")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
}
