//! The public listener with TLS: many handshakes at a time, none of which can hold up another.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::IpAddr,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    connection::{Accept, Connection, accept},
    places::{Places, network},
    stall::StallLimited,
};
use crate::tls::server::{Identity, TlsFault, TlsFiles};

/// How long a client may take for its handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// Handshakes at a time. One more, and the oldest of the address with the most is cut: it is the likeliest never to end.
const HANDSHAKES_MAX: usize = 256;

/// Handshakes of one address at a time. One more, and its own oldest is cut.
const OF_ONE_MAX: usize = 32;

/// Between two looks at the certificate's files.
const RELOAD_PAUSE: Duration = Duration::from_secs(30);

/// Gives out connections whose handshake is over.
pub(super) struct TlsListener {
    tcp: TcpListener,
    places: Places,
    files: TlsFiles,
    identity: Identity,
    /// How long a client may leave what is sent to it.
    stall: Duration,
    handshakes: JoinSet<Option<Connection<TlsStream<StallLimited<TcpStream>>>>>,
    oldest_first: VecDeque<(IpAddr, AbortHandle)>,
    reload: Interval,
    /// The look at the files that is under way. The disk may hang; connections do not wait for it.
    reading: JoinSet<Result<Identity, TlsFault>>,
}

impl TlsListener {
    /// Listens with what the files hold now, and later with what they hold then.
    pub(super) fn new(tcp: TcpListener, files: TlsFiles, places: Places, stall: Duration) -> Result<Self, TlsFault> {
        let identity = files.read()?;
        let mut reload = interval_at(Instant::now() + RELOAD_PAUSE, RELOAD_PAUSE);
        reload.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (handshakes, oldest_first, reading) = (JoinSet::new(), VecDeque::new(), JoinSet::new());
        Ok(Self { tcp, places, stall, files, identity, handshakes, oldest_first, reload, reading })
    }

    fn begin(&mut self, Connection { stream, from, place }: Connection<StallLimited<TcpStream>>) {
        self.make_room(network(from.ip()));
        let acceptor = TlsAcceptor::from(self.identity.config.clone());
        let handshake = self.handshakes.spawn(async move {
            let outcome = timeout(PATIENCE, acceptor.accept(stream)).await;
            match outcome.unwrap_or_else(|late| Err(io::Error::new(io::ErrorKind::TimedOut, late))) {
                Ok(stream) => Some(Connection { stream, from, place }),
                Err(error) => {
                    tracing::debug!(%from, %error, "a TLS handshake failed");
                    None
                }
            }
        });
        self.oldest_first.push_back((network(from.ip()), handshake));
    }

    /// Cuts a handshake if there is none left for `client`, or for anybody.
    fn make_room(&mut self, client: IpAddr) {
        self.oldest_first.retain(|(_, handshake)| !handshake.is_finished());
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        self.oldest_first.iter().for_each(|(of, _)| *counts.entry(*of).or_default() += 1);
        let most = counts.iter().max_by_key(|(_, count)| **count).map(|(of, _)| *of);
        let cut = match counts.get(&client) {
            Some(count) if *count >= OF_ONE_MAX => Some(client),
            _ => most.filter(|_| self.oldest_first.len() >= HANDSHAKES_MAX),
        };
        if let Some(at) = self.oldest_first.iter().position(|(of, _)| Some(*of) == cut)
            && let Some((_, oldest)) = self.oldest_first.remove(at)
        {
            oldest.abort();
        }
    }

    /// Begins to look for a certificate that replaced the one in use.
    fn look(&mut self) {
        let files = self.files.clone();
        if self.reading.is_empty() {
            self.reading.spawn_blocking(move || files.read());
        }
    }

    /// Takes what the files hold, if it is another. One that cannot be used is said and left.
    fn renew(&mut self, read: Result<Identity, TlsFault>) {
        match read {
            Ok(found) if found.chain != self.identity.chain => {
                tracing::info!(certificate = %self.files.certificate.display(), "a new certificate is in use");
                self.identity = found;
            }
            Ok(_) => {}
            Err(fault) => tracing::warn!(code = fault.code(), %fault, "the certificate in use stays"),
        }
    }
}

impl Accept for TlsListener {
    type Stream = TlsStream<StallLimited<TcpStream>>;

    async fn accept(&mut self) -> Connection<Self::Stream> {
        loop {
            tokio::select! {
                connection = accept(&mut self.tcp, &self.places, self.stall) => self.begin(connection),
                // An error is a handshake that was cut.
                Some(ended) = self.handshakes.join_next() => {
                    if let Ok(Some(connection)) = ended {
                        return connection;
                    }
                }
                _ = self.reload.tick() => self.look(),
                Some(Ok(read)) = self.reading.join_next() => self.renew(read),
            }
        }
    }
}

#[cfg(test)]
mod tests;
