//! Making a bundle from a node's final view.

use genesis::Consortium;
use wallet::{
    codec,
    digest::Digest,
    grant::WalletAddress,
    units::{KeyEpoch, LogIndex, NodeId},
};

use super::{Bundle, ProvenEntry, VERSION, decision_hash};
use crate::{
    block::Header,
    certificate::Certificate,
    event::{Entry, Event},
    state::{State, StateKey},
};

/// What a node has of the final chain.
pub trait FinalView {
    /// The last final header and its certificate; none at genesis.
    fn tip(&self) -> Option<(&Header, &Certificate)>;
    /// The state after it.
    fn state(&self) -> &State;
    /// The path from a leaf to the root of the log up to it (RFC 9162); none beyond its end.
    fn inclusion_proof(&self, index: LogIndex) -> Option<Vec<Digest>>;
    /// One leaf.
    fn entry(&self, index: LogIndex) -> Option<Entry>;

    /// Where the entries about `wallet` stand, ascending. A node with an index answers without reading the log.
    fn wallet_entries(&self, wallet: WalletAddress) -> Vec<LogIndex> {
        matching(self, |entry| entry.body.event.wallet() == Some(wallet))
    }

    /// Where the anchors of `node` stand, ascending.
    fn anchors(&self, node: NodeId) -> Vec<LogIndex> {
        matching(self, |entry| entry.body.author == node && matches!(entry.body.event, Event::DecisionAnchored(_)))
    }
}

/// Where the entries stand that `are`.
fn matching(view: &(impl FinalView + ?Sized), are: impl Fn(&Entry) -> bool) -> Vec<LogIndex> {
    let all = 0..view.tip().map_or(0, |(header, _)| header.log_size);
    all.map(LogIndex::new).filter(|index| view.entry(*index).is_some_and(|entry| are(&entry))).collect()
}

/// Why there is no bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotProvable {
    /// No such wallet in the final state.
    #[error("there is no final wallet {0:?}")]
    WalletUnknown(WalletAddress),
    /// No final confirm of that epoch.
    #[error("no hop to epoch {0} is final")]
    HopUnknown(KeyEpoch),
    /// The decisions do not begin with the offer's, or none of them is anchored yet.
    #[error("the decision of the offer is not anchored by node {0} yet")]
    NotAnchored(NodeId),
    /// This node pruned what the proof needs.
    #[error("log entry {0} is not on this node any more")]
    EntryMissing(LogIndex),
}

/// The bundle of the hop by which `wallet` came to `epoch`. `decisions` are the source's, encoded, from the one that the
/// offer names on, as far as they are known; the bundle takes those up to the first that is anchored.
///
/// # Errors
/// [`NotProvable`] if something is missing.
pub fn build(
    consortium: &Consortium,
    view: &(impl FinalView + ?Sized),
    wallet: WalletAddress,
    epoch: KeyEpoch,
    decisions: &[Vec<u8>],
) -> Result<Bundle, NotProvable> {
    let (header, certificate) = view.tip().ok_or(NotProvable::WalletUnknown(wallet))?;
    let record = view.state().record(StateKey::Wallet(wallet)).ok_or(NotProvable::WalletUnknown(wallet))?;
    let history = history(view, wallet, epoch)?;
    let Some(Event::KeyConfirmed(confirm)) = history.last().map(|proven| &proven.entry.body.event) else {
        return Err(NotProvable::HopUnknown(epoch));
    };
    let source = confirm.ticket.ticket.source;
    let (anchor, count) = anchor(view, source, decisions)?;
    Ok(Bundle {
        version: VERSION,
        consortium: consortium.to_bytes(),
        header: header.clone(),
        certificate: certificate.clone(),
        history,
        anchor,
        decisions: decisions[..count].to_vec(),
        record: codec::encode(&record),
        record_proof: view.state().prove(StateKey::Wallet(wallet)),
    })
}

/// The entries that advanced the wallet's head up to the confirm of `epoch`.
fn history(
    view: &(impl FinalView + ?Sized),
    wallet: WalletAddress,
    epoch: KeyEpoch,
) -> Result<Vec<ProvenEntry>, NotProvable> {
    let mut history = Vec::new();
    for index in view.wallet_entries(wallet) {
        let proven = prove(view, index)?;
        if proven.entry.body.event.swaps_head().is_none() {
            continue;
        }
        let asked = matches!(&proven.entry.body.event,
            Event::KeyConfirmed(confirm) if confirm.ticket.ticket.epoch == epoch);
        history.push(proven);
        if asked {
            return Ok(history);
        }
    }
    Err(NotProvable::HopUnknown(epoch))
}

/// The first anchor of `source` that names one of `decisions`, and how many decisions that takes.
fn anchor(
    view: &(impl FinalView + ?Sized),
    source: NodeId,
    decisions: &[Vec<u8>],
) -> Result<(ProvenEntry, usize), NotProvable> {
    let hashes: Vec<Digest> = decisions.iter().map(|decision| decision_hash(decision)).collect();
    for index in view.anchors(source) {
        let proven = prove(view, index)?;
        let Event::DecisionAnchored(event) = &proven.entry.body.event else { continue };
        if let Some(last) = hashes.iter().position(|hash| *hash == event.log_head) {
            return Ok((proven, last + 1));
        }
    }
    Err(NotProvable::NotAnchored(source))
}

fn prove(view: &(impl FinalView + ?Sized), index: LogIndex) -> Result<ProvenEntry, NotProvable> {
    let missing = NotProvable::EntryMissing(index);
    let entry = view.entry(index).ok_or(missing.clone())?;
    let proof = view.inclusion_proof(index).ok_or(missing)?;
    Ok(ProvenEntry { index, entry, proof })
}
