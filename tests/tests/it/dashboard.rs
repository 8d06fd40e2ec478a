//! The page: in a real browser, over HTTP by hand, and over a full bucket.

mod addresses;
mod asking;
mod away;
mod browsing;
mod full;
mod hints;

use std::net::SocketAddr;

use tests::{Pool, Spawned, eventually};

use crate::DEADLINE;

/// A page that is served beside the test.
struct Page {
    process: Spawned,
    address: SocketAddr,
}

impl Page {
    #[track_caller]
    fn of(pool: &Pool) -> Self {
        Self::started(pool.spawn_producer("page", &["dashboard", "--listen", "127.0.0.1:0"]))
    }

    #[track_caller]
    fn started(process: Spawned) -> Self {
        let address = eventually("the address of the page", DEADLINE, || {
            let log = process.log();
            let (_, rest) = log.split_once("the page is at http://")?;
            rest.split_once('/')?.0.parse().ok()
        });
        Self { process, address }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    #[track_caller]
    fn get(&self, path: &str) -> tests::http::Answer {
        tests::http::get(self.address, path)
    }
}
