//! The repositories: whether they let us in, and have what may be built. Pure.

use proto::Repo;
use settings::{BranchGlob, RepoTable};

use super::{
    finding::{Check, Finding, Group},
    quantity::some_of,
    trouble::Trouble,
};

/// One repository, and what it answered.
#[derive(Clone, Debug)]
pub struct RepoFacts {
    /// Its name here.
    pub repo: Repo,
    /// As configured.
    pub table: RepoTable,
    /// Its branches, without `refs/heads/`.
    pub branches: Result<Vec<String>, Trouble>,
}

/// The forge knows us, and says no; or it wants to know us and we have nothing to say.
const LOGIN: [&str; 8] = [
    "authentication failed",
    "could not read username",
    "could not read password",
    "invalid credentials",
    "permission denied (",
    "access denied",
    "error: 401",
    "error: 403",
];
/// The other end answers, and has no such repository; a forge says so as well to whoever may not
/// know that there is one.
const NOT_THERE: [&str; 6] = [
    "not found",
    "does not exist",
    "does not appear to be a git repository",
    "not a git repository",
    "no such file or directory",
    "error: 404",
];
const HOST_KEY: [&str; 2] = ["host key verification failed", "no matching host key"];

/// What there is to say of each.
pub fn findings(repos: &[RepoFacts]) -> Vec<Finding> {
    let of = |facts: &RepoFacts| {
        let mut all = vec![access(facts)];
        all.extend(facts.branches.as_ref().ok().map(|branches| refs(&facts.table, branches)));
        let repo = facts.repo.clone();
        all.into_iter().map(move |finding| finding.of(&repo)).collect::<Vec<_>>()
    };
    repos.iter().flat_map(of).collect()
}

fn access(facts: &RepoFacts) -> Finding {
    let check = Check(Group::Git, "access");
    let (url, repo) = (facts.table.url.as_str(), &facts.repo);
    let trouble = match &facts.branches {
        Ok(branches) => {
            let many = branches.len();
            let branches = if many == 1 { "1 branch".into() } else { format!("{many} branches") };
            return check.ok(format!("{url} answers: {branches}"));
        }
        Err(trouble) => trouble,
    };
    let seen = format!("{url}: {trouble}");
    let why = "no commit of it can be fetched, so every build of it ends as fetch-failed";
    if trouble.says(&HOST_KEY) {
        let fix = "ssh-keyscan HOST | sudo tee -a /etc/ssh/ssh_known_hosts, after comparing the \
                   fingerprint";
        return check.problem(seen, why, fix);
    }
    if trouble.says(&LOGIN) {
        let fix = match &facts.table.git_credentials_file {
            Some(file) => format!(
                "put a login that may read it into {} (https://USER:TOKEN@HOST)",
                file.display()
            ),
            None => format!(
                "[repos.{repo}] git_credentials_file = \"FILE\" with a line \
                 https://USER:TOKEN@HOST"
            ),
        };
        return check.problem(seen, why, fix);
    }
    if trouble.says(&NOT_THERE) {
        let fix = format!(
            "correct [repos.{repo}] url; a forge also says so of a private repository: \
             git_credentials_file"
        );
        return check.problem(seen, why, fix);
    }
    if matches!(trouble, Trouble::Missing(_)) {
        return check.problem(seen, why, "install git: `apt-get install git`");
    }
    check.undecided(seen, why, format!("try `git ls-remote {url}` as the worker's user"))
}

fn refs(table: &RepoTable, branches: &[String]) -> Finding {
    let check = Check(Group::Git, "allowed refs");
    let allowed = table.allowed_refs();
    let none = |glob: &&BranchGlob| !branches.iter().any(|branch| glob.matches(branch));
    let missing: Vec<String> = allowed
        .iter()
        .filter(none)
        .map(|glob| glob.as_str().to_owned())
        .filter(|glob| !glob.contains(['*', '?', '[', '{']))
        .collect();
    let default = table.default_ref.as_str();
    let has = |name: &str| branches.iter().any(|branch| branch == name);
    let fix = match branches.is_empty() {
        true => "push a branch: it has none".to_owned(),
        false => format!("correct `refs` and `default_ref`; it has {}", some_of(branches)),
    };
    if !branches.iter().any(|branch| allowed.iter().any(|glob| glob.matches(branch))) {
        let patterns: Vec<String> = allowed.iter().map(|it| it.as_str().to_owned()).collect();
        let seen = format!("it has no branch that may be built ({})", some_of(&patterns));
        return check.problem(seen, "every job of it is refused", fix);
    }
    if !has(default) {
        return check.problem(
            format!("it has no branch {default}, which is default_ref"),
            "nobody's last good build is noted, and whoever names no branch asks for this one",
            fix,
        );
    }
    if !missing.is_empty() {
        return check.warning(
            format!("it has no branch {}", some_of(&missing)),
            "commits of it are refused until there is one",
            fix,
        );
    }
    let built = branches.iter().filter(|it| allowed.iter().any(|glob| glob.matches(it))).count();
    check.ok(format!("{built} of {} may be built", branches.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    fn facts(lines: &str, branches: Result<&[&str], &str>) -> RepoFacts {
        let text = format!("url = \"https://git.example/nixos\"\n{lines}");
        RepoFacts {
            repo: "nixos".parse().expect("a repo"),
            table: settings::parse(&text, std::path::Path::new("t")).expect("a table"),
            branches: branches
                .map(|all| all.iter().copied().map(str::to_owned).collect())
                .map_err(|words| Trouble::Failed(words.to_owned())),
        }
    }

    #[track_caller]
    fn check(facts: &RepoFacts, at: usize, level: Level, words: &str) {
        let found = findings(std::slice::from_ref(facts)).remove(at);
        assert_eq!((found.level, found.of.as_deref()), (level, Some("nixos")), "{found:?}");
        let text = format!("{} {:?} {:?}", found.seen, found.why, found.fix);
        assert!(text.contains(words), "{text}");
    }

    #[test]
    fn who_is_not_let_in_is_told_what_git_needs() {
        let failed = |lines, words| facts(lines, Err(words));
        let asks =
            "fatal: could not read Username for 'https://git.example': terminal prompts disabled";
        check(&failed("", asks), 0, Level::Problem, "git_credentials_file = ");
        let file = "git_credentials_file = \"/c\"";
        let wrong = "fatal: Authentication failed for 'https://git.example/nixos/'";
        check(&failed(file, wrong), 0, Level::Problem, "into /c");
        let gone = "fatal: repository 'https://git.example/nixos/' not found";
        check(&failed("", gone), 0, Level::Problem, "correct [repos.nixos] url");
        let key = "Host key verification failed.; fatal: Could not read from remote repository.";
        check(&failed("", key), 0, Level::Problem, "ssh-keyscan");
        let away = "fatal: unable to access 'https://git.example/nixos/': Could not resolve host";
        check(&failed("", away), 0, Level::Undecided, "git ls-remote");
    }

    #[test]
    fn branches_that_may_be_built_must_be_there() {
        let refs = "refs = [\"master\", \"flake-update/*\"]";
        check(&facts(refs, Ok(&["master", "x"])), 1, Level::Ok, "1 of 2");
        check(&facts(refs, Ok(&["main"])), 1, Level::Problem, "no branch that may be built");
        check(&facts(refs, Ok(&[])), 1, Level::Problem, "push a branch");
        check(&facts(refs, Ok(&["flake-update/a"])), 1, Level::Problem, "default_ref");
        let more = "refs = [\"master\", \"release\"]";
        check(&facts(more, Ok(&["master"])), 1, Level::Warning, "no branch release");
        check(&facts("", Ok(&["master"])), 0, Level::Ok, "1 branch");
    }
}
