//! Addresses as people write them: a commit by its first digits, a slash at the end.

use axum::{
    extract::Path,
    http::{StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use proto::{JobKey, Repo, Revision};

use super::{
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
    let repo: Repo = repo.parse()?;
    let revision = revision_of(site, uri, &repo, &revision)?;
    Ok(JobKey { repo, revision, host: host.parse()? })
}

/// Where the commit stands in an address, `/job/<repo>/<commit>`.
const COMMIT_SEGMENT: usize = 3;

/// The commit of an address. A name of one that is known leads to its whole address.
pub(crate) fn revision_of(
    site: &Site,
    uri: &Uri,
    repo: &Repo,
    text: &str,
) -> Result<Revision, Trouble> {
    let name: RevisionName = text.to_ascii_lowercase().parse().map_err(cannot_be)?;
    let found = site.shared.read(|model| {
        let known = model.columns_of(repo).map(|column| &column.revision);
        name.among(known).map(|one| one.cloned()).map_err(|fitting| listed(fitting.into_iter()))
    });
    let several = |fitting| Trouble::Missing(format!("{name} is the name of several: {fitting}."));
    let none = || Trouble::Missing(format!("Of the newest commits here, none begins with {name}."));
    let revision = found.map_err(several)?.ok_or_else(none)?;
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
