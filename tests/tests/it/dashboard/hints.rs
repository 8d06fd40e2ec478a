//! What an open page is told of.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use tests::{Flake, Pool, eventually};

use super::Page;
use crate::DEADLINE;

/// Events of a live page, until one of them fits.
#[track_caller]
fn heard(page: &Page, path: &str, headers: &str, until: impl Fn(&str) -> bool) -> String {
    let mut stream = TcpStream::connect(page.address).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket option");
    let host = page.address;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n").expect("a request");
    let mut heard = String::new();
    let mut more = [0; 4096];
    while !until(&heard) {
        let read = stream.read(&mut more).unwrap_or_else(|error| panic!("{error} after {heard}"));
        assert_ne!(read, 0, "the page ended it after {heard}");
        heard.push_str(&String::from_utf8_lossy(&more[..read]));
    }
    heard
}

#[test]
fn a_live_log_goes_on_where_the_client_was() {
    let pool = Pool::start();
    let _worker = pool.worker("w1");
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    let page = Page::of(&pool);
    let path = format!("/live?shown=0&job=homelab.{rev}.h01&epoch=1");
    let first = "building nixos-system-h01";
    // The version that it shows is none, so that it is told of a change as well.
    let whole = |heard: &str| heard.contains("event: changed") && heard.ends_with("\n\n\r\n");
    let begun = heard(&page, &path, "", |heard| heard.contains(first) && whole(heard));
    let id = begun.lines().filter_map(|line| line.strip_prefix("id: ")).next_back();
    let id = id.expect("an event with an id").to_owned();

    pool.store.release("h01");
    let last = "built nixos-system-h01";
    let header = format!("Last-Event-ID: {id}\r\n");
    let rest = heard(&page, &path, &header, |heard| heard.contains(last));

    assert!(!rest.contains(first), "it was heard already: {rest}");
    assert!(!rest.contains("not kept"), "nothing is missing in between: {rest}");
    let whole = heard(&page, &path, "Last-Event-ID: nonsense\r\n", |heard| heard.contains(last));
    assert!(whole.contains(first), "what is no place is the beginning: {whole}");
}

/// What an open page asks to be told of, of the page that is there now.
#[track_caller]
fn live_path(page: &Page, path: &str) -> String {
    let body = page.get(path).body;
    let of = |name: &str| {
        let (_, rest) = body.split_once(&format!("data-{name}=\"")).expect("an attribute");
        rest.split('"').next().expect("its value").to_owned()
    };
    format!("/live?shows={}&shown={}", of("shows"), of("version"))
}

#[test]
fn a_job_s_page_is_told_of_its_own_job_and_not_of_others() {
    let pool = Pool::start();
    let _worker = pool.worker("w1");
    let rev = pool.commit("master", &Flake::hosts(2).held("h02"));
    pool.submit(&["h01", "--rev", &rev, "--wait"]).expect_code(0);
    let page = Page::of(&pool);
    let built = format!("/job/homelab/{rev}/h01\" title=\"h01: built");
    eventually("the job in the matrix", DEADLINE, || {
        page.get("/").body.contains(&built).then_some(())
    });
    // What is still told of its end, such as the rest of its log, is its own too.
    let path = format!("/job/homelab/{rev}/h01");
    let job = eventually("the end of the news of the job", DEADLINE, || {
        let before = live_path(&page, &path);
        std::thread::sleep(Duration::from_secs(2));
        (live_path(&page, &path) == before).then_some(before)
    });
    let all = live_path(&page, "/");

    pool.submit(&["h02", "--rev", &rev]).expect_code(0);
    heard(&page, &all, "", |heard| heard.contains("event: changed"));
    eventually("a build that is under way", DEADLINE, || {
        page.get("/pool").body.contains("1 running").then_some(())
    });
    let pool_only = heard(&page, &job, "", |heard| heard.contains("1 running"));
    assert!(!pool_only.contains("event: changed"), "{pool_only}");

    pool.store.release("h02");
    pool.submit(&["h01", "--rev", &rev, "--force"]).expect_code(0);
    heard(&page, &job, "", |heard| heard.contains("event: changed"));
}
