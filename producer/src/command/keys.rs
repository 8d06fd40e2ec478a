//! `producer keys new`: an NKey pair for one holder. The seed stays in its file; what is printed is
//! public.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use bus::{NewKeyError, PublicKey, SeedForm, new_key};
use proto::{ExitCode, HolderName, Role, TokenError};
use serde_json::json;

use crate::{context::Context, error::Error, render};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  producer keys new worker nix-cache01 --out /etc/nix-build-pool";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key pair: the seed into NAME.nk (mode 0600, never overwritten), the public key to
    /// stdout and into NAME.pub
    New(New),
}

#[derive(Debug, clap::Args)]
struct New {
    /// submitter, worker, gate, reader, operator or admin; or leaf, for a server of a remote site
    #[arg(value_name = "ROLE")]
    purpose: Purpose,
    /// Who holds it; of a worker, its [worker] name
    #[arg(value_name = "NAME")]
    name: HolderName,
    /// Where the files go
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

/// What a key is for: a role, or the link between two servers.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    Role(Role),
    Leaf,
}

impl std::str::FromStr for Purpose {
    type Err = TokenError;
    fn from_str(value: &str) -> Result<Self, TokenError> {
        match value {
            "leaf" => Ok(Self::Leaf),
            role => role.parse().map(Self::Role),
        }
    }
}

pub(crate) fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let Command::New(New { purpose, name, out }) = args.command;
    let (seed_file, public_file) =
        (out.join(format!("{name}.nk")), out.join(format!("{name}.pub")));
    let mut folder = fs::DirBuilder::new();
    folder.recursive(true).mode(0o700).create(&out).map_err(write_error(&out))?;
    let form = match purpose {
        Purpose::Role(_) => SeedForm::Plain,
        Purpose::Leaf => SeedForm::ServerInclude,
    };
    let public = new_key(&seed_file, form)?;
    fs::write(&public_file, format!("{public}\n")).map_err(write_error(&public_file))?;
    if context.json {
        let role = match purpose {
            Purpose::Role(role) => role.name(),
            Purpose::Leaf => "leaf",
        };
        let (seed, public_file) = (seed_file.display(), public_file.display());
        context.console.data(&render::json::line(&json!({
            "role": role, "name": name, "public_key": public.to_string(),
            "seed_file": seed.to_string(), "public_file": public_file.to_string(),
        })))?;
    } else {
        context.console.data(&format!("{public}\n"))?;
        context.console.say(&format!("the seed is in {}; keep it secret", seed_file.display()));
        context.console.say("for the keys file of the broker:");
        for line in snippet(purpose, &name, &public) {
            context.console.say(&format!("  {line}"));
        }
    }
    Ok(ExitCode::Done)
}

fn write_error(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| NewKeyError::Write { path, source }.into()
}

/// What goes into the keys file, with an example where only its author knows.
fn snippet(purpose: Purpose, name: &HolderName, public: &PublicKey) -> Vec<String> {
    match purpose {
        Purpose::Leaf => vec![
            format!("[leaves.{name}]"),
            format!("public = \"{public}\""),
            "carries = []          # the names of those who connect there".into(),
        ],
        Purpose::Role(role) => {
            let classes = (role == Role::Worker).then(|| "classes = [\"x86_64-linux\"]".into());
            let lines = [
                format!("[keys.{name}]"),
                format!("role = \"{role}\""),
                format!("public = \"{public}\""),
            ];
            lines.into_iter().chain(classes).collect()
        }
    }
}
