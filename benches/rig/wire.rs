//! HTTP/1.1 by hand over one kept connection: the cheapest client that can still be called one.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection or an answer may take.
const WITHIN: Duration = Duration::from_secs(120);

/// The largest answer.
const LIMIT: usize = 64 * 1024 * 1024;

/// One kept connection.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    pub(crate) async fn connect(addr: SocketAddr) -> Result<Self> {
        let stream = timeout(WITHIN, TcpStream::connect(addr)).await.context("no connection in time")??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(8 * 1024) })
    }

    /// Sends one request and reads its answer: status and body. After an error the connection is of no more use.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<(u16, &[u8])> {
        timeout(WITHIN, self.exchange(request)).await.context("no answer in time")?
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<(u16, &[u8])> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let (status, start, length) = loop {
            self.read().await?;
            if let Some(head) = head(&self.buffer)? {
                break head;
            }
        };
        ensure!(length <= LIMIT, "an answer of {length} bytes");
        while self.buffer.len() < start + length {
            self.read().await?;
        }
        Ok((status, &self.buffer[start..start + length]))
    }

    async fn read(&mut self) -> Result<()> {
        ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the connection was closed");
        Ok(())
    }
}

/// Status, where the body starts, how long it is; `None` while the head is incomplete.
fn head(bytes: &[u8]) -> Result<Option<(u16, usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        ensure!(bytes.len() < 64 * 1024, "an endless head");
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes[..end]).context("a head that is not text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status line")?;
    let status: u16 = status.parse()?;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            return Ok(Some((status, end + 4, value.trim().parse()?)));
        }
    }
    if status == 204 || status == 304 {
        return Ok(Some((status, end + 4, 0)));
    }
    bail!("an answer without a length: {text}")
}
