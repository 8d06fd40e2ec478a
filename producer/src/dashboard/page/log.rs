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

/// What a search came to; `whole` is where all of the log is, `command` prints it.
pub(crate) fn found(found: &Found, word: &str, whole: &str, command: &str) -> Markup {
    html! {
        p {
            (counted(found.all, "line")) (if found.all == 1 { " holds " } else { " hold " })
            q { (plain(word)) }
            @if !found.whole { " among the first " (counted(found.searched, "line")) }
            @if found.all > FOUND_MAX { ", the first " (FOUND_MAX) " are shown" }
            ". " a href=(whole) { "The whole log" }
        }
        @if !found.whole {
            p class="notice" {
                "This is not all: the search took too long and ended there. "
                code class="wrap" { (command) " | grep -i WORD" } " looks through the whole log."
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_that_ended_early_says_so_and_one_that_did_not_does_not() {
        let said = |all, whole| {
            let found = Found { all, searched: 9_000, whole, ..Found::default() };
            super::found(&found, "<b>", "/log.txt", "producer logs a.b.c").into_string()
        };
        let early = said(2, false);
        let line =
            "2 lines hold <q>&lt;b&gt;</q> among the first 9000 lines. <a href=\"/log.txt\">";
        assert!(early.contains(line), "{early}");
        let rest = "This is not all: the search took too long and ended there. \
                    <code class=\"wrap\">producer logs a.b.c | grep -i WORD</code>";
        assert!(early.contains(rest), "{early}");
        assert!(
            said(300, false).contains(" among the first 9000 lines, the first 200 are shown. ")
        );
        let whole = said(2, true);
        assert!(whole.contains("2 lines hold <q>&lt;b&gt;</q>. <a"), "{whole}");
        assert!(!whole.contains("not all"), "{whole}");
    }
}
