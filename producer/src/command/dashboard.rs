//! `producer dashboard`: the page.

use std::net::SocketAddr;

use proto::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

use crate::{context::Context, dashboard::Dashboard, error::Error};

const EXAMPLES: &str = "\
Examples:
  producer dashboard --nkey-file reader.nk
  producer dashboard --listen 127.0.0.1:9000 --name builds.example.org";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where to listen. Whoever reaches it sees all that the reader role sees
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8088")]
    listen: SocketAddr,
    /// A name that browsers ask by, such as behind a reverse proxy; addresses and localhost always
    /// work
    #[arg(long = "name", value_name = "HOST")]
    names: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let mut terminated = signal(SignalKind::terminate()).map_err(Error::Runtime)?;
    let dashboard = Dashboard::bind(args.listen).await?;
    let bus = context.connect().await?;
    context.console.say(&format!("the page is at http://{}/", dashboard.address));
    if !dashboard.address.ip().is_loopback() {
        context.console.say(
            "it asks nobody who they are: whoever reaches this address reads logs and host names",
        );
    }
    let stop = async {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    dashboard.serve(&bus, args.names, stop).await?;
    bus.close().await;
    Ok(ExitCode::Done)
}
