//! The stream of tokens that a session emitted: written once, read by any number of readers, here and at other nodes.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use futures::stream::{self, Stream as Futures};
use gpu::stream::{
    Appended, Cursor, Draft, Expect, Next, RingOptions, RingStream, Stream as _, StreamFault, StreamWriter as _,
};
use wallet::{
    grant::WalletAddress,
    units::{NodeId, Timestamp, TokenPosition},
};

use super::{
    context::now,
    tokens::{EmittedToken, End, StreamItem, descriptor},
    watched::Watched,
};
use crate::{
    network::stream::{Readers, StreamExports, StreamOffer},
    peer::TokensReply,
};

/// All tokens are kept: how many a session may have is the engine's limit.
const KEEP_ALL: RingOptions = RingOptions { pages: u32::MAX as usize, payload_bytes: gpu::stream::PAYLOAD_BYTES_MAX };

/// The emitted tokens of one session, and how they ended; clones share them.
#[derive(Clone)]
pub struct TokenStream {
    life: Arc<RwLock<Life>>,
}

/// A token that does not follow the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token of position {position} is out of place: the next is that of {next}")]
pub struct TokenOutOfPlace {
    /// Where it should stand.
    pub position: TokenPosition,
    /// Which one comes next.
    pub next: TokenPosition,
}

/// The stream between two ends. A session that comes back goes on in another one with the same pages.
struct Life {
    /// Position of the token in the first page.
    first: u32,
    tokens: Arc<Watched>,
    end: Option<End>,
    /// As long as another node may read it.
    offer: Option<StreamOffer>,
}

impl TokenStream {
    /// An empty stream whose first token will stand at `first`.
    pub fn new(wallet: WalletAddress, first: TokenPosition) -> Self {
        let tokens = Watched::new(RingStream::new(descriptor(wallet), KEEP_ALL), now());
        let life = Life { first: first.get(), tokens, end: None, offer: None };
        Self { life: Arc::new(RwLock::new(life)) }
    }

    /// Sets where the first token stands, before there is any.
    pub fn begin_at(&self, first: TokenPosition) {
        self.change(|life| {
            if life.tokens.state().tail == 0 {
                life.first = first.get();
            }
        });
    }

    /// Whether its first token stands at `first`, or may.
    pub fn may_begin_at(&self, first: TokenPosition) -> bool {
        let life = self.read();
        life.first == first.get() || life.tokens.state().tail == 0
    }

    /// How it stands at one moment.
    pub fn stand(&self) -> TokensReply {
        let life = self.read();
        TokensReply { first: TokenPosition::new(life.first), next: life.next(), end: life.end.clone() }
    }

    /// Appends the next token. After an end, the session goes on.
    ///
    /// # Errors
    /// [`TokenOutOfPlace`] if its position does not follow the last one.
    pub fn push(&self, token: &EmittedToken) -> Result<(), TokenOutOfPlace> {
        self.change(|life| {
            life.go_on();
            let (draft, payload) = token.to_page();
            let at = u64::from(token.position.get()).checked_sub(life.first.into()).map(Expect::At);
            match at.map(|at| life.tokens.ring().append(0, at, &draft, &payload)) {
                Some(Ok(Appended::Ok(_))) => Ok(()),
                _ => Err(TokenOutOfPlace { position: token.position, next: life.next() }),
            }
        })
    }

    /// Ends the stream after the last token. A later end replaces it, and none lets the stream go on, after a move back.
    pub fn end(&self, end: Option<End>) {
        self.change(|life| {
            if end.is_none() {
                life.go_on();
            }
            life.end = end;
            if life.end.is_some() {
                // It is of no epoch: the holder of record is alone to write it.
                let _ = life.tokens.ring().close(0);
            }
        });
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<End> {
        self.read().end.clone()
    }

    /// Position after the last token.
    pub fn next(&self) -> TokenPosition {
        self.read().next()
    }

    /// Whether somebody waits for a token now.
    pub fn is_awaited(&self) -> bool {
        self.read().tokens.is_awaited()
    }

    /// When somebody last read: at first when the stream was made, and now if somebody waits.
    pub fn read_at(&self) -> Timestamp {
        self.read().tokens.read_at()
    }

    /// Lets `reader` read it, as long as it lives.
    ///
    /// # Errors
    /// Those of [`StreamExports::offer`].
    pub fn offer(&self, exports: &StreamExports, reader: NodeId) -> Result<(), StreamFault> {
        self.change(|life| {
            match &life.offer {
                Some(offer) => offer.admit(reader),
                None => life.offer = Some(exports.offer(life.tokens.clone(), Readers::nodes([reader]))?),
            }
            Ok(())
        })
    }

    /// What comes at `from`: the token, or after the last one the end. Waits for it. Before the first token, the first.
    pub async fn wait(&self, from: TokenPosition) -> StreamItem {
        loop {
            let (first, tokens, end) = self.now();
            match tokens.next(Cursor(from.get().saturating_sub(first).into())) {
                Ok(Next::Item(page, _)) => match EmittedToken::of_page(&page) {
                    Some(token) => return StreamItem::Token(token),
                    None => return StreamItem::Broken { reason: "a page of tokens is none".to_owned() },
                },
                Ok(Next::Blocked(wake)) => tokens.wait(wake).await,
                // Without an end it ended after the look at it, or goes on in its next life.
                Ok(Next::End) => {
                    if let Some(end) = end {
                        return end.into();
                    }
                }
                Ok(Next::Gap { earliest }) => {
                    return StreamItem::Broken { reason: format!("tokens before page {earliest} are gone") };
                }
                Err(fault) => return StreamItem::Broken { reason: fault.to_string() },
            }
        }
    }

    /// Every token from `from` on, each once and in order, then the end. From before the first token: from the first.
    pub fn stream(&self, from: TokenPosition) -> impl Futures<Item = StreamItem> + Send + use<> {
        stream::unfold((self.clone(), Some(from)), |(tokens, from)| async move {
            let item = tokens.wait(from?).await;
            let next = match &item {
                StreamItem::Token(token) => token.position.next(),
                _ => None,
            };
            Some((item, (tokens, next)))
        })
    }

    /// The tokens that there are, without waiting.
    #[cfg(test)]
    pub fn all(&self) -> Vec<EmittedToken> {
        let (_, tokens, _) = self.now();
        let page = |at| match tokens.ring().next(Cursor(at)) {
            Ok(Next::Item(page, _)) => EmittedToken::of_page(&page),
            _ => None,
        };
        (0..).map_while(page).collect()
    }

    /// Where it begins, what it holds, and how that ended: of one life.
    fn now(&self) -> (u32, Arc<Watched>, Option<End>) {
        let life = self.read();
        (life.first, life.tokens.clone(), life.end.clone())
    }

    fn change<T>(&self, change: impl FnOnce(&mut Life) -> T) -> T {
        change(&mut self.life.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn read(&self) -> RwLockReadGuard<'_, Life> {
        self.life.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was said to a client is not printed.
impl fmt::Debug for TokenStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TokensReply { first, next, .. } = self.stand();
        write!(f, "TokenStream({first} to {next})")
    }
}

impl Life {
    fn next(&self) -> TokenPosition {
        let count = u32::try_from(self.tokens.state().tail).unwrap_or(u32::MAX);
        TokenPosition::new(self.first.saturating_add(count))
    }

    /// A stream that was closed stays so: what it held stands in a new one. Those who read the old one from elsewhere ask
    /// again.
    fn go_on(&mut self) {
        let before = &self.tokens;
        if !before.state().closed {
            return;
        }
        let ring = RingStream::new(before.descriptor().clone(), KEEP_ALL);
        for at in 0..before.state().tail {
            // One page at a time: a pipe would close the copy as well.
            if let Ok(Next::Item(page, _)) = before.ring().next(Cursor(at)) {
                let _ = ring.append(0, Expect::At(at), &Draft::of(&page.head), &page.payload);
            }
        }
        self.tokens = Watched::new(ring, before.read_at());
        self.end = None;
        self.offer = None;
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::{super::tokens::TokenPayload, *};

    const WALLET: WalletAddress = WalletAddress(wallet::digest::Digest([1; 32]));

    fn token(position: u32) -> EmittedToken {
        EmittedToken { position: TokenPosition::new(position), id: position, text: format!("t{position}") }
    }

    fn stream_at(first: u32) -> TokenStream {
        TokenStream::new(WALLET, TokenPosition::new(first))
    }

    fn push(tokens: &TokenStream, positions: std::ops::Range<u32>) {
        positions.for_each(|position| tokens.push(&token(position)).expect("in order"));
    }

    fn moved_to(node: u32) -> Option<End> {
        Some(End::Moved(NodeId::new(node)))
    }

    #[tokio::test]
    async fn a_reader_gets_each_token_once_and_then_the_end() {
        let tokens = stream_at(5);
        let reader = tokio::spawn(tokens.stream(TokenPosition::ZERO).collect::<Vec<_>>());
        for position in 5..9 {
            push(&tokens, position..position + 1);
            tokio::task::yield_now().await;
        }
        tokens.end(moved_to(2));
        let mut expected: Vec<_> = (5..9).map(|position| StreamItem::Token(token(position))).collect();
        expected.push(StreamItem::Moved { to: NodeId::new(2) });
        assert_eq!(reader.await.expect("no panic"), expected);
    }

    #[test]
    fn the_page_of_a_token_is_pinned() {
        let tokens = stream_at(5);
        push(&tokens, 5..6);
        let Ok(Next::Item(page, _)) = tokens.now().1.ring().next(Cursor(0)) else { panic!("it was pushed") };
        let hash = wallet::digest::sha256("golden", &[&page.head.encode(), &page.payload]).to_string();
        assert_eq!(&hash[..16], "a154171454f3ff4f");
        assert_eq!(EmittedToken::of_page(&page), Some(token(5)));
    }

    #[tokio::test]
    async fn a_session_that_comes_back_goes_on_with_the_same_tokens() {
        let tokens = stream_at(5);
        push(&tokens, 5..7);
        let root = tokens.now().1.root(2).expect("it is kept");
        tokens.end(moved_to(2));
        let waits = tokens.clone();
        let reader = tokio::spawn(async move { waits.wait(TokenPosition::new(8)).await });
        tokens.end(None);
        assert_eq!((tokens.ended(), tokens.next()), (None, TokenPosition::new(7)));
        push(&tokens, 7..9);
        assert_eq!(tokens.now().1.root(2).expect("it is kept"), root);
        assert_eq!(tokens.all(), (5..9).map(token).collect::<Vec<_>>());
        // Whoever asked in between was told that it is elsewhere, or waited for the token.
        let told = reader.await.expect("no panic");
        assert!(told == StreamItem::Moved { to: NodeId::new(2) } || told == StreamItem::Token(token(8)), "{told:?}");
    }

    #[tokio::test]
    async fn it_is_read_as_long_as_somebody_waits_and_until_the_last_left() {
        let tokens = stream_at(0);
        let made_at = tokens.read_at();
        assert!(!tokens.is_awaited() && made_at <= now());
        let mut reader = Box::pin(tokens.wait(TokenPosition::ZERO));
        assert!(futures::poll!(&mut reader).is_pending());
        assert!(tokens.is_awaited());
        tokens.now().1.forget_readers();
        assert!(tokens.read_at() >= made_at, "it is read now");
        drop(reader);
        assert!(!tokens.is_awaited());
        assert!(tokens.read_at() >= made_at, "it was read until now");
    }

    #[test]
    fn a_position_is_never_emitted_twice_and_none_is_left_out() {
        let tokens = stream_at(5);
        push(&tokens, 5..7);
        for position in [0, 5, 6, 8] {
            let next = TokenPosition::new(7);
            let refused = TokenOutOfPlace { position: TokenPosition::new(position), next };
            assert_eq!(tokens.push(&token(position)), Err(refused));
        }
        assert_eq!(tokens.all(), [token(5), token(6)]);
    }

    #[test]
    fn what_was_said_to_a_client_is_not_printed() {
        let item = StreamItem::Token(EmittedToken { text: "secret".to_owned(), ..token(77_777) });
        let payload = TokenPayload { id: 77_777, text: "secret".to_owned() };
        let printed = format!("{item:?} {payload:?}");
        assert!(printed.contains("77777") && !printed.contains("secret") && !printed.contains("id"), "{printed}");
    }
}
