//! Making a bundle from a node's final view.

use std::collections::BTreeSet;

use genesis::Consortium;
use wallet::{
    codec,
    digest::Digest,
    grant::WalletAddress,
    units::{KeyEpoch, LogIndex, NodeId},
};

use super::{
    BUNDLE_BYTES_MAX, Bundle, Failure, Link, MemberProof, PlacedEntry, Subject, VERSION, check::Check,
    decisions::LogEnd, verify,
};
use crate::{
    block::Header,
    certificate::Certificate,
    epochs::Epochs,
    event::{Entry, Event},
    hand_over::{HandOver, re_geneses},
    state::{State, StateKey},
};

/// What a node has of the final chain.
pub trait FinalView {
    /// The last final header and what made it final; none at genesis.
    fn tip(&self) -> Option<(&Header, &Certificate)>;
    /// Between that header and what the certificate names, if it closed its epoch.
    fn carriers(&self) -> &[Header];
    /// How epochs ended, from genesis on: all before the tip's.
    fn hand_overs(&self) -> &[HandOver];
    /// The state after it.
    fn state(&self) -> &State;
    /// One proof that the leaves at `places`, which ascend, are in the log up to it: [`crate::tree::several`]; none
    /// beyond its end.
    fn inclusion(&self, places: &[LogIndex]) -> Option<Vec<Digest>>;
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
    /// No reader takes so large a bundle: there were too many changes of the validator set, or moves of the wallet.
    #[error("the bundle would have {bytes} bytes, more than the {BUNDLE_BYTES_MAX} that readers take")]
    TooLarge {
        /// How many it would have.
        bytes: usize,
    },
    /// What this node has makes a bundle that nobody could verify.
    #[error("what this node has proves nothing: {0}")]
    NotVerifiable(#[from] Failure),
}

/// The bundle of the hop by which `wallet` came to `epoch`. `decisions` are the source's, encoded, from the one that
/// the offer names on, as far as they are known; the bundle leads up to the first that is anchored.
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
    let mut entries = history(view, wallet, epoch)?;
    let Some(Event::KeyConfirmed(confirm)) = entries.last().map(|placed| &placed.entry.body.event) else {
        return Err(NotProvable::HopUnknown(epoch));
    };
    let source = confirm.ticket.ticket.source;
    let (anchor, later) = anchor(view, source, decisions)?;
    entries.push(anchor);
    entries.sort_by_key(|placed| placed.index);
    let places: Vec<LogIndex> = entries.iter().map(|placed| placed.index).collect();
    let last = places.last().copied().unwrap_or_default();
    let inclusion = view.inclusion(&places).ok_or(NotProvable::EntryMissing(last))?;
    let hand_overs: Vec<HandOver> = (0..header.epoch).zip(view.hand_overs()).map(|(_, ended)| ended.clone()).collect();
    let named = re_geneses(&hand_overs);
    let epochs =
        Epochs::proven(consortium, &hand_overs, &named).map_err(|invalid| Failure::new(Check::HandOvers, invalid))?;
    let members = members(consortium, view.state(), &epochs, &entries);
    let bundle = Bundle {
        version: VERSION,
        lineage: epochs.sets().lineage(),
        consortium: consortium.to_bytes(),
        hand_overs,
        header: header.clone(),
        certificate: certificate.clone(),
        carriers: view.carriers().to_vec(),
        members,
        entries,
        inclusion,
        decision: decisions.first().cloned().unwrap_or_default(),
        later,
        record: codec::encode(&record),
        record_path: view.state().prove(StateKey::Wallet(wallet)).siblings,
    };
    let bytes = codec::encoded_size(&bundle);
    if bytes > BUNDLE_BYTES_MAX {
        return Err(NotProvable::TooLarge { bytes });
    }
    verify(&bundle.to_bytes(), &consortium.id(), &named)?;
    Ok(bundle)
}

/// The records of nodes that joined after genesis, and of keys that no validator set names.
fn members(consortium: &Consortium, state: &State, epochs: &Epochs, entries: &[PlacedEntry]) -> Vec<MemberProof> {
    let mut nodes: BTreeSet<NodeId> = epochs.last().members.iter().map(|(node, _)| *node).collect();
    let mut subjects = BTreeSet::new();
    for PlacedEntry { index, entry } in entries {
        let author = entry.body.author;
        nodes.insert(author);
        if let Event::MigrationOffered(offer) = &entry.body.event {
            nodes.insert(offer.receiver);
        }
        // It signed with the key that it has now, or with one by which it voted.
        if let Some(record) = state.node(author).filter(|_| epochs.of_entry(*index).key(author).is_none()) {
            let known = epochs.keys_of(author).any(|key| key == record.node.key);
            subjects.extend((!known).then_some(Subject::Key(record.node.key)));
        }
    }
    subjects.extend(nodes.into_iter().filter(|node| consortium.node(*node).is_none()).map(Subject::Node));
    let proof = |subject: Subject| {
        let record = codec::encode(&state.record(subject.state_key())?);
        Some(MemberProof { subject, record, path: state.prove(subject.state_key()).siblings })
    };
    subjects.into_iter().filter_map(proof).collect()
}

/// The entries that advanced the wallet's head up to the confirm of `epoch`.
fn history(
    view: &(impl FinalView + ?Sized),
    wallet: WalletAddress,
    epoch: KeyEpoch,
) -> Result<Vec<PlacedEntry>, NotProvable> {
    let mut history = Vec::new();
    for index in view.wallet_entries(wallet) {
        let entry = view.entry(index).ok_or(NotProvable::EntryMissing(index))?;
        if entry.body.event.swaps_head().is_none() {
            continue;
        }
        let asked = matches!(&entry.body.event,
            Event::KeyConfirmed(confirm) if confirm.ticket.ticket.epoch == epoch);
        history.push(PlacedEntry { index, entry });
        if asked {
            return Ok(history);
        }
    }
    Err(NotProvable::HopUnknown(epoch))
}

/// The first anchor of `source` that names the end of the log after one of `decisions`, and what leads to it from the
/// first of them.
fn anchor(
    view: &(impl FinalView + ?Sized),
    source: NodeId,
    decisions: &[Vec<u8>],
) -> Result<(PlacedEntry, Vec<Link>), NotProvable> {
    let missing = NotProvable::NotAnchored(source);
    let (first, later) = decisions.split_first().ok_or(missing.clone())?;
    let first = LogEnd::after(first).ok_or(missing.clone())?;
    let later: Vec<Link> = later.iter().map_while(|decision| Link::of(decision)).collect();
    let ends: Vec<LogEnd> = std::iter::once(Some(first))
        .chain(later.iter().scan(Some(first), |end, link| {
            *end = end.and_then(|end| end.then(link));
            Some(*end)
        }))
        .map_while(|end| end)
        .collect();
    for index in view.anchors(source) {
        let entry = view.entry(index).ok_or(NotProvable::EntryMissing(index))?;
        let Event::DecisionAnchored(event) = &entry.body.event else { continue };
        let named = LogEnd { decisions: event.decisions, hash: event.log_head };
        if let Some(count) = ends.iter().position(|end| *end == named) {
            return Ok((PlacedEntry { index, entry }, later[..count].to_vec()));
        }
    }
    Err(missing)
}
