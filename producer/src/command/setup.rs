//! `producer setup`: makes the broker hold what the pool needs. It never deletes anything.

use std::path::{Path, PathBuf};

use bus::{Drift, Reconciled};
use proto::{
    Class, ExitCode, HolderName,
    topology::{ACK_WAIT_DEFAULT, CLASSES_DEFAULT, Choices},
};
use serde_json::json;
use settings::Span;

use crate::{broker_file::BrokerFile, context::Context, error::Error, render};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  producer setup
  producer setup --apply --replicas 3 --classes x86_64-linux,aarch64-linux
  producer setup --print-nats-config --keys keys.toml > nats.conf";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Change in place what differs and can be changed
    #[arg(long)]
    apply: bool,
    /// Copies of every stream: 1, or 3 in a cluster
    #[arg(long, default_value_t = 1, value_name = "N",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=5))]
    replicas: usize,
    /// Classes of jobs that get consumers
    #[arg(long, value_delimiter = ',', default_values = CLASSES_DEFAULT, value_name = "CLASS")]
    classes: Vec<Class>,
    /// A worker that is silent for this long loses its job
    #[arg(long, default_value_t = Span(ACK_WAIT_DEFAULT), value_name = "DURATION")]
    ack_wait: Span,
    /// Change nothing: print the config of a nats-server for the keys in a file
    #[arg(long, requires = "keys", conflicts_with = "apply")]
    print_nats_config: bool,
    /// The keys file (TOML: [server], [keys.<name>])
    #[arg(long, requires = "print_nats_config", value_name = "FILE")]
    keys: Option<PathBuf>,
    /// For this server, where one file serves several; else the file's [server] name
    #[arg(long, requires = "print_nats_config", value_name = "NAME")]
    server: Option<HolderName>,
}

pub(crate) async fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    if let Some(keys) = &args.keys {
        let text = nats_config(&args, keys)?;
        context.console.data(&text)?;
        return Ok(ExitCode::Done);
    }
    let bus = context.connect().await?;
    let Args { apply, replicas, classes, ack_wait, .. } = args;
    let choices = Choices { replicas, classes, ack_wait: ack_wait.0 };
    let done = bus.reconcile(&choices, apply).await?;
    bus.close().await;
    context.console.data(&if context.json { as_json(&done) } else { as_text(&done) })?;
    let Some(advice) = advice(&done.drift, apply) else { return Ok(ExitCode::Done) };
    context.console.say(advice);
    Ok(ExitCode::Usage)
}

fn nats_config(args: &Args, keys: &Path) -> Result<String, Error> {
    let choices = Choices {
        replicas: args.replicas,
        classes: args.classes.clone(),
        ack_wait: args.ack_wait.0,
    };
    let mut file = BrokerFile::load(keys, &choices)?;
    if let Some(name) = &args.server {
        file.server.name = name.clone();
    }
    Ok(render::nats::config(&file))
}

fn as_text(done: &Reconciled) -> String {
    let created = done.created.iter().map(|asset| format!("created {asset}\n"));
    let updated = done.updated.iter().map(|asset| format!("updated {asset}\n"));
    let drift = done.drift.iter().map(|drift| format!("differs {drift}\n"));
    let text: String = created.chain(updated).chain(drift).collect();
    if text.is_empty() { "everything is as it should be\n".into() } else { text }
}

fn as_json(done: &Reconciled) -> String {
    let drift = |drift: &Drift| {
        let Drift { asset, setting, is, should, updatable } = drift;
        json!({ "asset": asset, "setting": setting, "is": is, "should": should,
                "updatable": updatable })
    };
    let drift: Vec<_> = done.drift.iter().map(drift).collect();
    let Reconciled { created, updated, .. } = done;
    render::json::line(&json!({ "created": created, "updated": updated, "drift": drift }))
}

/// What to do about differences that stand.
fn advice(drift: &[Drift], applied: bool) -> Option<&'static str> {
    if drift.is_empty() {
        None
    } else if drift.iter().any(|drift| !drift.updatable) {
        Some(
            "some of this cannot be changed in place: when the stream or consumer holds nothing \
             that is needed, delete it by hand, then run `producer setup` again",
        )
    } else if applied {
        Some("some of this was not changed; run `producer setup --apply` again")
    } else {
        Some("run `producer setup` with --apply, and the same options, to change it in place")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_shown_and_says_what_to_do() {
        let drift = |updatable| Drift {
            asset: "NBP_JOBS".into(),
            setting: "max bytes",
            is: "1".into(),
            should: "2".into(),
            updatable,
        };
        let mut done = Reconciled { created: vec!["A".into()], ..Reconciled::default() };
        assert_eq!((as_text(&done).as_str(), advice(&done.drift, false)), ("created A\n", None));
        done.drift.push(drift(true));
        assert!(as_text(&done).ends_with("differs NBP_JOBS: max bytes is 1, should be 2\n"));
        assert!(advice(&done.drift, false).is_some_and(|it| it.contains("--apply")));
        done.drift.push(drift(false));
        assert!(advice(&done.drift, false).is_some_and(|it| it.contains("by hand")));
        let shown = serde_json::from_str(&as_json(&done)).expect("JSON");
        options::check_documented("setup", &shown);
        assert_eq!(shown["drift"][1]["updatable"], false);
    }
}
