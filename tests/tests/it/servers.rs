//! Servers that are more than one: a cluster, and a leaf at a remote site, each with exactly the
//! rendered config.

use std::{fs, net::TcpListener, path::Path};

use tests::{
    Flake, KeyedServer, NixStore, Output, Repo, Spawned,
    certificates::Authority,
    eventually,
    keys::Keys,
    pool::REPO,
    process::{binary, command, run},
};

use crate::{DEADLINE, all_built};

/// Ports that are free now. Servers of a cluster must know each other's before they start.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|it| it.local_addr().expect("an address").port())
}

/// A repository and a store, and programs that talk to whatever server they are told.
struct Site {
    repo: Repo,
    store: NixStore,
    keys: Keys,
}

impl Site {
    fn config(&self, name: &str, url: &str, ca_file: Option<&Path>) -> String {
        let ca_file = ca_file.map(|file| format!("ca_file = {file:?}\n")).unwrap_or_default();
        format!(
            "[nats]\nurl = {url:?}\nnkey_file = {:?}\n{ca_file}\n[repos.{REPO}]\nurl = {:?}\n",
            self.keys.seed_file(name),
            self.repo.url(),
        )
    }

    #[track_caller]
    fn producer(&self, name: &str, url: &str, ca_file: Option<&Path>, args: &[&str]) -> Output {
        let config = self.keys.dir().join(format!("producer-{name}.toml"));
        fs::write(&config, self.config(name, url, ca_file)).expect("a writable folder");
        let mut producer = command(binary("producer"));
        producer.envs(self.store.env()).arg("--config").arg(config);
        run(producer.args(["--patience", "60s"]).args(args), DEADLINE)
    }

    #[track_caller]
    fn worker(&self, name: &str, url: &str, ca_file: Option<&Path>) -> Spawned {
        let text = format!(
            "{}[worker]\nname = {name:?}\nstate_dir = {:?}\n[admission]\nstore_free = \"64MiB\"\n\
             build_free = \"64MiB\"\ninodes_free = 100\n[nix]\nstore = {:?}\n",
            self.config(name, url, ca_file),
            self.keys.dir().join(format!("state-{name}")),
            self.store.uri(),
        );
        let config = self.keys.dir().join(format!("worker-{name}.toml"));
        fs::write(&config, text).expect("a writable folder");
        let mut worker = command(binary("worker"));
        worker.envs(self.store.env()).arg("run").arg("--config").arg(config);
        Spawned::start(name, &mut worker, self.keys.dir())
    }
}

const SUBMIT: [&str; 7] = ["submit", "--repo", REPO, "--all", "--ref", "master", "--wait"];

fn submit_json() -> Vec<&'static str> {
    SUBMIT.into_iter().chain(["--json"]).collect()
}

#[test]
fn a_cluster_keeps_three_copies_of_everything_and_builds() {
    let people =
        [("admin", "admin", ""), ("ci", "submitter", ""), ("w1", "worker", "x86_64-linux")];
    let keys = Keys::new(people.map(|(name, role, _)| (name, role)));
    let authority = Authority::new(keys.dir(), "ca");
    let files = authority.certificate("server");
    let routes = free_ports::<3>();
    let named: Vec<String> = routes.iter().map(|port| format!("localhost:{port}")).collect();
    let tables: String =
        people.iter().map(|(name, role, classes)| keys.table(name, role, classes)).collect();
    let servers = routes.map(|port| {
        let dir = keys.dir().join(format!("node-{port}"));
        fs::create_dir(&dir).expect("a writable folder");
        let file = format!(
            "[server]\nname = \"any\"\nlisten = \"127.0.0.1:-1\"\nmonitor = \"127.0.0.1:-1\"\n\
             store_dir = {:?}\n[server.tls]\ncert_file = {:?}\nkey_file = {:?}\nca_file = {:?}\n\
             [server.cluster]\nname = \"nbp\"\nlisten = \"127.0.0.1:{port}\"\nroutes = {named:?}\n\
             {tables}",
            dir.join("store"),
            files.cert_file,
            files.key_file,
            authority.ca_file(),
        );
        let name = format!("node-{port}");
        KeyedServer::start(&dir, &keys.rendered(&file, &["--server", &name]))
    });
    let site = Site { repo: Repo::new(), store: NixStore::new(), keys };
    site.repo.commit("master", &Flake::hosts(1).files());
    let urls: Vec<String> = servers.iter().map(|it| format!("nats://{}", it.address())).collect();
    let (urls, ca_file) = (urls.join(","), authority.ca_file());
    let setup = ["setup", "--replicas", "3", "--classes", "x86_64-linux"];
    eventually("the cluster to have a leader", DEADLINE, || {
        (site.producer("admin", &urls, Some(&ca_file), &setup).code == Some(0)).then_some(())
    });
    let again = site.producer("admin", &urls, Some(&ca_file), &setup).expect_code(0);
    assert_eq!(again.stdout, "everything is as it should be\n");
    let _worker = site.worker("w1", &urls, Some(&ca_file));
    all_built(site.producer("ci", &urls, Some(&ca_file), &submit_json()), 1);
    for server in &servers {
        assert_eq!(server.violations(), Vec::<String>::new());
    }
}

/// Everybody's name, role and classes; the hub knows all of them.
const PEOPLE: [(&str, &str, &str); 4] = [
    ("admin", "admin", ""),
    ("ci", "submitter", ""),
    ("other", "submitter", ""),
    ("w2", "worker", "x86_64-linux"),
];

/// A hub with a leaf at a remote site.
struct Leaf {
    hub: KeyedServer,
    leaf: KeyedServer,
    site: Site,
}

impl Leaf {
    /// `at_leaf` may log in at the leaf; `carried` is whom the hub lets talk through it.
    #[track_caller]
    fn new(at_leaf: &[&str], carried: &[&str]) -> Self {
        let people = PEOPLE.map(|(name, role, _)| (name, role));
        let keys = Keys::new(people.into_iter().chain([("site2", "leaf")]));
        let tables = |wanted: &dyn Fn(&str) -> bool| -> String {
            let wanted = PEOPLE.iter().filter(|(name, ..)| wanted(name));
            wanted.map(|(name, role, classes)| keys.table(name, role, classes)).collect()
        };
        let dir = |name: &str| {
            let dir = keys.dir().join(name);
            fs::create_dir(&dir).expect("a writable folder");
            dir
        };
        let (hub, leaf) = (dir("hub"), dir("leaf"));
        let [port] = free_ports();
        let file = format!(
            "[server]\nname = \"hub\"\nlisten = \"127.0.0.1:-1\"\nmonitor = \"127.0.0.1:-1\"\n\
             leaf_listen = \"127.0.0.1:{port}\"\nstore_dir = {:?}\n{}\
             [leaves.site2]\npublic = {:?}\ncarries = {carried:?}\n",
            hub.join("store"),
            tables(&|_| true),
            keys.public("site2"),
        );
        let hub = KeyedServer::start(&hub, &keys.rendered(&file, &[]));
        let file = format!(
            "[server]\nname = \"leaf\"\nlisten = \"127.0.0.1:-1\"\nmonitor = \"127.0.0.1:-1\"\n\
             [server.hub]\naddress = \"127.0.0.1:{port}\"\nnkey_include = \"site2.nk\"\n{}",
            tables(&|name| at_leaf.contains(&name)),
        );
        fs::copy(keys.seed_file("site2"), leaf.join("site2.nk")).expect("its seed");
        let leaf = KeyedServer::start(&leaf, &keys.rendered(&file, &[]));
        let site = Site { repo: Repo::new(), store: NixStore::new(), keys };
        let it = Self { hub, leaf, site };
        it.site.producer("admin", &it.hub_url(), None, &["setup"]).expect_code(0);
        it
    }

    fn hub_url(&self) -> String {
        format!("nats://{}", self.hub.address())
    }

    fn leaf_url(&self) -> String {
        format!("nats://{}", self.leaf.address())
    }
}

#[test]
fn a_worker_behind_a_leaf_builds_for_the_hub() {
    let it = Leaf::new(&["w2"], &["w2"]);
    it.site.repo.commit("master", &Flake::hosts(2).files());
    let _worker = it.site.worker("w2", &it.leaf_url(), None);
    all_built(it.site.producer("ci", &it.hub_url(), None, &submit_json()), 2);
    assert_eq!(it.leaf.violations(), Vec::<String>::new());
}

#[test]
fn a_leaf_carries_only_those_whom_the_hub_lets_it() {
    let it = Leaf::new(&["ci", "other"], &["ci"]);
    it.site.repo.commit("master", &Flake::hosts(1).files());
    let _worker = it.site.worker("w2", &it.hub_url(), None);
    all_built(it.site.producer("ci", &it.leaf_url(), None, &submit_json()), 1);
    // The site's own server lets this one in too; the hub does not let it through.
    let output = it.site.producer("other", &it.leaf_url(), None, &submit_json());
    assert_eq!(output.code, Some(3), "{output}");
    let output = it.site.producer("other", &it.hub_url(), None, &["status"]).expect_code(2);
    assert!(output.stderr.contains("find a run of"), "{output}");
}
