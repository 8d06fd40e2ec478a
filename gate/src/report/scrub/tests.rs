use super::*;

/// Nothing is known by its bytes.
#[track_caller]
fn shape(text: &str, clean: &str) {
    let expected = clean.replace("{}", REMOVED);
    assert_eq!(Scrub::default().text(text), expected, "{text:?}");
    assert_eq!(Scrub::default().text(&expected), expected, "twice: {text:?}");
}

#[track_caller]
fn stays(text: &str) {
    shape(text, text);
}

const HEX: &str = "0123456789abcdef0123456789abcdef01234567";
const HASH: &str = "1b9p07z77phvv2hf6gm9f28syp39f1ag";

#[test]
fn passwords_in_urls_go() {
    shape(
        "cloning https://me:hunter2@git.example/a.git now",
        "cloning https://{}@git.example/a.git now",
    );
    shape("git+ssh://u:p@h/x ftp://a:b@c", "git+ssh://{}@h/x ftp://{}@c");
    shape("https://me:p@ss@h/x", "https://{}@h/x");
    shape(&format!("'https://{HEX}@h/x'"), "'https://{}@h/x'");
    stays("git+ssh://git@git.example:22/a?ref=x@y");
    stays("https://git.example:8080/a@b");
    stays("https://me@git.example/a and ssh://a-very-long-user-name@git.example/a");
    stays("http://[::1]:4222/ and a@b:c and nats://h:4222");
    stays("://");
}

#[test]
fn values_of_headers_and_of_access_tokens_go() {
    shape("> Authorization: Basic bWU6aHVudGVyMg==\nnext", "> Authorization: {}\nnext");
    shape("PROXY-AUTHORIZATION:x\nSet-Cookie: a=b; c", "PROXY-AUTHORIZATION:{}\nSet-Cookie: {}");
    shape("http.extraHeader=Authorization: token x", "http.extraHeader=Authorization: {}");
    shape("{\"Private-Token\": \"x\"}", "{\"Private-Token\": \"{}");
    shape("access-tokens = github.com=x gitlab.com=y", "access-tokens = {}");
    shape("extra-access-tokens += github.com=x", "extra-access-tokens += {}");
    stays("authorization failed for the cookie\ncookie:\nnext");
}

#[test]
fn values_after_telling_words_go() {
    shape(&format!("token {HEX} is bad"), "token {} is bad");
    shape(&format!("GITEA_TOKEN='{HEX}'"), "GITEA_TOKEN='{}'");
    shape("curl -H bearer:eyJhbGciOi1.eyJzdWIi-_x", "curl -H bearer:{}");
    shape("?password=hunter2&x=1", "?password={}&x=1");
    shape("{\"password\": \"hunter2\", \"a\": 1}", "{\"password\": \"{}\", \"a\": 1}");
    shape("{\\\"secret\\\":\\\"hunter2\\\"}", "{\\\"secret\\\":\\\"{}\\\"}");
    shape("machine h login me password x\ny", "machine h login me password {}\ny");
    stays("syntax error, unexpected token identifierIdentifier");
    stays(&format!("unexpected token /nix/store/{HASH}-a"));
    stays(&format!("tokenizer-{HASH} basics"));
    stays(&format!("subtoken{HEX}"));
    stays("the option `users.users.root.password' is used; password: must not be empty");
    stays("warning: secret://vault and password::hash");
}

#[test]
fn tokens_of_forges_and_clouds_go() {
    shape("use ghp_0123456789abcdefghijABCDEFGHIJ012345!", "use {}!");
    shape("github_pat_11AAAAAAA0123456789_abcdefghij", "{}");
    shape("(glpat-abcdefghij-123456_78)", "({})");
    shape("id AKIAIOSFODNN7EXAMPLE.", "id {}.");
    stays("ghp_short glpat-short AKIAIOSFODNN7");
    stays("xAKIAIOSFODNN7EXAMPLE AKIAIOSFODNN7EXAMPLEX AKIAIOSFODNN7EXAMPLEx");
}

#[test]
fn keys_go() {
    let seed = format!("SU{}", "A7".repeat(28));
    shape(&format!("seed {seed}\n{seed}."), "seed {}\n{}.");
    stays(&format!("public U{}", "A7".repeat(28)));
    stays(&format!("{seed}A and x{seed} and {}", &seed[..57]));
    stays(&format!("SR{}", "A7".repeat(28)));
    let secret = format!("{}==", "Ab3+".repeat(21) + "Ab");
    shape(&format!("cache.example-1:{secret}"), "cache.example-1:{}");
    stays(&format!("sha512:{secret}"));
    stays(&format!("sha512-{secret}"));
    stays(&format!("cache.example-1:{}=", &secret[..43]));
}

#[test]
fn private_keys_go_with_all_their_lines() {
    const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
    const END: &str = "-----END OPENSSH PRIVATE KEY-----";
    shape(&format!("a\n{BEGIN}\nAbc1\n+/=\n{END}\nb"), "a\n{}\nb");
    shape(&format!("key = \"{BEGIN}\\nAbc1\\n{END}\\n\";"), "key = \"{}\\n\";");
    shape(&format!("x> {BEGIN}\nx> Abc1\nx> {END}\nb"), "x> {}\nb");
    shape(&format!("a\n{BEGIN}\nAbc1\n+/=\nthe log goes on"), "a\n{}the log goes on");
    shape(&format!("a line\nAbc1\n+/=\n{END}\nb"), "a line\n{}\nb");
    shape(&format!("x> {BEGIN}\nx> Abc1\nx> +/=\nx> a line"), "x> {}x> a line");
    shape(&format!("x> a line\nx> Abc1\nx> +/=\nx> {END}\nx> b"), "x> a line\n{}\nx> b");
    shape(&format!("{BEGIN}\n{BEGIN}\nAbc1\n{END}"), "{}");
    shape("-----BEGIN PGP PRIVATE KEY BLOCK-----\nA\n", "{}");
    stays("-----BEGIN CERTIFICATE-----\nAbc1\n-----END CERTIFICATE-----");
    stays("a line with PRIVATE KEY-----");
}

#[test]
fn what_a_log_needs_stays() {
    stays(&format!("building '/nix/store/{HASH}-nixos-system-web1.drv'..."));
    stays(&format!("fetching {HEX} of git+https://git.example/o/r.git?ref=master&rev={HEX}"));
    stays("got: sha256-AKIAIOSFODNN7EXAMPLEbbbbbbbbbbbbbbbbbbbbbbb=");
    stays(
        "specified: sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
    );
    stays("error: hash mismatch, 3:14: 日本 \u{1f600}");
    stays("");
}

/// Base64, independent of the code under test.
fn base64(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        for place in 0..4 {
            let value = (bits >> (18 - 6 * place) & 63) as usize;
            encoded.push(if place > three.len() { '=' } else { ALPHABET[value].into() });
        }
    }
    encoded
}

#[test]
fn a_known_secret_goes_in_every_form() {
    const SECRET: &str = "h&nter/2 \"é\" more";
    let scrub = Scrub::new([SECRET]);
    let check = |text: &str, clean: &str| {
        assert_eq!(scrub.text(text), clean.replace("{}", REMOVED), "{text:?}");
    };
    check(&format!("a{SECRET}b {SECRET}"), "a{}b {}");
    check("x=h%26nter%2F2%20%22%C3%A9%22%20more&", "x={}&");
    check("x=h%26nter%2f2%20%22%c3%a9%22%20more&", "x={}&");
    check("\"h&nter/2 \\\"é\\\" more\"", "\"{}\"");
    for user in ["", "u", "me", "bot", "gate-bot:"] {
        let encoded = base64(&format!("{user}{SECRET}"));
        check(&format!("Basic_ {encoded} end"), "Basic_ {} end");
        check(&format!("<{}>", encoded.replace('+', "-").replace('/', "_")), "<{}>");
        let (one, two) = encoded.split_at(13);
        check(&format!("a\n{one}\n{two}\nb"), "a\n{}\nb");
    }
    check("a\nh&nter/2 \"é\n\" more\nb", "a\n{}\nb");
    check("h&nter/2 mehr", "h&nter/2 mehr");
}

#[test]
fn a_credentials_file_may_hold_it_percent_encoded() {
    let scrub = Scrub::new(["h%26nter%2F2"]);
    assert_eq!(scrub.text("h&nter/2 h%26nter%2F2"), format!("{REMOVED} {REMOVED}"));
}

#[test]
fn what_is_too_short_to_be_found_by_its_bytes_is_no_secret() {
    let scrub = Scrub::new(["", "abc", "\n"]);
    assert_eq!(scrub.text("abcabc"), "abcabc");
    assert_eq!(format!("{:?}", Scrub::new(["hunter22"])), "Scrub(4 forms)");
}

#[test]
fn hostile_logs_take_linear_time() {
    let begun = std::time::Instant::now();
    for piece in [
        "authorization:",
        "cookie=",
        "token=",
        "token=/",
        "bearer 1",
        "password=",
        "password=/",
        "ghp_",
        "AKIA",
        "S",
        "SU",
        ":",
        "://",
        "http://a:",
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n",
        "login password ",
        "a:A",
        "=",
    ] {
        let log = piece.repeat(300_000 / piece.len());
        Scrub::new(["hunter22"]).text(&log);
    }
    // Together seconds where nothing is optimised, and several times that on a busy machine; a single
    // quadratic one takes minutes.
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}
