//! Reading one TOML file, and telling what is wrong with it in words a person can act on.
//!
//! It does not know any table; the type that the caller asks for does.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

use crate::near;

/// A config file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error("read config file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not TOML, or not the TOML that was asked for.
    #[error("config file {}, line {line}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong, with the key where one is to blame.
        message: String,
    },
}

/// Reads and decodes `path`.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, SettingsError> {
    let read = |source| SettingsError::Read { path: path.to_owned(), source };
    parse(&fs::read_to_string(path).map_err(read)?, path)
}

/// Decodes `text`; `path` is only for messages.
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, SettingsError> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let place = Place::of(text, at);
        let message = place.tell(error.message());
        SettingsError::Invalid { path: path.to_owned(), line: place.line, message }
    })
}

/// Where in the file an error is. Table and key are read off the text, as a person would: toml's
/// error knows only a byte range.
struct Place<'a> {
    line: usize,
    table: Option<&'a str>,
    key: Option<&'a str>,
}

impl<'a> Place<'a> {
    fn of(text: &'a str, at: usize) -> Self {
        // A byte offset inside a character cannot come from toml; if it does, it means "the start".
        let before = text.get(..at).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let current = text[line_start..].lines().next().unwrap_or_default().trim();
        let header = |line: &'a str| line.starts_with('[').then(|| header_of(line));
        let above = text[..line_start].lines().rev();
        let table = std::iter::once(current).chain(above.map(str::trim)).find_map(header);
        let key = current.split_once('=').map(|(key, _)| key.trim());
        Self { line: before.matches('\n').count() + 1, table, key }
    }

    fn tell(&self, message: &str) -> String {
        let message = message.trim().replace('\n', ", ");
        let table = self.table.map_or("at the top".to_owned(), |table| format!("in {table}"));
        if let Some((unknown, valid)) = unknown_field(&message) {
            return format!("unknown key `{unknown}` {table}, {}", nearest(unknown, &valid));
        }
        if message.starts_with("missing field") {
            return format!("{} {table}", message.replace("field", "key"));
        }
        match self.key {
            Some(key) => format!("key `{key}` {table}: {message}"),
            None => format!("{message} ({table})"),
        }
    }
}

fn header_of(line: &str) -> &str {
    line.find(']').map_or(line, |end| &line[..=end])
}

/// Takes serde's "unknown field `x`, expected one of `a`, `b`" apart.
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field ")?;
    // Every odd piece between backticks is a name: the unknown one, then the valid ones.
    let mut names = rest.split('`').skip(1).step_by(2);
    Some((names.next()?, names.collect()))
}

fn nearest(unknown: &str, valid: &[&str]) -> String {
    match (near(unknown, valid.iter().copied()).first(), valid.is_empty()) {
        (Some(name), _) => format!("did you mean `{name}`?"),
        (None, false) => format!("valid keys are `{}`", valid.join("`, `")),
        (None, true) => "there are no keys here".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proto::Repo;
    use serde::Deserialize;

    use super::*;
    use crate::{NatsTable, RepoTable, Size, Span};

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct File {
        nats: NatsTable,
        wall: Option<Span>,
        keep: Option<Size>,
        repos: BTreeMap<Repo, RepoTable>,
    }

    #[track_caller]
    fn told(text: &str) -> String {
        let error = parse::<File>(text, Path::new("w.toml")).expect_err(text);
        error.to_string()
    }

    #[test]
    fn an_error_names_file_line_key_and_the_nearest_valid_key() {
        for (text, wanted) in [
            (
                "\n[nats]\nurll = \"x\"",
                "config file w.toml, line 3: unknown key `urll` in [nats], did you mean `url`?",
            ),
            ("[nat]\nurl = \"x\"", "line 1: unknown key `nat` in [nat], did you mean `nats`?"),
            (
                "qqq = 1",
                "unknown key `qqq` at the top, valid keys are `nats`, `wall`, `keep`, `repos`",
            ),
            (
                "wall = 10",
                "line 1: key `wall` at the top: invalid type: integer `10`, expected a duration \
                 such as \"10m\" or \"1h 30m\"",
            ),
            ("wall = \"ten\"", "expected a duration such as \"10m\""),
            ("keep = \"64Q\"", "expected a size such as \"64MiB\""),
            ("[repos.a]\nrefs = []", "line 1: missing key `url` in [repos.a]"),
            ("[repos.a]\nurl = \"nope\"", "line 2: key `url` in [repos.a]: url \"nope\""),
            ("[repos.\"a b\"]\nurl = \"/x\"", "repo name \"a b\" is refused"),
            ("[repos.a]\nurl = \"/x\"\nrefs = [\"a*b*\"]", "line 3: key `refs` in [repos.a]"),
            ("[repos.a]\nurl = \"/x\"\n[repos.a.hosts.w]\nclas = \"y\"", "did you mean `class`?"),
            ("a = ", "line 1:"),
            ("wall = \"1m\"\nwall = \"2m\"", "line 2"),
        ] {
            let told = told(text);
            assert!(told.contains(wanted), "{text}\n  told: {told}\nwanted: {wanted}");
            assert!(!told.contains('\n'), "{told}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = load::<File>(Path::new("/nonexistent/w.toml")).expect_err("no file");
        assert!(error.to_string().contains("/nonexistent/w.toml: No such file"), "{error}");
    }
}
