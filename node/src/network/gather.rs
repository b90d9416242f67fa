//! Fewer packets: Yamux flushes after each frame, and each flush is a Noise message, a packet and a wake-up at the peer.
//! A request has three frames and its answer four.
//!
//! Here a flush waits until Yamux turns to what the peer sent, which it does when it has no more frames to send. What is
//! written is the same; only where it is cut into Noise messages is another.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::{
    core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
    yamux,
};

/// Yamux as it is negotiated, over a connection that gathers its frames.
#[derive(Clone, Debug, Default)]
pub(super) struct GatheringYamux(yamux::Config);

/// Puts a flush off until the next read. What is closed is flushed before.
#[derive(Debug)]
pub(super) struct Gather<C> {
    connection: C,
    flush_is_due: bool,
}

impl<C> Gather<C> {
    fn new(connection: C) -> Self {
        Self { connection, flush_is_due: false }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gather<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        // What the connection does not take now it takes when it has room, of which it tells the reader's task.
        if self.flush_is_due && Pin::new(&mut self.connection).poll_flush(cx)?.is_ready() {
            self.flush_is_due = false;
        }
        Pin::new(&mut self.connection).poll_read(cx, buffer)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Gather<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flush_is_due = true;
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_close(cx)
    }
}

impl UpgradeInfo for GatheringYamux {
    type Info = <yamux::Config as UpgradeInfo>::Info;
    type InfoIter = <yamux::Config as UpgradeInfo>::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.protocol_info()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for GatheringYamux {
    type Output = yamux::Muxer<Gather<C>>;
    type Error = io::Error;
    type Future = <yamux::Config as InboundConnectionUpgrade<Gather<C>>>::Future;

    fn upgrade_inbound(self, connection: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_inbound(Gather::new(connection), info)
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for GatheringYamux {
    type Output = yamux::Muxer<Gather<C>>;
    type Error = io::Error;
    type Future = <yamux::Config as OutboundConnectionUpgrade<Gather<C>>>::Future;

    fn upgrade_outbound(self, connection: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_outbound(Gather::new(connection), info)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// What went out with each flush. It never brings anything.
    #[derive(Default)]
    struct Packets {
        open: Vec<u8>,
        sent: Vec<Vec<u8>>,
    }

    impl AsyncRead for Packets {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Packets {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.open.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            let packet = std::mem::take(&mut self.open);
            self.sent.extend(Some(packet).filter(|packet| !packet.is_empty()));
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll_flush(cx)
        }
    }

    #[test]
    fn what_is_written_between_two_reads_goes_out_in_one_piece() {
        let (mut gather, cx) = (Gather::new(Packets::default()), &mut Context::from_waker(Waker::noop()));
        for part in [b"head", b"body", b"ends"] {
            assert!(Pin::new(&mut gather).poll_write(cx, part).is_ready());
            assert!(Pin::new(&mut gather).poll_flush(cx).is_ready());
        }
        assert!(gather.connection.sent.is_empty());
        for _ in 0..2 {
            assert!(Pin::new(&mut gather).poll_read(cx, &mut [0; 8]).is_pending());
        }
        assert_eq!(gather.connection.sent, [b"headbodyends"]);
        assert!(Pin::new(&mut gather).poll_write(cx, b"last").is_ready());
        assert!(Pin::new(&mut gather).poll_close(cx).is_ready());
        assert_eq!(gather.connection.sent, [b"headbodyends".as_slice(), b"last"]);
    }
}
