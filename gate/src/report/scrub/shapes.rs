//! Secrets that are known by their shape, and by what stands around them.
//!
//! Store path hashes, git commits and SRI hashes are no secrets, and a log without them is of no
//! use: every rule has its near misses in the tests.

use std::ops::Range;

type Found = Vec<Range<usize>>;

/// Where something that looks like a secret stands; in no order, may overlap.
pub(super) fn found(text: &str) -> Found {
    let lower = text.to_ascii_lowercase();
    let mut found = Found::new();
    url_passwords(text, &mut found);
    header_values(text, &lower, &mut found);
    after_words(text, &lower, &mut found);
    assigned(text, &lower, &mut found);
    netrc(text, &lower, &mut found);
    prefixed(text, &mut found);
    nkey_seeds(text, &mut found);
    nix_secret_keys(text, &mut found);
    private_keys(text, &mut found);
    found
}

/// Longest user information of a URL that is looked at.
const USERINFO_CHARS_MAX: usize = 2048;
/// From this length on a user name alone is taken for a token.
const TOKEN_CHARS_MIN: usize = 16;

/// `scheme://user:password@`, and `https://<token>@`.
fn url_passwords(text: &str, found: &mut Found) {
    for (at, separator) in text.match_indices("://") {
        let start = at + separator.len();
        let ends = |c: char| c.is_whitespace() || "/?#\"'`<>\\".contains(c);
        let authority = text[start..].char_indices().take(USERINFO_CHARS_MAX);
        let end = authority.take_while(|(_, c)| !ends(*c)).map(|(i, c)| i + c.len_utf8()).last();
        let authority = &text[start..start + end.unwrap_or(0)];
        let Some((user, _)) = authority.rsplit_once('@') else { continue };
        let web = text[..at].ends_with("http") || text[..at].ends_with("https");
        let password = user.split_once(':').is_some_and(|(_, password)| !password.is_empty());
        if password || (web && user.len() >= TOKEN_CHARS_MIN) {
            found.push(start..start + user.len());
        }
    }
}

/// Names whose value goes to the end of the line: headers, and Nix's setting. Longer names that end
/// in one of them are meant as well (`proxy-authorization`, `set-cookie`).
const HEADERS: [&str; 6] =
    ["authorization", "private-token", "job-token", "x-api-key", "cookie", "access-tokens"];

fn header_values(text: &str, lower: &str, found: &mut Found) {
    for name in HEADERS {
        let mut done = 0;
        for (at, _) in lower.match_indices(name) {
            let after = at + name.len();
            let Some(start) = assignment(&text[after..]).map(|skipped| after + skipped) else {
                continue;
            };
            // Many names on one long line must not take quadratic time.
            if start < done {
                continue;
            }
            let end = text[start..].find('\n').map_or(text.len(), |length| start + length);
            if !text[start..end].trim().is_empty() {
                found.push(start..end);
            }
            done = end;
        }
    }
}

/// The length of ` = `, `: `, `":"` and the like at the start of the text.
fn assignment(text: &str) -> Option<usize> {
    let blank = |c: char| matches!(c, ' ' | '\t' | '"' | '\'' | '\\' | '+');
    let rest = text.trim_start_matches(blank);
    let rest = rest.strip_prefix([':', '='])?;
    Some(text.len() - rest.trim_start_matches(blank).len())
}

/// `token <value>`, `Bearer <value>`: a value that is long and has a digit. Even 40 hex digits are
/// a token of Gitea's after such a word.
fn after_words(text: &str, lower: &str, found: &mut Found) {
    for word in ["token", "tokens", "bearer", "basic"] {
        // A value that was looked at is not looked at again from inside it.
        let mut done = 0;
        for (at, _) in lower.match_indices(word) {
            let after = &text[at + word.len()..];
            let value = after.trim_start_matches([' ', '\t', ':', '=', '"', '\'', '\\']);
            let start = text.len() - value.len();
            let apart = value.len() < after.len();
            if start < done || !apart || begins_inside(text, at) || value.starts_with(['/', '.']) {
                continue;
            }
            let length = length_of(value, token_byte);
            let digit = value.as_bytes()[..length].iter().any(u8::is_ascii_digit);
            if length >= TOKEN_CHARS_MIN && digit {
                found.push(start..start + length);
            }
            done = start + length;
        }
    }
}

fn token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.~+/=-".contains(&byte)
}

/// Shortest value of an assignment that is taken for a secret.
const ASSIGNED_BYTES_MIN: usize = 4;

/// `password=<value>`, `"password": "<value>"`. With a blank and no quotes it is prose.
fn assigned(text: &str, lower: &str, found: &mut Found) {
    for name in ["password", "passwd", "passphrase", "secret", "secret_key", "api_key", "apikey"] {
        let mut done = 0;
        for (at, _) in lower.match_indices(name) {
            let after = &text[at + name.len()..];
            let after = after.strip_prefix("\\").unwrap_or(after);
            let after = after.strip_prefix(['"', '\'']).unwrap_or(after);
            let Some(value) = after.strip_prefix(['=', ':']) else { continue };
            let unspaced = value.trim_start_matches(' ');
            let bare = unspaced.strip_prefix('\\').unwrap_or(unspaced);
            let quoted = bare.strip_prefix(['"', '\'']);
            let value = quoted.unwrap_or(value);
            let start = text.len() - value.len();
            // `secret://`, `password::hash`: a name, not a value.
            if start < done || value.starts_with([':', '/']) {
                continue;
            }
            let ends = |c: char| c.is_whitespace() || "\"'\\;&,".contains(c);
            let length = value.find(ends).unwrap_or(value.len());
            if length >= ASSIGNED_BYTES_MIN {
                found.push(start..start + length);
                done = start + length;
            }
        }
    }
}

/// `machine <host> login <user> password <value>`.
fn netrc(text: &str, lower: &str, found: &mut Found) {
    const WORD: &str = "password ";
    let mut offset = 0;
    for line in lower.split_inclusive('\n') {
        if let Some(login) = line.find("login ") {
            for (at, _) in line[login..].match_indices(WORD) {
                let start = offset + login + at + WORD.len();
                let length = text[start..].find(char::is_whitespace).unwrap_or(text.len() - start);
                found.push(start..start + length);
            }
        }
        offset += line.len();
    }
}

/// What a token begins with, which bytes follow, and how many at least.
type Prefix = (&'static str, fn(u8) -> bool, Range<usize>);

/// Prefixes that forges and clouds give their tokens so that they can be found.
const PREFIXES: [Prefix; 14] = [
    ("ghp_", word_byte, 20..usize::MAX),
    ("gho_", word_byte, 20..usize::MAX),
    ("ghu_", word_byte, 20..usize::MAX),
    ("ghs_", word_byte, 20..usize::MAX),
    ("ghr_", word_byte, 20..usize::MAX),
    ("github_pat_", word_byte, 20..usize::MAX),
    ("glpat-", word_byte, 16..usize::MAX),
    ("gldt-", word_byte, 16..usize::MAX),
    ("glcbt-", word_byte, 16..usize::MAX),
    ("xoxb-", word_byte, 16..usize::MAX),
    ("tskey-", word_byte, 16..usize::MAX),
    ("AGE-SECRET-KEY-1", word_byte, 40..usize::MAX),
    ("AKIA", upper_byte, 16..17),
    ("ASIA", upper_byte, 16..17),
];

fn word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn upper_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn prefixed(text: &str, found: &mut Found) {
    for (prefix, follows, lengths) in PREFIXES {
        let mut done = 0;
        for (at, _) in text.match_indices(prefix) {
            if at < done || begins_inside(text, at) {
                continue;
            }
            let rest = &text[at + prefix.len()..];
            let length = length_of(rest, follows);
            let whole = !rest[length..].starts_with(|c: char| c.is_ascii_alphanumeric());
            if lengths.contains(&length) && whole {
                done = at + prefix.len() + length;
                found.push(at..done);
            }
        }
    }
}

/// `S`, the kind of key, and 56 characters of base32: a seed as NATS writes it.
fn nkey_seeds(text: &str, found: &mut Found) {
    const LENGTH: usize = 58;
    let base32 = |byte: u8| matches!(byte, b'A'..=b'Z' | b'2'..=b'7');
    let mut done = 0;
    for (at, _) in text.match_indices('S') {
        if at < done || begins_inside(text, at) {
            continue;
        }
        let length = length_of(&text[at..], base32);
        // One look at each run is enough: inside it no seed begins.
        done = at + length;
        let kind = text.as_bytes().get(at + 1).is_some_and(|byte| b"UAONCX".contains(byte));
        let whole = !text[done..].starts_with(|c: char| c.is_ascii_alphanumeric());
        if length == LENGTH && kind && whole {
            found.push(at..done);
        }
    }
}

/// `<name>:<64 bytes of base64>`, which signs store paths. A public key has 32 bytes; `sha512:` is
/// a hash.
fn nix_secret_keys(text: &str, found: &mut Found) {
    const LENGTH: usize = 88;
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    for (at, _) in text.match_indices(':') {
        let value = &text[at + 1..];
        let named = text[..at].ends_with(|c: char| word_byte(u8::try_from(c).unwrap_or(0)));
        let hash = text[..at].ends_with("sha512");
        if length_of(value, base64) == LENGTH && value[..LENGTH].ends_with("==") && named && !hash {
            found.push(at + 1..at + 1 + LENGTH);
        }
    }
}

/// From `-----BEGIN … PRIVATE KEY` to its end; without one, as far as the lines look like a key. An
/// end without a beginning takes the lines before it along: an excerpt may begin inside a key.
fn private_keys(text: &str, found: &mut Found) {
    let marks = |word: &'static str| -> Found {
        let begin = text.match_indices(word);
        let ranges = begin.filter_map(|(at, _)| {
            // `RSA PRIVATE KEY-----` at most: a mark is short and stands on one line.
            let rest: String = text[at..].chars().take(80).take_while(|c| *c != '\n').collect();
            let kind = rest.get(word.len()..)?;
            let inside = kind.find("PRIVATE KEY")?;
            let dashes = inside + kind[inside..].find("-----")?;
            Some(at..at + word.len() + dashes + "-----".len())
        });
        ranges.collect()
    };
    let ends = marks("-----END ");
    let mut done = 0;
    for begin in marks("-----BEGIN ") {
        if begin.start < done {
            continue;
        }
        let next = ends.get(ends.partition_point(|end| end.start < begin.end));
        done = match next {
            Some(end) if end.start - begin.end <= KEY_BYTES_MAX => end.end,
            _ => begin.end + key_lines(&text[begin.end..]),
        };
        found.push(begin.start..done);
    }
    for end in ends {
        if end.start >= done {
            let before = &text[done..end.start];
            found.push(end.start - key_lines_before(before)..end.end);
            done = end.end;
        }
    }
}

/// Longest key that a missing end is looked for behind: RSA of 16384 bits, in base64, indented.
const KEY_BYTES_MAX: usize = 32 * 1024;

/// A line of a key, with or without the name of what said it (`nginx-1.27> `) before it.
fn key_line(line: &str) -> bool {
    let line = line.rsplit_once("> ").map_or(line, |(_, said)| said).trim();
    line.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
}

fn key_lines(text: &str) -> usize {
    text.split_inclusive('\n').take_while(|line| key_line(line)).map(str::len).sum()
}

fn key_lines_before(text: &str) -> usize {
    text.split_inclusive('\n').rev().take_while(|line| key_line(line)).map(str::len).sum()
}

/// Another letter or digit stands right before: the match is the rest of a longer word.
fn begins_inside(text: &str, at: usize) -> bool {
    text[..at].ends_with(|c: char| c.is_ascii_alphanumeric())
}

fn length_of(text: &str, belongs: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|byte| belongs(*byte)).count()
}
