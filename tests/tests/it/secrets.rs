//! Seeds, signing keys and logins are in the files that hold them and nowhere else: in no argument,
//! environment, log, record, event, trace, metric, error or store path.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use tests::{
    Collector, Flake, KeyedPool, MockForge, Output, Repo, Spawned,
    collector::Manner,
    eventually,
    flake::system_name,
    forge::{BOT, On, Persona},
    pool::REPO,
    process::run,
    prometheus::read,
    updates::locked,
};

use crate::{
    DEADLINE,
    cache::{Cache, SLOW_TO_PUSH},
    host, text,
};

/// Arguments and environments of all processes that there are, of git's and Nix's as well.
pub(crate) fn processes() -> String {
    let processes = fs::read_dir("/proc").expect("a list of processes").filter_map(Result::ok);
    let files = processes.flat_map(|it| ["cmdline", "environ"].map(|name| it.path().join(name)));
    let read = files.filter_map(|file| fs::read(file).ok());
    read.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " ") + "\n").collect()
}

/// What must not be seen, and what was seen.
struct Search {
    secrets: Vec<String>,
    texts: Vec<String>,
    folders: Vec<PathBuf>,
}

impl Search {
    fn saw(&mut self, output: &Output) {
        self.texts.push(format!("{output}"));
    }

    /// Everything, and at least something of what it should hold.
    fn check(&self, expected: &[&str]) {
        let patterns = tests::scratch();
        let patterns = patterns.path().join("patterns");
        fs::write(&patterns, self.secrets.join("\n")).expect("a writable folder");
        for secret in &self.secrets {
            assert!(secret.len() >= 32, "it is long enough not to be found by chance");
            let lines = self.texts.iter().flat_map(|text| text.lines());
            let leaks: Vec<&str> = lines.filter(|it| it.contains(secret.as_str())).collect();
            assert!(leaks.is_empty(), "{secret} stands in {leaks:#?}");
        }
        for folder in &self.folders {
            assert_eq!(grep(&["--file", &patterns.display().to_string()], folder), "");
        }
        for expected in expected {
            let in_text = self.texts.iter().any(|text| text.contains(expected));
            let found = || self.folders.iter().any(|it| !grep(&[expected], it).is_empty());
            assert!(in_text || found(), "there is no {expected:?} to be seen");
        }
    }
}

/// The files below a folder in which grep finds it; not those that are made for secrets.
fn grep(what: &[&str], folder: &Path) -> String {
    let mut grep = Command::new("grep");
    grep.args(["--recursive", "--text", "--fixed-strings", "--files-with-matches"]);
    grep.args(["--exclude=*.nk", "--exclude=*.secret"]).args(what).arg("--").arg(folder);
    let found = grep.stderr(Stdio::null()).output().expect("grep");
    String::from_utf8_lossy(&found.stdout).into_owned()
}

/// A keyed pool that builds what a private forge has, pushes it signed, and tells of it in every way
/// that there is.
struct Site {
    pool: KeyedPool,
    forge: MockForge,
    fleet: Repo,
    cache: Cache,
    collector: Collector,
}

impl Site {
    fn start() -> Self {
        let mut pool = KeyedPool::start();
        let fleet = Repo::new();
        fleet.commit("master", &Flake::hosts(2).files());
        pool.repo.commit("master", &locked(&fleet, &pool.store));
        let forge = MockForge::start(Persona::Gitea126, &pool.repo);
        forge.set(|settings| settings.private = true);
        let cache = Cache::new(&pool.store);
        let login = pool.keys().dir().join("login.secret");
        pool.repo_lines = Some(format!(
            "url = {:?}\nrefs = [\"master\", \"flake-update/*\"]\ngit_credentials_file = {login:?}",
            forge.git_url()
        ));
        let site = Self { pool, forge, fleet, cache, collector: Collector::start(Manner::Takes) };
        site.log_in_with(&site.forge.token());
        site
    }

    /// What git is to say at the forge from now on.
    fn log_in_with(&self, token: &str) {
        let login = self.forge.url().replace("http://", &format!("http://{BOT}:{token}@"));
        let file = self.pool.keys().dir().join("login.secret");
        fs::write(file, login + "\n").expect("a writable folder");
    }

    /// As a config or a program calls it, with everything told that can be told.
    fn loud(&self, mut command: Command, args: &[&str]) -> Command {
        command.args(args).arg("-vv").envs(self.collector.env());
        command
    }

    fn worker(&self, cache: &str) -> Spawned {
        let tables = format!("[telemetry]\nlisten = \"127.0.0.1:0\"\n{cache}");
        let worker = self.pool.worker_command("run", "w1", &self.pool.store, &tables);
        Spawned::start("w1", &mut self.loud(worker, &[]), self.pool.keys().dir())
    }

    fn producer(&self, args: &[&str]) -> Output {
        let producer = self.pool.client("producer", "ci", "");
        run(&mut self.loud(producer, args), DEADLINE)
    }

    fn submit(&self, hosts: &str, rev: &str) -> Output {
        let mut args = vec!["submit", "--repo", REPO];
        args.extend(hosts.split(' '));
        self.producer(&[&args[..], &["--rev", rev, "--wait", "--json"]].concat())
    }

    /// `gate run` with this token.
    fn gate(&self, token_file: &Path) -> Output {
        let forge = self.forge.config();
        let own = self.forge.token_file().display().to_string();
        let forge = forge.replace(&own, &token_file.display().to_string());
        let tables = format!(
            "[repos.{REPO}]\nurl = {:?}\nrefs = [\"master\", \"flake-update/*\"]\n{forge}\n",
            self.forge.git_url(),
        );
        let gate = self.pool.client_with("gate", "gate", &tables);
        run(&mut self.loud(gate, &["run", "--repo", REPO, "--json"]), DEADLINE)
    }

    fn upstream(&self, hosts: &Flake) {
        self.fleet.commit("master", &hosts.files());
    }

    /// Commits what upstream has to `master`.
    fn commit(&self) -> String {
        self.pool.repo.commit("master", &locked(&self.fleet, &self.pool.store))
    }

    fn secret_file(&self, name: &str, content: &str) -> PathBuf {
        let file = self.pool.keys().dir().join(format!("{name}.secret"));
        fs::write(&file, content).expect("a writable folder");
        file
    }

    fn signing_key(&self) -> String {
        fs::read_to_string(self.cache.key()).expect("a key").trim().to_owned()
    }

    fn seed(&self, name: &str) -> String {
        fs::read_to_string(self.pool.keys().seed_file(name)).expect("a seed").trim().to_owned()
    }

    /// What must be seen nowhere, in each form in which it might be.
    fn secrets(&self) -> Vec<String> {
        let mut secrets =
            ["admin", "ci", "gate", "reader", "w1"].map(|name| self.seed(name)).to_vec();
        let key = self.signing_key();
        let (_, key) = key.split_once(':').expect("name and key");
        // Also what is left of a damaged one.
        secrets.push(key[..64].to_owned());
        secrets.push(self.forge.token());
        secrets.extend(logins(&self.forge.token()));
        secrets
    }

    /// Lets a hook look around when the forge is asked for this.
    fn look_at(&self, path: &str) -> Arc<Mutex<String>> {
        let seen = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&seen);
        let look = move || *kept.lock().expect("nobody panics in it") += &processes();
        self.forge.before(On::new("POST", path), look);
        seen
    }
}

/// As the worker's git and the gate's send it.
fn logins(token: &str) -> [String; 2] {
    [BOT, "token"].map(|user| base64(&format!("{user}:{token}")))
}

fn base64(text: &str) -> String {
    let script = format!("printf %s {text} | base64 --wrap=0");
    let output = Command::new("sh").args(["-c", &script]).output().expect("base64");
    String::from_utf8(output.stdout).expect("base64")
}

fn looked(seen: &Mutex<String>, program: &str) -> String {
    let seen = seen.lock().expect("nobody panics in it").clone();
    assert!(seen.contains(program), "{program} was seen at work");
    seen
}

/// The worker fetches, builds and pushes; then the gate does its part.
fn all_goes_well(site: &Site, search: &mut Search) {
    let fetching = site.look_at("/git-upload-pack");
    site.upstream(&Flake::hosts(2).held("h01").toplevel("h02", SLOW_TO_PUSH));
    let rev = site.commit();
    let mut worker = site.worker(&site.cache.pushed_to());
    let (answer, building, pushing) = std::thread::scope(|scope| {
        let submitted = scope.spawn(|| site.submit("h01 h02", &rev));
        let pushing = eventually("a push", DEADLINE, || {
            let seen = processes();
            seen.contains(&format!("--to {}", site.cache.url())).then_some(seen)
        });
        site.pool.store.wait_for_build(&system_name("h01"), DEADLINE);
        let building = processes();
        site.pool.store.release("h01");
        (submitted.join().expect("an answer"), building, pushing)
    });
    search.saw(&answer.expect_code(0));
    assert!(building.contains("nix-store --realise"), "a build was seen at work");
    search.texts.extend([looked(&fetching, "fetch --quiet"), building, pushing]);

    let landing = site.look_at("/git-receive-pack");
    site.upstream(&Flake::hosts(2).salt("newer"));
    search.saw(&site.gate(&site.forge.token_file()).expect_code(0));
    search.texts.push(looked(&landing, "push --porcelain"));
    let log = worker.log();
    let (_, address) = log.split_once("metrics at http://").expect("it says where");
    let address = address.split_once("/metrics").and_then(|(it, _)| it.parse().ok());
    search.texts.push(read(address.expect("an address"), "/metrics").expect("a page").body);
    worker.sigterm();
    assert!(worker.wait(DEADLINE).success(), "{}", worker.log());
}

/// A job that ends as `infra-failed`, with this class.
fn fails(site: &Site, cache: &str, class: &str, search: &mut Search) {
    site.upstream(&Flake::hosts(1).salt(&format!("{class} {}", cache.len())));
    let rev = site.commit();
    let mut worker = site.worker(cache);
    let answer = site.submit("h01", &rev);
    search.saw(&answer);
    let answer = answer.expect_code(3).json();
    assert_eq!(host(&answer, "h01")["failure"]["class"], class, "{answer:#}");
    let job = text(&host(&answer, "h01")["job"]);
    search.saw(&site.producer(&["logs", &job]).expect_code(0));
    worker.sigterm();
    worker.wait(DEADLINE);
}

#[test]
fn secrets_are_in_no_argument_environment_log_record_trace_metric_error_or_store_path() {
    let site = Site::start();
    let secrets = site.secrets();
    let mut search = Search { secrets, texts: Vec::new(), folders: Vec::new() };

    all_goes_well(&site, &mut search);

    // Nothing can be put there.
    let key = site.cache.key();
    let nowhere = "[cache]\npush_to = \"file:///dev/null/cache\"\n";
    fails(&site, &format!("{nowhere}sign_key_file = {key:?}\n"), "push-failed", &mut search);
    // A key that lost its end.
    let key = site.signing_key();
    let damaged = site.secret_file("damaged-key", &key[..key.len() - 5]);
    let url = site.cache.url();
    let cache = format!("[cache]\npush_to = {url:?}\nsign_key_file = {damaged:?}\n");
    fails(&site, &cache, "push-failed", &mut search);
    // A login that the forge does not know.
    let wrong = site.forge.token().chars().rev().collect::<String>();
    search.secrets.push(wrong.clone());
    search.secrets.extend(logins(&wrong));
    site.log_in_with(&wrong);
    fails(&site, "", "fetch-failed", &mut search);
    site.upstream(&Flake::hosts(1).salt("unheard"));
    let refused = site.gate(&site.secret_file("wrong-token", &wrong));
    assert_ne!(refused.code, Some(0), "{refused}");
    search.saw(&refused);
    // A seed that lost its end, and one that may only read.
    let seed = site.seed("w1");
    search.secrets.push(seed[..seed.len() - 3].to_owned());
    for content in [&seed[..seed.len() - 3], &site.seed("reader")] {
        let file = site.secret_file("other-seed", content);
        let mut command = site.pool.client("producer", "ci", "");
        command.env("NATS_NKEY", &file);
        let args = ["--patience", "1s", "submit", "--repo", REPO, "h01", "--rev", &"0".repeat(40)];
        let refused = run(&mut site.loud(command, &args), DEADLINE);
        assert_eq!(refused.code, Some(2), "{refused}");
        search.saw(&refused);
    }

    search.texts.push(format!("{:?}", site.collector.spans()));
    let store = site.pool.store.real("/nix/store");
    search.folders.extend([site.pool.keys().dir().to_owned(), site.cache.path("cache"), store]);
    search.check(&[
        "process nbp.build",
        "nbp_builds_total",
        "push-failed",
        "fetch-failed",
        "Authentication failed",
        "\"attempts\"",
        "pool-1:",
        "nixos-system-h01",
    ]);
    site.forge.check_secrets();
}
