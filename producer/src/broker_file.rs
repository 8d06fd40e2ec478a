//! The keys file: one server, and everybody who may talk to it. Read by `setup
//! --print-nats-config`; rights come from the roles (`proto::permission`) and are not written here.
//!
//! It refuses what would be unsafe: a port without TLS that others can reach, a cluster or leaf
//! port that does not check who comes, monitoring for everybody.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
};

use bus::PublicKey;
use proto::{
    Class, HolderName, Role,
    account::Account,
    permission::{Holder, Permissions},
    token::shown,
    topology::{self, Choices},
};
use serde::Deserialize;
use settings::Size;

use crate::error::Error;

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    server: RawServer,
    #[serde(default)]
    keys: BTreeMap<HolderName, RawKey>,
    #[serde(default)]
    leaves: BTreeMap<HolderName, RawLeaf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServer {
    name: HolderName,
    listen: String,
    monitor: Option<String>,
    store_dir: Option<PathBuf>,
    store_max: Option<Size>,
    tls: Option<Tls>,
    cluster: Option<Cluster>,
    leaf_listen: Option<String>,
    hub: Option<Hub>,
}

/// `[server.tls]`: files on the server's machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// Its certificate.
    pub(crate) cert_file: PathBuf,
    /// The key of it.
    pub(crate) key_file: PathBuf,
    /// The authority of the other servers.
    pub(crate) ca_file: Option<PathBuf>,
}

/// `[server.cluster]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cluster {
    /// The same on all its servers.
    pub(crate) name: HolderName,
    /// Where the other servers come.
    pub(crate) listen: String,
    /// All its servers, this one included, as `host:port`.
    pub(crate) routes: Vec<String>,
}

/// `[server.hub]`: this server is a leaf of that one, and stores nothing itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hub {
    /// Its leaf port, as `host:port`.
    pub(crate) address: String,
    /// The seed of this leaf's key: a file beside the server's config, which includes it. The
    /// server reads such a seed from nowhere else.
    pub(crate) nkey_include: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    role: Role,
    public: PublicKey,
    #[serde(default)]
    classes: Vec<Class>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLeaf {
    public: PublicKey,
    carries: Vec<HolderName>,
}

/// The file as used.
#[derive(Debug)]
pub(crate) struct BrokerFile {
    pub(crate) server: Server,
    /// Everybody who may log in, by name.
    pub(crate) users: Vec<User>,
}

/// The server itself.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: HolderName,
    pub(crate) listen: String,
    pub(crate) monitor: String,
    pub(crate) tls: Option<Tls>,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) leaf_listen: Option<String>,
    pub(crate) kind: Kind,
}

/// Whether it keeps anything.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Streams and buckets are here.
    Broker(Store),
    /// They are behind another server.
    Leaf(Hub),
}

/// Where the streams are, and how much of the disk is theirs.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) dir: PathBuf,
    /// Of this server, in bytes.
    pub(crate) max: u64,
    /// Of the account: what the streams reserve, over all their copies, in bytes.
    pub(crate) account_max: u64,
    pub(crate) streams_max: usize,
}

/// One key and its rights.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) name: HolderName,
    pub(crate) what: String,
    pub(crate) account: Account,
    /// What it sends comes through a leaf, or it is one.
    pub(crate) leaf: bool,
    pub(crate) public: PublicKey,
    pub(crate) rights: Permissions,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BrokerFileError {
    /// A key of a table makes no sense.
    #[error("{key}: {reason}")]
    Key {
        /// Table and key.
        key: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A holder that cannot be.
    #[error(transparent)]
    Holder(#[from] proto::permission::HolderError),
}

/// Monitoring has no login.
const MONITOR_DEFAULT: &str = "127.0.0.1:8222";
/// Where Debian and NixOS keep a service's state.
const STORE_DIR_DEFAULT: &str = "/var/lib/nats";
/// The streams reserve 7.25 GiB; twice that leaves room for streams of a later version.
const STORE_MAX_DEFAULT: u64 = 16 << 30;
/// A cluster has three servers, and so has each stream copies once it is told.
const CLUSTER_REPLICAS: usize = 3;
/// Streams that a later version may add before this config must be rendered again.
const STREAMS_SPARE: usize = 6;

impl BrokerFile {
    /// Reads and checks the file.
    pub(crate) fn load(path: &Path, choices: &Choices) -> Result<Self, Error> {
        let raw: RawFile = settings::load(path)?;
        Self::checked(raw, choices)
            .map_err(|source| Error::BrokerFile { path: path.to_owned(), source })
    }

    fn checked(raw: RawFile, choices: &Choices) -> Result<Self, BrokerFileError> {
        let server = server(raw.server, choices)?;
        let leaf = matches!(server.kind, Kind::Leaf(_));
        let users = users(&raw.keys, &raw.leaves, leaf)?;
        if leaf {
            let accounts = users.iter().map(|user| user.account).collect();
            one_account(&|| "[keys] of a leaf".into(), accounts)?;
        }
        Ok(Self { server, users })
    }
}

fn wrong<T>(key: impl Into<String>, reason: impl Into<String>) -> Result<T, BrokerFileError> {
    Err(BrokerFileError::Key { key: key.into(), reason: reason.into() })
}

fn server(raw: RawServer, choices: &Choices) -> Result<Server, BrokerFileError> {
    let monitor = raw.monitor.clone().unwrap_or_else(|| MONITOR_DEFAULT.into());
    if !listen("[server] monitor", &monitor)? {
        let example = format!("it has no login, so only loopback, e.g. \"{MONITOR_DEFAULT}\"");
        return wrong("[server] monitor", example);
    }
    let ports = [
        ("[server] listen", Some(&raw.listen)),
        ("[server] leaf_listen", raw.leaf_listen.as_ref()),
    ];
    for (key, address) in ports {
        if let Some(address) = address
            && !listen(key, address)?
            && raw.tls.is_none()
        {
            let reason = "others can reach it, so it needs [server.tls], or loopback only";
            return wrong(key, reason);
        }
    }
    if let Some(tls) = &raw.tls {
        let files = [Some(&tls.cert_file), Some(&tls.key_file), tls.ca_file.as_ref()];
        for file in files.into_iter().flatten() {
            absolute("[server.tls]", file)?;
        }
    }
    if let Some(cluster) = &raw.cluster {
        check_cluster(cluster, raw.tls.as_ref())?;
    }
    let kind = kind(&raw, choices)?;
    let RawServer { name, listen, tls, cluster, leaf_listen, .. } = raw;
    Ok(Server { name, listen, monitor, tls, cluster, leaf_listen, kind })
}

/// Whoever gets in there is a server, with all rights.
fn check_cluster(cluster: &Cluster, tls: Option<&Tls>) -> Result<(), BrokerFileError> {
    let key = "[server.cluster]";
    listen("[server.cluster] listen", &cluster.listen)?;
    for route in &cluster.routes {
        host_and_port("[server.cluster] routes", route)?;
    }
    if cluster.routes.len() < CLUSTER_REPLICAS {
        return wrong(key, "routes must name all servers, and three at least");
    }
    match tls.is_some_and(|tls| tls.ca_file.is_some()) {
        true => Ok(()),
        false => {
            wrong(key, "servers know each other by certificate: it needs [server.tls] ca_file")
        }
    }
}

fn kind(raw: &RawServer, choices: &Choices) -> Result<Kind, BrokerFileError> {
    let Some(hub) = &raw.hub else { return store(raw, choices).map(Kind::Broker) };
    let key = "[server.hub]";
    if raw.cluster.is_some() || raw.leaf_listen.is_some() {
        return wrong(key, "a leaf of another server has no cluster and no leaves of its own");
    }
    if raw.store_dir.is_some() || raw.store_max.is_some() {
        return wrong(key, "a leaf stores nothing: leave store_dir and store_max out");
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    if hub.nkey_include.is_empty() || !hub.nkey_include.chars().all(legal) {
        let reason = "must be the name of a file beside the server's config, e.g. \"site2.nk\"";
        return wrong("[server.hub] nkey_include", reason);
    }
    let (host, _) = host_and_port("[server.hub] address", &hub.address)?;
    let checked = raw.tls.as_ref().is_some_and(|tls| tls.ca_file.is_some());
    match checked || is_loopback(host) {
        true => Ok(Kind::Leaf(hub.clone())),
        false => wrong(key, "needs [server.tls] ca_file, to know the hub by its certificate"),
    }
}

fn store(raw: &RawServer, choices: &Choices) -> Result<Store, BrokerFileError> {
    let dir = raw.store_dir.clone().unwrap_or_else(|| STORE_DIR_DEFAULT.into());
    absolute("[server] store_dir", &dir)?;
    let streams = topology::streams(choices);
    let reserved: u64 =
        streams.iter().map(|stream| u64::try_from(stream.bytes_max).unwrap_or_default()).sum();
    let max = raw.store_max.map_or(STORE_MAX_DEFAULT, |size| size.0);
    if max < reserved {
        let (max, reserved) = (Size(max), Size(reserved));
        let reason = format!("is {max}, and the streams reserve {reserved}");
        return wrong("[server] store_max", reason);
    }
    let copies = if raw.cluster.is_some() { CLUSTER_REPLICAS } else { 1 };
    let copies = u64::try_from(copies.max(choices.replicas)).unwrap_or(1);
    let streams_max = streams.len() + STREAMS_SPARE;
    Ok(Store { dir, max, account_max: max * copies, streams_max })
}

fn users(
    keys: &BTreeMap<HolderName, RawKey>,
    leaves: &BTreeMap<HolderName, RawLeaf>,
    leaf: bool,
) -> Result<Vec<User>, BrokerFileError> {
    let mut seen = BTreeSet::new();
    let mut users = Vec::new();
    let publics = keys.iter().map(|(name, key)| (name, &key.public));
    for (name, public) in publics.chain(leaves.iter().map(|(name, leaf)| (name, &leaf.public))) {
        if !seen.insert(public.clone()) {
            return wrong(format!("key of {name}"), format!("{public} has another name already"));
        }
    }
    for (name, key) in keys {
        let rights = rights(name, key)?;
        let what = key.role.to_string();
        let (account, public) = (key.role.account(), key.public.clone());
        users.push(User { name: name.clone(), what, account, leaf, public, rights });
    }
    for (name, leaf) in leaves {
        let (mut carried, mut accounts) = (Vec::new(), BTreeSet::new());
        for holder in &leaf.carries {
            match keys.get(holder) {
                Some(key) => {
                    carried.push(rights(holder, key)?);
                    accounts.insert(key.role.account());
                }
                None => {
                    let reason = format!("{} is none of [keys]", shown(holder.as_str()));
                    return wrong(format!("[leaves.{name}] carries"), reason);
                }
            }
        }
        let key = || format!("[leaves.{name}] carries");
        let account = one_account(&key, accounts)?;
        let names: Vec<&str> = leaf.carries.iter().map(HolderName::as_str).collect();
        let what = format!("leaf of {}", names.join(", "));
        let rights = Permissions::union(carried);
        let (name, public) = (name.clone(), leaf.public.clone());
        users.push(User { name, what, account, leaf: true, public, rights });
    }
    match users.is_empty() {
        true => wrong("[keys]", "is empty: nobody could log in; `producer keys new` makes keys"),
        false => Ok(users),
    }
}

/// A link between two servers is one account's.
fn one_account(
    key: &dyn Fn() -> String,
    accounts: BTreeSet<Account>,
) -> Result<Account, BrokerFileError> {
    let mut accounts = accounts.into_iter();
    match (accounts.next(), accounts.next()) {
        (Some(account), None) => Ok(account),
        (None, _) => wrong(key(), "is empty: name who connects there"),
        (Some(_), Some(_)) => wrong(
            key(),
            "workers, askers (submitters, gates, operators) and readers live apart; each of these \
             needs a leaf of its own",
        ),
    }
}

fn rights(name: &HolderName, key: &RawKey) -> Result<Permissions, BrokerFileError> {
    let identity = key.public.identity();
    let holder = Holder { role: key.role, name, identity, classes: &key.classes };
    holder.check()?;
    Ok(Permissions::of(&holder))
}

/// Checks an address to listen on; says whether only this machine can reach it. Port -1 lets the
/// server choose one.
fn listen(key: &str, address: &str) -> Result<bool, BrokerFileError> {
    let (host, port) = host_and_port(key, address)?;
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    match ip {
        Ok(ip) if (-1..=i32::from(u16::MAX)).contains(&port) => Ok(ip.is_loopback()),
        _ => wrong(
            key,
            format!("{} is no IP address with a port, e.g. \"0.0.0.0:4222\"", shown(address)),
        ),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn host_and_port<'a>(key: &str, address: &'a str) -> Result<(&'a str, i32), BrokerFileError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    let parts = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let port = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match port {
        Some(parts) if address.chars().all(legal) => Ok(parts),
        _ => wrong(
            key,
            format!("{} is no host:port, e.g. \"nats1.example.org:6222\"", shown(address)),
        ),
    }
}

/// The server resolves other paths by the folder that it happens to be started in.
fn absolute(key: &str, path: &Path) -> Result<(), BrokerFileError> {
    let plain = path.to_str().is_some_and(|text| !text.chars().any(char::is_control));
    match path.is_absolute() && plain {
        true => Ok(()),
        false => wrong(key, format!("{} is no absolute path", shown(&path.to_string_lossy()))),
    }
}

#[cfg(test)]
pub(crate) mod tests;
