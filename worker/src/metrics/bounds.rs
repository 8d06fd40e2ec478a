//! How many label values there may be. Host names are tokens, but whoever may submit chooses them,
//! and classes of requests are foreign text too.

use std::collections::BTreeSet;

use proto::{Class, Host, Repo};

use super::own_classes;
use crate::config::Config;

/// Hosts of all repos. Each has some twenty series.
pub(super) const HOSTS_MAX: usize = 1000;
/// Classes beside a worker's own.
const CLASSES_MAX: usize = 64;
/// Everything beyond. No token has brackets, so it is nobody's name.
pub(super) const OTHER: &str = "(other)";

/// The values that were taken.
pub(super) struct Bounds {
    repos: BTreeSet<Repo>,
    hosts: BTreeSet<(Repo, Host)>,
    classes: BTreeSet<Class>,
    classes_max: usize,
}

impl Bounds {
    pub(super) fn new(config: &Config) -> Self {
        let classes: BTreeSet<Class> = own_classes(config).cloned().collect();
        let classes_max = classes.len() + CLASSES_MAX;
        let repos = config.repos.keys().cloned().collect();
        Self { repos, hosts: BTreeSet::new(), classes, classes_max }
    }

    /// The labels of a host. A repo that the config does not have is no label either.
    pub(super) fn host(&mut self, repo: &Repo, host: &Host) -> (String, String) {
        if !self.repos.contains(repo) {
            return (OTHER.into(), OTHER.into());
        }
        let key = (repo.clone(), host.clone());
        let taken = self.hosts.contains(&key) || self.hosts.len() < HOSTS_MAX;
        let label = if taken { host.to_string() } else { OTHER.into() };
        if taken {
            self.hosts.insert(key);
        }
        (repo.to_string(), label)
    }

    /// The label of a class.
    pub(super) fn class(&mut self, class: &Class) -> String {
        if self.classes.contains(class) || self.classes.len() < self.classes_max {
            self.classes.insert(class.clone());
            return class.to_string();
        }
        OTHER.into()
    }
}
