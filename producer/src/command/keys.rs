//! `producer keys new`: an NKey pair for one holder. The seed stays in its file; what is printed is
//! public.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use bus::{NewKeyError, PublicKey, SeedForm, new_key};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use proto::{ExitCode, HolderName, Role};
use serde_json::{Value, json};

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
#[command(after_help = EXAMPLES)]
struct New {
    /// What its holder is for; leaf is a server of a remote site
    #[arg(value_name = "ROLE", value_parser = purpose())]
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

/// The name of that link on the command line.
const LEAF: &str = "leaf";

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Role(role) => role.name(),
            Self::Leaf => LEAF,
        }
    }
}

/// Takes a role or `leaf`. Help, completions and the tip for a misspelt one come from the list.
fn purpose() -> impl TypedValueParser<Value = Purpose> {
    let names = Role::ALL.into_iter().map(Role::name).chain([LEAF]);
    PossibleValuesParser::new(names).map(|name| name.parse().map_or(Purpose::Leaf, Purpose::Role))
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
        let object = object(purpose, &name, &public, [&seed_file, &public_file]);
        context.console.data(&render::json::line(&object))?;
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

fn object(purpose: Purpose, name: &HolderName, public: &PublicKey, files: [&Path; 2]) -> Value {
    let [seed_file, public_file] = files.map(|file| file.display().to_string());
    json!({
        "role": purpose.name(), "name": name, "public_key": public.to_string(),
        "seed_file": seed_file, "public_file": public_file,
    })
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        new: New,
    }

    #[test]
    fn every_role_and_leaf_is_read_back_as_it_is_named() {
        for name in Role::ALL.into_iter().map(Role::name).chain([LEAF]) {
            let cli = Cli::try_parse_from(["x", name, "somebody"]).expect("a role");
            assert_eq!(cli.new.purpose.name(), name);
        }
        let error = Cli::try_parse_from(["x", "workr", "w1"]).expect_err("misspelt").to_string();
        assert!(error.contains("'worker'") && error.contains("leaf"), "{error}");
    }

    #[test]
    fn the_object_has_the_shape_that_scripts_rely_on() {
        let public: PublicKey = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
            .parse()
            .expect("a public key");
        let name = "w1".parse().expect("a name");
        let files = [Path::new("w1.nk"), Path::new("w1.pub")];
        let shown = object(Purpose::Role(Role::Worker), &name, &public, files);
        options::check_documented("keys new", &shown);
        assert_eq!((&shown["role"], &shown["seed_file"]), (&"worker".into(), &"w1.nk".into()));
    }
}
