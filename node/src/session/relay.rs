//! A session's tokens wherever the session is: the stream of the node that serves it, and after a move that of the next.

use std::{sync::Arc, time::Duration};

use futures::{
    future::BoxFuture,
    stream::{self, Stream as Futures},
};
use gpu::stream::{Cursor, Next, Stream as _};
use tokio::time::{Instant, sleep, timeout};
use wallet::{
    grant::WalletAddress,
    units::{NodeId, TokenPosition},
};

use super::{
    Sessions,
    request::ResumeSecret,
    token_stream::TokenStream,
    tokens::{self, EmittedToken, StreamItem},
};
use crate::{
    backoff::Backoff,
    network::stream::{RemoteOptions, RemoteStream, StreamLink},
    peer::{PeerFault, SessionReply, SessionRequest, TokensReply, TokensRequest},
};

/// How long to look for a session that nobody seems to serve.
const LOST_AFTER: Duration = Duration::from_secs(20);
/// The wait before somebody is asked again who did not serve it; doubles up to [`AGAIN_AFTER_MAX`]. At a move the next
/// holder serves an instant later.
const AGAIN_AFTER: Duration = Duration::from_millis(5);
const AGAIN_AFTER_MAX: Duration = Duration::from_millis(250);
/// How often a client is sent on at once. Who is behind by two moves is told so twice.
const SENT_ON_MAX: u32 = 2;
/// How tokens are read at another node. What does not answer is asked again here, where it is known who else may serve.
const OPTIONS: RemoteOptions = RemoteOptions {
    window_pages: 512,
    window_bytes: 1 << 20,
    is_consumer: false,
    patience: Duration::ZERO,
    wait: Duration::from_secs(2),
    root: None,
};

/// Every token from `from` on, each once and in order, and then the end. `at` served the session when last heard of;
/// moves are followed. It never yields [`StreamItem::Moved`].
pub fn follow(
    sessions: &Sessions,
    wallet: WalletAddress,
    secret: ResumeSecret,
    from: TokenPosition,
    at: NodeId,
) -> impl Futures<Item = StreamItem> + Send + use<> {
    Follower::new(sessions.clone(), TokensRequest { wallet, resume_secret: secret }, from, at).into_stream()
}

/// What a follower asks: this node, the ledger, and the other nodes.
trait Holders: Send + Sync + 'static {
    /// This node.
    fn me(&self) -> NodeId;

    /// The tokens of the session at this node, if it is or was here.
    fn here(&self, wallet: WalletAddress) -> Option<TokenStream>;

    /// The holder of record, if the ledger knows one.
    fn of_record(&self, wallet: WalletAddress) -> Option<NodeId>;

    /// Asks a node to be let in, and how the stream stands there.
    fn ask(&self, at: NodeId, request: TokensRequest) -> BoxFuture<'_, Result<SessionReply, PeerFault>>;

    /// The way to the streams of other nodes.
    fn streams(&self) -> Arc<dyn StreamLink>;
}

impl Holders for Sessions {
    fn me(&self) -> NodeId {
        self.context().me
    }

    fn here(&self, wallet: WalletAddress) -> Option<TokenStream> {
        Some(self.get(wallet)?.tokens().clone())
    }

    fn of_record(&self, wallet: WalletAddress) -> Option<NodeId> {
        Some(self.context().replica.state().state.wallet(wallet)?.holder)
    }

    fn ask(&self, at: NodeId, request: TokensRequest) -> BoxFuture<'_, Result<SessionReply, PeerFault>> {
        self.context().link.ask(at, SessionRequest::Tokens(request), self.context().patience.answer)
    }

    fn streams(&self) -> Arc<dyn StreamLink> {
        self.context().token_streams.clone()
    }
}

struct Follower<H> {
    holders: H,
    request: TokensRequest,
    next: TokenPosition,
    /// Whether a token was read: from there on each follows the one before.
    has_read: bool,
    at: NodeId,
    /// How often it was sent on since it was known who serves.
    sent_on: u32,
    /// The stream of the node `at`, if that is another one.
    remote: Option<Remote>,
    /// Since when nobody serves it; none while somebody does. Nothing ends that but a token, or a holder that had none in
    /// all the time that a pull waits.
    missing_since: Option<Instant>,
    /// Begins anew with each token, and with nothing else.
    backoff: Backoff,
}

/// The tokens of a session at another node.
struct Remote {
    stream: Arc<RemoteStream>,
    cursor: Cursor,
}

impl<H: Holders> Follower<H> {
    fn new(holders: H, request: TokensRequest, from: TokenPosition, at: NodeId) -> Self {
        Self {
            holders,
            request,
            next: from,
            has_read: false,
            at,
            sent_on: 0,
            remote: None,
            missing_since: None,
            backoff: Backoff::new(AGAIN_AFTER, AGAIN_AFTER_MAX),
        }
    }

    fn into_stream(self) -> impl Futures<Item = StreamItem> + Send {
        stream::unfold(Some(self), |follower| async move {
            let mut follower = follower?;
            let item = follower.next_item().await;
            let goes_on = matches!(item, StreamItem::Token(_));
            Some((item, goes_on.then_some(follower)))
        })
    }

    async fn next_item(&mut self) -> StreamItem {
        loop {
            let item = if self.at == self.holders.me() { self.here().await } else { self.there().await };
            let reason = match item {
                Ok(StreamItem::Moved { to }) => {
                    self.remote = None;
                    let by = std::mem::replace(&mut self.at, to);
                    self.sent_on += 1;
                    if self.sent_on <= SENT_ON_MAX {
                        continue;
                    }
                    // Nodes that send the client round serve it no more than one that is silent.
                    format!("node {by} names node {to}, and none of those before served it")
                }
                Ok(item) => {
                    if let StreamItem::Token(token) = &item {
                        self.next = token.position.next().unwrap_or(token.position);
                        (self.has_read, self.sent_on, self.missing_since) = (true, 0, None);
                        self.backoff.reset();
                    }
                    return item;
                }
                Err(reason) => reason,
            };
            self.remote = None;
            self.look_up_holder();
            let since = *self.missing_since.get_or_insert_with(Instant::now);
            if since.elapsed() > LOST_AFTER {
                return StreamItem::Broken { reason };
            }
            sleep(self.backoff.wait()).await;
        }
    }

    async fn here(&mut self) -> Result<StreamItem, String> {
        let tokens = self.holders.here(self.request.wallet).ok_or("the session is not at this node")?;
        let asked_at = Instant::now();
        let item = tokens.wait(self.next).await;
        if asked_at.elapsed() >= OPTIONS.wait {
            self.missing_since = None;
        }
        match item {
            StreamItem::Moved { to } if to == self.holders.me() => Err("the session is on its way back".to_owned()),
            item => Ok(item),
        }
    }

    async fn there(&mut self) -> Result<StreamItem, String> {
        let mut remote = match self.remote.take() {
            Some(remote) => remote,
            None => self.open().await?,
        };
        let item = self.read(&mut remote).await;
        if self.missing_since.is_some() {
            self.missing_since = self.missing_since.max(remote.stream.idle_at());
        }
        self.remote = Some(remote);
        item
    }

    async fn read(&self, remote: &mut Remote) -> Result<StreamItem, String> {
        let unexpected = || PeerFault::unexpected(self.at).to_string();
        loop {
            match remote.stream.next(remote.cursor).map_err(|fault| fault.to_string())? {
                Next::Item(page, after) => {
                    remote.stream.trim(after.0).map_err(|fault| fault.to_string())?;
                    remote.cursor = after;
                    let token = EmittedToken::of_page(&page).filter(|token| token.position == self.next);
                    return token.map(StreamItem::Token).ok_or_else(unexpected);
                }
                // Who was the holder may be cut off from the ledger, or lie, and have nothing more to say.
                Next::Blocked(wake) => {
                    let waited = timeout(LOST_AFTER, remote.stream.wait(wake)).await;
                    let holder = self.holders.of_record(self.request.wallet);
                    if let (Err(_), Some(holder)) = (waited, holder.filter(|holder| *holder != self.at)) {
                        return Err(format!("node {holder} is the holder of record"));
                    }
                }
                Next::Gap { .. } => return Err(unexpected()),
                Next::End => {
                    // It may have come back since, and gone on: then that end is of what follows.
                    let TokensReply { next, end, .. } = self.ask().await?;
                    let end = end.filter(|_| next <= self.next);
                    return end.map(StreamItem::from).ok_or_else(|| "the session goes on".to_owned());
                }
            }
        }
    }

    async fn open(&mut self) -> Result<Remote, String> {
        let TokensReply { first, .. } = self.ask().await?;
        if first > self.next {
            if self.has_read {
                return Err(PeerFault::unexpected(self.at).to_string());
            }
            // From before the first token it is the first.
            self.next = first;
        }
        let cursor = Cursor((self.next.get() - first.get()).into());
        let descriptor = tokens::descriptor(self.request.wallet);
        let opened = RemoteStream::open(self.holders.streams(), self.at, descriptor, cursor, OPTIONS);
        let stream = opened.map_err(|fault| fault.to_string())?;
        stream.connected().await.map_err(|fault| fault.to_string())?;
        Ok(Remote { stream, cursor })
    }

    /// Asks to read the stream, and how it stands.
    async fn ask(&self) -> Result<TokensReply, String> {
        match self.holders.ask(self.at, self.request.clone()).await {
            Ok(SessionReply::Tokens(reply)) => Ok(reply),
            Ok(_) => Err(PeerFault::unexpected(self.at).to_string()),
            Err(fault) => Err(fault.to_string()),
        }
    }

    /// The holder of record, if the ledger knows one: those heard of do not serve it.
    fn look_up_holder(&mut self) {
        self.sent_on = 0;
        if let Some(holder) = self.holders.of_record(self.request.wallet) {
            self.at = holder;
        }
    }
}

#[cfg(test)]
mod tests;
