//! How a body lies on a stream: its length as a little-endian `u32`, then the bytes.
//!
//! The length is checked before anything is allocated, and memory grows only with the bytes that really arrive, so
//! that a peer pays for what it makes us hold.

use std::io;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use wallet::codec::ENCODED_BYTES_MAX;

/// The largest body: the largest encoding, with room for the envelope's first byte.
pub const BODY_BYTES_MAX: usize = ENCODED_BYTES_MAX + 1;

/// What is read at a time, and allocated before the first byte of a body has arrived.
const CHUNK_BYTES: usize = 64 << 10;

const _: () = assert!(BODY_BYTES_MAX <= u32::MAX as usize, "a length must fit the frame's head");

/// A body of up to so many bytes is written together with its length: each write is a packet, and copying is cheaper.
const SMALL_BYTES_MAX: usize = 4 << 10;

/// A whole body.
///
/// # Errors
/// The stream broke or ended, or a length beyond [`BODY_BYTES_MAX`].
pub(super) async fn read<T: AsyncRead + Unpin + Send>(io: &mut T) -> io::Result<Vec<u8>> {
    let length = read_length(io).await?;
    read_body(io, length).await
}

/// The length of the body that follows.
///
/// # Errors
/// As [`read`].
pub(super) async fn read_length<T: AsyncRead + Unpin + Send>(io: &mut T) -> io::Result<usize> {
    let mut length = [0; 4];
    io.read_exact(&mut length).await?;
    let length = u32::from_le_bytes(length) as usize;
    if length > BODY_BYTES_MAX { Err(too_large(length)) } else { Ok(length) }
}

/// The body, after its length was read.
///
/// # Errors
/// As [`read`].
pub(super) async fn read_body<T: AsyncRead + Unpin + Send>(io: &mut T, length: usize) -> io::Result<Vec<u8>> {
    // Not `read_to_end`: it clears all spare capacity again on every wake-up, which is quadratic in the body.
    let mut chunk = vec![0; length.min(CHUNK_BYTES)];
    let mut body = Vec::with_capacity(chunk.len());
    while body.len() < length {
        let wanted = chunk.len().min(length - body.len());
        let count = io.read(&mut chunk[..wanted]).await?;
        if count == 0 {
            let reason = format!("the stream ended after {} of {length} bytes", body.len());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        body.extend_from_slice(&chunk[..count]);
    }
    Ok(body)
}

/// Sends a body with its length before it.
///
/// # Errors
/// The stream broke, or the body is larger than [`BODY_BYTES_MAX`]: then nothing was sent.
pub(super) async fn write<T: AsyncWrite + Unpin + Send>(io: &mut T, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= BODY_BYTES_MAX);
    let length = length.ok_or_else(|| too_large(body.len()))?;
    if body.len() > SMALL_BYTES_MAX {
        io.write_all(&length.to_le_bytes()).await?;
        io.write_all(body).await?;
        return io.flush().await;
    }
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(body);
    io.write_all(&frame).await?;
    io.flush().await
}

fn too_large(count: usize) -> io::Error {
    let reason = format!("a frame of {count} bytes, more than the {BODY_BYTES_MAX} allowed");
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use super::*;

    /// Gives out `bytes` and remembers the largest buffer that the reader had ready for them.
    struct Stingy {
        bytes: Vec<u8>,
        buffer_bytes_max: usize,
    }

    impl AsyncRead for Stingy {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
            self.buffer_bytes_max = self.buffer_bytes_max.max(buffer.len());
            let count = self.bytes.len().min(buffer.len());
            buffer[..count].copy_from_slice(&self.bytes[..count]);
            self.bytes.drain(..count);
            Poll::Ready(Ok(count))
        }
    }

    fn announce(length: u32, sent: &[u8]) -> Stingy {
        Stingy { bytes: [&length.to_le_bytes(), sent].concat(), buffer_bytes_max: 0 }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_is_read_or_allocated() {
        let mut peer = announce(BODY_BYTES_MAX as u32 + 1, &[7; 100]);
        let fault = futures::executor::block_on(read(&mut peer)).expect_err("the frame is too large");
        assert_eq!(fault.kind(), io::ErrorKind::InvalidData);
        assert_eq!((peer.bytes.len(), peer.buffer_bytes_max), (100, 4));
    }

    #[test]
    fn memory_grows_with_the_bytes_that_arrive_not_with_the_length_announced() {
        let mut peer = announce(BODY_BYTES_MAX as u32, &[7; 100]);
        let fault = futures::executor::block_on(read(&mut peer)).expect_err("the body is short");
        assert_eq!(fault.kind(), io::ErrorKind::UnexpectedEof);
        assert!(peer.buffer_bytes_max <= CHUNK_BYTES, "a buffer of {} bytes", peer.buffer_bytes_max);
    }

    #[test]
    fn the_frame_is_length_then_bytes() {
        let mut stream = Vec::new();
        futures::executor::block_on(write(&mut stream, b"abc")).expect("writing to memory");
        assert_eq!(stream, [3, 0, 0, 0, b'a', b'b', b'c']);
        let mut peer = Stingy { bytes: stream, buffer_bytes_max: 0 };
        assert_eq!(futures::executor::block_on(read(&mut peer)).expect("it is whole"), b"abc");
    }
}
