//! What goes wrong on purpose, and what happens in exactly the gap that a test names.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::sync::Semaphore;

use super::http::{Answer, Request};
use crate::poll::eventually;

/// Which requests are meant: the method, and how the path ends; with its query if that is named.
#[derive(Clone, Debug)]
pub struct On {
    method: &'static str,
    path: String,
}

/// How a request is answered instead.
#[derive(Clone)]
pub enum Fault {
    /// A status with headers and a body.
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: String },
    /// The answer breaks off in the middle.
    Truncated,
    /// The connection ends without a word.
    Reset,
    /// Nothing comes, and the connection stays.
    Hang,
    /// The right answer, late.
    Slow(Duration),
    /// The right answer with its JSON changed, as another version would send it.
    Rewritten(Rewrite),
}

type Rewrite = Arc<dyn Fn(&mut Value) + Send + Sync>;
type Hook = Box<dyn FnOnce() + Send>;

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The request does nothing.
    Instead,
    /// The request has done what it asks for.
    After,
}

/// Requests that wait to be released; dropped, it releases them.
#[derive(Debug)]
pub struct Held {
    gate: Arc<Gate>,
}

#[derive(Debug)]
pub(super) struct Gate {
    arrived: AtomicUsize,
    permits: Semaphore,
}

enum Act {
    Fault(Stage, Fault),
    Hold(Stage, Arc<Gate>),
    Before(Hook),
    /// Within the move of a branch, between its look and its push.
    Inside(Hook),
}

struct Rule {
    on: On,
    /// How many requests it is for yet.
    left: usize,
    act: Act,
}

#[derive(Default)]
pub(super) struct Faults {
    rules: Mutex<Vec<Rule>>,
}

/// What is to be sent.
pub(super) enum Outcome {
    Answer(Answer),
    Truncated(Answer),
    Reset,
    Hang,
}

/// More requests than any test makes.
const ALWAYS: usize = usize::MAX;

impl On {
    pub fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self { method, path: path.into() }
    }

    pub(super) fn matches(&self, request: &Request) -> bool {
        let target = if self.path.contains('?') { &request.target } else { request.path() };
        request.method == self.method && target.ends_with(&self.path)
    }
}

impl Fault {
    pub fn status(status: u16) -> Self {
        let body = format!("{{\"message\":\"the test says {status}\"}}");
        Self::Answer {
            status,
            headers: vec![("content-type", "application/json".to_owned())],
            body,
        }
    }

    pub fn html(status: u16) -> Self {
        let headers = vec![("content-type", "text/html; charset=utf-8".to_owned())];
        let body = "<!DOCTYPE html><title>Sign in</title>".to_owned();
        Self::Answer { status, headers, body }
    }

    pub fn rewritten(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self::Rewritten(Arc::new(change))
    }

    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name, value.into()));
        }
        self
    }

    #[must_use]
    pub fn with_body(mut self, text: impl Into<String>) -> Self {
        if let Self::Answer { body, .. } = &mut self {
            *body = text.into();
        }
        self
    }

    /// What becomes of the right answer, or of none.
    pub(super) fn strike(self, right: Option<Answer>) -> Outcome {
        match self {
            Self::Answer { status, headers, body } => {
                let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value));
                Outcome::Answer(Answer { status, headers: headers.collect(), body: body.into() })
            }
            Self::Truncated => match right {
                Some(right) => Outcome::Truncated(right),
                None => Outcome::Reset,
            },
            Self::Reset => Outcome::Reset,
            Self::Hang => Outcome::Hang,
            Self::Slow(_) => right.map_or(Outcome::Reset, Outcome::Answer),
            Self::Rewritten(change) => {
                let Some(right) = right else { return Outcome::Reset };
                let mut value = serde_json::from_slice(&right.body).expect("an answer of JSON");
                change(&mut value);
                Outcome::Answer(Answer { body: value.to_string().into(), ..right })
            }
        }
    }

    /// Whether there must be a right answer first.
    fn needs_answer(&self) -> bool {
        matches!(self, Self::Truncated | Self::Slow(_) | Self::Rewritten(_))
    }
}

impl Faults {
    pub(super) fn fault(&self, stage: Stage, on: On, times: Option<usize>, fault: Fault) {
        let stage = if fault.needs_answer() { Stage::After } else { stage };
        self.add(on, times.unwrap_or(ALWAYS), Act::Fault(stage, fault));
    }

    pub(super) fn before(&self, on: On, hook: Hook) {
        self.add(on, 1, Act::Before(hook));
    }

    pub(super) fn inside_of(&self, on: On, hook: Hook) {
        self.add(on, 1, Act::Inside(hook));
    }

    pub(super) fn hold(&self, stage: Stage, on: On) -> Held {
        let gate = Arc::new(Gate { arrived: AtomicUsize::new(0), permits: Semaphore::new(0) });
        self.add(on, ALWAYS, Act::Hold(stage, Arc::clone(&gate)));
        Held { gate }
    }

    pub(super) fn clear(&self) {
        self.rules().clear();
    }

    fn add(&self, on: On, left: usize, act: Act) {
        self.rules().push(Rule { on, left, act });
    }

    pub(super) fn take_fault(&self, stage: Stage, request: &Request) -> Option<Fault> {
        self.take(request, |act| match act {
            Act::Fault(at, fault) if *at == stage => Some(fault.clone()),
            _ => None,
        })
    }

    pub(super) fn take_gate(&self, stage: Stage, request: &Request) -> Option<Arc<Gate>> {
        self.take(request, |act| match act {
            Act::Hold(at, gate) if *at == stage => Some(Arc::clone(gate)),
            _ => None,
        })
    }

    /// Runs what a test wants to happen just before this request is handled.
    pub(super) fn happen_before(&self, request: &Request) {
        self.run(request, |act| matches!(act, Act::Before(_)));
    }

    /// Runs what a test wants to happen in the middle of the move of a branch.
    pub(super) fn inside(&self, request: &Request) {
        self.run(request, |act| matches!(act, Act::Inside(_)));
    }

    fn run(&self, request: &Request, wanted: impl Fn(&Act) -> bool) {
        let found = {
            let mut rules = self.rules();
            let at = rules.iter().position(|rule| rule.on.matches(request) && wanted(&rule.act));
            at.map(|at| rules.remove(at))
        };
        // Without the lock: a hook takes its time.
        if let Some(Rule { act: Act::Before(hook) | Act::Inside(hook), .. }) = found {
            hook();
        }
    }

    fn take<T>(&self, request: &Request, wanted: impl Fn(&Act) -> Option<T>) -> Option<T> {
        let mut rules = self.rules();
        let rule = rules.iter_mut().find_map(|rule| {
            let open = rule.left > 0 && rule.on.matches(request);
            open.then(|| wanted(&rule.act)).flatten().map(|found| (rule, found))
        });
        let (rule, found) = rule?;
        rule.left -= 1;
        Some(found)
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    pub(super) async fn pass(&self) {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        // Refused only when closed, which is the release for good.
        drop(self.permits.acquire().await);
    }
}

impl Held {
    /// Waits until a request is held.
    #[track_caller]
    pub fn wait(&self, deadline: Duration) {
        let arrived = || (self.gate.arrived.load(Ordering::SeqCst) > 0).then_some(());
        eventually("a request to be held", deadline, arrived);
    }

    /// Lets go what is held, and holds nothing more.
    pub fn release(self) {}
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gate.permits.close();
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer { status, .. } => write!(f, "Answer({status})"),
            Self::Truncated => f.write_str("Truncated"),
            Self::Reset => f.write_str("Reset"),
            Self::Hang => f.write_str("Hang"),
            Self::Slow(delay) => write!(f, "Slow({delay:?})"),
            Self::Rewritten(_) => f.write_str("Rewritten"),
        }
    }
}
