//! `[telemetry]`: what the worker tells of itself beside its log.

use std::net::SocketAddr;

use serde::Deserialize;

use super::Wrong;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawTelemetry {
    listen: Option<String>,
}

impl RawTelemetry {
    /// An address and a port: a name would have to be looked up, and might be somebody else's.
    pub(super) fn listen(self) -> Result<Option<SocketAddr>, Wrong> {
        let parse = |listen: String| {
            listen.parse().map_err(|_| {
                let shown = proto::token::shown(&listen);
                let reason = format!("{shown} is no address, expected e.g. \"127.0.0.1:9464\"");
                ("[telemetry] listen", reason)
            })
        };
        self.listen.map(parse).transpose()
    }
}
