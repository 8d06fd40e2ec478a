//! Where people can read what lies between two commits of an input.
//!
//! A link is put together from pieces that were checked one by one, so that no text of a lock file
//! can make it point, or look, anywhere else. What does not fit gets no link.

use serde_json::Value;

use super::Locked;

/// Longest host, owner or path that a link is made of.
const PIECE_BYTES_MAX: usize = 200;

/// A repository on a forge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    forge: Forge,
    /// Address of its page.
    web: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forge {
    /// GitHub, and Gitea and Forgejo, which have its addresses.
    GitHub,
    GitLab,
    SourceHut,
}

impl Place {
    /// The repository of a locked input, if its forge can be told.
    pub(super) fn of(locked: &Value) -> Option<Self> {
        let text = |key: &str| locked.get(key).and_then(Value::as_str);
        let (forge, host) = match text("type")? {
            "github" => (Forge::GitHub, "github.com"),
            "gitlab" => (Forge::GitLab, "gitlab.com"),
            "sourcehut" => (Forge::SourceHut, "git.sr.ht"),
            "git" => return Self::of_url(text("url")?),
            _ => return None,
        };
        let host = text("host").unwrap_or(host);
        // Groups of GitLab's lie in each other, and Nix writes their slashes encoded.
        let owner = text("owner")?.replace("%2F", "/").replace("%2f", "/");
        let web = format!("https://{host}/{owner}/{}", text("repo")?);
        Some(Self { forge, web: web_place(&web)? })
    }

    /// By the host, where it is a well-known one; any other is taken for Gitea or Forgejo.
    fn of_url(url: &str) -> Option<Self> {
        let web = web_place(url)?;
        let host = web.split('/').nth(2)?;
        let forge = match host {
            "gitlab.com" => Forge::GitLab,
            "git.sr.ht" => Forge::SourceHut,
            _ => Forge::GitHub,
        };
        Some(Self { forge, web })
    }
}

/// The page of a repository, from the web URL that git fetches it from. None when it is no web URL,
/// holds a user, or has any character that a page of a repository does not need.
fn web_place(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://").filter(|(it, _)| matches!(*it, "https" | "http"))?;
    let (host, path) = rest.split_once('/')?;
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let (name, port) = host.split_once(':').unwrap_or((host, "80"));
    let named = |text: &str, more: &[u8]| {
        let legal = |b: u8| b.is_ascii_alphanumeric() || more.contains(&b);
        !text.is_empty() && text.len() <= PIECE_BYTES_MAX && text.bytes().all(legal)
    };
    let segment = |text: &str| named(text, b"-_.~") && !text.starts_with('.');
    let fits = named(name, b"-.")
        && port.len() <= 5
        && port.bytes().all(|b| b.is_ascii_digit())
        && path.len() <= PIECE_BYTES_MAX
        && path.contains('/')
        && path.split('/').all(segment);
    fits.then(|| format!("{scheme}://{host}/{path}"))
}

/// Where to read what lies between two commits, on a forge with the addresses of Gitea and Forgejo.
pub(crate) fn compare_on(web: &str, old: &str, new: &str) -> Option<String> {
    let web = web_place(web)?;
    (commit(old) && commit(new)).then(|| format!("{web}/compare/{old}...{new}"))
}

/// Where to read what lies between two states of an input.
pub(super) fn between(old: &Locked, new: &Locked) -> Option<String> {
    let (place, before) = (new.place.as_ref()?, old.place.as_ref()?);
    let (old, new) = (old.rev.as_deref()?, new.rev.as_deref()?);
    if place != before || old == new {
        return None;
    }
    let web = &place.web;
    Some(match place.forge {
        Forge::GitHub => format!("{web}/compare/{old}...{new}"),
        Forge::GitLab => format!("{web}/-/compare/{old}...{new}"),
        // It has no page between two commits; this one begins at the new one and goes back.
        Forge::SourceHut => format!("{web}/log/{new}"),
    })
}

/// A full commit, SHA-1 or SHA-256.
pub(super) fn commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
