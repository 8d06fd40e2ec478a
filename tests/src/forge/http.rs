//! Requests and answers as whole values, without their connection.

use bytes::Bytes;
use serde_json::Value;

/// A request, read to its end.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With the query, as it came.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

/// The file of a form.
#[derive(Clone, Debug)]
pub(super) struct FormFile {
    pub(super) field: String,
    pub(super) name: String,
    pub(super) content: Bytes,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Without the query, as it came.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The parts between slashes, decoded.
    pub(super) fn path_parts(&self) -> Vec<String> {
        self.path().split('/').skip(1).map(|part| decoded(part, false)).collect()
    }

    pub(super) fn query(&self) -> Vec<(String, String)> {
        let Some((_, query)) = self.target.split_once('?') else { return Vec::new() };
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.map(|(name, value)| (decoded(name, true), decoded(value, true))).collect()
    }

    pub(super) fn query_value(&self, name: &str) -> Option<String> {
        self.query().into_iter().find(|(it, _)| it == name).map(|(_, value)| value)
    }

    /// The body as JSON; `Null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The one part of a multipart form.
    pub(super) fn file(&self) -> Option<FormFile> {
        let boundary =
            self.header("content-type")?.strip_prefix("multipart/form-data; boundary=")?;
        let opening = format!("--{boundary}\r\n");
        let closing = format!("\r\n--{boundary}--\r\n");
        let part = self.body.strip_prefix(opening.as_bytes())?.strip_suffix(closing.as_bytes())?;
        let split = part.windows(4).position(|it| it == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&part[..split]);
        let quoted = |key: &str| {
            let (_, rest) = head.split_once(key)?;
            Some(rest.split('"').next()?.to_owned())
        };
        Some(FormFile {
            field: quoted("; name=\"")?,
            name: quoted("filename=\"")?,
            content: Bytes::copy_from_slice(&part[split + 4..]),
        })
    }
}

impl Answer {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self { status, headers, body: body.to_string().into() }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// A refusal as both forges word it.
    pub(super) fn refusal(status: u16, message: &str) -> Self {
        let url = "http://127.0.0.1/api/swagger";
        Self::json(status, &serde_json::json!({"message": message, "url": url}))
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Percent-decoded; in a query a plus is a blank.
fn decoded(text: &str, query: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = rest.get(1..3).and_then(|it| std::str::from_utf8(it).ok());
        let code = escaped.and_then(|it| u8::from_str_radix(it, 16).ok());
        match (byte, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &rest[3..];
                continue;
            }
            (b'+', _) if query => bytes.push(b' '),
            _ => bytes.push(byte),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
