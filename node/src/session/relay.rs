//! A session's tokens wherever the session is: the stream of the node that serves it, and after a move that of the next.

use std::{sync::Arc, time::Duration};

use futures::stream::{self, Stream as Futures};
use gpu::stream::{Cursor, Next, Stream as _};
use tokio::time::{Instant, sleep};
use wallet::{
    grant::WalletAddress,
    units::{NodeId, TokenPosition},
};

use super::{
    Sessions,
    context::NodeContext,
    request::ResumeSecret,
    tokens::{self, EmittedToken, StreamItem},
};
use crate::{
    backoff::Backoff,
    network::stream::{RemoteOptions, RemoteStream},
    peer::{PeerFault, SessionReply, SessionRequest, TokensReply, TokensRequest},
};

/// How long to look for a session that nobody seems to serve.
const LOST_AFTER: Duration = Duration::from_secs(20);
/// The wait before somebody is asked again who did not serve it; doubles up to [`AGAIN_AFTER_MAX`]. At a move the next
/// holder serves an instant later.
const AGAIN_AFTER: Duration = Duration::from_millis(5);
const AGAIN_AFTER_MAX: Duration = Duration::from_millis(250);
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
    let follower = Follower {
        sessions: sessions.clone(),
        context: sessions.context().clone(),
        wallet,
        secret,
        next: from,
        has_read: false,
        at,
        sent_by: None,
        remote: None,
        missing_since: None,
        backoff: Backoff::new(AGAIN_AFTER, AGAIN_AFTER_MAX),
    };
    stream::unfold(Some(follower), |follower| async move {
        let mut follower = follower?;
        let item = follower.next_item().await;
        let goes_on = matches!(item, StreamItem::Token(_));
        Some((item, goes_on.then_some(follower)))
    })
}

struct Follower {
    sessions: Sessions,
    context: Arc<NodeContext>,
    wallet: WalletAddress,
    secret: ResumeSecret,
    next: TokenPosition,
    /// Whether a token was read: from there on each follows the one before.
    has_read: bool,
    at: NodeId,
    /// Who said that the session is at `at`, if no token came since.
    sent_by: Option<NodeId>,
    /// The stream of the node `at`, if that is another one.
    remote: Option<Remote>,
    /// Since when nobody serves it; none while somebody does.
    missing_since: Option<Instant>,
    backoff: Backoff,
}

/// The tokens of a session at another node.
struct Remote {
    stream: Arc<RemoteStream>,
    cursor: Cursor,
}

impl Follower {
    async fn next_item(&mut self) -> StreamItem {
        loop {
            let item = if self.at == self.context.me { self.here().await } else { self.there().await };
            let reason = match item {
                // Two nodes that send the client to each other serve it no more than one that is silent.
                Ok(StreamItem::Moved { to }) if self.sent_by == Some(to) => {
                    self.sent_by = None;
                    format!("nodes {to} and {} name each other", self.at)
                }
                Ok(StreamItem::Moved { to }) => {
                    self.remote = None;
                    self.sent_by = Some(std::mem::replace(&mut self.at, to));
                    continue;
                }
                Ok(item) => {
                    if let StreamItem::Token(token) = &item {
                        self.next = token.position.next().unwrap_or(token.position);
                        (self.has_read, self.sent_by) = (true, None);
                    }
                    self.is_served();
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

    fn is_served(&mut self) {
        self.missing_since = None;
        self.backoff.reset();
    }

    async fn here(&self) -> Result<StreamItem, String> {
        let session = self.sessions.get(self.wallet).ok_or("the session is not at this node")?;
        match session.tokens().wait(self.next).await {
            StreamItem::Moved { to } if to == self.context.me => Err("the session is on its way back".to_owned()),
            item => Ok(item),
        }
    }

    async fn there(&mut self) -> Result<StreamItem, String> {
        let mut remote = match self.remote.take() {
            Some(remote) => remote,
            None => self.open().await?,
        };
        let item = loop {
            match remote.stream.next(remote.cursor).map_err(|fault| fault.to_string())? {
                Next::Item(page, after) => {
                    remote.stream.trim(after.0).map_err(|fault| fault.to_string())?;
                    remote.cursor = after;
                    let token = EmittedToken::of_page(&page).filter(|token| token.position == self.next);
                    break token.map(StreamItem::Token).ok_or_else(|| PeerFault::unexpected(self.at).to_string());
                }
                Next::Blocked(wake) => remote.stream.wait(wake).await,
                Next::Gap { .. } => return Err(PeerFault::unexpected(self.at).to_string()),
                Next::End => {
                    // It may have come back since, and gone on: then that end is of what follows.
                    let TokensReply { next, end, .. } = self.ask().await?;
                    let end = end.filter(|_| next <= self.next);
                    break end.map(StreamItem::from).ok_or_else(|| "the session goes on".to_owned());
                }
            }
        }?;
        self.remote = Some(remote);
        Ok(item)
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
        let (link, descriptor) = (self.context.token_streams.clone(), tokens::descriptor(self.wallet));
        let opened = RemoteStream::open(link, self.at, descriptor, cursor, OPTIONS);
        let stream = opened.map_err(|fault| fault.to_string())?;
        stream.connected().await.map_err(|fault| fault.to_string())?;
        self.is_served();
        Ok(Remote { stream, cursor })
    }

    /// Asks to read the stream, and how it stands.
    async fn ask(&self) -> Result<TokensReply, String> {
        let request = SessionRequest::Tokens(TokensRequest { wallet: self.wallet, resume_secret: self.secret.clone() });
        match self.context.link.ask(self.at, request, self.context.patience.answer).await {
            Ok(SessionReply::Tokens(reply)) => Ok(reply),
            Ok(_) => Err(PeerFault::unexpected(self.at).to_string()),
            Err(fault) => Err(fault.to_string()),
        }
    }

    /// The holder of record, if the ledger knows one: the last one heard of does not answer.
    fn look_up_holder(&mut self) {
        if let Some(record) = self.context.replica.state().state.wallet(self.wallet) {
            self.at = record.holder;
        }
    }
}

#[cfg(test)]
mod tests;
