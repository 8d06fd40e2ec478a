//! What every command works with: config, broker, console. It knows no command.

use std::path::PathBuf;

use bus::{Bus, Endpoint};

use crate::{cli::Global, config::Config, console::Console, error::Error};

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
        // An empty variable is how a shell unsets one for a child.
        let path = |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty());
        let config = Config::load(path(global.config).as_deref())?;
        let url = global.nats_url.filter(|url| !url.is_empty()).or(config.nats.url.clone());
        let endpoint = Endpoint {
            url: url.unwrap_or_else(|| bus::URL_DEFAULT.into()),
            nkey_file: path(global.nkey_file).or(config.nats.nkey_file.clone()),
            ca_file: path(global.ca_file).or(config.nats.ca_file.clone()),
            name: "producer".into(),
            patience: Some(global.patience.0),
        };
        Ok(Self { config, console, json: global.json, endpoint })
    }

    /// Connects to the broker.
    pub(crate) async fn connect(&self) -> Result<Bus, Error> {
        Ok(Bus::connect(&self.endpoint).await?)
    }
}
