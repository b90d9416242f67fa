//! TLS on both ends of HTTP, by rustls with ring's ciphers: versions 1.3 and 1.2, and HTTP/1.1 inside.
//!
//! Nothing here changes what the whole process uses: each end names its provider.

pub mod client;
pub mod server;

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

/// The one protocol that is spoken inside (RFC 7301).
const HTTP_1_1: &[u8] = b"http/1.1";

/// Bytes of a file of certificates or of a key at most: the roots of a whole system are a fourth of it.
const FILE_BYTES_MAX: usize = 1 << 20;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

#[cfg(test)]
pub(crate) mod tests;
