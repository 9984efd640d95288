//! The listener: bounded connections, and an end in which nobody is cut off without need.
//!
//! Promises: no more than the configured connections are served at once (further ones wait in the kernel's queue); a
//! client that is slow to say what it wants, or says nothing for half a minute, is closed; when the service stops, no
//! new connection is taken, requests under way are answered, sockets are told where to resume, and after the deadline
//! what is left is cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::Api;
use super::limits::on_line;
use crate::domain::error::{Error, Result};
use crate::telemetry;

/// How long a client may take to send the head of a request; also how long a connection may be idle.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// The most a connection buffers.
const BUFFER_LIMIT: usize = 64 * 1024;

/// Pause after a failed accept: the usual reason is that the process has no descriptor left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How often histograms are folded, so that they do not grow when nobody reads `/metrics`.
const FOLD: Duration = Duration::from_secs(5);

/// Serves the API until `shutdown`, then ends in order.
///
/// # Errors
/// `Bug` when the listener cannot be used at all.
pub async fn serve(listener: TcpListener, api: Arc<Api>, shutdown: impl Future<Output = ()>) -> Result<()> {
    let address = listener.local_addr().map_err(Error::bug)?;
    tracing::info!(%address, "listening");
    api.sockets.open();
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let doors = Doors { app: super::app(api.clone()), stopping };
    accept(&listener, &doors, &mut connections, (api.config.connections, shutdown)).await;
    drop(listener);
    drop(doors);
    let deadline = Instant::now() + api.config.drain;
    stop.send_replace(true);
    let drained = async {
        while connections.join_next().await.is_some() {}
        api.sockets.close().await;
    };
    if timeout_at(deadline, drained).await.is_err() {
        tracing::warn!(left = connections.len(), "connections were cut at the deadline");
        connections.shutdown().await;
    }
    Ok(())
}

/// Serves something small under the same bounds, until it is dropped.
pub(super) async fn serve_only(listener: TcpListener, app: Router, limit: usize) {
    let (_stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    accept(&listener, &Doors { app, stopping }, &mut connections, (limit, std::future::pending())).await;
}

struct Doors {
    app: Router,
    stopping: watch::Receiver<bool>,
}

/// Takes connections until `shutdown`.
async fn accept(
    listener: &TcpListener,
    doors: &Doors,
    connections: &mut JoinSet<()>,
    (limit, shutdown): (usize, impl Future<Output = ()>),
) {
    let places = Arc::new(Semaphore::new(limit));
    let mut fold = tokio::time::interval(FOLD);
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => return,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended && error.is_panic() {
                    tracing::error!(%error, "a connection panicked");
                }
            }
            _ = fold.tick() => telemetry::fold(),
            (place, taken) = next(listener, &places) => match taken {
                Ok((stream, peer)) => {
                    let conversation = converse(stream, doors.app.clone(), doors.stopping.clone(), place);
                    connections.spawn(on_line(peer.ip(), conversation));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
}

type Taken = std::io::Result<(TcpStream, SocketAddr)>;

/// A place, and then somebody for it. May be dropped at any point without losing a connection.
async fn next(listener: &TcpListener, places: &Arc<Semaphore>) -> (Option<OwnedSemaphorePermit>, Taken) {
    let place = places.clone().acquire_owned().await.ok();
    (place, listener.accept().await)
}

/// Serves one connection to its end.
async fn converse(
    stream: TcpStream,
    app: Router,
    mut stopping: watch::Receiver<bool>,
    _place: Option<OwnedSemaphorePermit>,
) {
    // Answers are small and wait for a commit already; they must not wait for the kernel as well.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection without TCP_NODELAY");
    }
    let service = TowerToHyperService::new(app);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(BUFFER_LIMIT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Comes back when the service stops.
pub(super) async fn told(stopping: &mut watch::Receiver<bool>) {
    if stopping.wait_for(|stopping| *stopping).await.is_err() {
        tracing::debug!("the server is gone, which is a stop too");
    }
}
