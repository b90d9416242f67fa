//! One node that chunks are asked of.

use std::time::Duration;

use genesis::Consortium;
use ledger::{
    hand_over::{HandOver, HandOverInvalid, ValidatorSets},
    snapshot::{CHUNK_BYTES_MAX, ChunkPath, Offer, Verified},
};
use reqwest::Method;
use tokio::time::timeout;
use wallet::{codec, digest::Digest};
use zeroize::Zeroizing;

use super::Dropped;
use crate::{
    cli::{Failure, client::Client},
    tls::client::Roots,
};

/// How long a node may take for an answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long it may take to show its offer with all hand-overs.
const OFFER_PATIENCE: Duration = Duration::from_secs(60);

/// Where the chunks are.
const PATH: &str = "/ledger/v1/snapshot";

/// A node that hands out its ledger.
#[derive(Clone, Debug)]
pub struct Source {
    url: String,
    client: Client,
}

impl Source {
    /// The node at `url`, asked with an auditor's API key. Who it is, it is believed by the word of `roots`.
    ///
    /// # Errors
    /// Those of [`Client::trusting`].
    pub fn new(roots: &Roots, url: &str, api_key: Option<Zeroizing<String>>) -> Result<Self, Failure> {
        Ok(Self { url: url.trim_end_matches('/').to_owned(), client: Client::trusting(roots, url, api_key)? })
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it has, proven from genesis on.
    pub(super) async fn offer(&self, consortium: &Consortium, re_geneses: &[Digest]) -> Result<Verified, Dropped> {
        let late = |_| self.dropped(false, format!("no whole offer within {} s", OFFER_PATIENCE.as_secs()));
        timeout(OFFER_PATIENCE, self.proven_offer(consortium, re_geneses)).await.map_err(late)?
    }

    async fn proven_offer(&self, consortium: &Consortium, re_geneses: &[Digest]) -> Result<Verified, Dropped> {
        let silent = |failure: Failure| self.dropped(false, failure);
        let lied = |what: &dyn std::fmt::Display| self.dropped(true, format!("its offer: {what}"));
        let bytes = self.get(PATH.to_owned()).await.map_err(silent)?;
        let offer: Offer = codec::decode(&bytes).map_err(|error| lied(&error))?;
        let mut sets = ValidatorSets::genesis(consortium).naming(re_geneses);
        while sets.last().epoch < offer.hand_overs() {
            let bytes = self.chunk(ChunkPath::HandOvers { from: sets.last().epoch }).await.map_err(silent)?;
            let hand_overs: Vec<HandOver> = codec::decode(&bytes).map_err(|error| lied(&error))?;
            if hand_overs.is_empty() {
                return Err(lied(&"no hand-over where one is claimed"));
            }
            // Each one leads to the next set or ends this: nobody makes more of them than there were epochs.
            for hand_over in &hand_overs {
                if sets.last().epoch == offer.hand_overs() {
                    break;
                }
                // A ledger that began anew is no lie; but whoever joins was not told of that.
                sets.take(hand_over).map_err(|error| match error {
                    HandOverInvalid::NotNamed { .. } => self.dropped(false, format!("its offer: {error}")),
                    error => lied(&error),
                })?;
            }
        }
        offer.verify(sets).map_err(|error| lied(&error))
    }

    /// A chunk, not checked yet.
    pub(super) async fn chunk(&self, path: ChunkPath) -> Result<Vec<u8>, Failure> {
        self.get(format!("{PATH}/{path}")).await
    }

    pub(super) fn dropped(&self, lied: bool, reason: impl std::fmt::Display) -> Dropped {
        let dropped = Dropped { url: self.url.clone(), lied, reason: reason.to_string() };
        tracing::warn!(url = dropped.url, lied, reason = dropped.reason, "this node is not asked any more");
        dropped
    }

    async fn get(&self, path: String) -> Result<Vec<u8>, Failure> {
        let broken = |title: String| Failure::new("N-160", title, &self.url);
        let read = async {
            let mut response = self.client.send(self.client.request(Method::GET, &path)).await?;
            let mut bytes = Vec::new();
            loop {
                let piece = response.chunk().await.map_err(|error| broken(error.without_url().to_string()))?;
                let Some(piece) = piece else { return Ok(bytes) };
                if bytes.len() + piece.len() > CHUNK_BYTES_MAX {
                    return Err(broken(format!("the answer has more than {CHUNK_BYTES_MAX} bytes")));
                }
                bytes.extend_from_slice(&piece);
            }
        };
        let late = |_| broken(format!("no whole answer within {} s", PATIENCE.as_secs()));
        timeout(PATIENCE, read).await.map_err(late)?
    }
}
