//! The port to one node that hands out its ledger, and what it has to offer.

use std::{fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use genesis::Consortium;
use tokio::time::timeout;
use wallet::{codec, digest::Digest};

use super::Dropped;
use crate::{
    hand_over::{HandOver, HandOverInvalid, ValidatorSets},
    snapshot::{ChunkPath, Offer, OfferInvalid, Verified},
};

/// How long a node may take to show its offer with all hand-overs.
const OFFER_PATIENCE: Duration = Duration::from_secs(60);

/// A node that hands out its ledger, however it is reached. It is believed nothing.
pub trait Giver: Send + Sync + 'static {
    /// Where it is, for whoever reads what became of it. No two have the same.
    fn url(&self) -> &str;

    /// Asks for the bytes of its [`Offer`]. An answer never has more than [`CHUNK_BYTES_MAX`](crate::snapshot::CHUNK_BYTES_MAX).
    fn offer(&self) -> BoxFuture<'_, Result<Vec<u8>, GiverFault>>;

    /// Asks for a chunk; none if the node says that it does not have it. As large as an offer at most.
    fn chunk(&self, path: ChunkPath) -> BoxFuture<'_, Result<Option<Vec<u8>>, GiverFault>>;
}

/// No answer came: why, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GiverFault(pub String);

/// What `giver` has, proven from genesis on.
pub(super) async fn proven_offer(
    giver: &Arc<dyn Giver>,
    consortium: &Consortium,
    named: &[Digest],
) -> Result<Verified, Dropped> {
    let late = |_| dropped(giver, false, format_args!("no whole offer within {} s", OFFER_PATIENCE.as_secs()));
    timeout(OFFER_PATIENCE, prove_offer(giver, consortium, named)).await.map_err(late)?
}

async fn prove_offer(giver: &Arc<dyn Giver>, consortium: &Consortium, named: &[Digest]) -> Result<Verified, Dropped> {
    let silent = |fault: &dyn fmt::Display| dropped(giver, false, fault);
    let lied = |what: &dyn fmt::Display| dropped(giver, true, format_args!("its offer: {what}"));
    let bytes = giver.offer().await.map_err(|fault| silent(&fault))?;
    let offer: Offer = codec::decode(&bytes).map_err(|error| lied(&error))?;
    let mut sets = ValidatorSets::genesis(consortium).naming(named);
    while sets.last().epoch < offer.hand_overs() {
        let path = ChunkPath::HandOvers { from: sets.last().epoch };
        let bytes = giver.chunk(path).await.map_err(|fault| silent(&fault))?;
        let bytes = bytes.ok_or_else(|| silent(&"it has no hand-over where one is claimed"))?;
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
                HandOverInvalid::NotNamed { .. } => silent(&format_args!("its offer: {error}")),
                error => lied(&error),
            })?;
        }
    }
    offer.verify(sets).map_err(|error| match error {
        // Nor is one that did not begin anew.
        OfferInvalid::HandOvers(HandOverInvalid::Missing { .. }) => silent(&format_args!("its offer: {error}")),
        error => lied(&error),
    })
}

/// Notes that a node is not asked any more.
pub(super) fn dropped(giver: &Arc<dyn Giver>, lied: bool, reason: impl fmt::Display) -> Dropped {
    let dropped = Dropped { url: giver.url().to_owned(), lied, reason: reason.to_string() };
    tracing::warn!(url = dropped.url, lied, reason = dropped.reason, "this node is not asked any more");
    dropped
}
