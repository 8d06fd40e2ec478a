//! The config of a nats-server, from the keys file and the roles. Pure, and the same for the same
//! file: `deploy/nats` holds examples that are compared byte for byte.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use proto::{
    account::{Account, DOMAIN},
    permission::Rules,
};

use crate::broker_file::{BrokerFile, Cluster, Hub, Kind, Server, Store, Tls, User};

/// Connections of a large fleet, with room for a storm of restarts; the default is 65,536.
const CONNECTIONS_MAX: u32 = 4096;

/// The largest record or chunk.
const PAYLOAD_MAX: u32 = 1 << 20;

/// Memory for streams: the pool has none there.
const MEMORY_STORE_MAX: u32 = 64 << 20;

/// Consumers of one stream, three for each class of jobs.
const CONSUMERS_MAX: u32 = 512;

/// The whole file.
pub(crate) fn config(file: &BrokerFile) -> String {
    let server = &file.server;
    let mut out = Lines::default();
    out.line(
        "# Config of a nats-server for nix-build-pool, by `producer setup --print-nats-config`.",
    );
    out.line(
        "# Change the keys file and print it again; `nats-server --signal reload` takes it over.",
    );
    out.blank();
    out.set("server_name", &server.name.to_string());
    out.set("listen", &server.listen);
    out.line("# Monitoring has no login.");
    out.set("http", &server.monitor);
    out.blank();
    out.line(&format!("max_payload: {PAYLOAD_MAX}"));
    out.line(&format!("max_connections: {CONNECTIONS_MAX}"));
    out.line("ping_interval: \"20s\"");
    out.line("ping_max: 3");
    out.line("write_deadline: \"10s\"");
    out.blank();
    if let Some(tls) = &server.tls {
        out.block("tls", |out| certificate(out, tls));
        out.blank();
    }
    if let Kind::Broker(store) = &server.kind {
        jetstream(&mut out, store, server.leaf_listen.is_some());
    }
    if let (Some(cluster), Some(tls)) = (&server.cluster, &server.tls) {
        routes(&mut out, cluster, tls);
    }
    if let Some(listen) = &server.leaf_listen {
        leaf_port(&mut out, listen, server.tls.as_ref());
    }
    if let Kind::Leaf(hub) = &server.kind {
        let account = file.users.first().map_or(Account::Pool, |user| user.account);
        remote(&mut out, hub, account, server.tls.as_ref());
    }
    accounts(&mut out, server, &file.users);
    out.text
}

fn certificate(out: &mut Lines, tls: &Tls) {
    out.set("cert_file", &tls.cert_file.to_string_lossy());
    out.set("key_file", &tls.key_file.to_string_lossy());
    out.set("min_version", "1.2");
    out.line("timeout: 5");
}

fn jetstream(out: &mut Lines, store: &Store, leaves: bool) {
    out.block("jetstream", |out| {
        out.set("store_dir", &store.dir.to_string_lossy());
        out.line(&format!("max_memory_store: {MEMORY_STORE_MAX}"));
        out.line(&format!("max_file_store: {}", store.max));
        out.line("# What is acked is on disk; the default may lose two minutes of it.");
        out.line("sync_interval: always");
        if leaves {
            out.line("# By which leaves call it.");
            out.set("domain", DOMAIN);
        }
    });
    out.blank();
}

/// A server that comes here gets all rights: by certificate only, and only those that are named.
fn routes(out: &mut Lines, cluster: &Cluster, tls: &Tls) {
    out.block("cluster", |out| {
        out.set("name", &cluster.name.to_string());
        out.set("listen", &cluster.listen);
        out.block("tls", |out| {
            certificate(out, tls);
            authority(out, Some(tls));
            out.line("verify: true");
            out.line("verify_cert_and_check_known_urls: true");
        });
        out.list("routes", cluster.routes.iter().map(|route| format!("nats-route://{route}")));
    });
    out.blank();
}

/// Leaves log in with keys of `accounts` below, as everybody does.
fn leaf_port(out: &mut Lines, listen: &str, tls: Option<&Tls>) {
    out.block("leafnodes", |out| {
        out.set("listen", listen);
        if let Some(tls) = tls {
            out.block("tls", |out| certificate(out, tls));
        }
    });
    out.blank();
}

fn remote(out: &mut Lines, hub: &Hub, account: Account, tls: Option<&Tls>) {
    let scheme = if tls.is_some() { "tls" } else { "nats-leaf" };
    out.block("leafnodes", |out| {
        out.line("remotes: [");
        out.indented(|out| {
            out.block("", |out| {
                out.set("url", &format!("{scheme}://{}", hub.address));
                out.set("account", account.name());
                out.line(
                    "# Its seed: `producer keys new leaf NAME` writes such a file, mode 0600.",
                );
                out.line(&format!("include {}", quoted(&hub.nkey_include)));
                if tls.is_some() {
                    out.block("tls", |out| authority(out, tls));
                }
            });
        });
        out.line("]");
    });
    out.blank();
}

fn authority(out: &mut Lines, tls: Option<&Tls>) {
    if let Some(file) = tls.and_then(|tls| tls.ca_file.as_ref()) {
        out.set("ca_file", &file.to_string_lossy());
    }
}

fn accounts(out: &mut Lines, server: &Server, users: &[User]) {
    out.line("system_account: SYS");
    out.block("accounts", |out| {
        out.line("SYS { }");
        for account in [Account::Pool, Account::Ask, Account::Read] {
            let here: Vec<&User> = users.iter().filter(|user| user.account == account).collect();
            let stores = account == Account::Pool && matches!(server.kind, Kind::Broker(_));
            if !here.is_empty() || stores {
                out.block(account.name(), |out| self::account(out, account, server, users, &here));
            }
        }
    });
}

fn account(out: &mut Lines, account: Account, server: &Server, users: &[User], here: &[&User]) {
    if let Kind::Broker(store) = &server.kind {
        if account == Account::Pool {
            account_limits(out, store);
            exports(out, users);
        } else {
            imports(out, account, here);
        }
    }
    let mappings = account.mappings(matches!(server.kind, Kind::Leaf(_)));
    if !mappings.is_empty() {
        out.block("mappings", |out| {
            for (from, to) in mappings {
                out.line(&format!(
                    "{}: {}",
                    quoted(&format!("{from}>")),
                    quoted(&format!("{to}>"))
                ));
            }
        });
    }
    out.line("users: [");
    out.indented(|out| here.iter().for_each(|user| self::user(out, user)));
    out.line("]");
}

fn account_limits(out: &mut Lines, store: &Store) {
    out.block("jetstream", |out| {
        out.line("max_mem: 0");
        out.line("# Over all copies of all streams.");
        out.line(&format!("max_file: {}", store.account_max));
        out.line(&format!("max_streams: {}", store.streams_max));
        out.line(&format!("max_consumers: {CONSUMERS_MAX}"));
    });
}

/// Subjects, and the accounts that they pass to.
type Passing<'a> = BTreeMap<&'a str, BTreeSet<&'static str>>;

/// What passes between the pool's account and the others, by subject: calls, and what is heard.
fn let_through<'a>(users: impl IntoIterator<Item = &'a User>) -> (Passing<'a>, Passing<'a>) {
    let (mut calls, mut heard) = (BTreeMap::new(), BTreeMap::new());
    for user in users {
        let (user_calls, user_heard) = user.rights.let_through();
        for (all, subjects) in [(&mut calls, user_calls), (&mut heard, user_heard)] {
            for subject in subjects {
                let accounts: &mut BTreeSet<&'static str> = all.entry(subject).or_default();
                accounts.insert(user.account.name());
            }
        }
    }
    (calls, heard)
}

fn exports(out: &mut Lines, users: &[User]) {
    let (calls, heard) = let_through(users.iter().filter(|it| it.account != Account::Pool));
    if calls.is_empty() {
        return;
    }
    out.line("exports: [");
    out.indented(|out| {
        for (kind, subjects) in [("service", calls), ("stream", heard)] {
            for (subject, accounts) in subjects {
                let accounts: Vec<&str> = accounts.into_iter().collect();
                let (subject, accounts) = (quoted(subject), accounts.join(", "));
                out.line(&format!("{{ {kind}: {subject}, accounts: [{accounts}] }}"));
            }
        }
    });
    out.line("]");
}

fn imports(out: &mut Lines, account: Account, here: &[&User]) {
    let (calls, heard) = let_through(here.iter().copied());
    let pool = Account::Pool.name();
    out.line("imports: [");
    out.indented(|out| {
        for (kind, subjects) in [("service", calls), ("stream", heard)] {
            for subject in subjects.into_keys() {
                let mapped = account.mapped(false, subject);
                let to = if mapped == subject {
                    String::new()
                } else {
                    format!(", to: {}", quoted(&mapped))
                };
                let subject = quoted(subject);
                out.line(&format!("{{ {kind}: {{ account: {pool}, subject: {subject} }}{to} }}"));
            }
        }
    });
    out.line("]");
}

fn user(out: &mut Lines, user: &User) {
    out.line(&format!("# {}: {}", user.name, user.what));
    out.block("", |out| {
        out.set("nkey", &user.public.to_string());
        out.block("permissions", |out| {
            out.block("publish", |out| rules(out, &mapped(user, &user.rights.publish)));
            out.block("subscribe", |out| rules(out, &user.rights.subscribe));
        });
    });
}

/// The server checks a publish by what it is mapped to.
fn mapped(user: &User, rules: &Rules) -> Rules {
    let all = |rules: &[String]| {
        rules.iter().map(|subject| user.account.mapped(user.leaf, subject)).collect()
    };
    Rules { allow: all(&rules.allow), deny: all(&rules.deny) }
}

/// An empty `allow` would allow everything; no role has one.
fn rules(out: &mut Lines, rules: &Rules) {
    out.list("allow", rules.allow.iter().cloned());
    if !rules.deny.is_empty() {
        out.list("deny", rules.deny.iter().cloned());
    }
}

/// Text in the server's format, two spaces to a level.
#[derive(Default)]
struct Lines {
    text: String,
    level: usize,
}

impl Lines {
    fn line(&mut self, line: &str) {
        let indent = 2 * self.level;
        writeln!(self.text, "{:indent$}{line}", "").ok();
    }

    fn blank(&mut self) {
        self.text.push('\n');
    }

    fn set(&mut self, key: &str, value: &str) {
        self.line(&format!("{key}: {}", quoted(value)));
    }

    fn block(&mut self, name: &str, inner: impl FnOnce(&mut Self)) {
        self.line(format!("{name} {{").trim_start());
        self.indented(inner);
        self.line("}");
    }

    fn list(&mut self, name: &str, items: impl Iterator<Item = String>) {
        self.line(&format!("{name}: ["));
        self.indented(|out| items.for_each(|item| out.line(&quoted(&item))));
        self.line("]");
    }

    fn indented(&mut self, inner: impl FnOnce(&mut Self)) {
        self.level += 1;
        inner(self);
        self.level -= 1;
    }
}

/// The file is checked for control characters; what is left to escape are quotes and backslashes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker_file::tests::file;

    #[test]
    fn the_same_file_gives_the_same_config() {
        let text = file("").replace("[keys.w1]", "[keys.w0]");
        let once = config(&crate::broker_file::tests::checked(&text).expect("a file"));
        let again = config(&crate::broker_file::tests::checked(&text).expect("a file"));
        assert_eq!(once, again);
        for part in [
            "sync_interval: always",
            "http: \"127.0.0.1:8222\"",
            "# w0: worker",
            "\"$JS.ACK.*.*.NBP_JOBS.x86_64-linux-high.>\"",
            "max_streams: 16",
        ] {
            assert!(once.contains(part), "{part} is not in {once}");
        }
        assert!(!once.contains("allow: [\n        ]"), "an empty list allows everything: {once}");
    }

    #[test]
    fn quotes_stay_inside() {
        assert_eq!(quoted("/a \"b\\c"), "\"/a \\\"b\\\\c\"");
    }
}
