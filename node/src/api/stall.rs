//! A connection whose client does not read what it asked for.
//!
//! What is sent waits in the system's buffer until the client takes it. Once that is full nothing can be written, and
//! without a limit the connection, its place and what its answer holds would wait as long as the client likes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Fails once nothing could be written for as long as the limit says. Each byte that is taken begins that time anew, so
/// a slow reader is not cut, and neither is one to whom there is nothing to say.
pub(super) struct StallLimited<S> {
    stream: S,
    limit: Duration,
    /// Runs while something waits to be written.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> StallLimited<S> {
    /// Nothing waits yet.
    pub(super) const fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, stalled: None }
    }

    fn watch(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.limit;
        let late = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(context);
        late.map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallLimited<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallLimited<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::timeout,
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn what_nobody_takes_ends_the_connection() {
        let (_client, server) = duplex(8);
        let mut server = StallLimited::new(server, LIMIT);
        let ended = timeout(LIMIT * 10, server.write_all(&[7; 64])).await.expect("it ends");
        assert_eq!(ended.expect_err("nobody reads").kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_byte_now_and_then_gets_all_of_it() {
        let (mut client, server) = duplex(8);
        let sent = tokio::spawn(async move { StallLimited::new(server, LIMIT).write_all(&[7; 64]).await });
        for _ in 0..64 {
            tokio::time::sleep(LIMIT * 9 / 10).await;
            assert_eq!(client.read_u8().await.expect("it is sent"), 7);
        }
        sent.await.expect("it ends").expect("it was taken in time");
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_slow_once_has_all_its_time_the_next_time() {
        let (mut client, server) = duplex(8);
        let mut server = StallLimited::new(server, LIMIT);
        for _ in 0..3 {
            let taken = async {
                tokio::time::sleep(LIMIT * 9 / 10).await;
                client.read_exact(&mut [0; 16]).await
            };
            let (sent, taken) = tokio::join!(server.write_all(&[7; 16]), taken);
            sent.expect("it was taken in time");
            taken.expect("it is sent");
            // Between two answers nothing waits.
            tokio::time::sleep(LIMIT * 2).await;
        }
    }
}
