//! Config files and what is said about wrong ones.

use super::*;

const REPO: &str = "[repos.nixos]\nurl = \"https://git.example/nixos\"\n";

fn parsed(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("worker.toml")).map_err(|error| error.to_string())
}

#[test]
fn a_name_and_a_repo_are_enough() {
    let config = parsed(&format!("[worker]\nname = \"a\"\n{REPO}")).expect("a config");
    assert_eq!((config.slots, config.eval_slots, config.retry.max_attempts), (2, 1, 3));
    assert_eq!(config.roots_dir, Path::new("/var/lib/nix-build-pool/gcroots"));
    let classes: Vec<_> = config.classes.iter().map(Class::as_str).collect();
    assert_eq!(classes, ["x86_64-linux"]);
}

#[test]
fn everything_can_be_said() {
    let text = r#"
        [nats]
        url = "tls://nats.example"
        [worker]
        name = "nix-cache01"
        state_dir = "/s"
        systems = ["x86_64-linux", "i686-linux"]
        features = ["kvm", "big-parallel"]
        slots = 4
        eval_slots = 2
        drain_timeout = "1m"
        orphan_grace = "0s"
        avoid_max = "0s"
        [nix]
        store = "local?root=/x"
        substituters = ["https://cache.example"]
        trusted_public_keys = ["cache-1:AbC="]
        [cache]
        push_to = "ssh-ng://nix-cache01"
        sign_key_file = "/run/key"
        push_slots = 1
        [limits]
        wall = "1h"
        silence = "10m"
        eval_wall = "5m"
        eval_memory_max = "3GiB"
        log_keep_max = "1MiB"
        log_kill_max = "2MiB"
        [admission]
        store_free = "10GiB"
        build_dir = "/b"
        build_free = "1GiB"
        inodes_free = 7
        memory_pressure = 60
        [retry]
        max_attempts = 5
        delay_min = "1s"
        delay_max = "2s"
        [roots]
        dir = "/r"
        keep_generations = 1
        candidates_for = "2d"
    "#;
    let config = parsed(&format!("{text}\n{REPO}")).expect("a config");
    let classes: Vec<_> = config.classes.iter().map(Class::as_str).collect();
    assert_eq!(
        classes,
        [
            "i686-linux",
            "i686-linux_big-parallel",
            "i686-linux_big-parallel_kvm",
            "i686-linux_kvm",
            "x86_64-linux",
            "x86_64-linux_big-parallel",
            "x86_64-linux_big-parallel_kvm",
            "x86_64-linux_kvm",
        ]
    );
    let limits = &config.repos.values().next().expect("a repo").limits;
    assert_eq!((limits.wall, limits.eval_memory_max), (Duration::from_secs(3600), 3 << 30));
    assert_eq!(limits.log_keep_max, 1 << 20);
    assert_eq!(config.roots_dir, Path::new("/r"));
    let places: Vec<_> = config.admission.places.iter().map(|it| it.path.as_path()).collect();
    assert_eq!(places, [Path::new("/x/nix/store"), Path::new("/b")]);
    assert_eq!(config.admission.inodes_free_min, 7);
    assert_eq!(config.avoid_max, Duration::ZERO);
    assert_eq!(config.candidates_for, Duration::from_secs(2 * 86_400));
    let cache = config.cache.expect("a cache");
    assert_eq!((cache.push_to.as_str(), cache.push_slots), ("ssh-ng://nix-cache01", 1));
    assert_eq!(config.substituters, ["https://cache.example"]);
}

#[test]
fn metrics_are_served_where_the_config_says_and_nowhere_without() {
    let listen = |telemetry: &str| {
        let text = format!("[worker]\nname = \"a\"\n{telemetry}\n{REPO}");
        parsed(&text).expect("a config").listen
    };
    assert_eq!(listen(""), None);
    assert_eq!(listen("[telemetry]"), None);
    assert_eq!(listen("[telemetry]\nlisten = \"[::1]:9464\""), "[::1]:9464".parse().ok());
}

#[test]
fn a_store_of_this_machine_has_a_place_and_others_have_none() {
    let place = |store: &str| {
        let text = format!("[worker]\nname = \"a\"\n{store}\n{REPO}");
        parsed(&text).expect("a config").store_dir()
    };
    let of = |store: &str| place(&format!("[nix]\nstore = \"{store}\""));
    let usual = Some(PathBuf::from("/nix/store"));
    assert_eq!(place(""), usual);
    for store in ["auto", "daemon", "local"] {
        assert_eq!(of(store), usual, "{store}");
    }
    for store in ["local?root=/x", "/x"] {
        assert_eq!(of(store), Some(PathBuf::from("/x/nix/store")), "{store}");
    }
    let elsewhere = ["local?root=/x&real=/y", "local?real=/y", "local?root=/a%20b", "unix:///s"];
    for store in elsewhere.into_iter().chain(["ssh-ng://host", "https://cache.example"]) {
        assert_eq!(of(store), None, "{store}");
    }
}

#[test]
fn a_repo_may_have_limits_of_its_own() {
    let text = "[worker]\nname = \"a\"\n[limits]\nwall = \"1h\"\nsilence = \"2m\"\n\
        [repos.a]\nurl = \"https://git.example/a\"\n[repos.a.limits]\nwall = \"9h\"\n\
        [repos.b]\nurl = \"https://git.example/b\"\n";
    let config = parsed(text).expect("a config");
    let limits = |name: &str| config.repos[&name.parse().expect("a repo")].limits;
    assert_eq!(limits("a").wall, Duration::from_secs(9 * 3600));
    assert_eq!(limits("b").wall, Duration::from_secs(3600));
    assert_eq!(limits("a").silence, limits("b").silence);
}

#[test]
fn what_is_wrong_is_told_with_key_and_example() {
    for (worker, rest, wanted) in [
        ("", REPO, "config file worker.toml: [worker] name: is missing, e.g. \"nix-cache01\""),
        ("name = \"a\"", "", "[repos]: is missing, e.g. [repos.nixos-servers]"),
        ("name = \"a b\"", REPO, "key `name` in [worker]: worker name \"a b\" is refused"),
        ("name = \"a\"\nslots = 0", REPO, "[worker] slots: is 0, expected at least 1, e.g. 2"),
        ("name = \"a\"\nslots = -1", REPO, "line 3: key `slots` in [worker]: invalid value"),
        ("name = \"a\"\nsystems = []", REPO, "[worker] systems: is empty"),
        ("name = \"a\"\nsystems = [\"x86\"]", REPO, "\"x86\" is no system"),
        ("name = \"a\"\nfeatures = [\"a_b\"]", REPO, "feature \"a_b\" is refused"),
        (
            "name = \"a\"\nfeatures = [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\"]",
            REPO,
            "[worker] features: are 7, expected at most 6",
        ),
        ("name = \"a\"\nstate_dir = \"x\"", REPO, "[worker] state_dir: x is no absolute path"),
        ("name = \"a\"\ndrain_timeout = 5", REPO, "expected a duration such as \"10m\""),
        ("name = \"a\"\nslot = 1", REPO, "line 3: unknown key `slot` in [worker], did you mean"),
        (
            "name = \"a\"\n[limits]\nwall = \"0s\"",
            REPO,
            "[limits]: wall is zero, expected e.g. \"4h\"",
        ),
        ("name = \"a\"\n[cache]\npush_to = \"daemon\"", REPO, "url \"daemon\" is refused"),
        ("name = \"a\"\n[cache]\nsign_key_file = \"/k\"", REPO, "of no use without push_to"),
        (
            "name = \"a\"\n[nix]\nsubstituters = [\"a b\"]",
            REPO,
            "\"a b\" is empty or holds a blank",
        ),
        ("name = \"a\"\n[retry]\ndelay_min = \"1h\"", REPO, "delay_max: is shorter than delay_min"),
        ("name = \"a\"\n[roots]\ncandidates_for = \"0s\"", REPO, "[roots] candidates_for: is zero"),
        ("name = \"a\"\n[retry]\nmax_attempts = 17", REPO, "keeps 16 attempts at most"),
        ("name = \"a\"\n[admission]\nmemory_pressure = 101", REPO, "expected percent, e.g. 80"),
        ("name = \"a\"\n[admission]\nbuild_dir = \"b\"", REPO, "b is no absolute path"),
        (
            "name = \"a\"\n[telemetry]\nlisten = \"localhost:1\"",
            REPO,
            "[telemetry] listen: \"localhost:1\" is no address, expected e.g.",
        ),
        ("name = \"a\"", "[repos.x]\nurl = \"git://x\"", "line 4: key `url` in [repos.x]: url"),
    ] {
        let told = parsed(&format!("[worker]\n{worker}\n{rest}")).expect_err(wanted);
        assert!(told.contains(wanted), "told: {told}\nwanted: {wanted}");
    }
}
