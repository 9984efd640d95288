//! Accepts plain and TLS connections for axum. PROMISES: `TCP_NODELAY` on every socket, no more sockets than the limit
//! (the next one waits in the kernel), and a slow TLS handshake delays nobody else.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{SandboxConfig, TlsFiles};
use crate::error::{Result, SandboxError};
use crate::task::Tasks;

/// How many connections may wait between the accept task and axum.
const READY: usize = 64;

/// The listener axum serves from.
pub(crate) struct Listener {
    ready: mpsc::Receiver<(Stream, SocketAddr)>,
    local: SocketAddr,
}

impl Listener {
    pub(crate) async fn bind(config: &SandboxConfig, tasks: &Tasks) -> Result<Self> {
        let tls = config.tls.as_ref().map(acceptor).transpose()?;
        let tcp = TcpListener::bind(config.listen).await.map_err(|e| SandboxError::io("listening", e))?;
        let local = tcp.local_addr().map_err(|e| SandboxError::io("listening", e))?;
        let (sender, ready) = mpsc::channel(READY);
        let room = Arc::new(Semaphore::new(config.limits.connections));
        let door = Door { tls, sender, room, handshake: config.limits.handshake, tasks: tasks.clone() };
        let stop = tasks.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = door.accept_all(tcp) => {}
                () = stop.stopping() => {}
            }
        });
        Ok(Self { ready, local })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.local
    }
}

impl axum::serve::Listener for Listener {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The accept task has ended: the sandbox is stopping and axum is told so by its own signal.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

struct Door {
    tls: Option<TlsAcceptor>,
    sender: mpsc::Sender<(Stream, SocketAddr)>,
    room: Arc<Semaphore>,
    handshake: Duration,
    tasks: Tasks,
}

impl Door {
    async fn accept_all(self, tcp: TcpListener) {
        while let Ok(permit) = Arc::clone(&self.room).acquire_owned().await {
            let Ok((socket, peer)) = tcp.accept().await else {
                // Out of file descriptors, most likely: let some close.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            if socket.set_nodelay(true).is_err() {
                continue;
            }
            let Some(tls) = self.tls.clone() else {
                let stream = Stream { kind: Kind::Plain(socket), _permit: permit };
                if self.sender.send((stream, peer)).await.is_err() {
                    return;
                }
                continue;
            };
            let (sender, limit) = (self.sender.clone(), self.handshake);
            self.tasks.spawn(async move {
                if let Ok(Ok(stream)) = tokio::time::timeout(limit, tls.accept(socket)).await {
                    let stream = Stream { kind: Kind::Tls(Box::new(stream)), _permit: permit };
                    // A closed receiver means that the sandbox is stopping.
                    sender.send((stream, peer)).await.ok();
                }
            });
        }
    }
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor> {
    let wrong = |e: &dyn std::fmt::Display| SandboxError::io("TLS certificate or key", e);
    let certs = CertificateDer::pem_file_iter(&files.cert)
        .map_err(|e| wrong(&e))?
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| wrong(&e))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| wrong(&e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(&e))?
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .map_err(|e| wrong(&e))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// One accepted connection. Its permit goes back when it is dropped, upgraded or not.
pub(crate) struct Stream {
    kind: Kind,
    _permit: OwnedSemaphorePermit,
}

enum Kind {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Kind::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.kind {
            Kind::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Kind::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(s) => Pin::new(s).poll_flush(cx),
            Kind::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Kind::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
