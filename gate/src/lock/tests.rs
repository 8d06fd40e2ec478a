use serde_json::json;

use super::*;

const OLD: &str = "1111111111111111111111111111111111111111";
const NEW: &str = "2222222222222222222222222222222222222222";

fn github(rev: &str, modified: u64) -> Value {
    json!({"type": "github", "owner": "NixOS", "repo": "nixpkgs", "rev": rev,
           "lastModified": modified, "narHash": "sha256-abc+/="})
}

/// A lock file whose root has one input, locked to this.
fn one(locked: &Value) -> String {
    let nodes = json!({"root": {"inputs": {"a": "x"}}, "x": {"locked": locked}});
    json!({"nodes": nodes, "root": "root", "version": 7}).to_string()
}

fn link(old: &Value, new: &Value) -> Option<String> {
    let changes = changes(&one(old), &one(new)).expect("two lock files");
    match &changes[..] {
        [InputChange { change: Change::Updated { link, .. }, .. }] => link.clone(),
        other => panic!("one updated input, not {other:?}"),
    }
}

#[test]
fn direct_inputs_come_first_and_what_follows_is_not_repeated() {
    let file = |rev: &str, extra: &str| {
        json!({
            "version": 7, "root": "root",
            "nodes": {
                "root": {"inputs": {"zz": "nixpkgs", "hm": "hm", extra: "extra", "same": "same"}},
                "nixpkgs": {"locked": github(rev, 5)},
                "hm": {"inputs": {"nixpkgs": ["zz"], "utils": "utils"}, "locked": github(rev, 6)},
                "utils": {"locked": github(rev, 7)},
                "extra": {"locked": {"type": "path", "path": "/x", "narHash": "sha256-0123456789abcdef"}},
                "same": {"locked": github(OLD, 1)},
            }
        })
        .to_string()
    };
    let changes = changes(&file(OLD, "gone"), &file(NEW, "come")).expect("two lock files");
    let told: Vec<String> = changes
        .iter()
        .map(|it| match &it.change {
            Change::Updated { old, new, .. } => {
                format!("{} {} {:?} {}", it.path, old.short(), new.modified, new.short())
            }
            Change::Added(new) => format!("{} + {}", it.path, new.short()),
            Change::Removed(old) => format!("{} - {}", it.path, old.short()),
        })
        .collect();
    let expected = [
        "come + sha256-0123456789a",
        "gone - sha256-0123456789a",
        "hm 111111111111 Some(6) 222222222222",
        "zz 111111111111 Some(5) 222222222222",
        "hm/utils 111111111111 Some(7) 222222222222",
    ];
    assert_eq!(told, expected);
    assert_eq!(changes.iter().filter(|it| it.direct).count(), 4);
    assert_eq!(super::changes(&file(OLD, "x"), &file(OLD, "x")), Ok(vec![]));
}

#[test]
fn each_forge_has_its_link() {
    let check = |place: Value, expected: Option<&str>| {
        let at = |rev: &str| {
            let mut locked = place.clone();
            locked["rev"] = rev.into();
            locked
        };
        let expected = expected.map(|it| it.replace("OLD", OLD).replace("NEW", NEW));
        assert_eq!(link(&at(OLD), &at(NEW)), expected, "{place}");
    };
    let owned = |kind: &str, owner: &str| json!({"type": kind, "owner": owner, "repo": "r"});
    let git = |url: &str| json!({"type": "git", "url": url});
    check(owned("github", "o"), Some("https://github.com/o/r/compare/OLD...NEW"));
    check(owned("gitlab", "g%2Fsub"), Some("https://gitlab.com/g/sub/r/-/compare/OLD...NEW"));
    check(owned("sourcehut", "~me"), Some("https://git.sr.ht/~me/r/log/NEW"));
    let own = json!({"type": "github", "owner": "o", "repo": "r", "host": "ghe.example"});
    check(own, Some("https://ghe.example/o/r/compare/OLD...NEW"));
    check(git("https://git.example/o/r.git"), Some("https://git.example/o/r/compare/OLD...NEW"));
    check(
        git("http://git.example:3000/sub/o/r/"),
        Some("http://git.example:3000/sub/o/r/compare/OLD...NEW"),
    );
    check(git("https://gitlab.com/o/r"), Some("https://gitlab.com/o/r/-/compare/OLD...NEW"));
    check(json!({"type": "tarball", "url": "https://h/o/r"}), None);
    for hostile in [
        "ssh://git@git.example/o/r",
        "https://user@git.example/o/r",
        "https://u:p@git.example/o/r",
        "https://git.example/o/r)[x](javascript:y",
        "https://git.example/o/../r",
        "file:///o/r",
        "javascript://git.example/o/r",
        "https://git.example/o/r?a=b",
        "https://git.example/o/r#x",
        "https://git.exa mple/o/r",
        "https://git.example/o\n/r",
        "https://git.example/\u{202e}o/r",
        "https:///o/r",
        "https://git.example/r",
        "https://git.example:99999999/o/r",
        "https://h:x/o/r",
    ] {
        check(git(hostile), None);
    }
    for hostile in ["o/../..", "o)[x](y", "", ".", "<b>", "o?x=", "@o", "o|"] {
        check(owned("github", hostile), None);
    }
}

#[test]
fn only_commits_of_one_repository_are_compared() {
    let at =
        |repo: &str, rev: &str| json!({"type": "github", "owner": "o", "repo": repo, "rev": rev});
    assert_eq!(link(&at("a", OLD), &at("b", NEW)), None);
    assert_eq!(link(&at("a", "](http://x)"), &at("a", NEW)), None);
    assert_eq!(link(&at("a", OLD), &at("a", &NEW[1..])), None);
    assert_eq!(compare_on("https://h/o/r", OLD, "x"), None);
    assert_eq!(
        compare_on("https://h/o/r", OLD, NEW),
        Some(format!("https://h/o/r/compare/{OLD}...{NEW}"))
    );
}

#[test]
fn other_files_are_refused() {
    let check = |text: &str, says: &str| {
        let error = changes(text, &one(&json!({}))).expect_err("no lock file").to_string();
        assert!(error.contains(says), "{error}");
    };
    check("", "not what Nix writes");
    check("{\"version\":7}", "missing field `root`");
    check(&one(&json!({})).replace("\"version\":7", "\"version\":4"), "version 4");
    check(&one(&json!({})).replace("\"version\":7", "\"version\":8"), "version 8");
    check(&"[".repeat(100_000), "not what Nix writes");
    check(&" ".repeat(LOCK_BYTES_MAX + 1), "bytes, more than");
}

#[test]
fn hostile_files_are_read_to_an_end() {
    let read = |nodes: Value| {
        let text = json!({"nodes": nodes, "root": "r", "version": 5}).to_string();
        changes(&one(&json!({"a": 1})), &text).expect("a lock file")
    };
    // A knot, odd types, an input that is not there.
    let knot = json!({"r": {"inputs": {"a": "x", "b": "x", "c": 1, "d": "none", "e": {}}},
                      "x": {"inputs": {"back": "r", "self": "x"}, "locked": [1]}});
    assert_eq!(read(knot).len(), 1);
    assert_eq!(read(json!({})).len(), 1);
    // A chain of ten thousand inputs.
    let node = |n: usize| (format!("n{n}"), json!({"inputs": {"i": format!("n{}", n + 1)}}));
    let mut chain: serde_json::Map<String, Value> = (0..10_000).map(node).collect();
    chain.insert("r".into(), json!({"inputs": {"i": "n0"}}));
    let told = read(Value::Object(chain));
    assert_eq!(told.iter().filter(|it| matches!(it.change, Change::Added(_))).count(), DEPTH_MAX);
    // Numbers and hashes that no tool writes.
    for locked in [
        json!({"lastModified": -1, "rev": "é", "narHash": "`|\n"}),
        json!({"lastModified": u64::MAX, "rev": null, "narHash": "é".repeat(500)}),
    ] {
        let changes = changes(&one(&json!({})), &one(&locked)).expect("two lock files");
        let Change::Updated { new, .. } = &changes[0].change else { panic!("{changes:?}") };
        assert_eq!(new.short(), "unknown");
    }
}
