//! What stands between programs: a proxy that can be cut, and a front that goes to whichever node answers.
//!
//! Both run on threads of their own, so that a test that waits for a server holds up nobody's traffic, and both end with
//! the value that stands for them.

pub(crate) mod front;
pub(crate) mod proxy;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::LocalSet;

/// Opens a free port of loopback, to be served by the thread that [`on_a_thread`] starts.
fn listen() -> Result<(std::net::TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

/// Runs `serve` on a thread and a runtime of its own until it returns.
fn on_a_thread<F: Future<Output = ()>>(
    name: &str,
    listener: std::net::TcpListener,
    serve: impl FnOnce(TcpListener) -> F + Send + 'static,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        LocalSet::new().block_on(&runtime, async {
            if let Ok(listener) = TcpListener::from_std(listener) {
                serve(listener).await;
            }
        });
        runtime.shutdown_timeout(Duration::from_secs(1));
    })?;
    Ok(())
}

/// Carries bytes one way until their end; `pass` says when a piece may go on.
async fn pump(
    from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut pass: impl AsyncFnMut(),
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        from.readable().await?;
        let count = match from.try_read(&mut buffer) {
            Ok(count) => count,
            Err(none) if none.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        pass().await;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}
