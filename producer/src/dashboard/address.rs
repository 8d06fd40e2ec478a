//! Addresses as people write them: a commit by its first digits, a slash at the end.

use axum::{
    extract::Path,
    http::{StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use proto::{Host, JobKey, Repo, Revision};

use super::{
    model::Column,
    page,
    routes::Site,
    trouble::{Trouble, cannot_be},
};
use crate::naming::{RevisionName, listed};

/// Of a job.
pub(crate) type JobPath = Path<(String, String, String)>;

/// The job of an address.
pub(crate) fn job_of(
    site: &Site,
    uri: &Uri,
    Path((repo, revision, host)): JobPath,
) -> Result<JobKey, Trouble> {
    let (repo, host): (Repo, Host) = (repo.parse()?, host.parse()?);
    let revision = revision_of(site, uri, &repo, Some(&host), &revision)?;
    Ok(JobKey { repo, revision, host })
}

/// Where the commit stands in an address, `/job/<repo>/<commit>`.
const COMMIT_SEGMENT: usize = 3;

/// The commit of an address, which may be about one host of it. A name of one that is known leads to
/// its whole address.
pub(crate) fn revision_of(
    site: &Site,
    uri: &Uri,
    repo: &Repo,
    host: Option<&Host>,
    text: &str,
) -> Result<Revision, Trouble> {
    let name: RevisionName = text.to_ascii_lowercase().parse().map_err(cannot_be)?;
    let (found, all_read) = site.shared.read(|model| {
        let of_host = |it: &&Column| host.is_none_or(|host| it.hosts.contains_key(host));
        let known = model.columns_of(repo).filter(of_host).map(|column| &column.revision);
        let found = name.among(known).map(|one| one.cloned());
        (found.map_err(|fitting| listed(fitting.into_iter())), model.reading.done)
    });
    let what = host.map_or_else(|| repo.to_string(), |host| format!("{host} of {repo}"));
    let revision = match found {
        Ok(Some(revision)) => revision,
        Ok(None) if !all_read => return Err(Trouble::Reading),
        Ok(None) => {
            return Err(Trouble::Missing(format!(
                "None of the newest commits of {what} is named {name}. \
                 `producer status --repo {repo} --rev {name}` knows more."
            )));
        }
        Err(fitting) => {
            let text = format!("Several commits of {what} are named {name}: {fitting}.");
            return Err(Trouble::Missing(text));
        }
    };
    if revision.as_str() == text {
        return Ok(revision);
    }
    let mut segments: Vec<&str> = uri.path().split('/').collect();
    if let Some(segment) = segments.get_mut(COMMIT_SEGMENT) {
        *segment = revision.as_str();
    }
    Err(Trouble::Elsewhere(with_query(&segments.join("/"), uri)))
}

fn with_query(path: &str, uri: &Uri) -> String {
    uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

/// What is nowhere; an address that ends in a slash is meant without.
pub(crate) async fn nowhere(uri: Uri) -> Response {
    let path = uri.path().trim_end_matches('/');
    // What begins with two slashes would be the name of another server.
    let ours = path.as_bytes().get(1).is_some_and(u8::is_ascii_alphanumeric);
    if ours && path != uri.path() {
        return Trouble::Elsewhere(with_query(path, &uri)).into_response();
    }
    page::problem(StatusCode::NOT_FOUND, "There is no such page.")
}
