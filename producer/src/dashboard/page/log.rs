//! A log on a page: lines that are text and nothing else, the search, and what is left out.

use maud::{Markup, html};
use proto::log::short_name;
use telemetry::plain;

use super::counted;
use crate::{
    dashboard::log::{FOUND_MAX, Found, LINES_SHOWN, LogEnd},
    render::log::Piece,
};

/// The lines, as the script of the page would add them.
pub(crate) fn lines<'a>(pieces: impl IntoIterator<Item = &'a Piece>) -> Markup {
    html! { @for piece in pieces { (line(piece)) } }
}

fn line(piece: &Piece) -> Markup {
    match piece {
        Piece::Mark(what) => html! { div class="mark" { "[… " (plain(what)) " …]" } },
        Piece::Line(line) => html! {
            div {
                @if let Some(drv) = &line.drv { span class="drv" { (plain(short_name(drv))) "> " } }
                (plain(&line.text))
            }
        },
    }
}

/// The end of the log; `whole` is where all of it is.
pub(crate) fn end(log: &LogEnd, whole: &str) -> Markup {
    html! {
        @if log.cut {
            p {
                "The last " (LINES_SHOWN.min(log.pieces.len())) " lines. "
                a href=(whole) { "The whole log" }
            }
        } @else if !log.pieces.is_empty() {
            p { a href=(whole) { "As plain text" } }
        }
        div id="lines" class="log" role="log" aria-label="Build log" aria-live="off" tabindex="0" {
            (lines(&log.pieces))
        }
        @if log.pieces.is_empty() { p class="quiet" { "There is no line yet." } }
    }
}

/// What a search came to.
pub(crate) fn found(found: &Found, word: &str, whole: &str) -> Markup {
    html! {
        p {
            (counted(found.all, "line")) (if found.all == 1 { " holds " } else { " hold " })
            q { (plain(word)) }
            @if found.all > FOUND_MAX { ", the first " (FOUND_MAX) " are shown" }
            ". " a href=(whole) { "The whole log" }
        }
        div class="log found" tabindex="0" role="region" aria-label="Lines that were found" {
            @for (at, shown) in found.lines.iter().enumerate() {
                @if at > 0 && found.lines[at - 1].number + 1 < shown.number {
                    div class="gap" { span class="vh" { "Lines are left out" } }
                }
                div class=(if shown.hit { "hit" } else { "near" }) {
                    span class="number" { (shown.number) } (lines([&shown.piece]))
                }
            }
        }
    }
}
