//! HTML. Pure: what is shown comes in, markup goes out.
//!
//! maud escapes whatever is put into a page. Text that came over the wire goes through [`foreign`]
//! besides, which takes out what a browser obeys although it is no markup.

pub(super) mod commit;
pub(super) mod gate;
pub(super) mod gates;
pub(super) mod history;
pub(super) mod home;
pub(super) mod host;
pub(super) mod job;
pub(super) mod log;
pub(super) mod matrix;
pub(super) mod pool;
pub(super) mod repo;
pub(super) mod run;
pub(super) mod times;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use maud::{DOCTYPE, Markup, html};
use proto::{JobKey, Repo, Revision, RunId, Timestamp};
use telemetry::plain;

use super::{
    model::Model,
    shared::{Shared, Shows},
};

/// One look at the model, and when it was.
pub(super) struct Look<'a> {
    pub(super) model: &'a Model,
    pub(super) now: Timestamp,
}

/// What a page shows, and which of it: taken before the first of it is read, or a change in between
/// would be told to nobody.
pub(super) struct Shown {
    shows: Shows,
    mark: u64,
}

impl Shown {
    pub(super) fn now(shared: &Shared, shows: Shows) -> Self {
        let mark = shared.mark(&shows);
        Self { shows, mark }
    }
}

/// Which of the main pages one belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Hosts,
    Pool,
    Gates,
}

/// Foreign text: no control character, nothing that turns the direction of writing, and whatever
/// direction its letters have, what stands beside it stays where it is.
pub(super) fn foreign(text: &str) -> Markup {
    html! { bdi { (plain(text)) } }
}

/// A whole page.
pub(super) fn page(
    shared: &Shared,
    place: Place,
    title: &str,
    main: impl FnOnce(&Look<'_>) -> Markup,
) -> Response {
    let shown = Shown::now(shared, Shows::Facts);
    page_of(shared, &shown, place, title, main)
}

/// A whole page that shows something else than most.
pub(super) fn page_of(
    shared: &Shared,
    shown: &Shown,
    place: Place,
    title: &str,
    main: impl FnOnce(&Look<'_>) -> Markup,
) -> Response {
    let markup = shared.read(|model| {
        let look = Look { model, now: bus::clock::now() };
        html! {
            (DOCTYPE)
            html lang="en" data-shows=(shown.shows) data-version=(shown.mark) data-now=(look.now.0) {
                (head(title))
                body {
                    (banner(&look, place))
                    main id="main" tabindex="-1" { (main(&look)) }
                    (footer())
                }
            }
        }
    });
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], markup.into_string()).into_response()
}

/// A page that says why there is none.
pub(super) fn problem(status: StatusCode, text: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Trouble");
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body {
                header { a class="brand" href="/" { "nix-build-pool" } }
                main id="main" {
                    h1 { (title) }
                    p { (plain(text)) }
                    p { a href="/" { "All hosts" } }
                }
            }
        }
    };
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    let mut response =
        (status, [(header::CONTENT_TYPE, kind)], markup.into_string()).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        // What waiting mends is asked for again by the browser. What took too long would again.
        response.headers_mut().insert(header::REFRESH, HeaderValue::from_static("5"));
    }
    response
}

fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) " · nix-build-pool" }
            link rel="stylesheet" href="/page.css";
            link rel="icon" type="image/svg+xml" href="/icon.svg";
            script src="/page.js" defer {}
        }
    }
}

fn banner(look: &Look<'_>, current: Place) -> Markup {
    let link = |place: Place, to: &str, name: &str| {
        let current = (place == current).then_some("page");
        html! { li { a href=(to) aria-current=[current] { (name) } } }
    };
    html! {
        a class="skip" href="#main" { "Skip to the content" }
        header {
            a class="brand" href="/" { "nix-build-pool" }
            nav aria-label="Pages" {
                ul {
                    (link(Place::Hosts, "/", "Hosts"))
                    (link(Place::Pool, "/pool", "Queue and workers"))
                    (link(Place::Gates, "/gates", "Gate runs"))
                }
            }
            // Read aloud when it changes, and nothing else is.
            p id="status" role="status" aria-live="polite" { (standing(look)) }
        }
        p id="link" class="notice" role="status" aria-live="polite" {}
        div id="notices" data-live { (notices(look)) }
    }
}

/// The pool in one line.
pub(super) fn standing(look: &Look<'_>) -> String {
    let model = look.model;
    if model.away_since.is_some() {
        return "The broker does not answer".into();
    }
    let (running, waiting) = (model.running(look.now).len(), model.waiting(look.now).len());
    let workers = model.around().workers.len();
    format!("{running} running, {waiting} waiting, {}", counted(workers, "worker"))
}

fn notices(look: &Look<'_>) -> Markup {
    let (model, reading) = (look.model, look.model.reading);
    html! {
        @if let Some(since) = model.away_since {
            p class="notice bad" {
                "The broker does not answer since " (times::at(since)) ". What is shown is what was \
                 known then; builds go on. The page comes back by itself."
            }
        } @else if !reading.done {
            p class="notice" {
                "Reading what the broker knows"
                @if reading.of > 0 { ": " (reading.read) " of " (reading.of) " jobs" }
                "."
            }
        }
        @for what in &model.denied {
            p class="notice" {
                "The key of this page has no right to see " (what) ". The reader role has it."
            }
        }
    }
}

fn footer() -> Markup {
    html! {
        footer {
            p { "producer " (env!("CARGO_PKG_VERSION")) ". This page only shows; it changes nothing." }
        }
    }
}

pub(super) fn job_path(job: &JobKey) -> String {
    format!("/job/{}/{}/{}", job.repo, job.revision, job.host)
}

pub(super) fn commit_path(repo: &Repo, revision: &Revision) -> String {
    format!("/commit/{repo}/{revision}")
}

/// The id of a run, which leads to its page.
pub(super) fn run_link(run: RunId) -> Markup {
    html! { a href={ "/run/" (run) } { code class="wrap" { (run) } } }
}

/// The first digits of a commit, with a mark when inputs are overridden.
pub(super) fn short(revision: &Revision) -> Markup {
    let overridden = revision.overrides().is_some();
    html! {
        code { (revision.short()) @if overridden { "+" } }
        @if overridden { span class="vh" { " with overridden inputs" } }
    }
}

/// `1 worker`, `2 workers`.
pub(super) fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A part of a page that a reader can jump to by its heading, and that is fetched again.
pub(super) fn section(id: &str, heading: &str, content: &Markup) -> Markup {
    html! {
        section id=(id) aria-labelledby={ (id) "-h" } data-live {
            h2 id={ (id) "-h" } { (heading) }
            (content)
        }
    }
}

/// A table that scrolls by itself when it is too wide, also by keyboard.
pub(super) fn scrolling(label: &str, table: &Markup) -> Markup {
    html! { div class="scroll" role="region" aria-label=(label) tabindex="0" { (table) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_neither_markup_nor_obeyed() {
        let text = "</script><img src=x onerror=\"a('b')\">\u{202e}gpj.exe\u{1b}[31m&amp;\0";
        let shown = foreign(text).into_string();
        assert_eq!(
            shown,
            "<bdi>&lt;/script&gt;&lt;img src=x onerror=&quot;a('b')&quot;&gt;gpj.exe&amp;amp;</bdi>"
        );
    }
}
