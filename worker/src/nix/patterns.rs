//! The fragments of Nix's wording that [`super::classify`] looks for, and how messages are cut up.
//!
//! Pure, and kept apart so that a new wording is one line here and one file in the corpus.

use proto::InfraKind;

use super::watcher::cut;

/// Any of several fragments, each a list of parts that must follow each other; case is ignored.
#[derive(Debug)]
pub(super) struct Pattern(&'static [&'static [&'static str]]);

impl Pattern {
    pub(super) fn matches(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        self.0.iter().any(|parts| {
            let mut rest = text.as_str();
            parts.iter().all(|part| match rest.find(part) {
                Some(at) => {
                    rest = &rest[at + part.len()..];
                    true
                }
                None => false,
            })
        })
    }
}

pub(super) const NONDETERMINISM: Pattern = Pattern(&[&["may not be deterministic"]]);
pub(super) const NOTHING_TO_COMPARE: Pattern = Pattern(&[&["checking is not possible"]]);
pub(super) const DRV_GONE: Pattern = Pattern(&[
    &["cannot build missing derivation"],
    &["path '/nix/store/", ".drv' is not valid"],
    &["path '/nix/store/", ".drv' does not exist"],
    // It was looked up and then deleted. Where the store really lies comes before its path.
    &["opening file '", "/nix/store/", ".drv': no such file"],
]);
pub(super) const HASH_MISMATCH: Pattern = Pattern(&[&["hash mismatch in fixed-output derivation"]]);
pub(super) const FLAKE_HASH: Pattern = Pattern(&[&["nar hash mismatch"], &["hash mismatch in"]]);
pub(super) const NIX_SILENCE: Pattern = Pattern(&[&["timed out after", "seconds of silence"]]);
pub(super) const NIX_TIMEOUT: Pattern = Pattern(&[&["timed out after", "seconds"]]);
pub(super) const NIX_LOG_LIMIT: Pattern = Pattern(&[&["killed after writing more than"]]);
pub(super) const KILLED: Pattern = Pattern(&[&["signal 9"]]);
/// Nix refuses what a builder made, or the derivation itself.
pub(super) const REFUSED_OUTPUT: Pattern = Pattern(&[
    &["is not allowed to refer to"],
    &["cycle detected in"],
    &["illegal reference specifier"],
    &["is larger than", "output"],
]);
pub(super) const NO_ATTRIBUTE: Pattern = Pattern(&[&["does not provide attribute"]]);
pub(super) const OUT_OF_MEMORY: Pattern = Pattern(&[
    &["out of memory"],
    &["cannot allocate memory"],
    &["std::bad_alloc"],
    &["virtual memory exhausted"],
]);
/// What compilers say when the kernel took one of their processes.
pub(super) const COMPILER_KILLED: Pattern = Pattern(&[
    &["fatal error: killed signal terminated program"],
    &["signal: 9, sigkill"],
    &["virtual memory exhausted"],
    &["cannot allocate memory"],
    &["collect2: fatal error: ld terminated with signal 9"],
]);
pub(super) const DISK_FULL: Pattern = Pattern(&[
    &["no space left on device"],
    &["disk quota exceeded"],
    &["database or disk is full"],
]);
/// nixpkgs' fetchurl, which runs in fixed-output derivations only, after all mirrors failed. A 404
/// says so too, and its lines name the HTTP status, but a mirror that is gone today is no proof.
pub(super) const SOURCE_UNREACHABLE: Pattern = Pattern(&[&["cannot download", "from any mirror"]]);

/// In order: a full disk shows up as many other things, and a refused system is certain.
pub(super) const INFRASTRUCTURE: &[(InfraKind, Pattern)] = &[
    (InfraKind::DiskFull, DISK_FULL),
    (
        InfraKind::WrongSystem,
        Pattern(&[
            &["is required to build", "but i am a"],
            &["required system or feature not available"],
            &["platform mismatch"],
        ]),
    ),
    (
        InfraKind::DaemonLost,
        Pattern(&[
            &["cannot connect to socket"],
            &["cannot connect to daemon"],
            &["cannot open connection to remote store"],
            &["daemon disconnected unexpectedly"],
            &["unexpected end-of-file"],
            &["connection reset by peer"],
            &["broken pipe"],
            &["database is busy"],
        ]),
    ),
    (
        InfraKind::SubstituterFailed,
        Pattern(&[
            &["some substitutes for the outputs of", "failed"],
            &["unable to download '", ".narinfo"],
            &["unable to download '", "/nar/"],
            &["hash mismatch importing path"],
            &["lacks a signature by a trusted key"],
            &["lacks a valid signature"],
            &["substituter '", "is disabled"],
            &["substituter '", "does not support"],
        ]),
    ),
    (
        InfraKind::FetchFailed,
        Pattern(&[
            &["unable to download '"],
            &["could not resolve host"],
            &["couldn't connect to server"],
            &["failed to fetch git repository"],
            &["cannot find git revision"],
            &["program 'git' failed"],
            &["'git' failed with exit code"],
            &["git operation failed"],
        ]),
    ),
];

/// A builder ended badly: up to 2.28 "builder for 'X' failed …", since then "Cannot build 'X'.
/// Reason: builder failed …". A dependency's failure has neither.
pub(super) fn builder_failed(message: &str) -> bool {
    const BUILDER: Pattern = Pattern(&[
        &["builder for '", "' failed"],
        &["cannot build '", "reason: builder failed"],
        &["cannot build '", "failed to produce output"],
    ]);
    BUILDER.matches(message)
}

/// The first derivation named in quotes.
pub(super) fn quoted_drv(message: &str) -> Option<String> {
    // Older Nix appends the wanted outputs: `x.drv!out`.
    let parts = message.split('\'').map(|part| part.split('!').next().unwrap_or(part));
    let paths = parts.filter(|part| part.starts_with("/nix/store/"));
    let mut drvs =
        paths.filter(|path| path.ends_with(".drv") && !path.contains(char::is_whitespace));
    drvs.next().map(str::to_owned)
}

/// Takes out the log lines that newer Nix quotes in its messages: they are the builder's words.
pub(super) fn without_quoted_log(errors: &[String]) -> Vec<String> {
    let own = |line: &&str| !line.trim_start().starts_with('>');
    let strip = |error: &String| error.lines().filter(own).collect::<Vec<_>>().join("\n");
    errors.iter().map(strip).collect()
}

/// Longest message: a record holds it, and people read it in a table.
pub(super) const MESSAGE_BYTES_MAX: usize = 1 << 10;

/// The message in one line: for records, reports and lists.
pub(super) fn one_line(message: &str) -> String {
    let words: Vec<&str> = message.split_whitespace().collect();
    let line = words.join(" ");
    cut(line.strip_prefix("error: ").unwrap_or(&line), MESSAGE_BYTES_MAX)
}

/// Nix's own error in plain stderr: the last line that begins with `error:` and says something.
/// With a trace, newer versions put it last; older ones print it once, first.
pub(super) fn error_of(stderr: &[String]) -> Option<String> {
    let text = |line: &String| {
        let rest = line.trim_start().strip_prefix("error:")?.trim();
        (!rest.is_empty()).then(|| rest.to_owned())
    };
    stderr.iter().rev().find_map(text)
}

/// The lines that begin with `error:`, each with the lines that continue it.
///
/// Source excerpts (`12| text`), trace lines (`… while`) and quoted logs (`> text`) are left out:
/// they hold the flake's words, not Nix's. git's own `fatal:` counts as an error.
pub(super) fn error_lines(stderr: &[String]) -> Vec<String> {
    let mut errors: Vec<String> = Vec::new();
    for line in stderr {
        let line = line.trim();
        let starts = line.starts_with("error:") || line.starts_with("fatal:");
        let digits = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let foreign = digits.starts_with('|') || line.starts_with(['>', '…', '^']);
        let warning = line.starts_with("warning:") || line.starts_with("trace:");
        if starts {
            errors.push(line.to_owned());
        } else if let Some(last) = errors.last_mut().filter(|_| !foreign && !warning) {
            last.push('\n');
            last.push_str(line);
        }
    }
    errors
}
