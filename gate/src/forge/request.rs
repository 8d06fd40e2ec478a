//! A request as data: it may be sent several times, if that is harmless.

use bytes::Bytes;
use reqwest::Method;
use serde_json::Value;

/// Whether a request may be sent again when nobody knows what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Twice does what once does.
    Harmless,
    /// Twice may make two.
    Doubles,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Nothing,
    Json(Value),
    /// A multipart form of one field.
    File {
        field: &'static str,
        name: String,
        bytes: Bytes,
    },
}

/// One request, as data: it may be sent several times.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// What it is for, as words after "failed to …".
    pub(super) what: String,
    pub(super) method: Method,
    /// Below the root of the interface. Parts are escaped; the slashes of branches stay, as the
    /// forge's own clients have it, since some proxies refuse `%2F`.
    pub(super) path: Vec<String>,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) content: Content,
    pub(super) repeat: Repeat,
}

impl Ask {
    /// A request that only reads.
    pub(super) fn get(what: String, path: Vec<String>) -> Self {
        Self {
            what,
            method: Method::GET,
            path,
            query: Vec::new(),
            content: Content::Nothing,
            repeat: Repeat::Harmless,
        }
    }
}
