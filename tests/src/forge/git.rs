//! The repository behind the forge: a real bare one, read and moved by git itself, and served over
//! HTTP by `git http-backend`.

use std::{
    fs,
    io::{Seek as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use bytes::Bytes;

use super::http::{Answer, Request};
use crate::process::command;

/// Refuses pushes to protected branches by whoever is not named beside them. Pushes that come past
/// HTTP, from the test itself, have no user and are not judged.
const HOOK: &str = r#"#!/bin/sh
[ -n "$REMOTE_USER" ] && [ -f nbp-protected ] || exit 0
while read -r _ _ ref; do
    while read -r branch allowed; do
        [ "$ref" = "refs/heads/$branch" ] || continue
        case " $allowed " in *" $REMOTE_USER "*) continue ;; esac
        echo "Gitea: Not allowed to push to protected branch $branch" >&2
        exit 1
    done < nbp-protected
done
"#;

#[derive(Clone, Debug)]
pub(super) struct Git {
    pub(super) dir: PathBuf,
}

/// Whether git did a thing; its stdout or stderr.
type Done = Result<String, String>;

impl Git {
    pub(super) fn new(dir: PathBuf) -> Self {
        let hook = dir.join("hooks/pre-receive");
        fs::create_dir_all(dir.join("hooks")).expect("a writable repository");
        fs::write(&hook, HOOK).expect("a writable repository");
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("a file of ours");
        Self { dir }
    }

    pub(super) fn run(&self, args: &[&str]) -> Done {
        let output = self.command().args(args).stdin(Stdio::null()).output().expect("git starts");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// Where a branch is.
    pub(super) fn branch(&self, branch: &str) -> Option<String> {
        self.run(&["rev-parse", "--verify", "--quiet", &format!("refs/heads/{branch}")]).ok()
    }

    pub(super) fn has_commit(&self, id: &str) -> bool {
        self.run(&["cat-file", "-e", &format!("{id}^{{commit}}")]).is_ok()
    }

    pub(super) fn is_ancestor(&self, old: &str, new: &str) -> bool {
        self.run(&["merge-base", "--is-ancestor", old, new]).is_ok()
    }

    /// Moves a branch, if it is at `old`.
    pub(super) fn update(&self, branch: &str, old: &str, new: &str) -> Done {
        self.run(&["update-ref", &format!("refs/heads/{branch}"), new, old])
    }

    pub(super) fn delete(&self, branch: &str) -> Done {
        self.run(&["update-ref", "-d", &format!("refs/heads/{branch}")])
    }

    /// Who may push to which protected branch.
    pub(super) fn protect(&self, rules: &[(String, Vec<String>)]) {
        let lines =
            rules.iter().map(|(branch, allowed)| format!("{branch} {}\n", allowed.join(" ")));
        let file = self.dir.join("nbp-protected");
        fs::write(file, lines.collect::<String>()).expect("a writable repository");
    }

    /// One request of git's smart protocol. `rest` is what follows the repository in the path.
    pub(super) fn serve(&self, request: &Request, rest: &str, user: Option<&str>) -> Answer {
        let mut body = tempfile::tempfile().expect("a temporary file");
        body.write_all(&request.body).and_then(|()| body.rewind()).expect("a writable file");
        let root = self.dir.parent().expect("a repository lies in a folder");
        let name = self.dir.file_name().and_then(|it| it.to_str()).expect("a plain name");
        let query = request.target.split_once('?').map_or("", |(_, query)| query);
        let mut backend = self.command();
        backend
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("PATH_INFO", format!("/{name}/{rest}"))
            .env("REQUEST_METHOD", &request.method)
            .env("QUERY_STRING", query)
            .env("CONTENT_LENGTH", request.body.len().to_string())
            .env("REMOTE_ADDR", "127.0.0.1");
        for (header, variable) in [
            ("content-type", "CONTENT_TYPE"),
            ("content-encoding", "HTTP_CONTENT_ENCODING"),
            ("git-protocol", "GIT_PROTOCOL"),
        ] {
            backend.envs(request.header(header).map(|value| (variable, value)));
        }
        // A user is also what lets the backend take pushes.
        backend.envs(user.map(|user| ("REMOTE_USER", user)));
        let output = backend.stdin(body).output().expect("git starts");
        assert!(output.status.success(), "git http-backend: {output:?}");
        from_cgi(&output.stdout)
    }

    fn command(&self) -> Command {
        let mut git = command("git");
        git.current_dir(&self.dir)
            .env("HOME", self.dir.parent().unwrap_or(&self.dir))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null");
        git
    }
}

/// Takes a CGI program's output apart: headers, an empty line, the body.
fn from_cgi(output: &[u8]) -> Answer {
    let end = output.windows(4).position(|it| it == b"\r\n\r\n").expect("CGI headers");
    let head = String::from_utf8_lossy(&output[..end]);
    let mut answer = Answer::empty(200);
    answer.body = Bytes::copy_from_slice(&output[end + 4..]);
    for line in head.lines() {
        let (name, value) = line.split_once(": ").expect("a CGI header");
        match name {
            "Status" => answer.status = value[..3].parse().expect("a status"),
            _ => answer.headers.push((name.to_lowercase(), value.to_owned())),
        }
    }
    answer
}
