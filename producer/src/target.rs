//! What a command is about: a run, or one job.

use std::str::FromStr;

use bus::Bus;
use proto::{JobKey, RunId};

use crate::{error::Error, naming::JobName};

/// A run or a job, told apart by the dots of a job's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target<Job = JobName> {
    Run(RunId),
    Job(Job),
}

/// The jobs that are meant, all of them before anything is done with any.
///
/// # Errors
/// As [`JobName::find`].
pub(crate) async fn found(bus: &Bus, targets: Vec<Target>) -> Result<Vec<Target<JobKey>>, Error> {
    let mut found = Vec::new();
    for target in targets {
        found.push(match target {
            Target::Run(run) => Target::Run(run),
            Target::Job(name) => Target::Job(name.find(bus).await?),
        });
    }
    Ok(found)
}

impl FromStr for Target {
    type Err = String;

    fn from_str(value: &str) -> Result<Self, String> {
        let parsed = match value.contains('.') {
            true => value.parse().map(Self::Job),
            false => value.parse().map(Self::Run).map_err(|error| error.to_string()),
        };
        parsed.map_err(|why| format!("{why}; expected a run (a uuid) or <repo>.<revision>.<host>"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_and_a_job_are_told_apart() {
        let run = "0190f0d4-0000-7000-8000-000000000001";
        assert!(matches!(run.parse(), Ok(Target::Run(_))));
        for job in ["nixos.0123456789abcdef0123456789abcdef01234567.web", "nixos.0123456.web"] {
            assert_eq!(job.parse(), Ok(Target::Job(job.parse::<JobName>().expect("a job"))));
        }
        for bad in ["", "web", "a.b", "nixos.abc.web", "..", "0190f0d4"] {
            let why = bad.parse::<Target>().expect_err("neither");
            assert!(why.contains("expected a run (a uuid) or"), "{why}");
        }
    }
}
