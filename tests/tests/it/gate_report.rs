//! What the pull request of a red update says, as the forge got it.

use tests::{
    Flake, Updates, eventually,
    flake::LAST_WORDS,
    process::{command, run},
};

use crate::{DEADLINE, all_built};

/// A system that is a package of this version and size, and whatever else it is said to hold.
fn system(host: &str, version: &str, kibibytes: u32, beside: &str) -> String {
    // 64 bytes a line.
    let lines = kibibytes * 16;
    let line = "x".repeat(63);
    let package = |name: &str, text: &str| {
        format!(
            "builtins.derivation {{ name = \"{name}\"; system = \"x86_64-linux\"; \
             builder = \"/bin/sh\"; args = [ \"-c\" \"{text}\" ]; }}"
        )
    };
    let write = format!("i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo {line}; done > $out");
    let web = package(&format!("web-{version}"), &write);
    let system =
        package(&format!("nixos-system-{host}-26.05"), &format!("echo ${{web}} {beside} > $out"));
    format!("let web = {web}; in {system}")
}

fn hosts(version: &str, kibibytes: u32) -> Flake {
    let flake = ["h01", "h03"].into_iter().fold(Flake::hosts(4), |flake, host| {
        flake.toplevel(host, &system(host, version, kibibytes, ""))
    });
    flake.toplevel("h04", &system("h04", "26.1", 40, ""))
}

/// What stands below a heading.
#[track_caller]
fn section<'a>(body: &'a str, heading: &str) -> &'a str {
    let (_, below) = body.split_once(&format!("### {heading}\n")).expect(heading);
    below.split("\n### ").next().expect("a text")
}

#[test]
fn a_red_request_says_what_the_update_changes_in_hosts_that_were_built() {
    let site = Updates::start(&hosts("1.26", 100));
    let _worker = site.pool.worker("w1");
    // The first generation: what runs on the hosts.
    all_built(site.pool.submit(&["--all", "--ref", "master", "--wait", "--json"]), 4);
    eventually("four last good builds", DEADLINE, || {
        (site.pool.bucket("nbp-last-good").len() == 4).then_some(())
    });
    site.upstream(&hosts("1.27", 300).salt("newer").failing("h02"));

    let answer = site.run(&[]).expect_code(1).json();

    assert_eq!(answer["end"], "failed", "{answer:#}");
    let body = site.forge.pull(1).body;
    let closures = section(&body, "Closures");
    assert!(closures.contains("`h01`, `h03`: +200.0 KiB\n"), "equal ones are one: {body}");
    assert!(closures.contains("web: 1.26 → 1.27, +200.0 KiB"), "{body}");
    assert_eq!(closures.matches("→ 1.27").count(), 1, "{body}");
    assert!(closures.contains("`h04`: no change in size\n"), "{body}");
    assert!(!closures.contains("h02"), "one that was not built has none: {body}");
}

#[test]
fn a_red_request_names_what_fails_shows_its_end_and_how_to_see_it_again() {
    let site = Updates::start(&Flake::hosts(3));
    let _worker = site.pool.worker("w1");
    let before = site.rev("master");
    site.upstream(&Flake::hosts(3).salt("newer").failing("h02").failing("h03"));

    site.run(&[]).expect_code(1);

    let body = site.forge.pull(1).body;
    let failures = section(&body, "Failures");
    assert!(failures.contains("-broken-leaf.drv`** keeps `h02`, `h03` from being built"), "{body}");
    assert!(failures.contains(LAST_WORDS), "{body}");
    let inputs = section(&body, "Inputs");
    let fleet = site.fleet.rev("master");
    assert!(inputs.contains("| `fleet` |") && inputs.contains(&fleet[..12]), "{body}");
    assert!(body.contains(&format!("on `master` at `{}`", &before[..12])), "{body}");
    // Whoever copies the command sees the same failure, in a store of their own.
    let line = failures.lines().find(|line| line.starts_with("nix build ")).expect("a command");
    let mut shell = command("sh");
    shell.args(["-c", line]).envs(site.pool.store.env());
    let seen = run(&mut shell, DEADLINE);
    assert!(seen.code != Some(0) && seen.stderr.contains(LAST_WORDS), "{line}: {seen}");
}
