//! What the commands that land have in common: a repository with its clone, forge and lease, and a
//! run driven to its end there.

use std::{collections::BTreeMap, time::Duration};

use bus::Bus;
use exposition::Gateway;
use flake::Access;
use options::Console;
use proto::{
    ExitCode, Repo,
    gate::{End, Why},
};
use settings::RepoTable;
use tokio::time::Instant;

use crate::{
    checkout::Checkout,
    config::Config,
    engine::{Driven, Kept, Pause},
    error::Error,
    figures,
    forge::Client,
    lease::{Asked, Held},
    steps::Ground,
    told::Teller,
};

/// A repository that can be landed on.
pub(crate) struct Site<'a> {
    pub(crate) config: &'a Config,
    pub(crate) repo: Repo,
    pub(crate) table: &'a RepoTable,
    pub(crate) forge: Client,
    pub(crate) checkout: Checkout,
    pub(crate) gateway: Option<Gateway>,
}

impl<'a> Site<'a> {
    /// Reaches the forge and makes an empty clone.
    pub(crate) async fn open(
        config: &'a Config,
        repo: &Repo,
        gateway: Option<Gateway>,
    ) -> Result<Self, Error> {
        let table = config.repo(repo)?;
        let settings = config.forge()?;
        if !config.on_forge(repo) {
            let (url, name) = (table.url.to_string(), settings.repo.to_string());
            return Err(Error::OtherForge { repo: repo.clone(), url, name });
        }
        let forge = Client::connect(settings).await.map_err(Error::Forge)?;
        let mut access = Access::by_file(table.git_credentials_file.as_deref());
        let root = settings.url.root();
        if table.url.as_str().starts_with(&root) {
            // git runs in a folder of its own.
            let file = std::path::absolute(&settings.token_file);
            let file = file.unwrap_or_else(|_| settings.token_file.clone());
            access.token_file = Some((root, file));
        }
        let author = config.author.clone();
        let checkout = Checkout::open(&table.url, access, author).await.map_err(Error::checkout)?;
        Ok(Self { config, repo: repo.clone(), table, forge, checkout, gateway })
    }

    /// Takes the lease of a branch; says who has it, if somebody does.
    pub(crate) async fn lease(&self, bus: &Bus, base: &str) -> Result<Held, Error> {
        match Held::take(bus, &self.repo, base, self.config.lease).await? {
            Asked::Held(lease) => Ok(*lease),
            Asked::Busy { holder, left } => {
                let (repo, base) = (self.repo.clone(), base.to_owned());
                let left = Duration::from_secs(left.as_secs() + 1);
                Err(Error::Busy { repo, base, holder: Box::new(holder), left })
            }
        }
    }

    pub(crate) fn ground<'g>(
        &'g self,
        bus: &'g Bus,
        lease: &'g Held,
        console: &'g Console,
    ) -> Ground<'g> {
        let Self { config, table, forge, checkout, .. } = self;
        let gateway = self.gateway.as_ref();
        Ground { bus, config, table, console, forge, checkout, lease, gateway }
    }
}

/// Drives a run, tells what came of it, and gives its exit code.
pub(crate) async fn drive(
    ground: &Ground<'_>,
    kept: Kept,
    deadline: Option<Instant>,
    teller: &mut Teller<'_>,
) -> Result<ExitCode, Error> {
    let driven = kept.drive(ground, deadline).await;
    let (run, pause) = match driven {
        Ok(Driven::Ended(run)) => (run, None),
        Ok(Driven::Paused(run, pause)) => (run, Some(pause)),
        Err(error) => return Err(Error::Step(error)),
    };
    if let Some(pause) = pause {
        ground.console.say(&format!("the run waits: {}", pause.words()));
    }
    let details = match run.stage.ended() {
        Some(End::Refused { refused, .. }) => ground.known(refused).await,
        _ => BTreeMap::new(),
    };
    let code = match (run.stage.ended(), pause) {
        (Some(end), _) => exit_code(end),
        (None, Some(Pause::Deadline | Pause::Told | Pause::Undecided | Pause::Lost) | None) => {
            ExitCode::Undecided
        }
    };
    // What it came to is so, whether or not it can be printed.
    if let Some(gateway) = ground.gateway {
        let group = figures::of_run(&run, code, bus::clock::now());
        options::tell(gateway, vec![group], ground.console).await;
    }
    teller.tell(&run, &details, &ground.site(None))?;
    Ok(code)
}

/// The exit code of a run that came to its end.
pub(crate) fn exit_code(end: &End) -> ExitCode {
    match end {
        End::Landed(_) | End::Unchanged { .. } => ExitCode::Done,
        End::Refused { refused, .. } => match refused.why {
            Why::Failed(_) | Why::NoHosts { .. } => ExitCode::Failed,
            // Built, and kept from landing by a rule that a person has to change.
            Why::Denied { .. } => ExitCode::Usage,
            Why::BaseMoved { .. } => ExitCode::Undecided,
        },
        End::SameFailure { .. } => ExitCode::Failed,
        End::BrokenInputs { .. }
        | End::BaseRewound { .. }
        | End::BranchGone { .. }
        | End::Behind { .. }
        | End::GivenUp { .. } => ExitCode::Undecided,
    }
}
