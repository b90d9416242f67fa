//! What readers of a session get: its tokens, and how it ended.

use std::fmt;

use gpu::stream::{Descriptor, Draft, Integrity, Page, Retention};
use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::Digest,
    grant::WalletAddress,
    page::PageKind,
    units::{NodeId, TokenCount, TokenPosition},
};

use super::view::FinishReason;

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
#[derive(Clone, PartialEq, Eq)]
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

/// How a stream of tokens ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// See [`StreamItem::Finished`].
    Finished(FinishReason, Usage),
    /// See [`StreamItem::Moved`].
    Moved(NodeId),
    /// See [`StreamItem::Broken`].
    Broken(String),
}

/// The payload of a page of emitted tokens. Where the token stands is said by the page's head: its first row.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenPayload {
    /// See [`EmittedToken::id`].
    pub id: u32,
    /// See [`EmittedToken::text`].
    pub text: String,
}

/// What the stream of a session's emitted tokens is, at whichever node. Its first page is the first token after the
/// prompt.
pub fn descriptor(wallet: WalletAddress) -> Descriptor {
    let (integrity, retention) = (Integrity::Plain, Retention::Keep);
    Descriptor { owner: wallet.0, name: "tokens".to_owned(), integrity, retention, format: Digest::ZERO }
}

impl EmittedToken {
    /// The page that holds it.
    pub(super) fn to_page(&self) -> (Draft, Vec<u8>) {
        let draft = Draft { first: self.position.get().into(), ..Draft::bytes(PageKind::Token) };
        (draft, codec::encode(&TokenPayload { id: self.id, text: self.text.clone() }))
    }

    /// The token of a page; none if it is no page of emitted tokens.
    pub(super) fn of_page(page: &Page) -> Option<Self> {
        let is_token = page.head.kind == PageKind::Token && page.head.fill == 1;
        let position = u32::try_from(page.head.first).ok().filter(|_| is_token)?;
        let TokenPayload { id, text } = codec::decode(&page.payload).ok()?;
        Some(Self { position: TokenPosition::new(position), id, text })
    }
}

/// What was said to a client is not printed.
impl fmt::Debug for EmittedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EmittedToken({})", self.position)
    }
}

/// The same.
impl fmt::Debug for TokenPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenPayload")
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
