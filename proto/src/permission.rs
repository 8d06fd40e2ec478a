//! Who may publish and subscribe to what: six roles with the least that works, as data.
//!
//! `producer setup --print-nats-config` renders it, and the integration tests run every role on a
//! server with exactly that. It knows no file format and no server.
//!
//! What no list can express, and what follows from it, stands in `deploy/nats/README.md`: a bucket
//! is one right for all its keys, and a reader of a stream reads all of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    account::{API, Account},
    priority::Priority,
    subject,
    token::{Class, HolderName, Identity, TokenError, shown},
    topology::{self, Bucket},
};

/// What somebody is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Asks for builds under its own identity, and sees what became of them.
    Submitter,
    /// Takes jobs of its classes, writes results, logs, events and dead letters.
    Worker,
    /// A submitter that also keeps gate records and tells what landed.
    Gate,
    /// Sees everything and writes nothing.
    Reader,
    /// Pauses, cancels, asks again, and looks after dead letters.
    Operator,
    /// Makes streams and consumers. Nobody's daily key.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Submitter, Self::Worker, Self::Gate, Self::Reader, Self::Operator, Self::Admin];

    /// The name in the keys file and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Submitter => "submitter",
            Self::Worker => "worker",
            Self::Gate => "gate",
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl Role {
    /// Where its holders live.
    pub fn account(self) -> Account {
        match self {
            Self::Worker | Self::Admin => Account::Pool,
            Self::Submitter | Self::Gate | Self::Operator => Account::Ask,
            Self::Reader => Account::Read,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Role {
    type Err = TokenError;
    fn from_str(value: &str) -> Result<Self, TokenError> {
        let role = Self::ALL.into_iter().find(|role| role.name() == value);
        let names = Self::ALL.map(Self::name).join(", ");
        role.ok_or_else(|| TokenError::new("role", value, format!("it is none of {names}")))
    }
}

/// Who gets the rights.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// What it is for.
    pub role: Role,
    /// Its name; a worker's presence and events stand under it.
    pub name: &'a HolderName,
    /// Its public NKey; its runs and its inbox stand under it.
    pub identity: &'a Identity,
    /// Of a worker, the classes it may take and put back.
    pub classes: &'a [Class],
}

/// What a holder may do. Whatever no `allow` matches is denied, and `deny` wins over `allow`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects to send to.
    pub publish: Rules,
    /// Subjects to listen on.
    pub subscribe: Rules,
}

/// Subjects, wildcards included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// What is allowed.
    pub allow: Vec<String>,
    /// What is denied although something else allows it.
    pub deny: Vec<String>,
}

/// The answers to an identity's requests come under this prefix, and nobody else may listen there:
/// on a shared `_INBOX` everybody would read everybody's answers.
pub fn inbox_prefix(identity: &Identity) -> String {
    format!("_INBOX_{identity}")
}

impl Permissions {
    /// The rights of one holder.
    pub fn of(holder: &Holder<'_>) -> Self {
        let mut rights = Self::default();
        rights.hear(format!("{}.>", inbox_prefix(holder.identity)));
        match holder.role {
            Role::Submitter => rights.submitter(holder),
            Role::Worker => rights.worker(holder),
            Role::Gate => rights.gate(holder),
            Role::Reader => rights.reader(),
            Role::Operator => rights.operator(holder),
            Role::Admin => rights.admin(holder),
        }
        rights
    }

    /// All that any of several may do: what a connection needs that carries them all. Denials are
    /// left to whoever enforces the single rights: one holder's must not bind another.
    pub fn union(many: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::default();
        for one in many {
            all.publish.allow.extend(one.publish.allow);
            all.subscribe.allow.extend(one.subscribe.allow);
        }
        for rules in [&mut all.publish, &mut all.subscribe] {
            rules.allow.sort_unstable();
            rules.allow.dedup();
        }
        all
    }

    /// What the pool's account must let through for these rights: calls, and what is heard without
    /// asking. An inbox is of the account that it is in.
    pub fn let_through(&self) -> (Vec<&str>, Vec<&str>) {
        let calls = self.publish.allow.iter().map(String::as_str);
        let heard = self.subscribe.allow.iter().map(String::as_str);
        (calls.collect(), heard.filter(|subject| !subject.starts_with("_INBOX")).collect())
    }

    fn submitter(&mut self, holder: &Holder<'_>) {
        self.follow();
        self.ask(holder);
    }

    fn gate(&mut self, holder: &Holder<'_>) {
        self.submitter(holder);
        self.read(&Bucket::Gates.stream());
        self.say(subject::kv(Bucket::Gates.name(), ">"));
        self.say(subject::LANDED_ALL.into());
        self.say(subject::GATE_EVENT_ALL.into());
    }

    fn reader(&mut self) {
        self.follow();
        self.read(&Bucket::Gates.stream());
        self.api(&format!("CONSUMER.LIST.{}", topology::JOBS));
    }

    fn operator(&mut self, holder: &Holder<'_>) {
        self.reader();
        self.ask(holder);
        self.read(topology::DEAD);
        self.api(&format!("STREAM.MSG.DELETE.{}", topology::DEAD));
        self.api(&format!("CONSUMER.PAUSE.{}.*", topology::JOBS));
        self.tell_of_classes(holder);
    }

    fn worker(&mut self, holder: &Holder<'_>) {
        for class in holder.classes {
            for priority in Priority::ALL {
                let consumer = topology::consumer_name(class, priority);
                let consumer = format!("{}.{consumer}", topology::JOBS);
                self.api(&format!("CONSUMER.INFO.{consumer}"));
                self.api(&format!("CONSUMER.MSG.NEXT.{consumer}"));
                // Both forms: the second one names domain and account, and a server that uses it
                // would otherwise deny every ack, which redelivers for ever.
                self.say(format!("$JS.ACK.{consumer}.>"));
                self.say(format!("$JS.ACK.*.*.{consumer}.>"));
            }
            self.say(subject::build_of_class(class));
        }
        for bucket in [Bucket::Requests, Bucket::Results, Bucket::LastGood, Bucket::Workers] {
            self.read(&bucket.stream());
        }
        // Messages that no client can be given are found and taken out by their number. Whoever
        // deletes another's job this way costs it time: it is wanted, so a sweep queues it again.
        self.api(&format!("STREAM.MSG.GET.{}", topology::JOBS));
        self.api(&format!("STREAM.MSG.DELETE.{}", topology::JOBS));
        // What is queued, for sweeping; its newest dead letter, so that it stores none twice; how
        // many there are, for its metrics.
        self.api(&format!("STREAM.INFO.{}", topology::JOBS));
        self.read(topology::DEAD);
        self.say(subject::kv(Bucket::Results.name(), ">"));
        self.say(subject::kv(Bucket::LastGood.name(), ">"));
        self.say(subject::kv(Bucket::Workers.name(), holder.name.as_str()));
        self.say(subject::LOG_ALL.into());
        self.say(subject::JOB_EVENT_ALL.into());
        self.say(format!("nbp.event.worker.*.{}", holder.name));
        self.say(subject::DEAD_ALL.into());
        self.hear(subject::CANCEL_ALL.into());
    }

    /// Streams, consumers and everything that keeps them. It takes no job by mistake, and nothing
    /// answers it with a stored message as it is, which could be made to land in another bucket.
    fn admin(&mut self, holder: &Holder<'_>) {
        self.tell_of_classes(holder);
        self.api(">");
        self.publish.deny.push("$JS.API.CONSUMER.MSG.NEXT.>".into());
        self.publish.deny.push("$JS.API.DIRECT.GET.>".into());
    }

    /// What `status`, `watch`, `logs`, `workers`, `queue`, `history`, `explain` and `events` read,
    /// always from the leader. (A gate also reads which landing it told last.)
    fn follow(&mut self) {
        let read =
            [Bucket::Requests, Bucket::Results, Bucket::Runs, Bucket::Workers, Bucket::LastGood];
        for bucket in read {
            self.read(&bucket.stream());
        }
        self.read(topology::LOGS);
        self.read(topology::EVENTS);
        self.api(&format!("STREAM.INFO.{}", topology::JOBS));
        self.api(&format!("CONSUMER.INFO.{}.*", topology::JOBS));
        // Hints that something changed.
        self.hear(subject::kv(Bucket::Results.name(), ">"));
        self.hear(subject::LOG_ALL.into());
        self.hear(subject::EVENT_ALL.into());
    }

    /// Wishes, runs of one's own, messages and cancel pokes.
    fn ask(&mut self, holder: &Holder<'_>) {
        self.say(subject::BUILD_ALL.into());
        self.say(subject::kv(Bucket::Requests.name(), ">"));
        self.say(subject::kv(Bucket::Runs.name(), &format!("{}.*", holder.identity)));
        self.say(subject::CANCEL_ALL.into());
        self.say(format!("nbp.event.run.*.*.{}", holder.identity));
    }

    /// That a class was paused or resumed, in one's own name.
    fn tell_of_classes(&mut self, holder: &Holder<'_>) {
        self.say(format!("nbp.event.class.*.*.{}", holder.identity));
    }

    fn read(&mut self, stream: &str) {
        self.api(&format!("STREAM.INFO.{stream}"));
        self.api(&format!("STREAM.MSG.GET.{stream}"));
    }

    fn api(&mut self, call: &str) {
        self.say(format!("{API}{call}"));
    }

    fn say(&mut self, subject: String) {
        self.publish.allow.push(subject);
    }

    fn hear(&mut self, subject: String) {
        self.subscribe.allow.push(subject);
    }

    /// Whether the rules as they stand let a publish through.
    pub fn may_publish(&self, subject: &str) -> bool {
        self.publish.allows(subject)
    }

    /// Whether the rules as they stand let a subscription through that has no wildcards.
    pub fn may_subscribe(&self, subject: &str) -> bool {
        self.subscribe.allows(subject)
    }
}

impl Rules {
    fn allows(&self, subject: &str) -> bool {
        let any = |rules: &[String]| rules.iter().any(|rule| matches(rule, subject));
        any(&self.allow) && !any(&self.deny)
    }
}

/// The server's rule of wildcards: `*` is one token, `>` is one or more at the end.
fn matches(rule: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for part in rule.split('.') {
        match (part, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (part, Some(token)) if part == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// A holder that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HolderError {
    /// A worker that may take nothing.
    NoClasses(HolderName),
    /// Classes of somebody who takes no jobs.
    Classes(HolderName, Role),
}

impl fmt::Display for HolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoClasses(name) => {
                let name = shown(name.as_str());
                write!(f, "worker {name} has no classes, e.g. classes = [\"x86_64-linux\"]")
            }
            Self::Classes(name, role) => {
                let name = shown(name.as_str());
                write!(f, "{role} {name} has classes, which only a worker takes jobs of")
            }
        }
    }
}

impl std::error::Error for HolderError {}

impl Holder<'_> {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// A worker needs classes and nobody else has any.
    pub fn check(&self) -> Result<(), HolderError> {
        match (self.role, self.classes.is_empty()) {
            (Role::Worker, true) => Err(HolderError::NoClasses(self.name.clone())),
            (Role::Worker, false) | (_, true) => Ok(()),
            (role, false) => Err(HolderError::Classes(self.name.clone(), role)),
        }
    }
}

#[cfg(test)]
mod tests;
