//! A real Prometheus with the rules of `deploy/prometheus`, a real push gateway, and reading what
//! any of them serves.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Seek as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    poll::eventually,
    process::{Spawned, command, find, run},
    scratch::scratch,
};

/// For a server to start, on a machine busy with other tests.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// For one answer. Whoever serves pages cuts connections after 10 s.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// What a page came to.
#[derive(Clone, Debug)]
pub struct Page {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Reads a page, if the server answers.
pub fn read(address: SocketAddr, path: &str) -> Option<Page> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_DEADLINE).ok()?;
    stream.set_read_timeout(Some(ANSWER_DEADLINE)).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Page { status, head: head.to_owned(), body: body.to_owned() })
}

/// The value of the one series of a page with this name and all these labels, if it is there.
#[track_caller]
pub fn value(page: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let is = |line: &&str| {
        let key = line.split([' ', '{']).next();
        key == Some(name) && labels.iter().all(|label| line.contains(label))
    };
    let found: Vec<&str> = page.lines().filter(is).collect();
    assert!(found.len() < 2, "{name} {labels:?} is not one series: {found:#?}");
    found.first()?.rsplit(' ').next()?.parse().ok()
}

/// The names of all metrics of a page.
pub fn names(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// Has `promtool` read a page and complain about names, types and help.
#[track_caller]
pub fn lint(page: &str) {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(page.as_bytes()).and_then(|()| file.rewind()).expect("a temporary file");
    let mut promtool = command(find("promtool"));
    promtool.args(["check", "metrics"]).stdin(file);
    run(&mut promtool, START_DEADLINE).expect_code(0);
}

/// The address in a log line such as `… address=127.0.0.1:9090`.
fn listening(server: &Spawned) -> SocketAddr {
    eventually("a server that says where it listens", START_DEADLINE, || {
        let log = server.log();
        let line = log.lines().find(|line| line.contains("msg=\"Listening on\""))?;
        line.rsplit_once("address=")?.1.trim().parse().ok()
    })
}

/// A push gateway that remembers until it is dropped.
#[derive(Debug)]
pub struct PushGateway {
    address: SocketAddr,
    _process: Spawned,
    _dir: TempDir,
}

impl PushGateway {
    #[track_caller]
    pub fn start() -> Self {
        let dir = scratch();
        let mut program = command(find("prometheus-pushgateway"));
        program.arg("--web.listen-address=127.0.0.1:0");
        let process = Spawned::start("pushgateway", &mut program, dir.path());
        Self { address: listening(&process), _process: process, _dir: dir }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that was pushed.
    #[track_caller]
    pub fn page(&self) -> String {
        let page =
            eventually("the push gateway", ANSWER_DEADLINE, || read(self.address, "/metrics"));
        page.body
    }
}

/// A Prometheus that scrapes and evaluates every second.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    _process: Spawned,
    _dir: TempDir,
}

impl Prometheus {
    /// Scrapes a worker, and fires the shipped rules as soon as they hold for a second.
    #[track_caller]
    pub fn start(worker: SocketAddr) -> Self {
        let dir = scratch();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus/rules.yml");
        let rules = hasty(&fs::read_to_string(rules).expect("the shipped rules"));
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yml]\n\
             scrape_configs:\n  - job_name: nbp-worker\n    static_configs:\n      \
             - targets: [\"{worker}\"]\n"
        );
        let path = |name: &str| dir.path().join(name);
        fs::write(path("rules.yml"), rules).expect("a writable folder");
        fs::write(path("prometheus.yml"), config).expect("a writable folder");
        let mut program = command(find("prometheus"));
        program.arg(format!("--config.file={}", path("prometheus.yml").display()));
        program.arg(format!("--storage.tsdb.path={}", path("data").display()));
        program.arg("--web.listen-address=127.0.0.1:0");
        let process = Spawned::start("prometheus", &mut program, dir.path());
        Self { address: listening(&process), _process: process, _dir: dir }
    }

    /// The values of an expression without blanks, by nothing but their order.
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let page = read(self.address, &format!("/api/v1/query?query={expression}"));
        let answer = page.and_then(|page| serde_json::from_str::<Value>(&page.body).ok());
        let result = answer.and_then(|answer| answer["data"]["result"].as_array().cloned());
        result.unwrap_or_default()
    }

    /// The labels of the alerts of this name that fire now.
    pub fn firing(&self, alert: &str) -> Vec<Value> {
        let page = read(self.address, "/api/v1/alerts");
        let answer = page.and_then(|page| serde_json::from_str::<Value>(&page.body).ok());
        let alerts = answer.and_then(|answer| answer["data"]["alerts"].as_array().cloned());
        let fires = |it: &Value| it["state"] == "firing" && it["labels"]["alertname"] == alert;
        let found = alerts.unwrap_or_default().into_iter().filter(fires);
        found.map(|it| it["labels"].clone()).collect()
    }
}

/// The rules with one second instead of the minutes for which a condition has to hold.
fn hasty(rules: &str) -> String {
    let line = |line: &str| match line.split_once("for: ") {
        Some((before, _)) if before.trim().is_empty() => format!("{before}for: 1s\n"),
        _ => format!("{line}\n"),
    };
    rules.lines().map(line).collect()
}
