//! One request and its answer over HTTP: time limits, size limits, what is tried again and when.
//!
//! It knows HTTP and that answers are JSON; not what any of them mean. It follows no redirect, so
//! the token is sent to the configured address and nowhere else.

use std::{error::Error as _, time::Duration};

use backon::Retryable as _;
use reqwest::{
    Client, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER},
    multipart::{Form, Part},
    redirect,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Error,
    config::ForgeConfig,
    patience::Patience,
    request::{Ask, Content, Repeat},
    token::Token,
};

/// Longest answer that is read. All comments of a request come in one answer, each of up to 60 kB.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Longest text of a server's that is repeated in a message.
const MESSAGE_CHARS_MAX: usize = 300;
/// A host that does not even accept the connection is not waited for any longer.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// How a list says how long it is over all its pages.
const TOTAL_COUNT: &str = "x-total-count";

/// An answer that the forge meant: a success, or a refusal with a status of its own.
#[derive(Debug)]
pub(super) struct Answer {
    what: String,
    pub(super) status: StatusCode,
    /// Length of the list over all its pages.
    pub(super) total: Option<usize>,
    /// `Null` when there was none.
    json: Value,
    /// What a refusal says, fit for a message.
    pub(super) message: String,
}

#[derive(Debug)]
pub(super) struct Transport {
    client: Client,
    api: Url,
    token: Token,
    pub(super) patience: Patience,
}

/// A try that failed, and when the server wants the next one.
struct Failed {
    error: Error,
    retry_after: Option<Duration>,
}

impl Transport {
    pub(super) fn new(config: &ForgeConfig, token: Token) -> Result<Self, Error> {
        // Refused when this process has one already, which is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, token.header());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut builder = Client::builder()
            .user_agent(concat!("nix-build-pool/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .timeout(config.timeout)
            .connect_timeout(config.timeout.min(CONNECT_TIMEOUT_MAX))
            // Hours lie between requests. One sent on a connection that has died meanwhile would
            // be of unknown outcome, which costs more than connecting again.
            .pool_max_idle_per_host(0)
            .redirect(redirect::Policy::none());
        if config.url.is_plain() {
            tracing::warn!("the forge's token goes to {} unencrypted", config.url);
            // No certificate is going to be checked: a machine without any will do.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| Error::Start(reason(&error)))?;
        Ok(Self { client, api: config.url.api(), token, patience: Patience::default() })
    }

    pub(super) fn token(&self) -> &Token {
        &self.token
    }

    /// Sends it until there is an answer that the forge meant, as often as that is harmless.
    pub(super) async fn send(&self, ask: &Ask) -> Result<Answer, Error> {
        let wait_max = self.patience.retry_after_max;
        let answer = (|| self.send_once(ask))
            .retry(self.patience.backoff())
            .when(|failed: &Failed| failed.error.repeatable())
            .adjust(|failed, delay| {
                // None: no tries are left.
                delay
                    .map(|delay| failed.retry_after.map_or(delay, |it| delay.max(it.min(wait_max))))
            })
            .notify(|failed, delay| {
                tracing::warn!("trying again in {delay:?}: failed to {}", failed.error);
            });
        answer.await.map_err(|failed| failed.error)
    }

    async fn send_once(&self, ask: &Ask) -> Result<Answer, Failed> {
        let sent = self.request(ask).send().await;
        let response = sent.map_err(|error| Failed::now(lost(ask, &error)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read(response).await;
        if status.is_redirection() {
            let target = headers.get(LOCATION).and_then(|it| it.to_str().ok());
            let target = self.told(target.unwrap_or("an unnamed place"));
            let what = ask.what.clone();
            return Err(Failed::now(Error::Redirected { what, target }));
        }
        // Of a refusal with a broken body the status is clear all the same.
        let (bytes, broken) = match body {
            Ok(bytes) => (bytes, None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        let html = is_html(&headers, &bytes);
        let message = if html { "an HTML page".to_owned() } else { self.message(&bytes) };
        if let Some(error) = unable(ask, status, &message) {
            return Err(Failed { error, retry_after: retry_after(&headers) });
        }
        let unreadable = |reason: String| Failed::now(unreadable(ask, status, reason));
        if html {
            return Err(unreadable("an HTML page".to_owned()));
        }
        let mut json = Value::Null;
        if status.is_success() && status != StatusCode::NO_CONTENT {
            if let Some(reason) = broken {
                return Err(unreadable(reason));
            }
            let decoded = serde_json::from_slice(&bytes);
            json = decoded.map_err(|error| unreadable(format!("no JSON: {error}")))?;
        }
        let total = headers.get(TOTAL_COUNT).and_then(|it| it.to_str().ok()?.parse().ok());
        Ok(Answer { what: ask.what.clone(), status, total, json, message })
    }

    fn request(&self, ask: &Ask) -> RequestBuilder {
        let mut url = self.api.clone();
        url.path_segments_mut().expect("http has a path").pop_if_empty().extend(&ask.path);
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&ask.query);
        }
        let request = self.client.request(ask.method.clone(), url);
        match &ask.content {
            Content::Nothing => request,
            Content::Json(value) => request.json(value),
            Content::File { field, name, bytes } => {
                let part = Part::stream(bytes.clone()).file_name(name.clone());
                request.multipart(Form::new().part(*field, part))
            }
        }
    }

    /// What a refusal says: the `message` of its JSON, or its text.
    fn message(&self, bytes: &[u8]) -> String {
        let json: Option<Value> = serde_json::from_slice(bytes).ok();
        let said = json.as_ref().and_then(|it| it.get("message")).and_then(Value::as_str);
        let text = said.map_or_else(|| String::from_utf8_lossy(bytes), Into::into);
        match self.told(&text) {
            text if text.is_empty() => "no reason given".to_owned(),
            text => text,
        }
    }

    /// Foreign text fit for one line of ours: without the token first, so that no half of it stays.
    fn told(&self, text: &str) -> String {
        let text = self.token.scrub(text);
        let words: Vec<&str> = text.split_whitespace().collect();
        let line = telemetry::plain(&words.join(" ")).into_owned();
        match line.char_indices().nth(MESSAGE_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

impl Failed {
    fn now(error: Error) -> Self {
        Self { error, retry_after: None }
    }
}

impl Answer {
    /// Decodes the success that it must be.
    pub(super) fn decode<T: DeserializeOwned>(self) -> Result<T, Error> {
        if !self.status.is_success() {
            return Err(self.refusal());
        }
        let Self { what, json, .. } = self;
        serde_json::from_value(json).map_err(|error| Error::Foreign {
            what,
            reason: format!("JSON of another shape: {error}"),
        })
    }

    /// Accepts any success.
    pub(super) fn done(self) -> Result<(), Error> {
        if self.status.is_success() { Ok(()) } else { Err(self.refusal()) }
    }

    /// The error that an answer is when nothing better is known about its status.
    pub(super) fn refusal(self) -> Error {
        let Self { what, status, message, .. } = self;
        match status {
            StatusCode::UNAUTHORIZED => Error::Unauthorized { what, message },
            StatusCode::FORBIDDEN => Error::Forbidden { what, message },
            StatusCode::NOT_FOUND => Error::Missing { what, message },
            status => Error::Refused { what, status, message },
        }
    }
}

/// A try that got no answer.
fn lost(ask: &Ask, error: &reqwest::Error) -> Error {
    let (what, reason) = (ask.what.clone(), reason(error));
    match ask.repeat {
        // Without a connection nothing was sent.
        Repeat::Doubles if !error.is_connect() => Error::Unclear { what, reason },
        _ => Error::Unreachable { what, reason },
    }
}

/// A server that is in no state to answer.
fn unable(ask: &Ask, status: StatusCode, message: &str) -> Option<Error> {
    let what = ask.what.clone();
    let message = message.to_owned();
    if status == StatusCode::TOO_MANY_REQUESTS {
        // Turned away at the door: nothing was done.
        return Some(Error::Unavailable { what, status, message });
    }
    if !status.is_server_error() && status != StatusCode::REQUEST_TIMEOUT {
        return None;
    }
    Some(match ask.repeat {
        Repeat::Harmless => Error::Unavailable { what, status, message },
        Repeat::Doubles => Error::Unclear { what, reason: format!("HTTP {status}: {message}") },
    })
}

/// An answer that came and cannot be read. A refusal of the forge is never an HTML page: even a
/// "not found" of this kind may be a proxy's.
fn unreadable(ask: &Ask, status: StatusCode, reason: String) -> Error {
    let what = ask.what.clone();
    match ask.repeat {
        Repeat::Doubles if status.is_success() => Error::Unclear { what, reason },
        _ => Error::Foreign { what, reason },
    }
}

/// The whole body, or why there is no whole body.
async fn read(mut response: Response) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| reason(&error))? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(format!("longer than {ANSWER_BYTES_MAX} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn is_html(headers: &HeaderMap, bytes: &[u8]) -> bool {
    let declared = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    declared.is_some_and(|it| it.starts_with("text/html"))
        || bytes.trim_ascii_start().starts_with(b"<")
}

/// In seconds; the form with a date is left to our own delay.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// The innermost cause, which is what a person can act on. Addresses hold no secret, but the outer
/// messages repeat them.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it took too long".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match error.source() {
        Some(_) => cause.to_string(),
        None => "no reason given".to_owned(),
    }
}
