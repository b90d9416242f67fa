//! The tokens that a session emitted: written once, read by any number of streams.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use futures::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use wallet::units::{NodeId, Timestamp, TokenCount, TokenPosition};

use super::{context::now, view::FinishReason};

/// What a stream of a session yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamItem {
    /// The next token. Positions follow each other without a gap.
    Token(EmittedToken),
    /// The session is at its end.
    Finished {
        /// How it ended.
        reason: FinishReason,
        /// What it used.
        usage: Usage,
    },
    /// Another node serves it from here on.
    Moved {
        /// Which one.
        to: NodeId,
    },
    /// This node cannot go on and knows nobody who can.
    Broken {
        /// Why.
        reason: String,
    },
}

/// A token as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmittedToken {
    /// Its position in the session, prompt included.
    pub position: TokenPosition,
    /// Its id.
    pub id: u32,
    /// The text that it completes; empty while a character or a possible stop text is incomplete.
    pub text: String,
}

/// What a session used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: TokenCount,
    /// Tokens generated.
    pub completion_tokens: TokenCount,
    /// Tokens of the prompt whose blocks were cached.
    pub cached_tokens: TokenCount,
}

/// How a log of tokens ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// See [`StreamItem::Finished`].
    Finished(FinishReason, Usage),
    /// See [`StreamItem::Moved`].
    Moved(NodeId),
    /// See [`StreamItem::Broken`].
    Broken(String),
}

/// The emitted tokens of one session; clones share them.
#[derive(Clone, Debug)]
pub struct TokenLog {
    inner: Arc<RwLock<Inner>>,
    /// Each reader that waits is subscribed.
    changed: watch::Sender<u64>,
    /// When the last reader left, in milliseconds since the Unix epoch.
    left_at: Arc<AtomicU64>,
}

/// Notes when a reader leaves, also one that is dropped while it waits.
struct Reading<'a>(&'a AtomicU64);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.store(now().get(), Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// Position of the first token in `tokens`.
    first: u32,
    tokens: Vec<EmittedToken>,
    end: Option<End>,
}

impl TokenLog {
    /// An empty log whose first token will stand at `first`.
    pub fn new(first: TokenPosition) -> Self {
        let inner = Inner { first: first.get(), ..Inner::default() };
        let left_at = Arc::new(AtomicU64::new(now().get()));
        Self { inner: Arc::new(RwLock::new(inner)), changed: watch::Sender::new(0), left_at }
    }

    /// Sets where the first token stands, before there is any.
    pub fn begin_at(&self, first: TokenPosition) {
        self.change(|inner| {
            if inner.tokens.is_empty() {
                inner.first = first.get();
            }
        });
    }

    /// Appends the next token.
    ///
    /// # Panics
    /// If its position does not follow the last one.
    pub fn push(&self, token: EmittedToken) {
        self.change(|inner| {
            let next = inner.first as usize + inner.tokens.len();
            assert_eq!(token.position.get() as usize, next, "each position is emitted once and in order");
            inner.tokens.push(token);
        });
    }

    /// Ends every stream after the last token. A later end replaces it, so that a move back can go on.
    pub fn end(&self, end: Option<End>) {
        self.change(|inner| inner.end = end);
    }

    /// Position after the last token.
    pub fn next(&self) -> TokenPosition {
        let inner = self.read();
        TokenPosition::new(inner.first + u32::try_from(inner.tokens.len()).unwrap_or(u32::MAX))
    }

    /// Whether somebody waits for a token now.
    pub fn is_awaited(&self) -> bool {
        self.changed.receiver_count() > 0
    }

    /// When somebody last read, or waited to: at first when the log was made, and now if somebody waits.
    pub fn read_at(&self) -> Timestamp {
        if self.is_awaited() { now() } else { Timestamp::new(self.left_at.load(Ordering::Relaxed)) }
    }

    /// Up to `count_max` tokens from `from` on and, if these are the last, the end. Waits for the first of them.
    pub async fn wait(&self, from: TokenPosition, count_max: usize) -> (Vec<EmittedToken>, Option<End>) {
        let _reading = Reading(&self.left_at);
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let (tokens, end) = self.peek(from, count_max);
            if !tokens.is_empty() || end.is_some() || changed.changed().await.is_err() {
                return (tokens, end);
            }
        }
    }

    /// Like [`Self::wait`], without waiting.
    pub fn peek(&self, from: TokenPosition, count_max: usize) -> (Vec<EmittedToken>, Option<End>) {
        let inner = self.read();
        let at = from.get().saturating_sub(inner.first) as usize;
        let tokens: Vec<_> = inner.tokens.iter().skip(at).take(count_max).cloned().collect();
        let is_last = at + tokens.len() >= inner.tokens.len();
        (tokens, inner.end.clone().filter(|_| is_last))
    }

    /// Every token from `from` on, each once and in order, then the end. From before the first token: from the first.
    pub fn stream(&self, from: TokenPosition) -> impl Stream<Item = StreamItem> + Send + use<> {
        let first = TokenPosition::new(from.get().max(self.read().first));
        stream::unfold((self.clone(), Some(first)), |(log, from)| async move {
            let from = from?;
            let (tokens, end) = log.wait(from, 1).await;
            match (tokens.into_iter().next(), end) {
                (Some(token), _) => {
                    let next = token.position.next();
                    Some((StreamItem::Token(token), (log, next)))
                }
                (None, Some(end)) => Some((end.into(), (log, None))),
                (None, None) => None,
            }
        })
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.inner.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_modify(|count| *count += 1);
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<End> for StreamItem {
    fn from(end: End) -> Self {
        match end {
            End::Finished(reason, usage) => Self::Finished { reason, usage },
            End::Moved(to) => Self::Moved { to },
            End::Broken(reason) => Self::Broken { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    fn token(position: u32) -> EmittedToken {
        EmittedToken { position: TokenPosition::new(position), id: position, text: String::new() }
    }

    #[tokio::test]
    async fn a_stream_yields_each_token_once_and_then_the_end() {
        let log = TokenLog::new(TokenPosition::new(5));
        let stream = log.stream(TokenPosition::ZERO);
        let reader = tokio::spawn(stream.collect::<Vec<_>>());
        for position in 5..9 {
            log.push(token(position));
            tokio::task::yield_now().await;
        }
        log.end(Some(End::Moved(NodeId::new(2))));
        let mut expected: Vec<_> = (5..9).map(|position| StreamItem::Token(token(position))).collect();
        expected.push(StreamItem::Moved { to: NodeId::new(2) });
        assert_eq!(reader.await.expect("no panic"), expected);
    }

    #[tokio::test]
    async fn a_log_is_read_as_long_as_somebody_waits_and_until_the_last_left() {
        let log = TokenLog::new(TokenPosition::ZERO);
        let made_at = log.read_at();
        assert!(!log.is_awaited() && made_at <= now());
        let reader = log.wait(TokenPosition::ZERO, 1);
        let mut reader = Box::pin(reader);
        assert!(futures::poll!(&mut reader).is_pending());
        assert!(log.is_awaited());
        log.left_at.store(0, Ordering::Relaxed);
        assert!(log.read_at() >= made_at, "it is read now");
        drop(reader);
        assert!(!log.is_awaited());
        assert!(log.read_at() >= made_at, "it was read until now");
    }

    #[test]
    #[should_panic(expected = "once and in order")]
    fn a_position_is_never_emitted_twice() {
        let log = TokenLog::new(TokenPosition::ZERO);
        log.push(token(0));
        log.push(token(0));
    }
}
