//! The page as a person has it before them.

use serde_json::json;
use tests::{Browser, Flake, Pool, Updates, eventually, flake::LAST_WORDS};

use super::{Page, asking::begun};
use crate::{DEADLINE, text};

/// As WebDriver names the key.
const ENTER: &str = "\u{e007}";

/// Opens a page.
pub(super) fn browse(page: &Page, path: &str) -> Browser {
    let browser = Browser::start();
    browser.resize(1280, 900);
    browser.open(&page.url(path));
    browser
}

/// The console was silent, and nothing was fetched from elsewhere.
#[track_caller]
pub(super) fn nothing_went_wrong(browser: &Browser, page: &Page) {
    assert_eq!(browser.console(), Vec::<String>::new());
    let ours = page.url("/");
    let requests = browser.requests();
    let foreign: Vec<_> = requests.iter().filter(|url| !url.starts_with(&ours)).collect();
    assert_eq!(foreign, Vec::<&String>::new());
    assert!(!requests.is_empty(), "the log of requests tells none");
}

#[test]
fn matrix_live_log_and_the_end_of_a_build_come_by_themselves() {
    let pool = Pool::start();
    let _worker = pool.worker("w1");
    let old = pool.commit("master", &Flake::hosts(3).failing("h02"));
    pool.submit(&["--all", "--ref", "master", "--wait"]).expect_code(1);
    let page = Page::of(&pool);
    let browser = browse(&page, "/");
    browser.wait_for(".matrix", "h03", DEADLINE);
    browser.wait_for(".matrix td.failed", "✗", DEADLINE);
    assert!(browser.text(".matrix thead").expect("a head").contains(&old[..12]));
    // A page that was fetched anew would not know this any more, nor who has the focus.
    browser.run("window.kept = true; document.querySelector('.matrix tbody a').focus()");

    let rev = pool.commit("master", &Flake::hosts(3).salt("b").failing("h02").held("h01"));
    pool.submit(&["--all", "--ref", "master"]).expect_code(0);

    browser.wait_for("#running", "h01", DEADLINE);
    browser.wait_for("#running .line", "building nixos-system-h01", DEADLINE);
    browser.wait_for(".matrix thead", &rev[..12], DEADLINE);
    browser.wait_for(".matrix td.running", "●", DEADLINE);
    browser.wait_for("#status", "1 running", DEADLINE);
    assert_eq!(browser.run("return window.kept"), json!(true));
    let focus = browser.run("return document.activeElement.getAttribute('href')");
    assert_eq!(focus, json!("/host/homelab/h01"));
    browser.screenshot("hosts-desktop");

    browser.run("document.querySelector('#running a').click()");
    browser.wait_for("#lines", "building nixos-system-h01", DEADLINE);
    browser.wait_for("#job", "running (build)", DEADLINE);
    browser.run("window.kept = true");
    browser.screenshot("job-running-desktop");
    pool.store.release("h01");
    browser.wait_for("#lines", "built nixos-system-h01", DEADLINE);
    browser.wait_for("#job .badge", "built", DEADLINE);
    browser.wait_for("#attempts", "evaluate", DEADLINE);
    assert_eq!(browser.run("return window.kept"), json!(true));
    browser.screenshot("job-built-desktop");
    let lines = browser.text("#lines").expect("lines");
    let said = lines.matches("> building nixos-system-h01-26.05").count();
    assert_eq!(said, 1, "what was kept and what came live, each once: {lines}");
    nothing_went_wrong(&browser, &page);
}

#[test]
fn a_page_that_was_open_before_its_build_began_shows_the_log() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    let page = Page::of(&pool);
    let browser = browse(&page, &format!("/job/homelab/{rev}/h01"));
    browser.wait_for("#job", "queued: no worker for class x86_64-linux", DEADLINE);
    browser.wait_for("#log", "No log is kept", DEADLINE);
    browser.run("window.kept = true");

    let _worker = pool.worker("w1");

    browser.wait_for("#lines", "building nixos-system-h01", DEADLINE);
    pool.store.release("h01");
    browser.wait_for("#lines", "built nixos-system-h01", DEADLINE);
    assert_eq!(browser.run("return window.kept"), json!(true));
    nothing_went_wrong(&browser, &page);
}

#[test]
fn a_run_leads_from_a_job_to_all_its_hosts_and_stays_up_to_date() {
    let pool = Pool::start();
    let _worker = pool.worker("w1");
    let rev = pool.commit("master", &Flake::hosts(3).failing("h02").held("h01"));
    let args = ["h01", "h02", "--rev", &rev, "--ref", "master", "--priority", "high", "--json"];
    let run = text(&pool.submit(&args).expect_code(0).json()["run"]);
    let page = Page::of(&pool);
    let browser = browse(&page, &format!("/job/homelab/{rev}/h01"));
    browser.wait_for("#lines", "building nixos-system-h01", DEADLINE);
    browser.wait_for("#job .facts", &run, DEADLINE);

    // As somebody without a mouse goes there.
    browser.run("document.querySelector('#job .facts a[href^=\"/run/\"]').focus()");
    browser.press(ENTER);
    browser.wait_for("#run h1", "Run of homelab at", DEADLINE);
    for fact in [run.as_str(), &rev, "on master", "by local", "high"] {
        browser.wait_for("#run .facts", fact, DEADLINE);
    }
    browser.wait_for("#hosts tbody tr:first-child", "h02", DEADLINE);
    browser.wait_for("#hosts tbody tr:first-child", "build-failed", DEADLINE);
    browser.wait_for("#hosts tbody tr:nth-child(2)", "running (build)", DEADLINE);
    browser.run("window.kept = true; document.querySelector('#hosts tr:nth-child(2) a').focus()");
    let focus = "return document.activeElement.getAttribute('href')";
    let job = format!("/job/homelab/{rev}/h01");
    assert_eq!(browser.run(focus), json!(job));
    browser.screenshot("run-desktop");

    pool.store.release("h01");
    browser.wait_for("#hosts-h", "2 hosts: 1 built, 1 failed", DEADLINE);
    browser.wait_for("#hosts tbody tr:nth-child(2)", "built", DEADLINE);
    assert_eq!(browser.run("return window.kept"), json!(true));
    assert_eq!(browser.run(focus), json!(job), "what has the focus keeps it");
    browser.press(ENTER);
    browser.wait_for("#job .badge", "built", DEADLINE);

    browser.open(&page.url("/run/01900000-0000-7000-8000-000000000001"));
    browser.wait_for("main", "There is no run 01900000-0000-7000-8000-000000000001", DEADLINE);
    let console = browser.console();
    assert!(console.iter().all(|line| line.contains("404")), "{console:?}");
}

#[test]
fn an_idle_page_counts_on_and_text_that_is_marked_stays() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    let page = Page::of(&pool);
    let job = format!("/job/homelab/{rev}/h01");
    let browser = browse(&page, &job);
    browser.wait_for("#job", "no worker for class x86_64-linux, asked for", DEADLINE);
    // As if an hour had gone by on both clocks.
    browser.run("ahead += 3600 * 1000");
    browser.wait_for("#job .badge", "asked for 1 h ago", DEADLINE);
    browser.wait_for("#job .facts .elapsed", "1:00:", DEADLINE);

    let marked = "return document.getSelection().toString()";
    let mark = "document.getSelection().selectAllChildren(document.querySelector('.facts code'))";
    browser.run(mark);
    let _worker = pool.worker("w1");
    browser.wait_for("#lines", "building nixos-system-h01", DEADLINE);
    pool.store.release("h01");
    browser.wait_for("#attempts", "built", DEADLINE);
    assert_eq!(browser.run(marked), json!(rev), "what somebody marks is not taken away");
    assert!(browser.text("#job").is_some_and(|job| job.contains("no worker")));
    browser.run("document.getSelection().removeAllRanges()");
    browser.wait_for("#job .badge", "built", DEADLINE);
    nothing_went_wrong(&browser, &page);
}

#[test]
fn what_failed_stands_on_top_and_is_found_in_the_log() {
    let pool = Pool::start();
    let _worker = pool.worker("w1");
    let rev = pool.commit("master", &Flake::hosts(3).failing("h02").failing("h03"));
    pool.submit(&["--all", "--ref", "master", "--wait"]).expect_code(1);
    let page = Page::of(&pool);
    let browser = browse(&page, "/");

    browser.wait_for(".matrix td.failed", "✗", DEADLINE);
    browser.run("document.querySelector('.matrix td.failed a').click()");
    browser.wait_for(".failing", "broken-leaf", DEADLINE);
    browser.wait_for(".failing .log", LAST_WORDS, DEADLINE);
    let before = "return document.querySelector('.failing').getBoundingClientRect().top < \
                  document.querySelector('#attempts').getBoundingClientRect().top";
    assert_eq!(browser.run(before), json!(true));
    browser.screenshot("job-failed-desktop");

    browser.run("document.querySelector('#find').value = 'WARNING 2'");
    browser.run("document.querySelector('#log form').requestSubmit()");
    browser.wait_for("#log .found", "broken-leaf: warning 2", DEADLINE);
    browser.wait_for("#log", "1 line holds", DEADLINE);
    browser.wait_for("#log .found .hit", "broken-leaf: warning 2", DEADLINE);
    let near = browser.text("#log .found").expect("what was found");
    for near_it in ["broken-leaf: warning 1", "broken-leaf: warning 3", LAST_WORDS] {
        assert!(near.contains(near_it), "{near}");
    }
    let hits = "return document.querySelectorAll('#log .found .hit').length";
    assert_eq!(browser.run(hits), json!(1), "{near}");
    browser.screenshot("job-search-desktop");

    browser.open(&page.url(&format!("/commit/homelab/{rev}")));
    browser.wait_for("#hosts-h", "3 hosts: 1 built, 2 failed", DEADLINE);
    browser.wait_for("#hosts .shared", "broken-leaf fails on 2 hosts: h02, h03", DEADLINE);
    browser.wait_for("#hosts tbody tr", "h02", DEADLINE);
    browser.wait_for("#hosts tbody tr td code", "broken-leaf", DEADLINE);
    browser.screenshot("commit-desktop");
    browser.open(&page.url("/host/homelab/h02"));
    browser.wait_for("#standing", "It fails since", DEADLINE);
    browser.screenshot("host-desktop");
    nothing_went_wrong(&browser, &page);
}

/// Whether the last line of a box lies inside it.
#[track_caller]
fn end_in_sight(browser: &Browser, selector: &str) -> bool {
    let script = format!(
        "const box = document.querySelector({selector:?}); \
         const [outer, last] = [box, box.lastElementChild].map((it) => it.getBoundingClientRect()); \
         return box.scrollHeight > box.clientHeight \
           && last.top >= outer.top && last.bottom <= outer.bottom"
    );
    browser.run(&script) == json!(true)
}

#[test]
fn the_error_at_the_end_of_a_long_log_is_in_sight() {
    let pool = Pool::start();
    let _worker = pool.worker("w1");
    let wide = "words ".repeat(60);
    let script = format!(
        "n=0; while [ $n -lt 80 ]; do n=$((n+1)); echo \\\"line $n {wide}\\\"; done; \
         while ! [ -e /control/release-talker ]; do sleep 0.02; done; echo the very end; exit 1"
    );
    let toplevel = format!(
        "derivation {{ name = \"talker\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; \
         args = [ \"-c\" \"{script}\" ]; }}"
    );
    let rev = pool.commit("master", &Flake::hosts(1).toplevel("h01", &toplevel));
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    let page = Page::of(&pool);
    let job = format!("/job/homelab/{rev}/h01");
    let browser = browse(&page, &job);
    browser.wait_for("#lines", "line 80", DEADLINE);
    browser.run("window.kept = true");
    pool.store.release("talker");

    // It comes into an open page …
    browser.wait_for(".failing .log.last", "the very end", DEADLINE);
    assert!(end_in_sight(&browser, ".failing .log.last"));
    assert_eq!(browser.run("return window.kept"), json!(true));
    // … and stands in one that is opened afterwards.
    browser.open(&page.url(&job));
    browser.wait_for(".failing .log.last", "the very end", DEADLINE);
    for log in [".failing .log.last", "#lines"] {
        assert!(end_in_sight(&browser, log), "{log}");
    }
    let shown = "return document.querySelectorAll('.failing .log.last > div').length";
    assert_eq!(browser.run(shown), json!(15), "without a script no more than fit");
    browser.wait_for(".failing summary", "lines before", DEADLINE);
    browser.screenshot("job-long-log-desktop");
    nothing_went_wrong(&browser, &page);
}

#[test]
fn text_of_a_build_is_text_whatever_it_holds() {
    let pool = Pool::start();
    let _worker = pool.worker("w1");
    // What is kept already comes with the page; what comes later is added by the script.
    let hostile = "</script><script>window.owned=1</script><img src=x onerror=window.owned=2>";
    let says =
        |what: &str| format!("printf '{what}{hostile}\\342\\200\\256gpj.exe\\033[31m&amp;\\n'");
    let held = "while ! [ -e /control/release-hostile ]; do sleep 0.02; done";
    let script = format!("{}; {held}; {}; exit 1", says("kept"), says("live"));
    let script = script.replace('\\', "\\\\");
    let toplevel = format!(
        "derivation {{ name = \"paints\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; \
         args = [ \"-c\" \"{script}\" ]; }}"
    );
    let rev = pool.commit("master", &Flake::hosts(1).toplevel("h01", &toplevel));
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    let page = Page::of(&pool);
    let browser = browse(&page, &format!("/job/homelab/{rev}/h01"));
    browser.wait_for("#lines", "kept</script><script>window.owned=1", DEADLINE);
    pool.store.release("hostile");
    browser.wait_for("#lines", "live</script><script>window.owned=1", DEADLINE);
    browser.wait_for(".failing .log", "live</script><script>window.owned=1", DEADLINE);
    browser.open(&page.url(&format!("/job/homelab/{rev}/h01?find=%3C/script%3E")));
    browser.wait_for("#log .found", "kept</script>", DEADLINE);

    let text = browser.text("#log .found").expect("lines");
    assert!(text.contains("onerror=window.owned=2>gpj.exe&amp;"), "{text:?}");
    assert!(!text.contains(['\u{202e}', '\u{1b}']), "{text:?}");
    assert_eq!(browser.run("return window.owned ?? null"), json!(null));
    assert_eq!(
        browser.run("return document.querySelectorAll('#log img, #log script').length"),
        json!(0)
    );
    nothing_went_wrong(&browser, &page);
}

/// A finger reaches the newest cells of the first host, and the name of no host covers them.
const CELL_IN_SIGHT: &str = "document.querySelector('.matrix').scrollIntoView(); \
    return [...document.querySelectorAll('.matrix tbody tr')].every((row) => { \
      const cell = row.querySelector('td a'); \
      const at = cell.getBoundingClientRect(); \
      const found = document.elementFromPoint(at.x + at.width / 2, at.y + at.height / 2); \
      return cell === found || cell.contains(found); })";

/// No host of a commit has anything beyond the edge of the screen, its error least of all.
const WHY_IN_SIGHT: &str = "const all = [...document.querySelectorAll('.rows tbody tr > *')]; \
    const box = document.querySelector('.rows').closest('.scroll'); \
    return all.some((it) => it.matches('.why') && it.innerText) \
      && box.scrollWidth <= box.clientWidth \
      && all.every((it) => it.getBoundingClientRect().right <= window.innerWidth)";

#[test]
fn a_page_for_which_there_is_no_place_looks_again_now_and_then() {
    const LIVE_AT_ONCE: usize = 100;
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(2));
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    let page = Page::of(&pool);
    let others: Vec<_> = (0..LIVE_AT_ONCE).map(|_| begun(&page, "/live?shown=0")).collect();
    let browser = browse(&page, "/");
    browser.wait_for("#link", "Too many pages are open; this one looks again every 15 s", DEADLINE);
    browser.run("window.kept = true");

    pool.submit(&["h02", "--rev", &rev]).expect_code(0);
    browser.wait_for(".matrix", "h02", DEADLINE);
    browser.wait_for("#link", "Too many pages are open", DEADLINE);
    drop(others);
    eventually("a place", DEADLINE, || browser.text("#link").filter(|text| text.is_empty()));
    assert_eq!(browser.run("return window.kept"), json!(true));
    nothing_went_wrong(&browser, &page);
}

/// Parts of a page that say nothing to somebody who hears it.
const UNLABELLED: &str = "return [...document.querySelectorAll('table th:not([scope]), \
    section:not([aria-labelledby]):not([aria-label]), input:not([type=hidden]):not([id])')].length";

#[test]
fn every_page_fits_a_phone_and_is_reached_by_keyboard() {
    let pool = Pool::start();
    let _worker = pool.worker("w1");
    // As long as the name of a machine may be.
    let long = format!("h05-{}", "n".repeat(59));
    let flake = |salt: &str| {
        let hosts = Flake::named(&["h01", "h02", "h03", "h04", &long]).salt(salt);
        hosts.failing("h02").system("h04", "aarch64-linux")
    };
    for salt in ["a", "b", "c"] {
        pool.commit("master", &flake(salt));
        pool.submit(&["--all", "--exclude", "h04", "--ref", "master", "--wait"]).expect_code(1);
    }
    let rev = pool.commit("master", &flake("d").held("h01"));
    let run =
        text(&pool.submit(&["--all", "--ref", "master", "--json"]).expect_code(0).json()["run"]);
    let page = Page::of(&pool);
    let browser = browse(&page, "/");
    browser.wait_for("#running .line", "building nixos-system-h01", DEADLINE);

    // The first thing that a keyboard finds leads past the head of the page.
    const TAB: &str = "\u{e004}";
    browser.press(TAB);
    assert_eq!(browser.run("return document.activeElement.className"), json!("skip"));
    browser.press(ENTER);
    assert_eq!(browser.run("return document.activeElement.id"), json!("main"));

    let job = format!("/job/homelab/{rev}/h02");
    let host = "/host/homelab/h02".to_owned();
    let commit = format!("/commit/homelab/{rev}");
    let run = format!("/run/{run}");
    let pages = [
        ("hosts", "/"),
        ("pool", "/pool"),
        ("gates", "/gates"),
        ("repo", "/repo/homelab"),
        ("job", &job),
        ("host", &host),
        ("commit", &commit),
        ("run", &run),
    ];
    for (name, path) in pages {
        browser.open(&page.url(path));
        browser.wait_for("h1", "", DEADLINE);
        if name == "commit" {
            assert_eq!(browser.run(WHY_IN_SIGHT), json!(true), "{path} at 1280 pixels");
            browser.screenshot("commit-long-desktop");
        }
        assert_eq!(browser.run(UNLABELLED), json!(0), "{path}");
        let landmarks = "return document.querySelectorAll('header, main, nav, footer, h1').length";
        assert!(browser.run(landmarks).as_u64() >= Some(5), "{path}");
        browser.as_phone();
        browser.open(&page.url(path));
        // A phone shows a page that is too wide smaller: its window would be wide, too.
        let wide = browser.run("return document.documentElement.scrollWidth");
        assert_eq!(wide, json!(390), "{path} is not as wide as a phone");
        if matches!(name, "commit" | "run") {
            assert_eq!(browser.run(WHY_IN_SIGHT), json!(true), "{path}");
        }
        if matches!(name, "hosts" | "repo") {
            assert_eq!(browser.run(CELL_IN_SIGHT), json!(true), "{path}");
        }
        browser.screenshot(&format!("{name}-phone"));
        browser.as_desktop();
    }
    browser.open(&page.url("/pool"));
    browser.wait_for("#queue tbody", "x86_64-linux\tnormal\t0\t1", DEADLINE);
    browser.wait_for("#workers tbody", "takes jobs\t1/2", DEADLINE);
    browser.screenshot("pool-desktop");
    browser.in_the_dark();
    browser.open(&page.url("/"));
    browser.wait_for("#running .line", "building", DEADLINE);
    browser.screenshot("hosts-dark");
    browser.open(&page.url(&job));
    browser.screenshot("job-failed-dark");
    nothing_went_wrong(&browser, &page);
}

#[test]
fn gate_runs_stand_there_with_their_verdict_and_what_failed() {
    let site = Updates::start(&Flake::hosts(3));
    let _worker = site.pool.worker("w1");
    let page = Page::of(&site.pool);
    let browser = browse(&page, "/gates");
    browser.wait_for("#gates", "No gate has run", DEADLINE);

    site.upstream(&Flake::hosts(3).salt("newer").failing("h02").held("h03"));
    let mut first = site.spawn("first", &[], None);
    // While it runs it says of each host what is known of it now.
    browser.wait_for("#gates", "1 of 3 built, 1 failed", DEADLINE);
    browser.run("document.querySelector('#gates a').click()");
    browser.wait_for("#hosts tbody tr:first-child", "build-failed", DEADLINE);
    browser.wait_for("#hosts tbody tr:first-child", "broken-leaf", DEADLINE);
    browser.wait_for("#hosts tbody tr:nth-child(2)", "running (build) on w1", DEADLINE);
    browser.wait_for("#hosts tbody tr:nth-child(3)", "built", DEADLINE);
    browser.screenshot("gate-running-desktop");
    browser.open(&page.url("/gates"));
    site.pool.store.release("h03");
    assert_eq!(first.wait(DEADLINE).code(), Some(1), "{}", first.log());
    browser.wait_for("#gates .badge.failed", "✗ fail", DEADLINE);
    assert!(!browser.text("#gates").expect("runs").contains("fail: failed"));
    browser.wait_for("#gates", "3 hosts, 1 failed, pull request 1", DEADLINE);
    site.upstream(&Flake::hosts(3).salt("newest"));
    site.run(&[]).expect_code(0);
    browser.wait_for("#gates .badge.built", "pass: landed", DEADLINE);
    browser.screenshot("gates-desktop");

    browser.run("document.querySelector('#gates tr:has(.badge.failed) a').click()");
    browser.wait_for("#hosts tbody tr", "h02", DEADLINE);
    browser.wait_for("#hosts tbody tr", "broken-leaf", DEADLINE);
    browser.wait_for("#hosts tbody .badge.built", "built", DEADLINE);
    browser.screenshot("gate-desktop");
    // What it asked for: of the candidate all hosts, of the base the one that fails.
    for (of, hosts) in [(0, "3 hosts: 2 built, 1 failed"), (1, "1 host: 1 built")] {
        browser.run(&format!("document.querySelectorAll('#run a[href^=\"/run/\"]')[{of}].click()"));
        browser.wait_for("#hosts-h", hosts, DEADLINE);
        browser.run("history.back()");
        browser.wait_for("#run", "Pull request", DEADLINE);
    }
    nothing_went_wrong(&browser, &page);
}
