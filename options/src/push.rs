//! `--push-metrics`: what became of a command, for a Prometheus push gateway. A push that fails is
//! said once and changes nothing else.

use clap::Args;
use exposition::{Gateway, Group, PushTarget, PushUrlError};

use crate::Console;

/// Where to push, if anywhere.
#[derive(Clone, Debug, Default, Args)]
pub struct Push {
    /// Push how it ended to this Prometheus push gateway; a push that fails is said and changes no
    /// exit code
    #[arg(long, env = "NBP_PUSH_METRICS", hide_env_values = true, value_name = "URL")]
    push_metrics: Option<PushTarget>,
}

impl Push {
    /// The gateway, checked before anything is done.
    ///
    /// # Errors
    /// The address makes no sense. It may hold a password and is not repeated.
    pub fn gateway(&self) -> Result<Option<Gateway>, PushUrlError> {
        // An empty variable is how a shell unsets one for a child.
        let target = self.push_metrics.as_ref().filter(|target| !target.is_empty());
        target.map(Gateway::try_from).transpose()
    }
}

/// Pushes, and says so when that fails.
pub async fn tell(gateway: &Gateway, groups: Vec<Group>, console: &Console) {
    if let Err(error) = gateway.push(groups).await {
        console.say(&format!("metrics were not pushed to {gateway}: failed to {error}"));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        push: Push,
    }

    #[test]
    fn an_address_is_checked_late_and_shown_nowhere() {
        let cli = |url: &str| Cli::try_parse_from(["x", "--push-metrics", url]).expect("taken");
        assert!(cli("").push.gateway().expect("none").is_none());
        assert!(cli("http://me:hunter2@x").push.gateway().expect("one").is_some());
        let bad = cli("hunter2");
        assert!(!format!("{bad:?}").contains("hunter2"));
        let error = bad.push.gateway().expect_err("no URL").to_string();
        assert!(error.contains("no URL") && !error.contains("hunter2"), "{error}");
    }
}
