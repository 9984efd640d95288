//! A socket of which the last words are heard.
//!
//! What it promises: what the other side sent before it closed is read, whoever was writing just then. A server says
//! why it ends a stream (restart, unlinked, replaced) and then closes. The layers above stop reading at the first
//! write that fails, so that the reason would be lost and an unlinked session would look like one that lost its network.
//! Here a failed write looks like one that is under way; the reader meets the end, at the latest after [`LAST_WORDS`].

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a socket that cannot be written to any more is still read.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A socket that is read to its end.
#[derive(Debug)]
pub(super) struct Socket<S> {
    inner: S,
    /// Who waits for something to read.
    reader: Option<Waker>,
    /// Set when a write failed: until when it is read.
    broken: Option<Pin<Box<Sleep>>>,
}

impl<S> Socket<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, reader: None, broken: None }
    }

    /// What the writer is told: a failure is kept for the reader.
    fn written<T>(&mut self, answer: Poll<io::Result<T>>, as_if: T) -> Poll<io::Result<T>> {
        if !matches!(answer, Poll::Ready(Err(_))) {
            return answer;
        }
        self.broken = Some(Box::pin(sleep(LAST_WORDS)));
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(as_if))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let read = Pin::new(&mut this.inner).poll_read(cx, buf);
        if read.is_ready() {
            return read;
        }
        if let Some(over) = &mut this.broken {
            // Nothing read is the end.
            return over.as_mut().poll(cx).map(Ok);
        }
        if !this.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
            this.reader = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.broken.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        let answer = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.written(answer, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = bufs.iter().map(|buf| buf.len()).sum();
        if self.broken.is_some() {
            return Poll::Ready(Ok(all));
        }
        let answer = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.written(answer, all)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken.is_some() {
            return Poll::Ready(Ok(()));
        }
        let answer = Pin::new(&mut self.inner).poll_flush(cx);
        self.written(answer, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Takes no writes and never ends by itself.
    struct Half(&'static [u8]);

    impl AsyncRead for Half {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.0.is_empty() {
                return Poll::Pending;
            }
            buf.put_slice(std::mem::take(&mut self.0));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Half {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_half_dead_socket_is_read_and_then_ends() {
        let mut socket = Socket::new(Half(b"why"));
        socket.write_all(b"x").await.unwrap();
        let mut words = Vec::new();
        socket.read_to_end(&mut words).await.unwrap();
        assert_eq!(words, b"why");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_waits_already_learns_of_a_failed_write() {
        let (mut read, mut write) = tokio::io::split(Socket::new(Half(b"")));
        let mut words = Vec::new();
        let (end, sent) = tokio::join!(read.read_to_end(&mut words), async {
            tokio::task::yield_now().await;
            write.write_all(b"x").await
        });
        assert_eq!((end.unwrap(), sent.is_ok()), (0, true));
    }
}
