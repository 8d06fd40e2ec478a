//! What every command works with: config, broker, console. It knows no command.

use bus::{Bus, Endpoint};
use options::{Console, Page};

use crate::{cli::Global, config::Config, error::Error, render::json};

/// One invocation.
pub(crate) struct Context<'a> {
    pub(crate) config: Config,
    pub(crate) console: &'a mut Console,
    pub(crate) json: bool,
    endpoint: Endpoint,
}

impl<'a> Context<'a> {
    /// Reads the config. What the command line or the environment says wins over it.
    pub(crate) fn new(global: Global, console: &'a mut Console) -> Result<Self, Error> {
        let config = Config::load(options::given(global.config.as_deref()))?;
        let patience = Some(global.patience.0);
        let endpoint = global.broker.endpoint(&config.nats, "producer", patience);
        Ok(Self { config, console, json: global.json, endpoint })
    }

    /// What text is made for.
    pub(crate) fn page(&self) -> Page {
        Page::of(self.console)
    }

    /// Tells one thing that was done: a line for people, or an object for programs.
    pub(crate) fn did(&self, line: &str, object: &serde_json::Value) -> Result<(), Error> {
        Ok(self.console.data(&match self.json {
            true => json::line(object),
            false => format!("{line}\n"),
        })?)
    }

    /// Connects to the broker.
    pub(crate) async fn connect(&self) -> Result<Bus, Error> {
        Ok(Bus::connect(&self.endpoint).await?)
    }
}
