//! Facts about the broker: each right is tried, nothing is taken and nothing is stored.

use std::time::Duration;

use bus::{Bus, ConnectError, Endpoint, Link, Probed, clock, clock::ServerClock};
use futures_util::{StreamExt as _, stream};
use proto::{
    Identity, Repo,
    permission::{Holder, Permissions, Role},
};

use super::space::Newest;
use crate::{
    config::Config,
    doctor::{
        broker::{BrokerFacts, Clock, Refusal, RefusalKind, Who, unreachable},
        trouble::Trouble,
    },
    nix::command::StorePath,
};

/// For a broker that is there to let us in.
pub(in crate::doctor) const CONNECT_WALL: Duration = Duration::from_secs(5);
/// For all questions after that: the slowest waits for an answer that does not come, some of
/// them after each other.
const TALK_WALL: Duration = Duration::from_secs(45);
/// Trials under way at once; a worker of many classes has hundreds.
const TRIALS_AT_ONCE: usize = 16;

/// The broker's facts, and what was built last of each host.
pub(in crate::doctor) async fn broker(
    config: &Config,
    endpoint: &Endpoint,
) -> (BrokerFacts, Result<Vec<Newest>, Trouble>) {
    let mut facts = BrokerFacts {
        url: without_logins(&endpoint.url),
        who: Who {
            name: config.name.to_string(),
            identity: identity(endpoint).to_string(),
            classes: config.classes.clone(),
        },
        connected: Ok(()),
        rights: Vec::new(),
        examined: None,
        clock: None,
        link: Link::Down,
    };
    // The client may take longer for one attempt than its patience.
    let connected = tokio::time::timeout(3 * CONNECT_WALL, Bus::connect(endpoint)).await;
    let bus = match connected {
        Ok(Ok(bus)) => bus,
        Ok(Err(error)) => {
            let mut refusal = refusal(&error);
            refusal.words = refusal.words.replace(&endpoint.url, &facts.url);
            facts.connected = Err(refusal);
            let none = unreachable(&facts).unwrap_or(Trouble::Late(CONNECT_WALL));
            return (facts, Err(none));
        }
        Err(_) => {
            let words = format!("no answer from {} in {CONNECT_WALL:?}", facts.url);
            facts.connected = Err(Refusal { words, kind: RefusalKind::Away });
            return (facts, Err(Trouble::Late(CONNECT_WALL)));
        }
    };
    let talk = talk(config, &bus, &mut facts);
    let newest = tokio::time::timeout(TALK_WALL, talk).await;
    // Gone again at the end it may have been gone in the middle.
    let link = *bus.link().borrow();
    facts.link = link;
    bus.close().await;
    (facts, newest.unwrap_or(Err(Trouble::Late(TALK_WALL))))
}

async fn talk(config: &Config, bus: &Bus, facts: &mut BrokerFacts) -> Result<Vec<Newest>, Trouble> {
    facts.rights = rights(config, bus).await;
    let allowed = |subject: &str| {
        let tried = facts.rights.iter().find(|(rule, _)| rule == subject);
        tried.is_some_and(|(_, probed)| *probed == Probed::Allowed)
    };
    let examine = bus.examine(&config.classes, allowed);
    let (examined, clock, newest) =
        tokio::join!(examine, compare(bus), last_good(bus, config.repos.keys()));
    facts.examined = Some(examined);
    facts.clock = Some(clock);
    newest
}

/// The broker's URLs without what stands before an `@`: it may be a password or a token.
fn without_logins(urls: &str) -> String {
    let shown = urls.split(',').map(str::trim).map(|url| match url.rsplit_once('@') {
        None => url.to_owned(),
        Some((before, host)) => match before.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://{host}"),
            None => host.to_owned(),
        },
    });
    shown.collect::<Vec<_>>().join(",")
}

/// Without a key, the server's rules are for whoever connects.
fn identity(endpoint: &Endpoint) -> Identity {
    let key = endpoint.nkey_file.as_deref().and_then(|file| bus::public_key_in(file).ok());
    key.map_or_else(Identity::local, |key| key.identity().clone())
}

fn refusal(error: &ConnectError) -> Refusal {
    let kind = match error {
        ConnectError::ReadSeed { .. }
        | ConnectError::Seed { .. }
        | ConnectError::Ca { .. }
        | ConnectError::Url { .. } => RefusalKind::Here,
        ConnectError::Refused { .. } => RefusalKind::Key,
        ConnectError::Tls { .. } => RefusalKind::Tls,
        ConnectError::Unreachable { .. } => RefusalKind::Away,
    };
    Refusal { words: format!("failed to {error}"), kind }
}

/// Tries each right of a worker with this name and these classes. Rights to classes with features
/// count only where the class is set up for this worker.
async fn rights(config: &Config, bus: &Bus) -> Vec<(String, Probed)> {
    let name = config.name.as_str().parse();
    let name = name.expect("names of workers and of holders have the same form");
    let identity = bus.identity();
    let of = |classes: &[proto::Class]| {
        let holder = Holder { role: Role::Worker, name: &name, identity, classes };
        Permissions::of(&holder)
    };
    let plain: Vec<_> =
        config.classes.iter().filter(|it| it.system() == it.as_str()).cloned().collect();
    let (needed, all) = (of(&plain), of(&config.classes));
    let is_needed = |(rule, probed): &(String, Probed)| {
        needed.publish.allow.contains(rule) || *probed == Probed::Allowed
    };
    let Some(known) = all.publish.allow.iter().find(|rule| rule.contains(".INFO.")) else {
        return Vec::new();
    };
    let trials = stream::iter(&all.publish.allow);
    let trials = trials.map(async |rule| (rule.clone(), bus.may_publish(rule, known).await));
    let mut tried: Vec<_> = trials.buffered(TRIALS_AT_ONCE).collect().await;
    tried.retain(is_needed);
    // The inbox is proven by every answer.
    for subject in all.subscribe.allow.iter().filter(|it| !it.starts_with("_INBOX")) {
        let probed = bus.may_subscribe(subject, known).await;
        tried.push((format!("{subject} (to listen)"), probed));
    }
    tried
}

async fn compare(bus: &Bus) -> Result<Clock, bus::Error> {
    let sample = bus.server_time().await?;
    let mut clock = ServerClock::default();
    clock.observe(sample.sent, sample.answered, sample.stored);
    let (steady, here) = (clock::steady(), clock::now());
    let wrong = clock.trouble(steady, here).is_some();
    Ok(Clock { there: clock.at(steady), here, wrong })
}

async fn last_good(bus: &Bus, repos: impl Iterator<Item = &Repo>) -> Result<Vec<Newest>, Trouble> {
    let mut found = Vec::new();
    for repo in repos {
        let list = bus.last_good().list(&format!("{repo}.*")).await;
        let list = list.map_err(|error| Trouble::Failed(error.to_string()))?;
        found.extend(list.into_iter().filter_map(|(_, entry)| {
            let good = entry.value?;
            let out = StorePath::parse(&good.out_path)?;
            Some(Newest { out, closure_bytes: good.closure_bytes })
        }));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_in_the_url_is_not_shown() {
        let shown = without_logins("nats://me:hunter2@a:4222, token@b,tls://c:4222");
        assert_eq!(shown, "nats://a:4222,b,tls://c:4222");
    }
}
