//! A broker, or the page's own server, that goes away and comes back.

use serde_json::json;
use tests::{Flake, Pool, eventually};

use super::{
    Page,
    browsing::{browse, nothing_went_wrong},
};
use crate::DEADLINE;

#[test]
fn a_broker_that_restarts_is_told_of_and_the_page_comes_back_by_itself() {
    let mut pool = Pool::start();
    let first = pool.commit("master", &Flake::hosts(2));
    pool.submit(&["h01", "--rev", &first]).expect_code(0);
    let page = Page::of(&pool);
    let browser = browse(&page, "/");
    browser.wait_for(".matrix", "h01", DEADLINE);
    browser.run("window.kept = true");

    pool.nats.kill();
    browser.wait_for("#notices", "The broker does not answer since", DEADLINE);
    browser.wait_for("#status", "The broker does not answer", DEADLINE);
    browser.wait_for(".matrix", "h01", DEADLINE);
    browser.screenshot("broker-away-desktop");
    pool.nats.restart();
    browser.wait_for("#status", "0 workers", DEADLINE);
    pool.submit(&["h02", "--rev", &first]).expect_code(0);
    browser.wait_for(".matrix", "h02", DEADLINE);

    assert_eq!(browser.text("#notices").as_deref(), Some(""));
    assert_eq!(browser.run("return window.kept"), json!(true));
    nothing_went_wrong(&browser, &page);

    // A page that only the broker can answer for stays as it is, and says so as well.
    browser.open(&page.url(&format!("/job/homelab/{first}/h01")));
    browser.wait_for("#job", "queued", DEADLINE);
    pool.nats.kill();
    browser.wait_for("#notices", "The broker does not answer since", DEADLINE);
    browser.wait_for("#job", "queued", DEADLINE);
    pool.nats.restart();
    eventually("the notice to go", DEADLINE, || {
        browser.text("#notices").filter(|notices| notices.is_empty())
    });
    browser.wait_for("#job", "queued", DEADLINE);
}

#[test]
fn a_server_that_restarts_is_told_of_and_found_again() {
    let pool = Pool::start();
    let first = pool.commit("master", &Flake::hosts(2));
    pool.submit(&["h01", "--rev", &first]).expect_code(0);
    let mut page = Page::of(&pool);
    let browser = browse(&page, "/");
    browser.wait_for(".matrix", "h01", DEADLINE);

    page.process.sigterm();
    assert!(page.process.wait(DEADLINE).success(), "a page that is told to stop has not failed");
    browser.wait_for("#link", "lost its server", DEADLINE);
    let listen = page.address.to_string();
    let _again = pool.spawn_producer("again", &["dashboard", "--listen", &listen]);
    pool.submit(&["h02", "--rev", &first]).expect_code(0);

    browser.wait_for(".matrix", "h02", DEADLINE);
    assert_eq!(browser.text("#link").as_deref(), Some(""));
}
