//! The example configs are what the programs of this revision take.

use std::{fs, path::Path};

use tests::{
    Flake, Pool,
    process::{binary, command, run},
};

use crate::DEADLINE;

/// An example with its broker replaced by ours, and nothing else.
fn example(pool: &Pool, name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/config").join(name);
    let text = fs::read_to_string(path).expect("the example");
    let lines =
        text.lines().filter(|line| !line.starts_with("ca_file") && !line.starts_with("nkey"));
    let url = format!("url = \"{}\"", pool.nats.url());
    let ours =
        |line: &str| if line.starts_with("url = \"tls:") { url.clone() } else { line.into() };
    let text: Vec<String> = lines.map(ours).collect();
    assert!(text.contains(&url), "{name} has no broker");
    text.join("\n") + "\n"
}

#[test]
fn the_example_configs_work_but_for_their_broker() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    let dir = tests::scratch();
    for (name, args, code) in [
        ("producer.toml", &["submit", "--repo", "nixos-servers", "pi4", "--rev", &rev][..], 0),
        ("gate.toml", &["check", "--repo", "nixos-servers", "--rev", &rev, "--hosts", "pi4"], 3),
        ("worker.toml", &["check-config"], 0),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, example(&pool, name)).expect("a writable folder");
        let mut program = command(binary(name.trim_end_matches(".toml")));
        match name {
            "worker.toml" => program.args(args).arg(&path),
            _ => program.arg("--config").arg(&path).args(args),
        };
        run(&mut program, DEADLINE).expect_code(code);
    }
    // What the example says of a host is what becomes of it.
    let requests = pool.bucket("nbp-requests");
    let request = requests.values().next().expect("a request");
    assert_eq!(request["class"], "aarch64-linux");
}
