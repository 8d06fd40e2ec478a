//! The command line: global options and the tree of commands. Each command's own arguments stand
//! beside it. This is the only place that sees the environment.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use options::{Broker, Manual, Voice};
use settings::Span;

use crate::command::{
    cancel, dashboard, dead, events, explain, history, keys, last_good, logs, pause, queue, retry,
    setup, status, submit, watch, workers,
};

/// Below the program's help.
const EXAMPLES: &str = "\
Examples:
  producer submit --repo nixos-servers --all --ref master --wait
  producer status --repo nixos-servers
  producer logs web01 --repo nixos-servers -f
  producer history web01 --repo nixos-servers
  producer <command> --help   has examples of the command";

/// Submits NixOS builds to the pool and shows what became of them.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = options::help(EXAMPLES))]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub(crate) command: Top,
}

impl Cli {
    /// Whether it goes on to answer others, and does not just ask.
    pub fn serves(&self) -> bool {
        matches!(self.command, Top::Pool(Command::Dashboard(_)))
    }
}

/// What needs the pool, and what needs nothing.
#[derive(Debug, Subcommand)]
pub(crate) enum Top {
    #[command(flatten)]
    Pool(Command),
    #[command(flatten)]
    Manual(Manual),
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    #[command(flatten)]
    pub(crate) broker: Broker,
    /// Config file (TOML: [nats], [repos.<name>])
    #[arg(long, env = "NBP_CONFIG", global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How long to try to reach the broker
    #[arg(long, global = true, default_value = "10s", value_name = "DURATION")]
    pub(crate) patience: Span,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How much to say.
    #[command(flatten)]
    pub voice: Voice,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create the streams, buckets and consumers, and report what differs
    Setup(setup::Args),
    /// Make keys for the people and programs that use the broker
    Keys(keys::Args),
    /// Ask for the builds of hosts of one commit
    Submit(submit::Args),
    /// Show how far each host is
    Status(status::Args),
    /// Follow a run until every host has ended; leaving it cancels nothing
    Watch(watch::Args),
    /// Print the build log of a host
    Logs(logs::Args),
    /// Show the newest built closure of a host on its tracked branch
    LastGood(last_good::Args),
    /// Show what became of a host over its revisions, and since which one it is broken
    History(history::Args),
    /// Show every attempt of a job, where its time went, and why it waits
    Explain(explain::Args),
    /// Show what waits, for how long, and who could build it
    Queue(queue::Args),
    /// Show the workers, and what each one has in its hands
    Workers(workers::Args),
    /// Print what happened to jobs, workers and branches, and what happens
    Events(events::Args),
    /// Take wishes away: those of a run, or all for one job. A job that nobody wants is cancelled
    Cancel(cancel::Args),
    /// Ask again for the hosts of a run that were not built, or for one job
    Retry(retry::Args),
    /// Serve a page that shows the pool
    Dashboard(dashboard::Args),
    /// Look after what will not be tried again by itself
    Dead(dead::Args),
    /// Hand out no more jobs of a class; what runs goes on
    Pause(pause::Pause),
    /// Hand jobs out again
    Resume(pause::Resume),
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use clap::CommandFactory as _;

    use super::*;

    const REV: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[track_caller]
    fn check(line: &[&str], refused: Option<&str>) {
        let parsed = Cli::try_parse_from(["producer"].iter().chain(line));
        match (parsed, refused) {
            (Ok(_), None) => {}
            (Err(error), Some(why)) => {
                assert_eq!(error.exit_code(), 2, "{line:?}");
                assert!(error.to_string().contains(why), "{line:?}: {error}");
            }
            (parsed, _) => panic!("{line:?}: {parsed:?}"),
        }
    }

    #[test]
    fn what_may_be_submitted() {
        check(&["submit", "web", "--repo", "r", "--rev", REV], None);
        check(&["submit", "--all", "--repo", "r", "--ref", "master"], None);
        check(&["submit", "--all", "--repo", "r", "--ref", "a/b", "--rev", REV], None);
        check(&["submit", "--repo", "r", "--rev", REV], Some("required"));
        check(&["submit", "web", "--repo", "r"], Some("required"));
        check(&["submit", "web", "--rev", REV], Some("--repo"));
        check(&["submit", "web", "--all", "--repo", "r", "--rev", REV], Some("cannot be used"));
        check(&["submit", "web", "--repo", "r", "--rev", "abc"], Some("40 lowercase hex"));
        check(&["submit", "web", "--repo", "../x", "--rev", REV], Some("\"../x\""));
        check(&["submit", "$(id)", "--repo", "r", "--rev", REV], Some("'$'"));
        check(&["submit", "a b", "--repo", "r", "--rev", REV], Some("' '"));
        check(&["submit", "", "--repo", "r", "--rev", REV], Some("empty"));
        check(&["submit", &"x".repeat(300), "--repo", "r", "--rev", REV], Some("63 bytes"));
        check(&["submit", "--all", "--repo", "r", "--ref", "-x"], Some("ref"));
        check(&["submit", "--all", "--repo", "r", "--ref", "a..b"], Some("range"));
        check(&["submit", "--all", "--repo", "r", "--ref", "a", "--exclude", "["], Some("glob"));
        let web = ["submit", "web", "--repo", "r", "--rev", REV];
        let more = |more: &[&str], why| check(&[&web[..], more].concat(), why);
        more(&["--priority", "hihg"], Some("'high'"));
        more(&["--timeout", "1h"], Some("--wait"));
        more(&["--timeout", "1h", "--wait"], None);
        more(&["--push-metrics", "http://x"], Some("needs --wait"));
        more(&["--push-metrics", "http://x", "--wait"], None);
        let over = |it: &str, why| {
            let it = format!("--override-input={it}");
            check(&["submit", "a", "--repo", "r", "--rev", REV, &it], why);
        };
        over(&format!("servers=nixos-servers@{REV}"), None);
        over(&format!("--impure=r@{REV}"), Some("starts with '-'"));
        over(&format!("a/b=r@{REV}"), Some("'/'"));
        over("servers=r@master", Some("40 lowercase hex"));
        over("servers", Some("NAME=REPO@SHA"));
        check(&["keys", "new", "worker", "w1"], None);
        check(&["keys", "new", "root", "w1"], Some("submitter, worker, gate"));
        check(&["keys", "new", "workr", "w1"], Some("'worker'"));
        check(&["keys", "new", "worker", "../w1"], Some("refused"));
        check(&["setup", "--print-nats-config"], Some("--keys"));
        check(&["setup", "--keys", "k.toml"], Some("--print-nats-config"));
        check(&["watch", "nope"], Some("uuid"));
        check(&["logs", "a.b.c"], Some("refused"));
        check(&["cancel", "web"], Some("expected a run (a uuid) or"));
        check(&["retry", "--failed", &format!("r.{REV}.web")], None);
        check(&["dead", "requeue"], Some("NUMBER"));
        check(&["dead", "show", "x"], Some("invalid digit"));
        let bare = ["submit", "--all", "--repo", "r", "--rev", REV, "--supersede"];
        check(&bare, Some("--ref"));
        check(&["status", "--rev", REV], Some("--repo"));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_without_a_panic() {
        let host = std::ffi::OsStr::from_bytes(b"we\xffb").to_owned();
        let line =
            ["producer", "submit", "--repo", "r", "--rev", REV].map(std::ffi::OsString::from);
        let error = Cli::try_parse_from(line.into_iter().chain([host])).expect_err("no UTF-8");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn every_command_has_examples_and_each_of_them_can_be_typed() {
        options::check_examples::<Cli>(30);
    }
}
