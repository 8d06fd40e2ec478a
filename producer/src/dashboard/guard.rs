//! What every request must be and every answer carries, whatever page it is about.

use std::{net::IpAddr, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::time::{Instant, timeout_at};

use super::page;

/// For an answer to begin. One that goes on, such as a live page, is not bound by it.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// When the answer to a request has to begin. What may take longer ends before, with what it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerBy(pub(crate) Instant);

/// Nothing is loaded from anywhere but here, nothing stands inline, nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Names that the page may be asked by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Vec<String>);

impl Names {
    /// Addresses and `localhost` are always among them.
    pub(crate) fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    /// Whether a request's `Host` is one of ours. A page of somebody else can make its own name
    /// point here and then read what it is answered (DNS rebinding); an address it cannot.
    fn fits(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let Some(host) = host.and_then(|host| host.parse::<Authority>().ok()) else { return false };
        let name = host.host();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.0.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// The middleware.
pub(crate) async fn guard(
    State(names): State<Names>,
    mut request: Request,
    next: Next,
) -> Response {
    let by = Instant::now() + ANSWER_WITHIN;
    request.extensions_mut().insert(AnswerBy(by));
    let mut response = if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let text = "This page only shows. Ask for builds with `producer submit`.";
        let mut response = page::problem(StatusCode::METHOD_NOT_ALLOWED, text);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        response
    } else if !names.fits(request.headers()) {
        let text = "The page is not served under this name. \
                    Whoever runs it can allow the name with `--name`.";
        page::problem(StatusCode::MISDIRECTED_REQUEST, text)
    } else {
        match timeout_at(by, next.run(request)).await {
            // axum's own words are for who writes programs.
            Ok(response) if response.status() == StatusCode::BAD_REQUEST => {
                let text = "This address cannot be read: something in it is no number where one \
                            belongs, is missing, or is no text.";
                page::problem(StatusCode::BAD_REQUEST, text)
            }
            Ok(response) => response,
            Err(_) => {
                let text = "There was no answer in time. Try again.";
                page::problem(StatusCode::GATEWAY_TIMEOUT, text)
            }
        }
    };
    let always = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in always {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_names_that_were_allowed_pass() {
        let names = Names::new(vec!["Builds.example.org".into()]);
        let check = |host: &str, fits: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).expect("a value"));
            assert_eq!(names.fits(&headers), fits, "{host}");
        };
        check("127.0.0.1:8088", true);
        check("[::1]:8088", true);
        check("192.0.2.7", true);
        check("localhost:1", true);
        check("builds.example.org", true);
        check("builds.example.org:443", true);
        check("evil.example", false);
        check("127.0.0.1.evil.example", false);
        check("localhost.evil.example:8088", false);
        check("evil.example@127.0.0.1", true);
        check("", false);
        check("a b", false);
        assert!(!names.fits(&HeaderMap::new()));
    }
}
