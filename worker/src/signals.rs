//! SIGTERM and SIGINT as stop orders.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::{error::Error, event_loop::StopOrder};

/// The stop orders of this process. A terminal's Ctrl-C and systemd's stop mean the same.
pub(crate) fn stop_orders() -> Result<mpsc::Receiver<StopOrder>, Error> {
    let mut term = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut int = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let (orders, stop) = mpsc::channel(2);
    #[expect(clippy::disallowed_methods, reason = "it lives as long as the process")]
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            orders.try_send(StopOrder).ok();
        }
    });
    Ok(stop)
}
