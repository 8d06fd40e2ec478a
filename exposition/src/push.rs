//! Pushing to a Prometheus push gateway.
//!
//! The address may hold a password: it is shown nowhere, in no error and no debug text. A push is
//! told by one request per group, to the configured address alone, within one deadline.

use std::{error::Error as _, fmt, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{Client, Url, header::CONTENT_TYPE, redirect};
use tokio::time::timeout;

/// For all requests of one push. Whoever ran the command waits for it.
const PUSH_WAIT: Duration = Duration::from_secs(10);
/// Requests in flight at once: a run of hundreds of hosts is told in one go.
const PUSHES_AT_ONCE: usize = 8;
/// What is repeated of a refusal.
const REFUSAL_CHARS_MAX: usize = 200;

/// Where to push, as somebody wrote it. Not looked at yet: a parser of command lines would quote
/// what it refuses.
#[derive(Clone)]
pub struct PushTarget(String);

impl PushTarget {
    /// Nothing was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for PushTarget {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Debug for PushTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PushTarget(<hidden>)")
    }
}

/// An address that was refused. It may hold a password and is not repeated.
#[derive(Debug, thiserror::Error)]
#[error("{0}, expected one such as \"http://pushgateway.example.org:9091\"")]
pub struct PushUrlError(&'static str);

/// Why a push failed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The client could not be made.
    #[error("start a client: {0}")]
    Start(String),
    /// No answer.
    #[error("reach it: {0}")]
    Unreachable(String),
    /// An answer that is no success.
    #[error("have it accepted: {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the gateway says.
        message: String,
    },
    /// It took too long.
    #[error("tell it within {} s", PUSH_WAIT.as_secs())]
    Slow,
}

/// A push gateway.
#[derive(Clone)]
pub struct Gateway {
    url: Url,
}

/// Values under one grouping key. The gateway replaces values of the same names in the group and
/// leaves others: so "last success" stays when a failure is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// `job`, the first label of the key.
    pub job: &'static str,
    /// The other labels of the key.
    pub labels: Vec<(&'static str, String)>,
    /// The values, in the text format.
    pub text: String,
}

impl TryFrom<&PushTarget> for Gateway {
    type Error = PushUrlError;

    fn try_from(PushTarget(url): &PushTarget) -> Result<Self, PushUrlError> {
        let Ok(url) = Url::parse(url) else { return Err(PushUrlError("it is no URL")) };
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(PushUrlError("only http and https are spoken"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(PushUrlError("it goes on after the path"));
        }
        Ok(Self { url })
    }
}

/// Without user, password and path: fit for messages.
impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.url.scheme(), self.url.host_str().unwrap_or_default())?;
        self.url.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gateway({self})")
    }
}

impl Gateway {
    /// Pushes all groups.
    ///
    /// # Errors
    /// The first that failed; the others may have been told or not.
    pub async fn push(&self, groups: Vec<Group>) -> Result<(), PushError> {
        let client = self.client()?;
        let pushes = groups.into_iter().map(|group| self.push_one(&client, group));
        let all = stream::iter(pushes).buffer_unordered(PUSHES_AT_ONCE).try_collect::<()>();
        timeout(PUSH_WAIT, all).await.map_err(|_| PushError::Slow)?
    }

    fn client(&self) -> Result<Client, PushError> {
        // Refused when this process has one already, which is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut builder = Client::builder()
            .user_agent(concat!("nix-build-pool/", env!("CARGO_PKG_VERSION")))
            // A password goes to the configured address and nowhere else.
            .redirect(redirect::Policy::none())
            .no_proxy();
        if self.url.scheme() == "http" {
            // No certificate is going to be checked: a machine without any will do.
            builder = builder.tls_certs_only([]);
        }
        builder.build().map_err(|error| PushError::Start(reason(error)))
    }

    async fn push_one(&self, client: &Client, group: Group) -> Result<(), PushError> {
        let post = client.post(self.address(&group)).body(group.text);
        let post = post.header(CONTENT_TYPE, "text/plain; version=0.0.4");
        let response = post.send().await.map_err(|error| PushError::Unreachable(reason(error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let message = match response.text().await {
            Ok(text) => text.trim().chars().take(REFUSAL_CHARS_MAX).collect(),
            Err(error) => reason(error),
        };
        Err(PushError::Refused { status: status.as_u16(), message })
    }

    /// `/metrics/job/<job>/<label>/<value>…`. A value with a slash, or none, goes in base64.
    fn address(&self, group: &Group) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["metrics", "job", group.job]);
            for (label, value) in &group.labels {
                if value.is_empty() || value.contains('/') {
                    path.push(&format!("{label}@base64"));
                    // The gateway's own word for nothing at all is one padding sign.
                    let coded = BASE64URL_NOPAD.encode(value.as_bytes());
                    path.push(if coded.is_empty() { "=" } else { &coded });
                } else {
                    path.push(label).push(value);
                }
            }
        }
        url
    }
}

/// Why, down to the cause, and without the address.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        task::JoinSet,
    };

    use super::*;

    const SECRET: &str = "hunter2";

    fn gateway(url: &str) -> Result<Gateway, PushUrlError> {
        Gateway::try_from(&PushTarget::from(url.to_owned()))
    }

    fn group(labels: &[(&'static str, &str)]) -> Group {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Group { job: "nbp_submit", labels, text: "a 1\n".to_owned() }
    }

    #[test]
    fn only_web_addresses_pass_and_none_is_repeated() {
        for good in ["http://x", "http://u:p@x:9091/", "https://x/push"] {
            assert!(gateway(good).is_ok(), "{good}");
        }
        for bad in ["", "x", "x:9091", "file:///x", "hunter2://x", "http://x/?hunter2", "http://"] {
            let error = gateway(bad).expect_err(bad);
            assert!(!error.to_string().contains(SECRET), "{error}");
        }
        let target = PushTarget::from(format!("http://me:{SECRET}@x:9091/{SECRET}"));
        let gateway = Gateway::try_from(&target).expect("an address");
        let shown = format!("{target:?} {gateway:?} {gateway}");
        assert!(shown.contains("http://x:9091") && !shown.contains(SECRET), "{shown}");
    }

    #[test]
    fn the_grouping_key_is_the_path() {
        let address = |url: &str, labels: &[(&'static str, &str)]| {
            gateway(url).expect("an address").address(&group(labels)).to_string()
        };
        let one = address("http://x:9091", &[("repo", "homelab"), ("host", "web-1")]);
        assert_eq!(one, "http://x:9091/metrics/job/nbp_submit/repo/homelab/host/web-1");
        let two = address("https://x/push/", &[("base", "release/24.11")]);
        assert_eq!(two, "https://x/push/metrics/job/nbp_submit/base@base64/cmVsZWFzZS8yNC4xMQ");
        let odd = address("http://x", &[("base", "a b?#%"), ("host", "")]);
        assert_eq!(odd, "http://x/metrics/job/nbp_submit/base/a%20b%3F%23%25/host@base64/=");
    }

    /// Takes one request and answers it, or never does.
    async fn stranger(answer: Option<&'static str>) -> (String, JoinSet<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.expect("a request");
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).await.expect("sent"),
                None => std::future::pending().await,
            }
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        (format!("http://me:{SECRET}@{address}/{SECRET}"), tasks)
    }

    async fn failure(url: &str) -> String {
        let gateway = gateway(url).expect("an address");
        let text = gateway.push(vec![group(&[])]).await.expect_err("no gateway").to_string();
        assert!(!text.contains(SECRET), "{text}");
        text
    }

    #[tokio::test]
    async fn what_fails_is_said_without_the_secret() {
        let (url, mut tasks) =
            stranger(Some("HTTP/1.1 400 Bad\r\nContent-Length: 3\r\n\r\nno\n")).await;
        assert_eq!(failure(&url).await, "have it accepted: 400: no");
        let request = tasks.join_next().await.expect("one").expect("a request").to_lowercase();
        // The password is where it belongs.
        assert!(request.contains("authorization: basic bwu6ahvudgvymg=="), "{request}");
        // Nobody listens there any more.
        drop(tasks);
        assert!(failure(&url).await.starts_with("reach it: "));
        let moved =
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
        let (url, _tasks) = stranger(Some(moved)).await;
        assert_eq!(failure(&url).await, "have it accepted: 302: ");
    }

    #[tokio::test]
    async fn a_gateway_that_never_answers_is_given_up() {
        let (url, _tasks) = stranger(None).await;
        assert_eq!(failure(&url).await, "tell it within 10 s");
    }
}
