//! Moving and deleting branches on the server, each by compare-and-set, and what git says of it.

use proto::Revision;

use super::{Checkout, CheckoutError, FETCH_MAX, full, git_failed};

/// What a push came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// The branch is where it was to be.
    Done,
    /// The branch was not where it was expected.
    Lost,
    /// The server does not allow it; its words.
    Denied(String),
}

impl Checkout {
    /// Moves a branch to a commit if it is at `expected`; none: if it does not exist.
    pub(crate) async fn push(
        &self,
        branch: &str,
        to: &Revision,
        expected: Option<&Revision>,
    ) -> Result<Pushed, CheckoutError> {
        let refspec = format!("{to}:{}", full(branch));
        self.push_ref(format!("push {branch} to {}", self.url), branch, &refspec, expected).await
    }

    /// Deletes a branch if it is at `expected`. One that is not there is `Lost`.
    pub(crate) async fn delete(
        &self,
        branch: &str,
        expected: &Revision,
    ) -> Result<Pushed, CheckoutError> {
        let refspec = format!(":{}", full(branch));
        let doing = format!("delete {branch} at {}", self.url);
        self.push_ref(doing, branch, &refspec, Some(expected)).await
    }

    async fn push_ref(
        &self,
        doing: String,
        branch: &str,
        refspec: &str,
        expected: Option<&Revision>,
    ) -> Result<Pushed, CheckoutError> {
        let expected = expected.map(Revision::as_str).unwrap_or_default();
        let lease = format!("--force-with-lease={}:{expected}", full(branch));
        let args = ["push", "--porcelain", "--no-verify", &lease, "--", self.url.as_str(), refspec];
        let done = self.git(&doing, &args, FETCH_MAX).await?;
        let answer = String::from_utf8_lossy(&done.stdout);
        match read(&answer, &full(branch), &done.stderr) {
            Some(pushed) => Ok(pushed),
            None if done.status.success() => Ok(Pushed::Done),
            None => Err(git_failed(doing, &done)),
        }
    }
}

/// What `git push --porcelain` says of one ref: `<flag> TAB <from>:<to> TAB <summary> (<reason>)`.
fn read(answer: &str, git_ref: &str, stderr: &str) -> Option<Pushed> {
    let line = answer.lines().find_map(|line| {
        let mut parts = line.splitn(3, '\t');
        let (flag, refs, summary) = (parts.next()?, parts.next()?, parts.next()?);
        let (_, to) = refs.split_once(':')?;
        (to == git_ref).then_some((flag, summary))
    });
    let (flag, summary) = line?;
    if flag != "!" {
        return Some(Pushed::Done);
    }
    let lost = ["stale info", "fetch first", "non-fast-forward", "remote ref does not exist"];
    // The server itself saw another value when it took the lock: somebody was between.
    let raced = [
        "cannot lock ref",
        "failed to update ref",
        "incorrect old value",
        "reference already exists",
    ];
    if lost.iter().chain(&raced).any(|words| summary.contains(words)) {
        return Some(Pushed::Lost);
    }
    summary.contains("remote rejected").then(|| {
        let said = |line: &&str| line.starts_with("remote:");
        let remote: Vec<&str> = stderr.lines().filter(said).collect();
        let words = |line: &&str| line.trim_start_matches("remote:").trim().to_owned();
        let remote: Vec<String> =
            remote.iter().map(words).filter(|words| !words.is_empty()).collect();
        let reason = summary.trim_start_matches("[remote rejected]").trim();
        Pushed::Denied(match remote.is_empty() {
            true => reason.to_owned(),
            false => format!("{} {reason}", remote.join("; ")),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASTER: &str = "refs/heads/master";

    #[track_caller]
    fn check(line: &str, stderr: &str, expected: Option<Pushed>) {
        let answer = format!("To https://git.example/r\n{line}\nDone\n");
        assert_eq!(read(&answer, MASTER, stderr), expected, "{line}");
    }

    #[test]
    fn each_answer_of_git_has_its_meaning() {
        check(" \taaa:refs/heads/master\tb..a", "", Some(Pushed::Done));
        check("=\taaa:refs/heads/master\t[up to date]", "", Some(Pushed::Done));
        check("*\taaa:refs/heads/master\t[new branch]", "", Some(Pushed::Done));
        check("-\t:refs/heads/master\t[deleted]", "", Some(Pushed::Done));
        check("!\taaa:refs/heads/master\t[rejected] (stale info)", "", Some(Pushed::Lost));
        check("!\taaa:refs/heads/master\t[rejected] (fetch first)", "", Some(Pushed::Lost));
        let raced = "!\taaa:refs/heads/master\t[remote rejected] (cannot lock ref 'x': is at y)";
        check(raced, "", Some(Pushed::Lost));
        let denied = "!\taaa:refs/heads/master\t[remote rejected] (pre-receive hook declined)";
        let words = "remote: \nremote: Not allowed to push to protected branch master\nerror: x";
        let expected = "Not allowed to push to protected branch master \
                        (pre-receive hook declined)";
        check(denied, words, Some(Pushed::Denied(expected.into())));
        check(denied, "", Some(Pushed::Denied("(pre-receive hook declined)".into())));
        // About another branch, or about none: the exit code has to tell.
        check("!\taaa:refs/heads/other\t[rejected] (stale info)", "", None);
        check("fatal: unable to access", "", None);
    }
}
