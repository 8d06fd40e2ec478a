//! The page: what the pool knows, for people with a browser.
//!
//! It reads and shows. It holds no code that publishes, needs no right but the reader's, and answers
//! GET and HEAD only. Pages are made here, whole, for each request; a small script of ours fetches
//! them again when something changed.

mod address;
mod gates;
mod guard;
mod job;
mod keeper;
mod live;
mod log;
mod model;
mod page;
mod progress;
mod reading;
mod routes;
mod run;
mod server;
mod shared;
mod trouble;

use std::net::SocketAddr;

use bus::Bus;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::{guard::Names, keeper::Keeper, routes::Site, shared::Shared};
use crate::error::Error;

/// A page that is ready to be served.
pub(crate) struct Dashboard {
    listener: TcpListener,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Dashboard {
    pub(crate) async fn bind(listen: SocketAddr) -> Result<Self, Error> {
        let failed = |source| Error::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Serves until `stop`, or until something is wrong that waiting does not mend.
    pub(crate) async fn serve(
        self,
        bus: &Bus,
        names: Vec<String>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let (shared, stopping) = (Shared::new(), CancellationToken::new());
        let keeper = Keeper::new(bus.clone(), shared.clone());
        let site = Site::new(bus.clone(), shared, stopping.clone());
        let router = routes::router(site, Names::new(names));
        let server = server::serve(self.listener, router, stopping.clone());
        let ended = async {
            let kept = tokio::select! {
                kept = keeper.keep() => kept,
                () = stop => Ok(()),
            };
            stopping.cancel();
            kept
        };
        let (kept, ()) = tokio::join!(ended, server);
        Ok(kept?)
    }
}
