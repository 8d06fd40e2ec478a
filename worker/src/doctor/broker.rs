//! The broker: whether it lets us in, what we may do there, what it holds, and its clock. Pure.

use bus::{Error, Examined, Link, Probed};
use proto::{Class, Timestamp};

use super::{
    finding::{Check, Finding, Group},
    quantity::some_of,
    trouble::Trouble,
};

/// Who we are to the broker.
#[derive(Clone, Debug)]
pub struct Who {
    /// `[worker] name`.
    pub name: String,
    /// The public key, or `local` without one.
    pub identity: String,
    /// All that the config could serve.
    pub classes: Vec<Class>,
}

/// What is known of the broker.
#[derive(Debug)]
pub struct BrokerFacts {
    /// Where.
    pub url: String,
    /// Who asks.
    pub who: Who,
    /// Whether it let us in; all that follows is empty if not.
    pub connected: Result<(), Refusal>,
    /// What came of the trial of each right.
    pub rights: Vec<(String, Probed)>,
    /// What it holds.
    pub examined: Option<Result<Examined, Error>>,
    /// How its clock stands to ours.
    pub clock: Option<Result<Clock, Error>>,
    /// Whether the connection held until the end.
    pub link: Link,
}

/// Why it did not let us in.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// In words.
    pub words: String,
    /// What kind of trouble.
    pub kind: RefusalKind,
}

/// Kinds of trouble with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// A file or a URL here is wrong.
    Here,
    /// It does not know the key.
    Key,
    /// The two ends do not come to a secure connection.
    Tls,
    /// Nobody answers.
    Away,
}

/// One look at both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The broker's.
    pub there: Timestamp,
    /// Ours, at the same moment.
    pub here: Timestamp,
    /// Why no job is claimed by these, if so (`bus::clock`).
    pub wrong: bool,
}

/// What there is to say of it.
pub fn findings(facts: &BrokerFacts) -> Vec<Finding> {
    let mut all = vec![reach(facts)];
    if facts.connected.is_err() {
        return all;
    }
    all.push(rights(facts));
    match &facts.examined {
        Some(Ok(examined)) => {
            all.push(streams(examined));
            all.push(drift(examined));
            all.extend(classes(&facts.who, examined));
        }
        Some(Err(error)) => all.push(Check(Group::Broker, "streams").undecided(
            error.to_string(),
            "jobs and results are kept in them",
            "look at the broker's log and its /healthz",
        )),
        None => {}
    }
    all.extend(facts.clock.as_ref().map(clock));
    all
}

fn reach(facts: &BrokerFacts) -> Finding {
    let check = Check(Group::Broker, "connection");
    let BrokerFacts { url, who, .. } = facts;
    let Refusal { words, kind } = match &facts.connected {
        Ok(()) if facts.link == Link::Up => {
            return check.ok(format!("{url} answers; connected as {}", who.identity));
        }
        Ok(()) => {
            return check.undecided(
                format!("{url} answered, and then the connection was lost"),
                "what follows may be wrong",
                "look at the broker, then ask again",
            );
        }
        Err(refusal) => refusal,
    };
    let why = "without it no job comes; rights, streams and clock were not looked at";
    match kind {
        RefusalKind::Here => check.problem(
            words,
            why,
            "correct the file or URL: [nats] url, nkey_file, ca_file (or --nats-url, \
             --nkey-file, --ca-file and NATS_URL, NATS_NKEY, NATS_CA)",
        ),
        RefusalKind::Key => check.problem(words, why, in_the_keys_file(who)),
        RefusalKind::Tls => check.problem(
            words,
            why,
            "[nats] ca_file = the authority that signed the broker's certificate, and a URL \
             with a name that is in that certificate",
        ),
        RefusalKind::Away => check.undecided(
            words,
            why,
            "on the broker: systemctl status nix-build-pool-broker, and port 4222 open to this \
             machine; here: [nats] url",
        ),
    }
}

/// The entry that gives a worker what it needs, and how it gets to the broker.
fn in_the_keys_file(who: &Who) -> String {
    let classes: Vec<&str> = who.classes.iter().map(Class::as_str).collect();
    format!(
        "in the broker's keys file: [keys.{}] role = \"worker\", public = {:?}, classes = \
         {classes:?}; then `producer setup --print-nats-config --keys FILE >nats.conf` and \
         `systemctl reload nix-build-pool-broker`",
        who.name, who.identity
    )
}

fn rights(facts: &BrokerFacts) -> Finding {
    let check = Check(Group::Broker, "rights");
    let with = |what| {
        let some = facts.rights.iter().filter(move |(_, probed)| *probed == what);
        some.map(|(subject, _)| subject.clone()).collect::<Vec<String>>()
    };
    let (denied, silent) = (with(Probed::Denied), with(Probed::Silent));
    if !denied.is_empty() {
        return check.problem(
            format!("denied: {}", some_of(&denied)),
            "a worker needs them to take jobs and to tell their results",
            in_the_keys_file(&facts.who),
        );
    }
    if !silent.is_empty() {
        return check.undecided(
            format!("no answer about {}", some_of(&silent)),
            "whether the worker may do it is not known",
            "look at the broker's log; a cluster without a leader answers nobody",
        );
    }
    check.ok(format!("all {} that a worker needs were tried", facts.rights.len()))
}

fn streams(examined: &Examined) -> Finding {
    let check = Check(Group::Broker, "streams");
    match examined.missing_streams.is_empty() {
        true => check.ok(format!("{} looked at, all are there", examined.streams.len())),
        false => check.problem(
            format!("not there: {}", some_of(&examined.missing_streams)),
            "jobs and results are kept in them; the worker waits until they are made",
            "with the admin's key: producer setup",
        ),
    }
}

fn drift(examined: &Examined) -> Finding {
    let check = Check(Group::Broker, "drift");
    let drift: Vec<String> = examined.drift.iter().map(ToString::to_string).collect();
    if drift.is_empty() {
        return check.ok("none: settings are as `producer setup` makes them");
    }
    let fix = match examined.drift.iter().all(|drift| drift.updatable) {
        true => "with the admin's key: producer setup, to see it; producer setup --apply",
        false => {
            "with the admin's key: producer setup; what JetStream cannot change in place \
                  must be made anew (docs/operate.md, backup first)"
        }
    };
    check.warning(some_of(&drift), "what the pool promises rests on these settings", fix)
}

/// A worker without the consumers of its plain systems does not start. One with features serves
/// those combinations that are set up.
fn classes(who: &Who, examined: &Examined) -> Vec<Finding> {
    let check = Check(Group::Broker, "class");
    let plain = |class: &&Class| class.system() == class.as_str();
    let missing = |class: &Class| examined.missing_classes.contains(class);
    let served = |class: &Class| !missing(class) && !examined.denied_classes.contains(class);
    let mut all = Vec::new();
    for class in who.classes.iter().filter(plain) {
        let finding = match missing(class) {
            true => check.problem(
                "no consumer hands out its jobs",
                "the worker waits for it and takes no job at all",
                format!(
                    "with the admin's key: producer setup --classes {class}; or take the \
                         system out of [worker] systems"
                ),
            ),
            false if served(class) => check.ok("has its consumers"),
            // Which is told under rights.
            false => continue,
        };
        all.push(finding.of(class));
    }
    let (set_up, not): (Vec<&Class>, Vec<&Class>) =
        who.classes.iter().filter(|class| !plain(class)).partition(|class| served(class));
    all.extend(set_up.into_iter().map(|class| check.ok("has its consumers").of(class)));
    let has = |class: &Class, feature: &str| features(class).any(|it| it == feature);
    let mut unused: Vec<String> =
        not.iter().flat_map(|class| features(class)).map(str::to_owned).collect();
    unused.sort_unstable();
    unused.dedup();
    unused.retain(|it| !who.classes.iter().any(|class| served(class) && has(class, it)));
    for feature in unused {
        let example = not.iter().find(|class| features(class).eq([feature.as_str()]));
        let example = example.map_or_else(|| feature.clone(), |class| class.to_string());
        let seen = format!("no class with the feature {feature} is set up and ours to serve");
        let why = "nobody can submit a host that needs it to this worker";
        let fix = format!(
            "with the admin's key: producer setup --classes {example}, and the class in this \
             worker's entry of the keys file; or take it out of [worker] features"
        );
        all.push(check.warning(seen, why, fix).of(example));
    }
    all
}

fn features(class: &Class) -> impl Iterator<Item = &str> {
    class.as_str()[class.system().len()..].split('_').filter(|it| !it.is_empty())
}

fn clock(clock: &Result<Clock, Error>) -> Finding {
    let check = Check(Group::Broker, "clock");
    let clock = match clock {
        Ok(clock) => clock,
        Err(error) => {
            return check.undecided(
                error.to_string(),
                "whether the two clocks agree is not known",
                "compare `date -u` here and on the broker",
            );
        }
    };
    let off = clock.there.0.abs_diff(clock.here.0);
    let way = if clock.here > clock.there { "ahead of" } else { "behind" };
    let seen = format!("{}.{:03} s {way} the broker's", off / 1000, off % 1000);
    match clock.wrong {
        false => check.ok(seen),
        true => check.problem(
            seen,
            "beyond 5 s the worker takes no jobs: it could not tell when a lease has run out",
            "timedatectl set-ntp true, here and on the broker; then `timedatectl timesync-status`",
        ),
    }
}

/// As the estimate of room has it: no list of what was built.
pub fn unreachable(facts: &BrokerFacts) -> Option<Trouble> {
    let refusal = facts.connected.as_ref().err()?;
    Some(Trouble::Failed(format!("what was built is known to the broker, and {}", refusal.words)))
}

#[cfg(test)]
mod tests;
