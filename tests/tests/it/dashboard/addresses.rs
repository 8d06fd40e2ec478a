//! Addresses as people write them: what leads where, and what is answered in words.

use tests::{Flake, Pool, eventually};

use super::{Page, asking::guarded};
use crate::{DEADLINE, text};

/// An address is another name of this one.
#[track_caller]
fn leads(page: &Page, from: &str, to: &str) {
    let answer = page.get(from);
    assert_eq!((answer.status, answer.header("location")), (307, to), "{from}");
    guarded(&answer, from);
}

/// Waits until the page says of what is not there that it is not: before it says "tried again".
#[track_caller]
fn all_is_read(page: &Page) {
    eventually("all to be read", DEADLINE, || {
        (page.get("/commit/homelab/0123456789").status == 404).then_some(())
    });
}

#[test]
fn addresses_as_people_write_them_lead_there_or_are_answered_in_words() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(2));
    pool.submit(&["--all", "--ref", "master"]).expect_code(0);
    let page = Page::of(&pool);
    eventually("the commit", DEADLINE, || page.get("/").body.contains(&rev).then_some(()));

    let leads = |from: &str, to: &str| leads(&page, from, to);
    let short = &rev[..12];
    leads(&format!("/commit/homelab/{short}"), &format!("/commit/homelab/{rev}"));
    let upper = short.to_uppercase();
    leads(&format!("/commit/homelab/{upper}"), &format!("/commit/homelab/{rev}"));
    leads(&format!("/job/homelab/{short}/h01?find=x"), &format!("/job/homelab/{rev}/h01?find=x"));
    leads(&format!("/job/homelab/{short}/h01/log.txt"), &format!("/job/homelab/{rev}/h01/log.txt"));
    leads(&format!("/commit/homelab/{}", rev.to_uppercase()), &format!("/commit/homelab/{rev}"));
    leads("/pool/", "/pool");
    leads("/repo/homelab/?host=h", "/repo/homelab?host=h");
    all_is_read(&page);
    for nowhere in [&rev[..6], "0123456789", &format!("{short}x")] {
        assert_eq!(page.get(&format!("/commit/homelab/{nowhere}")).status, 404, "{nowhere}");
    }
    let unknown = page.get("/commit/homelab/0123456789").body;
    assert!(unknown.contains("None of the newest commits of homelab is named"), "{unknown}");
    // Never to another server.
    for slashes in ["//evil.example/", "/%5Cevil.example/", "///"] {
        assert_eq!(page.get(slashes).status, 404, "{slashes}");
    }

    let job = format!("/job/homelab/{rev}/h01");
    let too_many = "/repo/homelab?from=18446744073709551616";
    for path in [too_many, "/repo/homelab?from=x", &format!("{job}?attempt=x"), "/live"] {
        let answer = page.get(path);
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.body.contains("This address cannot be read"), "{}", answer.body);
        assert!(answer.header("content-type").starts_with("text/html"), "{path}");
    }
    for path in ["/repo/homelab?from=18446744073709551615", "/repo/homelab?from=1&host=H0"] {
        let answer = page.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body.contains("<p>2 hosts</p>"), "{path}: {}", answer.body);
    }
    let none = page.get("/repo/homelab?host=NS").body;
    assert!(none.contains("No host's name holds <q>NS</q>"), "{none}");
}

#[test]
fn digits_that_several_commits_begin_with_are_answered_with_those() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(2));
    pool.submit(&["--all", "--ref", "master"]).expect_code(0);
    let (key, run) = pool.bucket("nbp-runs").pop_first().expect("a run");
    // Two further runs of the repo: of a commit that has no h02, and of ours with other inputs.
    let twin = format!("{}{:0<28}", &rev[..12], "");
    let overridden = format!("{rev}-aaaa56789012");
    for (number, revision, hosts) in [(1, &twin, 1), (2, &overridden, 2)] {
        let id = format!("0190f0d4-0000-7000-8000-{number:012}");
        let mut further = run.clone();
        further["run"] = id.as_str().into();
        further["revision"] = revision.as_str().into();
        let all = further["hosts"].as_object_mut().expect("hosts by name");
        all.retain(|name, _| hosts == 2 || name == "h01");
        let key = key.replace(&text(&run["run"]), &id);
        pool.publish(&format!("$KV.nbp-runs.{key}"), further.to_string().as_bytes());
    }
    let page = Page::of(&pool);
    eventually("all of them", DEADLINE, || {
        let home = page.get("/").body;
        [&rev, &twin, &overridden].iter().all(|it| home.contains(it.as_str())).then_some(())
    });

    all_is_read(&page);
    let short = &rev[..7];
    for path in [format!("/commit/homelab/{short}"), format!("/job/homelab/{short}/h01")] {
        let several = page.get(&path);
        assert_eq!(several.status, 404, "{path}");
        for named in [&rev, &twin, &overridden] {
            assert!(several.body.contains(named.as_str()), "{named}: {}", several.body);
        }
    }
    // Only ours has this host; and it comes before itself with other inputs.
    leads(&page, &format!("/job/homelab/{short}/h02"), &format!("/job/homelab/{rev}/h02"));
    let twins = &twin[..20];
    leads(&page, &format!("/commit/homelab/{twins}"), &format!("/commit/homelab/{twin}"));
    for marked in [format!("{short}+"), format!("{short}-aaaa")] {
        let there = format!("/commit/homelab/{overridden}");
        leads(&page, &format!("/commit/homelab/{marked}"), &there);
    }
    let path = format!("/job/homelab/{twins}/h02");
    let without = page.get(&path);
    let said = "None of the newest commits of h02 of homelab is named";
    assert!(without.status == 404 && without.body.contains(said), "{}", without.body);
}
