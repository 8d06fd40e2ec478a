//! A broker whose clock is wrong: the true one behind a line that changes what time it says.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
};

use tests::{Flake, Pool, WorkerOptions};

use super::{bad, doctor, examined, found, options};

/// The server's time in an answer, up to the millennium.
const TIME: &[u8] = b"\"ts\":\"2";

/// Listens before the broker; its answers come from the year 3000 and something.
fn a_thousand_years_ahead(broker: &str) -> String {
    let broker = broker.trim_start_matches("nats://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("nats://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let broker = TcpStream::connect(&broker).expect("the broker");
            let (from, to) = (client.try_clone(), broker.try_clone());
            let (from, to) = (from.expect("a handle"), to.expect("a handle"));
            thread::spawn(move || pass(&from, &to, |bytes| bytes.len()));
            thread::spawn(move || pass(&broker, &client, ahead));
        }
    });
    url
}

/// Passes on what is said; `change` changes it and says how much of it can go now.
fn pass(mut from: &TcpStream, mut to: &TcpStream, change: impl Fn(&mut [u8]) -> usize) {
    let (mut held, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    while let Ok(read @ 1..) = from.read(&mut chunk) {
        held.extend_from_slice(&chunk[..read]);
        let go = change(&mut held);
        if to.write_all(&held[..go]).is_err() {
            break;
        }
        held.drain(..go);
    }
    to.shutdown(Shutdown::Both).ok();
}

/// What may be the beginning of a time waits: more comes after it for certain.
fn ahead(bytes: &mut [u8]) -> usize {
    let places = bytes.windows(TIME.len()).enumerate().filter(|(_, part)| *part == TIME);
    let places: Vec<usize> = places.map(|(at, _)| at + TIME.len() - 1).collect();
    for at in places {
        bytes[at] = b'3';
    }
    let begun = (1..TIME.len()).rev().find(|length| bytes.ends_with(&TIME[..*length]));
    bytes.len() - begun.unwrap_or(0)
}

#[test]
fn a_clock_that_is_off_is_told_with_both_machines() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(1));
    let url = a_thousand_years_ahead(&pool.nats.url());
    let skewed = WorkerOptions { nats_url: Some(&url), ..options() };
    let report = examined(&mut doctor(&pool, &skewed), 2);
    let words = ["s behind the broker's", "takes no jobs", "timedatectl set-ntp true"];
    found(&report, "clock", "problem", &words);
    assert_eq!(bad(&report).len(), 1, "{report:#}");
}
