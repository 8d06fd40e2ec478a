//! The watcher over event lines as Nix 2.8 writes them.

use super::*;

const DRV: &str = "/nix/store/00000000000000000000000000000000-a.drv";

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn build(id: u64) -> String {
    format!(
        r#"@nix {{"action":"start","fields":["{DRV}","",1,1],"id":{id},"level":3,"text":"building","type":105}}"#
    )
}

fn wait(id: u64) -> String {
    format!(r#"@nix {{"action":"start","id":{id},"level":1,"text":"waiting for lock","type":111}}"#)
}

fn stop(id: u64) -> String {
    format!(r#"@nix {{"action":"stop","id":{id}}}"#)
}

fn says(id: u64, text: &str) -> String {
    format!(r#"@nix {{"action":"result","fields":["{text}"],"id":{id},"type":101}}"#)
}

#[test]
fn the_silence_clock_runs_only_while_a_builder_of_ours_runs() {
    let mut w = Watcher::default();
    assert_eq!(w.silent_for(at(100)), at(0), "nothing began");
    w.line(at(100), &wait(1));
    assert!(w.waits_for_lock());
    assert_eq!(w.silent_for(at(900)), at(0), "another build holds the lock");
    w.line(at(900), &stop(1));
    w.line(at(900), &build(2));
    assert!(!w.waits_for_lock());
    assert_eq!((w.silent_for(at(930)), w.waited(at(930))), (at(30), at(800)));
    w.line(at(940), &says(2, "x"));
    assert_eq!(w.silent_for(at(945)), at(5), "a line is life");
    w.line(at(950), r#"@nix {"action":"result","fields":["installPhase"],"id":2,"type":104}"#);
    assert_eq!(w.silent_for(at(955)), at(5), "a phase is life");
    w.line(at(960), &wait(3));
    assert_eq!(w.silent_for(at(970)), at(20), "a wait beside a build does not excuse it");
    w.line(at(980), &stop(2));
    assert_eq!(w.silent_for(at(999)), at(0));
    assert!(w.waits_for_lock());
}

#[test]
fn progress_counts_derivations_and_repeats_are_no_life() {
    let mut w = Watcher::default();
    w.line(at(0), r#"@nix {"action":"start","id":1,"level":0,"text":"","type":104}"#);
    w.line(at(0), r#"@nix {"action":"start","id":9,"level":0,"text":"","type":103}"#);
    w.line(at(0), &build(2));
    let progress = r#"@nix {"action":"result","fields":[1,5,1,0],"id":1,"type":105}"#;
    w.line(at(10), progress);
    w.line(at(10), r#"@nix {"action":"result","fields":[7,7,0,0],"id":9,"type":105}"#);
    assert_eq!(w.progress(), Some(Progress { done: 1, expected: 5 }));
    w.line(at(50), progress);
    assert_eq!(w.silent_for(at(60)), at(50));
}

fn work(derivations: u32, downloads: u32) -> Work {
    Work { derivations, downloads }
}

#[test]
fn builders_that_ran_and_downloads_are_counted_and_nothing_else_is() {
    let mut w = Watcher::default();
    let start = |id: u64, kind: u64, subject: &str| {
        format!(r#"@nix {{"action":"start","fields":["{subject}",""],"id":{id},"type":{kind}}}"#)
    };
    // A look at a cache, what is copied, a file that is fetched, and a wait for another's build.
    for (id, kind) in [(1, 109), (2, 100), (3, 101), (4, 103), (5, 104), (6, 111)] {
        w.line(at(0), &start(id, kind, "/nix/store/x"));
    }
    w.line(at(0), r#"@nix {"action":"result","fields":[7,7,0,0],"id":4,"type":105}"#);
    assert_eq!(w.work(), work(0, 0));
    w.line(at(0), &start(7, 108, "/nix/store/x"));
    w.line(at(0), &start(8, 108, "/nix/store/y"));
    w.line(at(0), &build(9));
    assert_eq!(w.work(), work(1, 2));
    // Told by the machine that it was delegated to.
    w.line(at(0), &build(10));
    assert_eq!(w.work(), work(1, 2));
    w.line(at(0), &stop(10));
    w.line(at(0), &stop(9));
    w.line(at(0), &start(11, 105, "/nix/store/b.drv"));
    assert_eq!(w.work(), work(2, 2));
    // The same once more is a second run of its builder.
    w.line(at(0), &build(12));
    assert_eq!(w.work(), work(3, 2));
}

#[test]
fn lines_are_tagged_counted_and_their_tail_is_kept() {
    let mut w = Watcher::default();
    w.line(at(0), &build(2));
    for n in 0..250 {
        let text = n.to_string();
        let line = says(2, &text);
        let said = Said { drv: Some(DRV.into()), text: text.into() };
        assert_eq!(w.line(at(n), &line), Some(said));
    }
    w.line(at(300), &says(2, &"é".repeat(5000)));
    let tail = w.tail(DRV);
    assert_eq!((tail.len(), tail[0].as_str()), (TAIL_LINES, "151"));
    assert!(tail[99].len() <= TAIL_LINE_BYTES_MAX + 3);
    assert_eq!(w.log_bytes(), 10 * 2 + 90 * 3 + 150 * 4 + 10_001);
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let mut w = Watcher::default();
    for id in 0..50_000 {
        let drv = format!("/nix/store/{id}.drv");
        w.line(
            at(0),
            &format!(r#"@nix {{"action":"start","fields":["{drv}"],"id":{id},"type":105}}"#),
        );
        w.line(at(0), &says(id, "x"));
        w.line(at(0), r#"@nix {"action":"msg","level":0,"msg":"no"}"#);
        w.line(at(0), "noise");
    }
    assert_eq!(w.activities.len(), ACTIVITIES_MAX);
    assert_eq!((w.tails.len(), w.errors.len()), (TAILS_MAX, ERRORS_MAX));
    for id in (0..50_000).rev() {
        w.line(at(0), &stop(id));
        w.line(at(0), &stop(id));
    }
    assert_eq!(w.builds_open, 0);
}
