//! A server of a few small pages for scrapers and probes.
//!
//! Whoever connects gets one answer within a deadline. There are never more connections than
//! [`CONNECTIONS_MAX`]; further ones wait in the kernel, so slow or hostile clients hurt each other
//! and nobody else.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Two Prometheus servers and a probe need three.
const CONNECTIONS_MAX: usize = 16;
/// A request is one packet; so long may it take to come.
const REQUEST_WAIT: Duration = Duration::from_secs(5);
/// From the connection to the last byte of the answer: Prometheus itself waits 10 s.
const CONNECTION_WAIT: Duration = Duration::from_secs(10);
/// The least that hyper takes. Requests for these pages have a few hundred bytes.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// Without file descriptors there is nothing to do but wait for some.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// One page.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// Of the body.
    pub content_type: &'static str,
    /// All of it.
    pub body: Bytes,
}

/// What is served.
pub trait Site: Send + Sync + 'static {
    /// The page at a path; none: there is no such page. Must neither block nor take long.
    fn answer(&self, path: &str) -> Option<Answer>;
}

/// Serves until told to stop; then open connections are cut.
pub async fn serve(listener: TcpListener, site: Arc<impl Site>, stop: CancellationToken) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut troubled = false;
    loop {
        let next = async {
            // The semaphore is never closed.
            let permit = Arc::clone(&free).acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = stop.cancelled() => return,
            next = next => next,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                troubled = false;
                let site = Arc::clone(&site);
                connections.spawn(async move {
                    connection(stream, site).await;
                    drop(permit);
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut troubled, true) {
                    warn!("no connection of a scraper can be taken: {error}");
                }
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, site: Arc<impl Site>) {
    // An answer is written at once; waiting for more of it costs each scrape 40 ms.
    stream.set_nodelay(true).ok();
    let service = service_fn(|request| {
        let response = response(&request, &*site);
        async { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(REQUEST_WAIT)
        .max_buf_size(REQUEST_BYTES_MAX)
        // One answer each: an idle connection would keep its place from others.
        .keep_alive(false);
    let served = http.serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_WAIT, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("a scraper's connection failed: {error}"),
        Err(_) => debug!("a scraper was too slow"),
    }
}

fn response(request: &Request<impl Body>, site: &impl Site) -> Response<Full<Bytes>> {
    let plain = |status, body: &'static str| Answer {
        status,
        content_type: "text/plain; charset=utf-8",
        body: Bytes::from_static(body.as_bytes()),
    };
    let read_only = matches!(*request.method(), Method::GET | Method::HEAD);
    let answer = match read_only {
        true => site.answer(request.uri().path()),
        false => Some(plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n")),
    };
    let answer = answer.unwrap_or_else(|| plain(StatusCode::NOT_FOUND, "no such page\n"));
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !read_only {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::Instant,
    };

    use super::*;

    struct One;

    impl Site for One {
        fn answer(&self, path: &str) -> Option<Answer> {
            let body = Bytes::from_static(b"here\n");
            let found = Answer { status: StatusCode::OK, content_type: "text/plain", body };
            (path == "/one").then_some(found)
        }
    }

    async fn served() -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::new(One), CancellationToken::new()));
        (address, tasks)
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        // Whoever sends too much is cut off in the middle.
        stream.read_to_end(&mut answer).await.ok();
        String::from_utf8(answer).expect("text")
    }

    #[tokio::test]
    async fn pages_are_read_and_nothing_else() {
        let (address, _tasks) = served().await;
        let page = ask(address, "GET /one HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(page.starts_with("HTTP/1.1 200 OK") && page.ends_with("here\n"), "{page}");
        let head = ask(address, "HEAD /one?a=b HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 OK") && head.ends_with("\r\n\r\n"), "{head}");
        let other = ask(address, "GET /two HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(other.starts_with("HTTP/1.1 404"), "{other}");
        let post =
            ask(address, "POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na").await;
        assert!(post.starts_with("HTTP/1.1 405") && post.contains("GET, HEAD"), "{post}");
        let long = format!("GET /one HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(64 << 10));
        let long = ask(address, &long).await;
        assert!(long.is_empty() || long.starts_with("HTTP/1.1 431"), "{long}");
        let noise = ask(address, "\0\u{1}nonsense\r\n\r\n").await;
        assert!(noise.is_empty() || noise.starts_with("HTTP/1.1 400"), "{noise}");
    }

    #[tokio::test]
    async fn silent_clients_are_dropped_and_others_get_their_turn() {
        let (address, _tasks) = served().await;
        let began = Instant::now();
        let mut silent = Vec::new();
        // More than are served at once; some send half a request.
        for number in 0..2 * CONNECTIONS_MAX {
            let mut stream = TcpStream::connect(address).await.expect("the kernel takes it");
            if number % 2 == 0 {
                stream.write_all(b"GET /one HT").await.expect("sent");
            }
            silent.push(stream);
        }
        let page = ask(address, "GET /one HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(page.starts_with("HTTP/1.1 200 OK"), "{page}");
        assert!(began.elapsed() >= REQUEST_WAIT, "the silent ones were served at once, too");
    }
}
