//! Which hosts must be built: those of the candidate and those of the base, so that a host that an
//! update makes vanish is missed.

use std::collections::BTreeMap;

use flake::{Access, Flake, FlakeError, Listing, ListingError, listing};
use proto::{
    Class, Host, Input, JobKey, Override, Overrides, Revision, RunId,
    gate::{Candidate, External, GateRun, Required, Trial},
};
use uuid::Uuid;

use super::{Ground, StepError};
use crate::{
    checkout::{CheckoutError, full},
    config::ExternalTable,
    plan::Event,
};

/// The flake is at fault, in its own words; anything else is an error of ours.
type Broken = String;

impl Ground<'_> {
    pub(super) async fn list(
        &self,
        run: &GateRun,
        candidate: &Candidate,
    ) -> Result<Event, StepError> {
        self.have(run, candidate).await?;
        let no_hosts = |message: String| Ok(Event::NoHosts { message });
        let (hosts, excluded) = match self.hosts(candidate).await? {
            Ok((hosts, _)) if hosts.is_empty() => return no_hosts("the flake has no hosts".into()),
            Ok(found) => found,
            Err(message) => return no_hosts(message),
        };
        let mut required = BTreeMap::new();
        for (host, class) in hosts {
            let (repo, revision) = (run.repo.clone(), candidate.revision.clone());
            let job = JobKey { repo, revision, host: host.clone() };
            required.insert(
                host.to_string(),
                Required { job, class, overrides: Overrides::default(), advisory: false },
            );
        }
        let external = match self.externals(run, candidate, &mut required).await? {
            Ok(external) => external,
            Err(message) => return no_hosts(message),
        };
        let labels = required.len();
        self.console.say(&format!("{labels} hosts must be built at {}", candidate.revision));
        Ok(Event::Listed(Trial {
            candidate: candidate.clone(),
            required,
            excluded: excluded.iter().map(Host::to_string).collect(),
            external,
            run: RunId(Uuid::now_v7()),
            base_run: RunId(Uuid::now_v7()),
        }))
    }

    /// The hosts of candidate and base, and those that are left out.
    async fn hosts(
        &self,
        candidate: &Candidate,
    ) -> Result<Result<(BTreeMap<Host, Class>, Vec<Host>), Broken>, StepError> {
        let at_candidate = self.checkout.hold(&candidate.revision).await?;
        let listed = Listing::of(&at_candidate.flake(), self.table, &[]).await;
        let Listing { mut hosts, mut excluded, notes } = match blamed(listed)? {
            Ok(listing) => listing,
            Err(message) => return Ok(Err(message)),
        };
        for note in notes {
            self.console.say(&note);
        }
        let at_base = self.checkout.hold(&candidate.base).await?;
        let names = at_base.flake().names().await.map_err(ListingError::from);
        let exclude = listing::set(self.table.exclude.iter());
        let chosen = names.and_then(|names| listing::chosen(names, &exclude));
        let chosen = match blamed(chosen)? {
            Ok(chosen) => chosen,
            Err(message) => return Ok(Err(format!("at the base: {message}"))),
        };
        // What vanished cannot tell its system; the config decides. It ends as a missing host.
        for host in chosen.hosts {
            let class = self.table.class_for(&host, None).map_err(ListingError::HostClass)?;
            hosts.entry(host).or_insert(class);
        }
        excluded.extend(chosen.excluded);
        excluded.sort_unstable();
        excluded.dedup();
        Ok(Ok((hosts, excluded)))
    }

    /// Adds the hosts of other repositories that take this one as an input. They are tried at the
    /// commit that they are at now, and are not landed.
    async fn externals(
        &self,
        run: &GateRun,
        candidate: &Candidate,
        required: &mut BTreeMap<String, Required>,
    ) -> Result<Result<Vec<External>, Broken>, StepError> {
        let ours = self.checkout.hold(&candidate.revision).await?;
        let mut externals = Vec::new();
        for table in &self.config.external {
            let replaced = [(table.input.clone(), ours.flake().reference())];
            let listed = self.external(table, &replaced).await?;
            let (revision, listing) = match listed {
                Ok(found) => found,
                Err(message) if table.required => {
                    return Ok(Err(format!("in repo {}: {message}", table.repo)));
                }
                Err(message) => {
                    self.console.say(&format!("repo {} is left out: {message}", table.repo));
                    continue;
                }
            };
            let by = Override { repo: run.repo.clone(), revision: candidate.revision.clone() };
            let overrides = Overrides::new([(table.input.clone(), by)].into());
            let overrides = overrides.expect("one override, of a plain commit");
            let revision = revision.with(&overrides);
            for (host, class) in listing.hosts {
                let (repo, revision) = (table.repo.clone(), revision.clone());
                let label = format!("{repo}/{host}");
                let job = JobKey { repo, revision, host };
                let (overrides, advisory) = (overrides.clone(), !table.required);
                required.insert(label, Required { job, class, overrides, advisory });
            }
            let git_ref = full(self.config.repo_table(&table.repo).default_ref.as_str());
            let (repo, run) = (table.repo.clone(), RunId(Uuid::now_v7()));
            externals.push(External { repo, overrides, revision, git_ref, run });
        }
        Ok(Ok(externals))
    }

    async fn external(
        &self,
        external: &ExternalTable,
        overrides: &[(Input, String)],
    ) -> Result<Result<(Revision, Listing), Broken>, StepError> {
        let table = self.config.repo_table(&external.repo);
        let revision = flake::resolve(table, &table.default_ref).await;
        let revision = revision.map_err(CheckoutError::Ref)?;
        let access = &Access::by_file(table.git_credentials_file.as_deref());
        let git_ref = &full(table.default_ref.as_str());
        let flake = Flake { url: &table.url, git_ref, revision: &revision, access, overrides };
        let listed = blamed(Listing::of(&flake, table, &[]).await)?;
        Ok(listed.map(|listing| (revision, listing)))
    }
}

/// Tells the flake's own faults from those of the network.
fn blamed<T>(listed: Result<T, ListingError>) -> Result<Result<T, Broken>, StepError> {
    match listed {
        Ok(found) => Ok(Ok(found)),
        Err(
            error @ (ListingError::Flake(FlakeError::Broken { .. }) | ListingError::BadNames(_)),
        ) => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}
