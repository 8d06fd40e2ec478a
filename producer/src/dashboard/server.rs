//! Connections: how many, for how long, and their end with the program. It knows no page.
//!
//! Own accept loop and not `axum::serve`: that one bounds neither the connections nor the time that
//! a client may take for its request.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::progress::Progress;

/// Connections at once. A browser opens up to six; more clients wait for their turn.
const CONNECTIONS_MAX: usize = 256;
/// For a client to say what it wants.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a request's head. It has no body.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// For a client to take some of what it is answered, so that one that stopped reading does not keep
/// its place. A phone that changes its network is back by then.
const WRITE_WITHIN: Duration = Duration::from_secs(30);
/// Longest life of a connection, however slowly it is read. A page that is open connects again by
/// itself.
const CONNECTION_LIFE: Duration = Duration::from_secs(60 * 60);
/// After a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For open connections to end with the program.
const GOODBYE: Duration = Duration::from_secs(2);

/// Serves until `stop`.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, client, place)) => {
                let connection = connection(stream, router.clone(), stop.clone());
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%client, "connection: {error}");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    tokio::time::timeout(GOODBYE, connections.wait()).await.ok();
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await;
    let place = place.expect("nobody closes the semaphore");
    let (stream, client) = listener.accept().await?;
    Ok((stream, client, place))
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    stop: CancellationToken,
) -> Result<(), hyper::Error> {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(HEAD_BYTES_MAX);
    let service = TowerToHyperService::new(router);
    let stream = TokioIo::new(Progress::new(stream, WRITE_WITHIN));
    let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
    tokio::select! {
        done = connection.as_mut() => return done,
        () = tokio::time::sleep(CONNECTION_LIFE) => {}
        () = stop.cancelled() => {}
    }
    // What is being answered is, if it ends soon; a live page does not.
    connection.as_mut().graceful_shutdown();
    tokio::time::timeout(GOODBYE, connection).await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, routing::get};
    use futures_util::stream;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
        time::Instant,
    };

    use super::*;

    /// Served with a page that never ends, over a pipe that holds little.
    async fn served(client: impl AsyncFnOnce(DuplexStream)) -> (Duration, bool) {
        let (mut near, far) = tokio::io::duplex(1 << 10);
        let parts = || stream::repeat_with(|| Ok::<_, std::io::Error>("x".repeat(4 << 10)));
        let router = Router::new().route("/", get(async move || Body::from_stream(parts())));
        near.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("a request");
        let began = Instant::now();
        let stop = CancellationToken::new();
        tokio::select! {
            ended = connection(far, router, stop) => (began.elapsed(), ended.is_err()),
            () = async { client(near).await; std::future::pending().await } => unreachable!(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_reading_loses_its_connection() {
        let (lasted, failed) = served(async |_near| std::future::pending().await).await;

        assert!(failed, "it was ended for want of progress");
        assert!(lasted >= WRITE_WITHIN && lasted < WRITE_WITHIN * 2, "{lasted:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_slowly_is_served() {
        const PIECES: u32 = 20;
        let slowly = async |mut near: DuplexStream| {
            for _ in 0..PIECES {
                tokio::time::sleep(WRITE_WITHIN / 2).await;
                near.read_exact(&mut [0; 512]).await.expect("more of the page");
            }
        };

        let (lasted, _) = served(slowly).await;

        assert!(lasted >= WRITE_WITHIN / 2 * PIECES, "{lasted:?}");
    }
}
