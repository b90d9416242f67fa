//! The public listener with TLS: many handshakes at a time, none of which can hold up another.

use std::{collections::VecDeque, io, net::SocketAddr, time::Duration};

use axum::serve::Listener;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::tls::server::{Identity, TlsFault, TlsFiles};

/// How long a client may take for its handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// Handshakes at a time. One more, and the oldest, which is the likeliest never to end, is cut.
const HANDSHAKES_MAX: usize = 256;

/// Between two looks at the certificate's files.
const RELOAD_PAUSE: Duration = Duration::from_secs(30);

/// Gives out connections whose handshake is over.
pub(super) struct TlsListener {
    tcp: TcpListener,
    files: TlsFiles,
    identity: Identity,
    handshakes: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
    oldest_first: VecDeque<AbortHandle>,
    reload: Interval,
}

impl TlsListener {
    /// Listens with what the files hold now, and later with what they hold then.
    pub(super) fn new(tcp: TcpListener, files: TlsFiles) -> Result<Self, TlsFault> {
        let identity = files.read()?;
        let mut reload = interval_at(Instant::now() + RELOAD_PAUSE, RELOAD_PAUSE);
        reload.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (handshakes, oldest_first) = (JoinSet::new(), VecDeque::new());
        Ok(Self { tcp, files, identity, handshakes, oldest_first, reload })
    }

    fn begin(&mut self, stream: TcpStream, from: SocketAddr) {
        self.oldest_first.retain(|handshake| !handshake.is_finished());
        if self.oldest_first.len() >= HANDSHAKES_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            oldest.abort();
        }
        let acceptor = TlsAcceptor::from(self.identity.config.clone());
        let handshake = self.handshakes.spawn(async move {
            let outcome = timeout(PATIENCE, acceptor.accept(stream)).await;
            match outcome.unwrap_or_else(|late| Err(io::Error::new(io::ErrorKind::TimedOut, late))) {
                Ok(stream) => Some((stream, from)),
                Err(error) => {
                    tracing::debug!(%from, %error, "a TLS handshake failed");
                    None
                }
            }
        });
        self.oldest_first.push_back(handshake);
    }

    /// Takes a certificate that replaced the one in use. One that cannot be used is said and left.
    async fn renew(&mut self) {
        let files = self.files.clone();
        match tokio::task::spawn_blocking(move || files.read()).await {
            Ok(Ok(found)) if found.chain != self.identity.chain => {
                tracing::info!(certificate = %self.files.certificate.display(), "a new certificate is in use");
                self.identity = found;
            }
            Ok(Err(fault)) => tracing::warn!(code = fault.code(), %fault, "the certificate in use stays"),
            Ok(Ok(_)) | Err(_) => {}
        }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                (stream, from) = Listener::accept(&mut self.tcp) => self.begin(stream, from),
                // An error is a handshake that was cut.
                Some(ended) = self.handshakes.join_next() => {
                    if let Ok(Some(connection)) = ended {
                        return connection;
                    }
                }
                _ = self.reload.tick() => self.renew().await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

#[cfg(test)]
mod tests;
