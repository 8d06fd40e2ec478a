use proto::{
    GateId, Identity, JobKey, Override, Overrides, RunId, V1,
    gate::{
        BrokenInput, Candidate, End, External, HostResult, HostStanding, Made, Refused, Required,
        Source, Stage, Tested, Trial, Update, Why,
    },
};
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::policy::tests::result;

mod hostile;
mod said;

/// 2026-11-25, in seconds.
const NOW_S: u64 = 1_795_564_800;
const DAY_S: u64 = 86_400;

/// Everything that a report is made of, to be changed by a test.
struct Story {
    run: GateRun,
    details: BTreeMap<String, Detail>,
    site: Site,
    /// What became of the hosts.
    results: BTreeMap<String, HostResult>,
    kept: Vec<BrokenInput>,
    locks: (String, String),
}

fn rev(digit: char) -> proto::Revision {
    digit.to_string().repeat(40).parse().expect("a revision")
}

fn lock(nixpkgs: (char, u64), home: char) -> String {
    let github = |owner: &str, repo: &str, digit: char, at: u64| {
        json!({"type": "github", "owner": owner, "repo": repo, "lastModified": at,
               "rev": digit.to_string().repeat(40)})
    };
    let (digit, at) = nixpkgs;
    json!({"root": "root", "version": 7, "nodes": {
        "root": {"inputs": {"home-manager": "home-manager", "nixpkgs": "nixpkgs"}},
        "home-manager": {"inputs": {"nixpkgs": ["nixpkgs"]},
                         "locked": github("nix-community", "home-manager", home, NOW_S - 9 * DAY_S)},
        "nixpkgs": {"locked": github("NixOS", "nixpkgs", digit, at)},
    }})
    .to_string()
}

impl Story {
    /// An update on which these hosts were tried.
    fn of(results: impl IntoIterator<Item = (&'static str, HostResult)>) -> Self {
        let url = |text: &str| text.parse().expect("a url");
        let repo = |text: &str| text.parse::<Repo>().expect("a repo");
        let run = GateRun {
            v: V1,
            id: GateId(Uuid::nil()),
            repo: repo("nixos-servers"),
            base: "master".into(),
            source: Source::Update,
            by: Identity::local(),
            at: Timestamp(NOW_S * 1000),
            rounds: 1,
            stage: Stage::Pin,
            trace: None,
        };
        let site = Site {
            urls: BTreeMap::from([
                (repo("nixos-servers"), url("https://git.example.org/infra/nixos-servers.git")),
                (repo("nixos"), url("git@git.example.org:infra/nixos.git")),
            ]),
            web: Some("https://git.example.org/infra/nixos-servers".into()),
            user: Some("gate-bot".into()),
            policy: Policy::All,
            scrub: scrub::Scrub::new(["hunter22"]),
        };
        Self {
            run,
            details: BTreeMap::new(),
            site,
            results: results.into_iter().map(|(label, it)| (label.to_owned(), it)).collect(),
            kept: Vec::new(),
            locks: (lock(('1', NOW_S - 20 * DAY_S), '3'), lock(('2', NOW_S - 2 * DAY_S), '3')),
        }
    }

    fn candidate(&self) -> Candidate {
        let (old_lock, lock) = self.locks.clone();
        let made = Made::Update(Update {
            lock,
            old_lock,
            message: "update".into(),
            date: NOW_S,
            kept: self.kept.clone(),
        });
        let branch = "flake-update/2026-11-25".into();
        Candidate { base: rev('b'), revision: rev('c'), branch, replaces: None, made }
    }

    fn tested(&self) -> Tested {
        let required = |label: &String| {
            let (repo, host) = label.split_once('/').unwrap_or(("nixos-servers", label));
            let job =
                JobKey { repo: repo.parse().ok()?, revision: rev('c'), host: host.parse().ok()? };
            let class = "x86_64-linux".parse().expect("a class");
            Some((
                label.clone(),
                Required { job, class, overrides: Overrides::default(), advisory: false },
            ))
        };
        let by = Override { repo: "nixos-servers".parse().expect("a repo"), revision: rev('c') };
        let trial = Trial {
            candidate: self.candidate(),
            required: self.results.keys().filter_map(required).collect(),
            excluded: vec!["pi4".into()],
            external: vec![External {
                repo: "nixos".parse().expect("a repo"),
                overrides: Overrides::new([("servers".parse().expect("an input"), by)].into())
                    .expect("one override"),
                revision: rev('e'),
                git_ref: "refs/heads/master".into(),
                run: RunId(Uuid::nil()),
            }],
            run: RunId(Uuid::nil()),
            base_run: RunId(Uuid::nil()),
        };
        Tested { trial, results: self.results.clone() }
    }

    fn refused(&self, why: Why) -> Refused {
        Refused { candidate: self.candidate(), why }
    }

    fn failed(&self) -> Refused {
        self.refused(Why::Failed(self.tested()))
    }

    fn facts(&self) -> Facts<'_> {
        let (run, details, site) = (&self.run, &self.details, &self.site);
        Facts { run, details, site, now: Timestamp(NOW_S * 1000) }
    }

    fn detail(&mut self, label: &str) -> &mut Detail {
        self.details.entry(label.to_owned()).or_default()
    }

    /// The run as it ended.
    fn ended(mut self, end: End) -> Self {
        self.run.stage = Stage::Ended(Box::new(end));
        self
    }
}

fn built() -> HostResult {
    HostResult { build_ms: 61_000, ..result(HostStanding::Built, "built") }
}

const LEAF: &str = "/nix/store/1b9p07z77phvv2hf6gm9f28syp39f1ag-nginx-1.27.drv";

fn failed(leaf: &str) -> HostResult {
    HostResult {
        leaf: Some(leaf.to_owned()),
        message: Some("builder for nginx failed".into()),
        attempts: 2,
        build_ms: 61_000,
        ..result(HostStanding::Failed, "build-failed")
    }
}

fn infra() -> HostResult {
    HostResult {
        message: Some("no space left on device".into()),
        attempts: 3,
        ..result(HostStanding::Undecided, "infra-failed")
    }
}

fn missing() -> HostResult {
    HostResult { attempts: 0, build_ms: 0, ..result(HostStanding::Missing, "missing") }
}

/// One of each kind.
fn mixed() -> Story {
    let external = failed("/nix/store/8b9p07z77phvv2hf6gm9f28syp39f1ag-vim.drv");
    let eval = HostResult {
        leaf: None,
        message: Some("attribute 'x' missing".into()),
        pre_existing: true,
        ..result(HostStanding::Failed, "eval-failed")
    };
    let mut story = Story::of([
        ("web1", failed(LEAF)),
        ("web2", failed(LEAF)),
        ("nixos/gunter", HostResult { advisory: true, ..external }),
        ("db1", eval),
        ("mail", infra()),
        ("ns1", HostResult { flaky: true, ..built() }),
        ("ns2", HostResult { reused: true, ..built() }),
        ("ns3", missing()),
    ]);
    story.kept = vec![BrokenInput { input: "dead".into(), message: "HTTP error 404".into() }];
    let log_tail =
        vec!["cc -o nginx".into(), "password=hunter22".into(), "cc: \u{1b}[31mno".into()];
    *story.detail("web2") = Detail {
        failure: Some(Failure {
            message: "builder for nginx failed".into(),
            drv: Some(LEAF.into()),
            log_tail,
        }),
        workers: vec!["w1".parse().expect("a worker"), "w2".parse().expect("a worker")],
        closure: None,
        attachment: Some("web2.log.gz".into()),
    };
    let closure =
        ClosureDiff { text: "nginx: 1.26 → 1.27, +12.3 KiB".into(), lines_cut: 0, bytes: 12_595 };
    story.detail("ns1").closure = Some(closure.clone());
    story.detail("ns2").closure = Some(closure);
    story
}
