//! Why a page is not shown, and the page that says so.

use std::fmt;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use proto::TokenError;

use super::page;

/// Why a page is not shown, for a person.
pub(crate) enum Trouble {
    /// There is none of that name.
    Missing(String),
    /// It has another address, on this server.
    Elsewhere(String),
    /// Whether there is one is not known yet: the page has only begun.
    Reading,
    /// Too many whole logs and old runs are being read.
    Busy,
    /// The broker.
    Bus(bus::Error),
}

impl From<bus::Error> for Trouble {
    fn from(error: bus::Error) -> Self {
        Self::Bus(error)
    }
}

impl From<TokenError> for Trouble {
    fn from(error: TokenError) -> Self {
        cannot_be(error)
    }
}

/// What no name can be.
pub(crate) fn cannot_be(why: impl fmt::Display) -> Trouble {
    Trouble::Missing(format!("That cannot be: {why}."))
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        match self {
            Self::Missing(text) => page::problem(StatusCode::NOT_FOUND, &text),
            Self::Elsewhere(to) => Redirect::temporary(&to).into_response(),
            Self::Reading => {
                let text =
                    "What there is, is still being read. This page is tried again by itself.";
                page::problem(StatusCode::SERVICE_UNAVAILABLE, text)
            }
            Self::Busy => {
                let text = "Many whole logs and old runs are being read just now. \
                            This page is tried again by itself.";
                page::problem(StatusCode::SERVICE_UNAVAILABLE, text)
            }
            Self::Bus(error) if error.transient() => {
                let text = "The broker does not answer. The page comes back by itself.";
                page::problem(StatusCode::SERVICE_UNAVAILABLE, text)
            }
            Self::Bus(error) => {
                tracing::warn!("{error}");
                page::problem(StatusCode::BAD_GATEWAY, &format!("The broker: {error}."))
            }
        }
    }
}
