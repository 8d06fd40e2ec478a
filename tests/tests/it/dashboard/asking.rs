//! The page as a program asks for it: what is refused, what every answer carries, and what foreign
//! text becomes.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::json;
use tests::{Flake, KeyedPool, Pool, Proxy, Spawned, eventually, flake::LAST_WORDS, http};

use super::Page;
use crate::{DEADLINE, text};

const NOWHERE: &str = "0123456789abcdef0123456789abcdef01234567";

/// Every answer has them, whatever it is about.
#[track_caller]
pub(super) fn guarded(answer: &http::Answer, what: &str) {
    let policy = answer.header("content-security-policy");
    for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{what}: {policy:?}");
    }
    assert!(!policy.contains("unsafe"), "{what}: {policy:?}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), value, "{what}");
    }
    // No script, style or handler stands in a page: the policy would stop them.
    for inline in ["<style", " style=", "<script>", " onclick=", "javascript:"] {
        assert!(!answer.body.contains(inline), "{what} holds {inline}: {}", answer.body);
    }
}

#[test]
fn only_get_and_head_are_answered_and_every_answer_is_guarded() {
    let pool = Pool::start();
    let page = Page::of(&pool);
    let host = format!("Host: {}\r\n", page.address);
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        for path in ["/", "/live?shown=0", "/page.js", "/nothing"] {
            let answer = http::send(page.address, method, path, &host, "");
            assert_eq!(
                (answer.status, answer.header("allow")),
                (405, "GET, HEAD"),
                "{method} {path}"
            );
            guarded(&answer, method);
        }
    }
    let head = http::send(page.address, "HEAD", "/", &host, "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_ne!(head.header("content-length"), "0");
    for path in
        ["/", "/pool", "/gates", "/page.css", "/page.js", "/icon.svg", "/nothing", "/repo/x"]
    {
        let answer = page.get(path);
        assert_eq!(
            answer.status,
            if path == "/nothing" || path == "/repo/x" { 404 } else { 200 },
            "{path}"
        );
        guarded(&answer, path);
    }
    let empty = page.get("/");
    assert!(empty.body.contains("producer submit --repo R --ref master --all"), "{}", empty.body);
}

#[test]
fn only_our_own_names_are_answered() {
    let pool = Pool::start();
    let args = ["dashboard", "--listen", "127.0.0.1:0", "--name", "builds.example.org"];
    let page = Page::started(pool.spawn_producer("page", &args));
    let status = |headers: &str| {
        let answer = http::send(page.address, "GET", "/", headers, "");
        guarded(&answer, headers);
        answer.status
    };
    assert_eq!(status(&format!("Host: {}\r\n", page.address)), 200);
    assert_eq!(status("Host: localhost:1\r\n"), 200);
    assert_eq!(status("Host: builds.example.org\r\n"), 200);
    for stranger in ["evil.example", "127.0.0.1.evil.example", "builds.example.org.evil.example:80"]
    {
        assert_eq!(status(&format!("Host: {stranger}\r\n")), 421, "{stranger}");
    }
}

#[test]
fn what_is_not_there_says_so_and_what_could_help() {
    let pool = Pool::start();
    let page = Page::of(&pool);
    let unknown = page.get(&format!("/job/homelab/{NOWHERE}/web"));
    assert_eq!(unknown.status, 404);
    let help = format!("producer submit web --repo homelab --rev {NOWHERE}");
    assert!(unknown.body.contains(&help), "{}", unknown.body);

    let long = "x".repeat(5_000);
    for path in [
        "/job/homelab/abc/web".to_owned(),
        format!("/job/homelab/{NOWHERE}/..%2F..%2Fetc"),
        format!("/job/homelab/{NOWHERE}/%3Cscript%3Ealert(1)%3C%2Fscript%3E"),
        format!("/job/homelab/{NOWHERE}/web%0d%0aX-Bad:%201"),
        format!("/job/homelab/{NOWHERE}/{long}"),
        format!("/job/*/{NOWHERE}/%3E"),
        "/host/homelab/%E2%80%AEgpj".to_owned(),
        "/host/homelab/web".to_owned(),
        "/repo/%00".to_owned(),
        format!("/commit/homelab/{NOWHERE}"),
        "/gate/run.homelab.master.x".to_owned(),
        "/gate/%3E".to_owned(),
        "/run/01900000-0000-7000-8000-000000000001".to_owned(),
        "/run/%3Cscript%3Ealert(1)%3C%2Fscript%3E".to_owned(),
        "/run/*".to_owned(),
        format!("/run/{long}"),
    ] {
        let answer = page.get(&path);
        assert_eq!(answer.status, 404, "{path}: {}", answer.body);
        assert!(answer.header("x-bad").is_empty());
        let foreign = ["<script>", "alert(1)</", "\u{202e}", "\0"];
        assert!(!foreign.iter().any(|it| answer.body.contains(it)), "{}", answer.body);
    }
    for path in ["/repo/x?from=-1", "/live", "/live?shown=x", "/job/%FF/x/y", "/live?shown=0&job=x"]
    {
        let answer = page.get(path);
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
        guarded(&answer, path);
    }
}

#[test]
fn foreign_text_in_records_is_shown_and_does_nothing() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    let evil = "</td><script>alert(1)</script>\u{202e}\u{1b}[31m\"'&";
    let worker = json!({
        "v": 1, "worker": "w9", "instance": "01900000-0000-7000-8000-000000000001",
        "classes": ["x86_64-linux"], "slots": 1, "jobs": [], "paused": evil, "version": evil,
        "labels": { evil: evil }, "since": 1,
    });
    pool.publish("$KV.nbp-workers.w9", worker.to_string().as_bytes());
    let run = "01900000-0000-7000-8000-00000000000a";
    let run_record = json!({
        "v": 1, "run": run, "by": "local", "at": 4_000_000_000_000_u64, "repo": "homelab",
        "revision": NOWHERE, "ref": evil, "hosts": { "h01": "x86_64-linux" }, "priority": "normal",
    });
    pool.publish(&format!("$KV.nbp-runs.local.{run}"), run_record.to_string().as_bytes());
    // Somebody wrote it in another's name.
    let stolen = "01900000-0000-7000-8000-00000000000b";
    let stolen_record = run_record.to_string().replace(run, stolen);
    pool.publish(&format!("$KV.nbp-runs.other.{stolen}"), stolen_record.as_bytes());
    // What nobody can read hides nothing else.
    pool.publish(&format!("$KV.nbp-results.homelab.{NOWHERE}.h01"), b"\xff no record");
    pool.publish("$KV.nbp-runs.local.nonsense", b"{}");
    pool.publish("$KV.nbp-gates.run.homelab.master.nonsense", b"[]");
    let page = Page::of(&pool);
    let shown = "&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;'&amp;";
    let of_run = format!("/run/{run}");
    for path in ["/", "/pool", &of_run] {
        let answer = eventually("the forged records on the page", DEADLINE, || {
            Some(page.get(path)).filter(|answer| answer.body.contains(shown))
        });
        let foreign = ["<script>", "\u{202e}", "\u{1b}"];
        assert!(!foreign.iter().any(|it| answer.body.contains(it)), "{}", answer.body);
        assert!(answer.body.contains("h01"), "{}", answer.body);
        guarded(&answer, path);
    }
    let answer = page.get(&format!("/run/{stolen}"));
    assert_eq!(answer.status, 404, "{}", answer.body);
    assert!(answer.body.contains("its record contradicts its key"), "{}", answer.body);
}

#[test]
fn a_run_of_any_age_has_a_page_that_says_how_its_hosts_stand_now() {
    const COMMITS_KEPT: u64 = 12;
    let revision = |commit: u64| format!("{commit:040x}");
    let pool = Pool::start();
    let _worker = pool.worker("w1");
    let rev = pool.commit("master", &Flake::hosts(3).failing("h02"));
    let args = ["--all", "--exclude", "h03", "--ref", "master", "--wait", "--json"];
    let run = text(&pool.submit(&args).expect_code(1).json()["run"]);
    let path = format!("/run/{run}");
    let check = |page: &Page, what: &str| {
        let answer = page.get(&path);
        assert_eq!(answer.status, 200, "{what}: {}", answer.body);
        guarded(&answer, what);
        let link = |host: &str| format!("<a href=\"/job/homelab/{rev}/{host}\">{host}</a>");
        for part in [
            &run,
            "2 hosts: 1 built, 1 failed",
            "<dt>Left out</dt><dd>h03</dd>",
            " on <bdi>master</bdi>",
            "broken-leaf",
            &link("h01"),
            &link("h02"),
        ] {
            assert!(answer.body.contains(part), "{what}: {part} is not in {}", answer.body);
        }
        assert!(!answer.body.contains("not read yet"), "{what}: {}", answer.body);
    };
    let page = Page::of(&pool);
    eventually("the commit", DEADLINE, || page.get("/").body.contains(&rev).then_some(()));
    check(&page, "a run that is known");

    // So many newer commits that the page keeps nothing of this one.
    for commit in 1..=COMMITS_KEPT {
        let newer = format!("01900000-0000-7000-8000-{commit:012x}");
        let record = json!({
            "v": 1, "run": newer, "by": "local", "at": 4_000_000_000_000_u64 + commit,
            "repo": "homelab", "revision": revision(commit),
            "hosts": { "h01": "x86_64-linux" }, "priority": "normal",
        });
        pool.publish(&format!("$KV.nbp-runs.local.{newer}"), record.to_string().as_bytes());
    }
    let args = ["dashboard", "--listen", "127.0.0.1:0"];
    let page = Page::started(pool.spawn_producer("later", &args));
    eventually("all that it reads", DEADLINE, || {
        let home = page.get("/").body;
        let read = home.contains(&revision(1)) && !home.contains("Reading what the broker knows");
        read.then_some(())
    });
    assert_eq!(page.get(&format!("/commit/homelab/{rev}")).status, 404);
    check(&page, "a run of which nothing is kept");
}

#[test]
fn the_whole_log_is_plain_text_and_each_attempt_has_its_own() {
    let pool = Pool::start();
    let _worker = pool.worker("w1");
    let rev = pool.commit("master", &Flake::hosts(1).failing("h01"));
    for _ in 0..2 {
        pool.submit(&["h01", "--rev", &rev, "--wait", "--force"]).expect_code(1);
    }
    let page = Page::of(&pool);
    let log = format!("/job/homelab/{rev}/h01/log.txt");
    for attempt in ["", "?attempt=1", "?attempt=2"] {
        let answer = eventually("the last words", DEADLINE, || {
            Some(page.get(&format!("{log}{attempt}"))).filter(|it| it.body.contains(LAST_WORDS))
        });
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(answer.body.matches(LAST_WORDS).count(), 1, "{}", answer.body);
    }
    assert_eq!(page.get(&format!("{log}?attempt=3")).status, 404);
    let job = page.get(&format!("/job/homelab/{rev}/h01"));
    for attempt in ["?attempt=1#log", "?attempt=2#log"] {
        assert!(job.body.contains(attempt), "{}", job.body);
    }
}

/// A log of an attempt that is more than the buffers between two programs hold.
fn big_log(pool: &Pool, rev: &str) {
    const CHUNKS: u64 = 24;
    let lines = vec!["one more line of a very long log ".repeat(20); 1_000];
    for seq in 0..CHUNKS {
        let said = json!([{ "lines": lines }]);
        let chunk = json!({ "v": 1, "seq": seq, "said": said, "end": seq + 1 == CHUNKS });
        let subject = format!("nbp.log.homelab.{rev}.h01.1");
        pool.publish(&subject, chunk.to_string().as_bytes());
    }
}

/// Asks for something and takes the beginning of the answer only.
#[track_caller]
pub(super) fn begun(page: &Page, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(page.address).expect("a connection");
    let host = page.address;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").expect("a request");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket option");
    let mut status = [0; 12];
    stream.read_exact(&mut status).expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 200");
    stream
}

#[test]
fn a_few_whole_logs_are_read_at_once_and_the_others_wait() {
    const AT_ONCE: usize = 8;
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    big_log(&pool, &rev);
    let page = Page::of(&pool);
    let job = format!("/job/homelab/{rev}/h01");
    let log = format!("{job}/log.txt");
    let readers: Vec<TcpStream> = (0..AT_ONCE).map(|_| begun(&page, &log)).collect();

    for path in [&log, &format!("{job}?find=nothing")] {
        let answer = page.get(path);
        assert_eq!(answer.status, 503, "{path}");
        assert!(
            answer.body.contains("Many whole logs and old runs are being read"),
            "{}",
            answer.body
        );
        guarded(&answer, path);
    }
    assert_eq!((page.get("/").status, page.get(&job).status), (200, 200), "all else goes on");

    drop(readers);
    eventually("a turn", DEADLINE, || {
        (page.get(&format!("{job}?find=nothing")).status == 200).then_some(())
    });
}

#[test]
fn a_search_that_takes_too_long_shows_what_it_found_and_says_how_to_find_the_rest() {
    const CHUNKS: u64 = 400;
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    for seq in 0..CHUNKS {
        let said = json!([{ "lines": [format!("needle {seq}."), "hay"] }]);
        let chunk = json!({ "v": 1, "seq": seq, "said": said, "end": seq + 1 == CHUNKS });
        let subject = format!("nbp.log.homelab.{rev}.h01.1");
        pool.publish(&subject, chunk.to_string().as_bytes());
    }
    let line = Proxy::start(&pool.nats.url());
    let args = ["--nats-url", line.url(), "dashboard", "--listen", "127.0.0.1:0"];
    let page = Page::started(pool.spawn_producer("page", &args));
    let job = format!("/job/homelab/{rev}/h01");
    let path = format!("{job}?find=NEEDLE");
    let all = page.get(&path);
    assert_eq!(all.status, 200, "{}", all.body);
    assert!(all.body.contains("400 lines hold <q>NEEDLE</q>, the first 200"), "{}", all.body);
    assert!(!all.body.contains("This is not all"), "{}", all.body);

    // A broker that is far away: each chunk is a question of its own.
    line.delay(Duration::from_millis(60));
    let some = page.get(&path);
    assert_eq!(some.status, 200, "{}", some.body);
    guarded(&some, &path);
    for part in [
        "needle 0.",
        " among the first ",
        "This is not all",
        &format!("logs homelab.{rev}.h01 | grep -i WORD"),
    ] {
        assert!(some.body.contains(part), "{part} is not in {}", some.body);
    }
    assert!(!some.body.contains("400 lines hold"), "{}", some.body);
}

#[test]
fn clients_that_say_nothing_keep_nobody_out_for_long() {
    let pool = Pool::start();
    let page = Page::of(&pool);
    let silent: Vec<TcpStream> =
        (0..300).map(|_| TcpStream::connect(page.address).expect("a connection")).collect();

    assert_eq!(page.get("/").status, 200);

    drop(silent);
}

/// Starts the page with the key of one holder.
fn page_of(pool: &KeyedPool, name: &str) -> Page {
    let mut command = pool.client("producer", name, "");
    command.args(["dashboard", "--listen", "127.0.0.1:0"]);
    Page::started(Spawned::start(&format!("page-{name}"), &mut command, pool.server.dir()))
}

#[test]
fn a_reader_s_key_is_enough_and_asks_for_nothing_that_it_may_not() {
    let pool = KeyedPool::start();
    let rev = pool.repo.commit("master", &Flake::hosts(2).failing("h02").files());
    let _worker = pool.worker("w1", "");
    let submit = ["submit", "--repo", "homelab", "--all", "--ref", "master", "--wait", "--json"];
    let run = text(&pool.producer("ci", &submit).expect_code(1).json()["run"]);
    let page = page_of(&pool, "reader");

    eventually("the matrix", DEADLINE, || {
        Some(page.get("/")).filter(|home| home.body.contains("build-failed"))
    });
    let job = format!("/job/homelab/{rev}/h02");
    let run = format!("/run/{run}");
    for path in ["/pool", "/gates", "/host/homelab/h02", &job, &format!("{job}/log.txt"), &run] {
        assert_eq!(page.get(path).status, 200, "{path}");
    }

    assert_eq!(pool.server.violations(), Vec::<String>::new());
    assert!(!page.get("/").body.contains("has no right"), "{}", page.process.log());
}

#[test]
fn a_key_without_a_right_to_gate_runs_shows_the_rest_and_says_so() {
    let pool = KeyedPool::start();
    let rev = pool.repo.commit("master", &Flake::hosts(1).files());
    let submit = ["submit", "h01", "--repo", "homelab", "--rev", &rev];
    pool.producer("ci", &submit).expect_code(0);
    let page = page_of(&pool, "ci");

    eventually("the matrix and the notice", DEADLINE, || {
        let home = page.get("/").body;
        (home.contains("h01") && home.contains("has no right to see gate runs")).then_some(())
    });
}
