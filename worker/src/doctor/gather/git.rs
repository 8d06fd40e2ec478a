//! Facts about the repositories, asked as their mirrors would.

use super::{NETWORK_WALL, ask};
use crate::{
    config::Config,
    doctor::git::RepoFacts,
    mirror::branches_of,
    nix::{command::Nix, process::Supervisor},
};

/// All repositories at once; a fleet has a handful.
pub(in crate::doctor) async fn repos(
    supervisor: &Supervisor,
    nix: &Nix,
    config: &Config,
) -> Vec<RepoFacts> {
    let asked = config.repos.iter().map(|(repo, of)| async move {
        let answer = ask(supervisor, &branches_of(nix, &of.table), NETWORK_WALL).await;
        let branches = answer.and_then(|answer| answer.good()).map(|text| {
            let names = text.lines().filter_map(|line| line.split_once("refs/heads/"));
            names.map(|(_, name)| name.to_owned()).collect()
        });
        RepoFacts { repo: repo.clone(), table: of.table.clone(), branches }
    });
    futures_util::future::join_all(asked).await
}
