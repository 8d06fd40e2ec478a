//! A failure as lines of a CI's log: in a group that folds, and with nothing in it that the CI could
//! take for an order. Pure.

use proto::{Failure, Host};

/// The lines, the group's borders included.
///
/// A runner obeys lines that begin with `::` and, of old, a `##[` anywhere; a log is foreign text.
pub(crate) fn failure(host: &Host, failure: &Failure) -> Vec<String> {
    let leaf = failure.drv.as_deref().map_or("log", proto::log::short_name);
    let harmless = |text: &str| format!("| {}", text.replace("##[", "## ["));
    let mut lines = vec![format!("::group::{host}: {}", leaf.replace("##[", "## ["))];
    lines.push(harmless(&failure.message));
    lines.extend(failure.log_tail.iter().map(|line| harmless(line)));
    lines.push("::endgroup::".to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_gives_a_runner_no_orders() {
        let log = ["::set-env name=PATH::/tmp", "a ##[error]b", "::endgroup::"];
        let told = Failure {
            message: "builder failed\n::stop".to_owned(),
            drv: Some("/nix/store/00000000000000000000000000000000-leaf-1.drv".to_owned()),
            log_tail: log.map(str::to_owned).to_vec(),
        };
        let lines = failure(&"web".parse().expect("a host"), &told);
        assert_eq!(lines[0], "::group::web: leaf-1");
        assert_eq!(lines.last().map(String::as_str), Some("::endgroup::"));
        for line in &lines[1..lines.len() - 1] {
            // A newline in it would be shown as one by nobody: `Console::say` makes it harmless.
            let shown = telemetry::plain(line);
            assert!(shown.starts_with("| ") && !shown.contains("##["), "{shown}");
            assert!(!shown.contains('\n'), "{shown}");
        }
    }
}
