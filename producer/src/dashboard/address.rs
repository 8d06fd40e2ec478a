//! Addresses as people write them: a commit by its first digits, a slash at the end.

use axum::{
    extract::Path,
    http::{StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use proto::{JobKey, Repo, Revision};

use super::{page, routes::Site, trouble::Trouble};

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

/// Digits of a commit, from which on one is looked for.
const SHORT_DIGITS: usize = 7;
/// Where the commit stands in an address, `/job/<repo>/<commit>`.
const COMMIT_SEGMENT: usize = 3;

/// The commit of an address. The first digits of one that is known lead to its whole address.
pub(crate) fn revision_of(
    site: &Site,
    uri: &Uri,
    repo: &Repo,
    text: &str,
) -> Result<Revision, Trouble> {
    let digits = text.to_ascii_lowercase();
    let short = digits.len() >= SHORT_DIGITS && digits.bytes().all(|it| it.is_ascii_hexdigit());
    let known = site.shared.read(|model| {
        let columns = model.columns_of(repo).map(|column| &column.revision);
        let fits = columns.filter(|it| short && it.as_str().starts_with(&digits));
        let fits: Vec<&Revision> = fits.collect();
        // The commit itself comes before the same one with other inputs.
        let plain: Vec<&Revision> =
            fits.iter().copied().filter(|it| it.overrides().is_none()).collect();
        match (&fits[..], &plain[..]) {
            ([one], _) | (_, [one]) => Some((*one).clone()),
            _ => None,
        }
    });
    match (text.parse::<Revision>(), known) {
        (Ok(revision), _) => Ok(revision),
        (Err(error), None) => Err(error.into()),
        (Err(_), Some(known)) => {
            let mut segments: Vec<&str> = uri.path().split('/').collect();
            if let Some(segment) = segments.get_mut(COMMIT_SEGMENT) {
                *segment = known.as_str();
            }
            Err(Trouble::Elsewhere(with_query(&segments.join("/"), uri)))
        }
    }
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
