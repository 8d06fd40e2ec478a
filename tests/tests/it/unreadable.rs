//! Messages that no client can read, which a broker stores and hands out all the same.

use tests::{Flake, Pool, Stranger, WorkerOptions, eventually};

use crate::{DEADLINE, all_built};

/// The sweep is what ends them.
fn sweeping() -> WorkerOptions<'static> {
    WorkerOptions { worker: "sweep_every = \"500ms\"", ..WorkerOptions::default() }
}

#[test]
fn messages_that_no_client_can_read_are_dead_letters_and_good_jobs_go_on() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(4));
    let mut stranger = Stranger::connect(&pool.nats.url());
    let uuid = "0190f0d4-0000-7000-8000-000000000001";
    let subject = |host: &[u8]| {
        let head = format!("nbp.build.x86_64-linux.high.homelab.{rev}.");
        [head.as_bytes(), host, b".", uuid.as_bytes()].concat()
    };
    stranger.publish(&subject(b"\xff\xfe"), b"bytes in the name");
    for (host, headers) in [
        ("h1", &b"NATS/1.0\r\nx: \xff\r\n\r\n"[..]),
        ("h2", b"NATS/1.0\r\nno colon\r\n\r\n"),
        ("h3", b"HTTP/1.1\r\n\r\n"),
    ] {
        stranger.publish_with(headers, &subject(host.as_bytes()), b"{}");
    }
    // These would read as what the server says of itself, if it did not take the status out.
    for (host, headers) in
        [("h4", "NATS/1.0 503\r\na: b\r\n\r\n"), ("h5", "NATS/1.0 404 No\r\na: b\r\n\r\n")]
    {
        stranger.publish_with(headers.as_bytes(), &subject(host.as_bytes()), b"{}");
    }
    eventually("all of them", DEADLINE, || (pool.messages("NBP_JOBS") == 6).then_some(()));
    let mut worker = pool.worker_with("w1", &sweeping());

    all_built(pool.submit(&["--all", "--ref", "master", "--wait", "--json"]), 4);

    eventually("an empty queue", DEADLINE, || (pool.messages("NBP_JOBS") == 0).then_some(()));
    // Nobody asked for the last two: they are stale, and acked.
    let letters = pool.letters();
    assert_eq!(letters.len(), 4, "{letters:#?}");
    let of_bytes = letters.iter().find(|it| it["payload"] == "Ynl0ZXMgaW4gdGhlIG5hbWU=");
    let reason = &of_bytes.expect("the one with bytes in its name")["reason"];
    assert!(reason.as_str().is_some_and(|it| it.contains("subject is not text")), "{reason}");
    assert_eq!(pool.results().len(), 4, "nothing was made of them");
    assert!(worker.is_running());
}

#[test]
fn a_request_that_no_client_can_read_does_not_keep_the_sweep_from_the_others() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    pool.block_on(async {
        let stream = pool.jetstream().await.get_stream("NBP_JOBS").await.expect("the stream");
        stream.purge().await.expect("purges");
    });
    // Before and after the good one, in the order of a sweep.
    let mut stranger = Stranger::connect(&pool.nats.url());
    for repo in ["aaa", "zzz"] {
        let subject = format!("$KV.nbp-requests.{repo}.{rev}.h01");
        stranger.publish_with(b"NATS/1.0\r\nno colon\r\n\r\n", subject.as_bytes(), b"{}");
    }
    let _worker = pool.worker_with("w1", &sweeping());

    eventually("the host to be built", DEADLINE, || {
        let record = pool.result(&rev, "h01")?;
        (record["state"]["outcome"]["result"] == "built").then_some(())
    });
}
