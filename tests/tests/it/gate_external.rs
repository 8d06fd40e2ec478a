//! A repository that takes the gated one as an input is built against the candidate before that is
//! landed.

use tests::{Flake, Repo, Updates, WorkerOptions};

/// A workstation that is built from what the fleet's repository has.
fn workstation(of: &str) -> Vec<(String, String)> {
    let flake = format!(
        "{{\n  inputs.servers.url = \"git+{of}?ref=master\";\n  outputs = {{ self, servers }}: {{\n    \
         nixosConfigurations.gunter = servers.nixosConfigurations.h02;\n  }};\n}}\n"
    );
    vec![("flake.nix".to_owned(), flake)]
}

fn site(required: bool) -> (Updates, Repo, String) {
    let mut site = Updates::start(&Flake::hosts(2));
    let other = Repo::new();
    other.commit("master", &workstation(&site.pool.repo.url()));
    site.tables = format!(
        "[repos.nixos]\nurl = {:?}\n\n[[gate.external]]\nrepo = \"nixos\"\ninput = \"servers\"\n\
         required = {required}\n",
        other.url()
    );
    let worker = format!("[repos.nixos]\nurl = {:?}\nrefs = [\"master\"]\n", other.url());
    (site, other, worker)
}

#[test]
fn a_workstation_is_built_with_the_candidate_as_its_input() {
    let (site, other, extra) = site(true);
    let _worker = site.pool.worker_with("w1", &WorkerOptions { extra, ..WorkerOptions::default() });
    site.upstream(&Flake::hosts(2).salt("newer"));

    let answer = site.run(&[]).expect_code(0).json();

    assert_eq!(answer["end"], "landed", "{answer:#}");
    let gunter = &answer["hosts"]["nixos/gunter"];
    assert_eq!(gunter["outcome"], "built", "{answer:#}");
    assert_eq!(gunter["out_path"], answer["hosts"]["h02"]["out_path"], "the candidate's own");
    let pinned = answer["external"][0]["revision"].as_str().expect("a revision").to_owned();
    assert!(pinned.starts_with(&other.rev("master")), "{pinned}");
}

#[test]
fn one_that_the_candidate_breaks_keeps_it_back_if_it_is_required() {
    for (required, code) in [(true, 1), (false, 0)] {
        let (mut site, _other, extra) = site(required);
        // In the gated repository itself the host does not count.
        site.repo_lines = "exclude = [\"h02\"]".to_owned();
        let base = site.rev("master");
        let options = WorkerOptions { extra, ..WorkerOptions::default() };
        let _worker = site.pool.worker_with("w1", &options);
        site.upstream(&Flake::hosts(2).salt("newer").failing("h02"));

        let answer = site.run(&[]).expect_code(code).json();

        assert_eq!(answer["hosts"]["nixos/gunter"]["outcome"], "build-failed", "{answer:#}");
        assert_eq!(site.rev("master") == base, required);
    }
}
