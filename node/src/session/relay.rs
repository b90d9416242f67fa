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
    network::stream::{RemoteOptions, RemoteStream},
    peer::{PeerFault, SessionReply, SessionRequest, TokensReply, TokensRequest},
};

/// How long to look for a session that nobody seems to serve.
const LOST_AFTER: Duration = Duration::from_secs(20);
/// The wait before a holder is asked again that did not answer.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How tokens are read at another node. What does not answer is asked again here, where it is known who else may serve.
const OPTIONS: RemoteOptions = RemoteOptions {
    window_pages: 512,
    window_bytes: 1 << 20,
    is_consumer: false,
    patience: Duration::ZERO,
    wait: Duration::from_secs(5),
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
        at,
        remote: None,
        heard_at: Instant::now(),
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
    at: NodeId,
    /// The stream of the node `at`, if that is another one.
    remote: Option<Remote>,
    heard_at: Instant,
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
            match item {
                Ok(StreamItem::Moved { to }) => {
                    self.remote = None;
                    self.heard_at = Instant::now();
                    self.at = to;
                }
                Ok(item) => {
                    if let StreamItem::Token(token) = &item {
                        self.next = token.position.next().unwrap_or(token.position);
                    }
                    self.heard_at = Instant::now();
                    return item;
                }
                Err(reason) => {
                    self.remote = None;
                    if self.heard_at.elapsed() > LOST_AFTER {
                        return StreamItem::Broken { reason };
                    }
                    sleep(AGAIN_AFTER).await;
                    self.look_up_holder();
                }
            }
        }
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
                    // Before it began, nobody knew where its first token stands.
                    let is_next =
                        |token: &EmittedToken| token.position == self.next || self.next == TokenPosition::ZERO;
                    let token = EmittedToken::of_page(&page).filter(is_next);
                    break token.map(StreamItem::Token).ok_or_else(|| PeerFault::unexpected(self.at).to_string());
                }
                Next::Blocked(wake) => {
                    remote.stream.wait(wake).await;
                    // Until now it was there, or not missed for long.
                    self.heard_at = Instant::now();
                }
                Next::Gap { .. } => return Err(PeerFault::unexpected(self.at).to_string()),
                // Without an end it goes on in another stream.
                Next::End => {
                    let ended = self.ask().await?.end.map(StreamItem::from);
                    break ended.ok_or_else(|| "the session goes on".to_owned());
                }
            }
        }?;
        self.remote = Some(remote);
        Ok(item)
    }

    async fn open(&mut self) -> Result<Remote, String> {
        let TokensReply { first, .. } = self.ask().await?;
        self.next = self.next.max(first);
        let cursor = Cursor((self.next.get() - first.get()).into());
        let (link, descriptor) = (self.context.streams.clone(), tokens::descriptor(self.wallet));
        let stream =
            RemoteStream::open(link, self.at, descriptor, cursor, OPTIONS).map_err(|fault| fault.to_string())?;
        Ok(Remote { stream, cursor })
    }

    /// Asks to read the stream, and how it ended.
    async fn ask(&mut self) -> Result<TokensReply, String> {
        let request = SessionRequest::Tokens(TokensRequest { wallet: self.wallet, resume_secret: self.secret.clone() });
        match self.context.link.ask(self.at, request, self.context.patience.answer).await {
            Ok(SessionReply::Tokens(reply)) => {
                self.heard_at = Instant::now();
                Ok(reply)
            }
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
