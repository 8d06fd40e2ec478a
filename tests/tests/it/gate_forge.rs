//! A forge in trouble in the middle of a run: whatever it answers, the update is landed or explained
//! once, or waits for `gate resume`.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    Flake, MockForge, PoolOptions, Updates, WorkerOptions, eventually,
    forge::{ALICE, BOT, Fault, On, Persona},
};

use crate::{
    DEADLINE,
    gate_crashes::{explained_once, landed_once},
};

/// For answers that do not come. Long enough for those that do, on a busy machine.
const TIMEOUT: &str = "timeout = \"5s\"";

/// Trouble that passes: each strikes once.
const TROUBLE: [fn(&MockForge, On); 8] = [
    |forge, on| forge.fault(on, 1, Fault::status(500)),
    |forge, on| forge.lose(on, 1, Fault::status(503)),
    |forge, on| forge.fault(on, 1, Fault::status(429).with_header("retry-after", "1")),
    |forge, on| forge.fault(on, 1, Fault::html(200)),
    |forge, on| forge.lose(on, 1, Fault::html(502)),
    |forge, on| forge.lose(on, 1, Fault::Reset),
    |forge, on| forge.fault(on, 1, Fault::Slow(Duration::from_millis(300))),
    |forge, on| forge.fault(on, 1, Fault::Hang),
];

/// All that a run with a red end asks the forge for, by REST.
fn requests() -> [On; 12] {
    [
        ("GET", "/version"),
        ("GET", "/user"),
        ("GET", "/settings/attachment"),
        ("GET", "/labels"),
        ("POST", "/homelab/labels"),
        ("POST", "/pulls"),
        ("POST", "/1/labels"),
        ("GET", "/comments"),
        ("POST", "/comments"),
        ("GET", "/assets"),
        ("POST", "/assets"),
        ("GET", "/pulls"),
    ]
    .map(|(method, path)| On::new(method, path))
}

fn red(hosts: usize) -> Flake {
    Flake::hosts(hosts).salt("newer").failing("h02")
}

/// Each request meets trouble, and another kind of it in each turn.
fn explained_through_trouble(turn: usize) {
    let mut site = Updates::start(&Flake::hosts(2));
    site.forge_table = TIMEOUT.to_owned();
    let _worker = site.pool.worker("w1");
    let base = site.rev("master");
    site.upstream(&red(2));
    for (at, on) in requests().into_iter().enumerate() {
        TROUBLE[(at + turn) % TROUBLE.len()](&site.forge, on);
    }

    let answer = site.run(&[]).expect_code(1).json();

    assert_eq!(answer["end"], "failed", "{answer:#}");
    explained_once(&site, &base);
    for on in requests() {
        assert!(site.forge.count(&on) > 0, "{on:?} is not asked for");
    }
}

/// As a test of its own each, for they wait more than they work.
macro_rules! turns {
    ($($name:ident: $turn:literal;)*) => {
        $(
            #[test]
            fn $name() {
                explained_through_trouble($turn);
            }
        )*
    };
}

// In one of these turns each request that makes something is done and its answer lost.
turns! {
    trouble_that_passes_leaves_a_red_update_explained_once: 0;
    trouble_that_passes_leaves_a_red_update_explained_once_turn_2: 1;
    trouble_that_passes_leaves_a_red_update_explained_once_turn_3: 3;
}

#[test]
fn trouble_that_passes_lets_a_green_update_land_once() {
    for (lost, git) in [(true, Fault::status(503)), (false, Fault::html(200))] {
        let site = Updates::start(&Flake::hosts(1));
        let _worker = site.pool.worker("w1");
        let base = site.rev("master");
        site.upstream(&Flake::hosts(1).salt("newer"));
        let (put, get) = (On::new("PUT", "/branches/master"), On::new("GET", "/branches/master"));
        match lost {
            true => site.forge.lose(put, 1, Fault::Reset),
            false => site.forge.fault(put, 2, Fault::status(502)),
        }
        site.forge.fault(get, 1, Fault::status(429).with_header("retry-after", "1"));
        // By git: the first look, and the update's branch, whose answer is lost.
        site.forge.fault(On::new("GET", "/info/refs"), 1, git);
        site.forge.lose(On::new("POST", "/git-receive-pack"), 1, Fault::Reset);

        site.run(&[]).expect_code(0);

        landed_once(&site, &base);
    }
}

/// The forge stays down from this request on; what the run did until then is not done again.
fn waits_for_resume(on: &On, green: bool) {
    let site = Updates::start(&Flake::hosts(2));
    let _worker = site.pool.worker("w1");
    let base = site.rev("master");
    site.upstream(&if green { Flake::hosts(2).salt("newer") } else { red(2) });
    site.forge.always(on.clone(), Fault::status(503));
    let mut gate = site.spawn("gate", &[], None);
    eventually("tries", DEADLINE, || (site.forge.count(on) > 1).then_some(()));
    // As whoever runs it does when the time is up.
    gate.sigterm();

    assert_eq!(gate.wait(DEADLINE).code(), Some(3), "{}", gate.log());
    assert!(gate.log().contains("`gate resume` goes on"), "{}", gate.log());
    assert_eq!(site.rev("master"), base);
    site.forge.heal();
    site.resume().expect_code(if green { 0 } else { 1 });
    match green {
        true => landed_once(&site, &base),
        false => explained_once(&site, &base),
    }
    assert_eq!(site.records().len(), 1, "the same run");
}

#[test]
fn a_forge_that_stays_down_at_the_landing_leaves_the_run_to_resume() {
    waits_for_resume(&On::new("PUT", "/branches/master"), true);
}

#[test]
fn a_forge_that_stays_down_at_the_explanation_leaves_the_run_to_resume() {
    waits_for_resume(&On::new("POST", "/pulls"), false);
}

#[test]
fn a_forge_that_outlasts_all_patience_leaves_the_run_to_resume() {
    let site = Updates::start(&Flake::hosts(2));
    let _worker = site.pool.worker("w1");
    let base = site.rev("master");
    site.upstream(&red(2));
    // Of all trouble this is what the gate has the least patience with.
    site.forge.always(On::new("GET", "/user"), Fault::status(200));

    let output = site.run(&[]).expect_code(3);

    assert!(output.stderr.contains("what answers is not the forge's interface"), "{output}");
    assert_eq!(site.rev("master"), base);
    assert!(site.forge.pulls().is_empty());
    site.forge.heal();
    site.resume().expect_code(1);
    explained_once(&site, &base);
}

#[test]
fn a_forge_that_is_down_from_the_start_leaves_nothing_behind() {
    let mut site = Updates::start(&Flake::hosts(1));
    site.forge.stop();

    let output = site.run(&[]).expect_code(3);

    assert!(output.stderr.contains("the forge does not answer"), "{output}");
    assert_eq!((site.records().len(), site.branches().len()), (0, 0));
}

#[test]
fn logs_that_the_forge_does_not_take_are_not_said_to_be_attached() {
    let site = Updates::start(&Flake::hosts(2));
    let _worker = site.pool.worker("w1");
    let refuse: [fn(&MockForge); 3] = [
        |forge| forge.set(|settings| settings.attachment_types = ".txt,.pdf".to_owned()),
        |forge| {
            forge.set(|settings| {
                settings.attachment_types = "*/*".to_owned();
                settings.attachment_max_size = 0;
            });
        },
        // By a proxy that knows better than the settings.
        |forge| {
            forge.set(|settings| settings.attachment_max_size = 100);
            forge.always(On::new("POST", "/assets"), Fault::status(422));
        },
    ];
    for (number, refuse) in (1..).zip(refuse) {
        refuse(&site.forge);
        site.upstream(&red(2).salt(&format!("newer {number}")));

        site.run(&[]).expect_code(1);

        assert_eq!(site.forge.pulls().len(), usize::try_from(number).expect("few"));
        let pull = site.forge.pull(number);
        assert!(pull.body.contains(tests::flake::LAST_WORDS), "the end of the log: {}", pull.body);
        let comments = site.forge.comments(number);
        assert_eq!((comments.len(), comments[0].files.len()), (1, 0), "{comments:?}");
        for text in [&pull.body, &comments[0].body] {
            assert!(!text.contains("attached"), "case {number}: {text}");
        }
    }
    // Taken, they are named.
    site.forge.heal();
    site.upstream(&red(2).salt("newest"));
    site.run(&[]).expect_code(1);
    let comment = &site.forge.comments(4)[0];
    assert!(comment.body.contains("attached: `h02.log.gz`"), "{comment:?}");
    assert!(site.forge.pull(4).body.contains("attached below: `h02.log.gz`"));
    assert_eq!(comment.files.len(), 1);
}

/// A derivation that says much and fails.
fn talkative(host: &str) -> String {
    let line = "`".repeat(3) + &"x".repeat(300);
    format!(
        "builtins.derivation {{ name = \"loud-{host}\"; system = \"x86_64-linux\"; \
         builder = \"/bin/sh\"; args = [ \"-c\" \
         \"i=0; while [ $i -lt 150 ]; do i=$((i+1)); echo '{line}'; done; exit 1\" ]; }}"
    )
}

#[test]
fn logs_beyond_every_limit_leave_a_request_within_it() {
    let site = Updates::start(&Flake::hosts(4));
    let _worker = site.pool.worker("w1");
    let names = ["h01", "h02", "h03", "h04"];
    let loud = names.iter().fold(Flake::hosts(4), |flake, it| flake.toplevel(it, &talkative(it)));
    site.upstream(&loud);

    site.run(&[]).expect_code(1);

    let pull = site.forge.pull(1);
    assert!(pull.body.len() <= 60_000, "{} bytes", pull.body.len());
    assert!(pull.body.len() > 30_000, "what there is room for is shown: {}", pull.body.len());
    for host in names {
        assert!(pull.body.contains(&format!("loud-{host}")), "each failure is named");
    }
    let comments = site.forge.comments(1);
    assert_eq!(comments.len(), 1);
    assert!(comments[0].body.len() <= 60_000);
    assert_eq!(comments[0].files.len(), 4, "the whole logs are attached");
}

#[test]
fn words_of_another_version_change_nothing() {
    let site = Updates::start(&Flake::hosts(2));
    let _worker = site.pool.worker("w1");
    site.upstream(&red(2).salt("one"));
    site.run(&[]).expect_code(1);
    site.forge.add_pull(|_| {});
    let odd = |pull: &mut Value| {
        pull["queue"] = json!({"state": "neutral"});
        pull["labels"] = Value::Null;
        pull["mergeable_state"] = "clean-ish".into();
    };
    site.forge.always(
        On::new("GET", "/pulls"),
        Fault::rewritten(move |pulls| {
            for pull in pulls.as_array_mut().into_iter().flatten() {
                odd(pull);
                if pull["user"]["login"] == ALICE {
                    pull["state"] = "merging".into();
                }
            }
        }),
    );
    let state = |it: &mut Value| it["state"] = "draft-ish".into();
    site.forge.always(On::new("POST", "/pulls"), Fault::rewritten(state));
    let exclusive = |it: &mut Value| it[0]["exclusive"] = "perhaps".into();
    site.forge.always(On::new("GET", "/labels"), Fault::rewritten(exclusive));
    site.upstream(&red(2).salt("two"));

    let answer = site.run(&[]).expect_code(1).json();

    assert_eq!(answer["end"], "failed", "{answer:#}");
    let open: Vec<bool> = site.forge.pulls().iter().map(|pull| pull.open).collect();
    assert_eq!(open, [false, true, true], "the older one is superseded, a stranger's stays");
    assert_eq!(site.forge.labels_of(3), ["build-failure", "needs-review"]);
}

/// A request that is open already is found again behind many newer ones, and its labels among many.
fn found_among_many(persona: Persona, page_max: usize, helpful: bool) {
    let site = Updates::start_with(&Flake::hosts(2), persona, &PoolOptions::default());
    let _worker = site.pool.worker_with("w1", &WorkerOptions::default());
    site.forge.set(|settings| {
        settings.page_max = page_max;
        settings.total_count = helpful;
        settings.base_filter = helpful;
    });
    for number in 0..38 {
        site.forge.add_label(&format!("area/{number}"));
    }
    site.forge.add_label("build-failure");
    site.forge.add_label("needs-review");
    site.upstream(&red(2));
    site.run(&[]).expect_code(1);
    let head = site.forge.pull(1).head;
    for number in 0..51 {
        // From forks, some of them with the very name of our branch.
        let name = if number % 10 == 0 { head.clone() } else { format!("change-{number}") };
        site.forge.add_pull(|pull| pull.head = name);
    }

    let answer = site.run(&["--branch", &head]).expect_code(1).json();

    assert_eq!(answer["end"], "failed", "{answer:#}");
    let pulls = site.forge.pulls();
    let ours: Vec<u64> =
        pulls.iter().filter(|pull| pull.author == BOT).map(|pull| pull.number).collect();
    assert_eq!((ours.as_slice(), pulls.len()), (&[1][..], 52), "no second one");
    assert!(pulls.iter().all(|pull| pull.open), "nobody else's is touched");
    assert_eq!(site.forge.comments(1).len(), 2, "one of each run");
    assert_eq!(site.forge.labels_of(1), ["build-failure", "needs-review"]);
    assert_eq!(site.forge.labels().len(), 40, "no label twice");
}

#[test]
fn a_request_that_is_open_already_is_found_among_51_on_gitea() {
    found_among_many(Persona::Gitea126, 50, true);
}

#[test]
fn a_request_that_is_open_already_is_found_among_51_on_forgejo() {
    found_among_many(Persona::Forgejo, 20, false);
}
