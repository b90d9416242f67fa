//! A session's stream wherever the session is: read here, or polled at the node that serves it.

use std::{sync::Arc, time::Duration};

use futures::stream::{self, Stream};
use tokio::time::{Instant, sleep};
use wallet::{
    grant::WalletAddress,
    units::{NodeId, TokenPosition},
};

use super::{
    Sessions,
    context::NodeContext,
    request::ResumeSecret,
    tokens::{EmittedToken, End, StreamItem},
};
use crate::peer::{PeerFault, SessionReply, SessionRequest, TOKENS_MAX, TokensReply, TokensRequest, WAIT_MS_MAX};

/// How long to look for a session that nobody seems to serve.
const LOST_AFTER: Duration = Duration::from_secs(20);
/// The wait before a holder is asked again that did not answer.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Every token from `from` on, each once and in order, and then the end. `at` served the session when last heard of;
/// moves are followed. It never yields [`StreamItem::Moved`].
pub fn follow(
    sessions: &Sessions,
    wallet: WalletAddress,
    secret: ResumeSecret,
    from: TokenPosition,
    at: NodeId,
) -> impl Stream<Item = StreamItem> + Send + use<> {
    let follower = Follower {
        sessions: sessions.clone(),
        context: sessions.context().clone(),
        wallet,
        secret,
        next: from,
        at,
        ready: Vec::new().into_iter(),
        end: None,
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
    ready: std::vec::IntoIter<EmittedToken>,
    end: Option<End>,
    heard_at: Instant,
}

impl Follower {
    async fn next_item(&mut self) -> StreamItem {
        loop {
            if let Some(token) = self.ready.next() {
                self.next = token.position.next().unwrap_or(token.position);
                return StreamItem::Token(token);
            }
            match self.end.take() {
                Some(End::Moved(to)) => self.at = to,
                Some(end) => return end.into(),
                None => {}
            }
            match self.poll().await {
                Ok((tokens, end)) => {
                    self.heard_at = Instant::now();
                    // Below the first token of a session there is nothing to wait for.
                    self.ready = tokens.into_iter();
                    self.end = end;
                }
                Err(reason) => {
                    if self.heard_at.elapsed() > LOST_AFTER {
                        return StreamItem::Broken { reason };
                    }
                    sleep(AGAIN_AFTER).await;
                    self.look_up_holder();
                }
            }
        }
    }

    async fn poll(&self) -> Result<(Vec<EmittedToken>, Option<End>), String> {
        if self.at == self.context.me {
            let session = self.sessions.get(self.wallet).ok_or("the session is not at this node")?;
            let (tokens, end) = session.tokens().wait(self.next, TOKENS_MAX).await;
            if matches!(end, Some(End::Moved(to)) if to == self.context.me) {
                return Err("the session is on its way back".to_owned());
            }
            return Ok((tokens, end));
        }
        let request = SessionRequest::Tokens(TokensRequest {
            wallet: self.wallet,
            from: self.next,
            resume_secret: self.secret.clone(),
            wait_ms: WAIT_MS_MAX,
        });
        let patience = Duration::from_millis(u64::from(WAIT_MS_MAX)) + self.context.patience.answer;
        match self.context.link.ask(self.at, request, patience).await {
            Ok(SessionReply::Tokens(TokensReply { tokens, end })) => {
                let follows = tokens.iter().zip(self.next.get()..).all(|(token, at)| token.position.get() == at);
                if follows || self.next == TokenPosition::ZERO {
                    Ok((tokens, end))
                } else {
                    Err(PeerFault::unexpected(self.at).to_string())
                }
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
