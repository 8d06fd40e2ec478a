//! The server's side of the connection: reads requests, asks who it is, has them handled, and sends
//! what comes of it.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Response,
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinSet, spawn_blocking},
};

use super::{
    Persona, Seen,
    api::Call,
    faults::{Fault, Faults, Outcome, Stage},
    git::Git,
    http::{Answer, Request},
    spec::{Found, Operation, Spec},
    state::State,
};

const ROOT: [&str; 2] = ["api", "v1"];

/// What all connections share.
pub(super) struct Shared {
    pub(super) persona: Persona,
    pub(super) spec: Spec,
    pub(super) git: Git,
    /// `owner` and `name`.
    pub(super) repo: (String, String),
    /// Token and login.
    pub(super) users: Vec<(String, String)>,
    pub(super) state: Mutex<State>,
    pub(super) faults: Faults,
    pub(super) seen: Mutex<Vec<Seen>>,
    pub(super) violations: Mutex<Vec<String>>,
}

type Body = BoxBody<Bytes, io::Error>;

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(|request| answer(Arc::clone(&shared), request));
    // Broken connections are what many a test is about.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    shared: Arc<Shared>,
    request: hyper::Request<Incoming>,
) -> Result<Response<Body>, io::Error> {
    let request = Arc::new(read(request).await?);
    let index = shared.note(&request);
    if let Some(gate) = shared.faults.take_gate(Stage::Instead, &request) {
        gate.pass().await;
    }
    let outcome = match shared.faults.take_fault(Stage::Instead, &request) {
        Some(fault) => fault.strike(None),
        None => handled(&shared, &request).await?,
    };
    if let Some(gate) = shared.faults.take_gate(Stage::After, &request) {
        gate.pass().await;
    }
    let (answer, whole) = match outcome {
        Outcome::Answer(answer) => (answer, true),
        Outcome::Truncated(answer) => (answer, false),
        // An error of the service ends the connection.
        Outcome::Reset => return Err(io::ErrorKind::ConnectionReset.into()),
        Outcome::Hang => std::future::pending().await,
    };
    lock(&shared.seen)[index].status = Some(answer.status);
    Ok(response(answer, whole))
}

/// Has the request handled off the event loop: git and hooks of tests block.
async fn handled(shared: &Arc<Shared>, request: &Arc<Request>) -> Result<Outcome, io::Error> {
    let (on, asked) = (Arc::clone(shared), Arc::clone(request));
    let right = spawn_blocking(move || {
        on.faults.happen_before(&asked);
        on.handle(&asked)
    });
    let right = right.await?;
    let Some(fault) = shared.faults.take_fault(Stage::After, request) else {
        return Ok(Outcome::Answer(right));
    };
    if let Fault::Slow(delay) = fault {
        tokio::time::sleep(delay).await;
    }
    Ok(fault.strike(Some(right)))
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn note(&self, request: &Request) -> usize {
        let mut seen = lock(&self.seen);
        seen.push(Seen { request: request.clone(), status: None });
        seen.len() - 1
    }

    fn violation(&self, request: &Request, what: &str) {
        let line = format!("{} {}: {what}", request.method, request.target);
        lock(&self.violations).push(line);
    }

    fn handle(&self, request: &Request) -> Answer {
        let parts = request.path_parts();
        let words: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (owner, name) = (self.repo.0.as_str(), format!("{}.git", self.repo.1));
        match words.as_slice() {
            [api, version, ..] if [*api, *version] == ROOT => self.handle_api(request, &parts[2..]),
            [first, second, rest @ ..] if *first == owner && *second == name => {
                self.handle_git(request, &rest.join("/"))
            }
            _ => {
                self.violation(request, "nothing lives there");
                Answer::refusal(404, "Not found.")
            }
        }
    }

    fn handle_api(&self, request: &Request, path: &[String]) -> Answer {
        let operation = match self.spec.find(&request.method, path) {
            Found::Operation(operation) => operation,
            Found::NoSuchMethod => {
                // A client must know from the version that this one is missing.
                self.violation(request, "this server has no such method there");
                return Answer::empty(405);
            }
            Found::NoSuchPath => {
                self.violation(request, "the description has no such path");
                return Answer::refusal(404, "Not found.");
            }
        };
        for fault in self.spec.request_faults(&operation, request) {
            self.violation(request, &fault);
        }
        let answer = self.operate(request, &operation);
        // Trouble of the server is in no description.
        if answer.status < 500 {
            for fault in self.spec.answer_faults(&operation, &answer) {
                self.violation(request, &format!("the mock's own answer: {fault}"));
            }
        }
        answer
    }

    fn operate(&self, request: &Request, operation: &Operation) -> Answer {
        let given = request.header("authorization").unwrap_or_default();
        let token = given.strip_prefix("token ").unwrap_or_default();
        let Some(user) = self.user_of(token) else {
            return Answer::refusal(401, "user does not exist [uid: 0, name: ]");
        };
        if operation.path.starts_with("/repos/") {
            let asked = (operation.parameter("owner"), operation.parameter("repo"));
            if asked != (self.repo.0.as_str(), self.repo.1.as_str()) {
                return Answer::refusal(404, "The target couldn't be found.");
            }
        }
        let mut state = self.state();
        let mut call = Call {
            spec: &self.spec,
            persona: self.persona,
            git: &self.git,
            faults: &self.faults,
            state: &mut state,
            request,
            operation,
            user,
        };
        call.follow_branches();
        call.answer().unwrap_or_else(|| {
            self.violation(request, "the mock does not have this operation");
            Answer::refusal(501, "not in the mock")
        })
    }

    fn handle_git(&self, request: &Request, rest: &str) -> Answer {
        let given = request.header("authorization").unwrap_or_default();
        let user = match given.split_once(' ') {
            Some(("token" | "Bearer", token)) => self.user_of(token),
            Some(("Basic", pair)) => self.user_of_pair(pair),
            _ => None,
        };
        let pushes = request.target.contains("git-receive-pack");
        if (user.is_none() && !given.is_empty())
            || (user.is_none() && (pushes || self.state().settings.private))
        {
            return Answer::empty(401).with("www-authenticate", "Basic realm=\"Gitea\"");
        }
        self.git.serve(request, rest, user)
    }

    fn user_of(&self, token: &str) -> Option<&str> {
        let found = self.users.iter().find(|(it, _)| it == token);
        found.map(|(_, login)| login.as_str())
    }

    /// The token may stand as the password of any user, or as the user with no real password.
    fn user_of_pair(&self, encoded: &str) -> Option<&str> {
        let fits = |token: &str, login: &str| {
            let users = [login, "token"].map(|user| format!("{user}:{token}"));
            let pairs =
                [&users[..], &[format!("{token}:x-oauth-basic"), format!("{token}:")]].concat();
            pairs.iter().any(|pair| base64(pair.as_bytes()) == encoded)
        };
        let found = self.users.iter().find(|(token, login)| fits(token, login));
        found.map(|(_, login)| login.as_str())
    }
}

async fn read(request: hyper::Request<Incoming>) -> Result<Request, io::Error> {
    let (head, body) = request.into_parts();
    let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    Ok(Request {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: head.headers.iter().map(header).collect(),
        body,
    })
}

fn response(answer: Answer, whole: bool) -> Response<Body> {
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    let body = if whole {
        Full::new(answer.body).map_err(|never: Infallible| match never {}).boxed()
    } else {
        response = response.header("content-length", answer.body.len());
        let half = answer.body.slice(..answer.body.len() / 2);
        let broken = async {
            // A moment for the first half to be sent.
            tokio::task::yield_now().await;
            Err(io::ErrorKind::ConnectionReset.into())
        };
        let first = stream::iter([Ok(Frame::data(half))]);
        BoxBody::new(StreamBody::new(first.chain(stream::once(broken))))
    };
    response.body(body).expect("a status and headers that are legal")
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A listener on a port that the kernel chose.
pub(super) fn listen(address: SocketAddr) -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind(address).expect("a port");
    listener.set_nonblocking(true).expect("a socket of ours");
    let address = listener.local_addr().expect("a bound socket");
    (listener, address)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let shown = digit <= chunk.len();
            let index = (group >> (18 - 6 * digit)) & 63;
            text.push(if shown { char::from(DIGITS[index as usize]) } else { '=' });
        }
    }
    text
}
