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
    BUNDLE_BYTES_MAX, Bundle, Failure, Grounds, Hop, MemberProof, PlacedEntry, Since, Subject, VERSION, check::Check,
    decisions::LogEnd, verify::verify_in,
};
use crate::{
    block::Header,
    certificate::Certificate,
    epochs::Epochs,
    event::{Entry, Event},
    hand_over::{HandOver, HandOverInvalid, re_geneses},
    state::{State, StateKey},
};

/// What a node has of the final chain.
pub trait FinalView {
    /// The last final header and what made it final; none at genesis.
    fn tip(&self) -> Option<(&Header, &Certificate)>;
    /// Between that header and what the certificate names, if it closed its epoch.
    fn carriers(&self) -> &[Header];
    /// How epochs ended, from genesis on: all before the tip's, and by the tip if that is a re-genesis.
    fn hand_overs(&self) -> &[HandOver];
    /// The state after it.
    fn state(&self) -> &State;
    /// One proof that the leaves at `places`, which ascend, are in the log up to it: [`crate::tree::several`]; none
    /// beyond its end.
    ///
    /// # Errors
    /// [`Unreadable`] where a part of it is damaged.
    fn inclusion(&self, places: &[LogIndex]) -> Result<Option<Vec<Digest>>, Unreadable>;
    /// The root of the log's first `size` leaves, and the proof that it only grew since
    /// ([`crate::tree::tiles::grown_since`]); none if it never had so many, and for none.
    ///
    /// # Errors
    /// [`Unreadable`] where a part of it is damaged.
    fn grown_since(&self, size: u64) -> Result<Option<(Digest, Vec<Digest>)>, Unreadable>;
    /// One leaf; none beyond the end, and where it was pruned.
    ///
    /// # Errors
    /// [`Unreadable`] where it is damaged.
    fn entry(&self, index: LogIndex) -> Result<Option<Entry>, Unreadable>;

    /// Where the entries stand that swapped the head of `wallet`, ascending, up to `last`. There may be any number of others
    /// about it: a node with an index answers without looking at them.
    ///
    /// # Errors
    /// [`Unreadable`] where index or log is damaged.
    fn head_swaps(&self, wallet: WalletAddress, last: LogIndex) -> Result<Vec<LogIndex>, Unreadable> {
        let swaps = |event: &Event| event.wallet() == Some(wallet) && event.swaps_head().is_some();
        let all = matching(self, |entry| swaps(&entry.body.event))?;
        Ok(all.into_iter().take_while(|index| *index <= last).collect())
    }

    /// Where the first anchor of `node` stands at or after `from`. There may be millions: a node with an index answers without
    /// looking at the others.
    ///
    /// # Errors
    /// [`Unreadable`] where index or log is damaged.
    fn anchor_from(&self, node: NodeId, from: LogIndex) -> Result<Option<LogIndex>, Unreadable> {
        let is_one =
            |entry: &Entry| entry.body.author == node && matches!(entry.body.event, Event::DecisionAnchored(_));
        Ok(matching(self, is_one)?.into_iter().find(|index| *index >= from))
    }

    /// The epochs up to the tip's, which [`Self::hand_overs`] prove. Whoever keeps them verifies no hand-over twice.
    ///
    /// # Errors
    /// [`HandOverInvalid`] for the first that proves nothing.
    fn epochs(&self, consortium: &Consortium) -> Result<Epochs, HandOverInvalid> {
        // This node took each of them when it was told to.
        Epochs::proven(consortium, self.hand_overs(), &re_geneses(self.hand_overs()))
    }
}

/// Where the entries stand that `are`.
fn matching(view: &(impl FinalView + ?Sized), are: impl Fn(&Entry) -> bool) -> Result<Vec<LogIndex>, Unreadable> {
    let all = 0..view.tip().map_or(0, |(header, _)| header.log_size);
    let place = |index| view.entry(index).map(|entry| entry.is_some_and(|entry| are(&entry)).then_some(index));
    all.map(LogIndex::new).filter_map(|index| place(index).transpose()).collect()
}

/// What a node has of the final chain is damaged, which is not the same as not being there; in the words of the fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// Why there is no bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotProvable {
    /// There is no block yet under which anything could be proven.
    #[error("no block is final yet")]
    NothingFinal,
    /// No such wallet in the final state.
    #[error("there is no final wallet {0:?}")]
    WalletUnknown(WalletAddress),
    /// No final confirm of that epoch.
    #[error("no hop to epoch {0} is final")]
    HopUnknown(KeyEpoch),
    /// The decision is not the offer's, or neither it nor one of those after it is anchored yet.
    #[error("the decision of the offer is not anchored by node {0} yet")]
    NotAnchored(NodeId),
    /// There is no such earlier tree to go on from.
    #[error("{since} is not in 1 to {size}, the size of the log")]
    SinceUnknown {
        /// The size that was asked for.
        since: u64,
        /// How many entries are final.
        size: u64,
    },
    /// This node pruned what the proof needs.
    #[error("log entry {0} is not on this node any more")]
    EntryMissing(LogIndex),
    /// No reader takes so large a file: there were too many changes of the validator set, or moves of the wallet.
    #[error("the file would have {bytes} bytes, more than the {BUNDLE_BYTES_MAX} that readers take")]
    TooLarge {
        /// How many it would have.
        bytes: usize,
    },
    /// What it needs is damaged on this node.
    #[error("what this node has cannot be read: {0}")]
    Unreadable(#[from] Unreadable),
    /// What this node has makes a bundle that nobody could verify.
    #[error("what this node has proves nothing: {0}")]
    NotVerifiable(#[from] Failure),
}

/// The bundle of the hop by which `wallet` came to `epoch`: [`Hop::find`] and [`Hop::prove`].
///
/// # Errors
/// [`NotProvable`] if something is missing.
pub fn build(
    consortium: &Consortium,
    view: &(impl FinalView + ?Sized),
    wallet: WalletAddress,
    epoch: KeyEpoch,
    grounds: &Grounds,
    since: Option<u64>,
) -> Result<Bundle, NotProvable> {
    Hop::find(view, wallet, epoch)?.prove(consortium, view, grounds, since)
}

impl Hop {
    /// The bundle, from the view in which it was found. `grounds` is the source's decision that the offer names, with those
    /// after it as far as they are known; the bundle leads up to the first that is anchored. With `since` it proves that
    /// the log only grew since it had so many entries.
    ///
    /// # Errors
    /// [`NotProvable`] if something is missing.
    pub fn prove(
        self,
        consortium: &Consortium,
        view: &(impl FinalView + ?Sized),
        grounds: &Grounds,
        since: Option<u64>,
    ) -> Result<Bundle, NotProvable> {
        let Self { wallet, mut entries, source, prekey, .. } = self;
        let (header, certificate) = view.tip().ok_or(NotProvable::NothingFinal)?;
        let record = view.state().record(StateKey::Wallet(wallet)).ok_or(NotProvable::WalletUnknown(wallet))?;
        let (anchor, Grounds { decision, later }) = anchor(view, source, grounds)?;
        entries.push(anchor);
        entries.sort_by_key(|placed| placed.index);
        let places: Vec<LogIndex> = entries.iter().map(|placed| placed.index).collect();
        let last = places.last().copied().unwrap_or_default();
        let inclusion = view.inclusion(&places)?.ok_or(NotProvable::EntryMissing(last))?;
        let (epochs, members) = members_of(consortium, view, &entries)?;
        let bundle = Bundle {
            version: VERSION,
            lineage: epochs.sets().lineage(),
            consortium: consortium.to_bytes(),
            hand_overs: view.hand_overs().to_vec(),
            header: header.clone(),
            certificate: certificate.clone(),
            carriers: view.carriers().to_vec(),
            members,
            entries,
            inclusion,
            decision,
            later,
            record: codec::encode(&record),
            record_path: view.state().prove(StateKey::Wallet(wallet)).siblings,
            prekey_path: view.state().prove(StateKey::Prekey(prekey)).siblings,
            since: since.map(|size| grown(view, header, size)).transpose()?,
        };
        let bytes = codec::encoded_size(&bundle);
        if bytes > BUNDLE_BYTES_MAX {
            return Err(NotProvable::TooLarge { bytes });
        }
        // The hand-overs were verified above, and their signatures cost most.
        verify_in(&bundle, consortium, epochs, None)?;
        Ok(bundle)
    }
}

/// That the log only grew since it had `size` entries.
fn grown(view: &(impl FinalView + ?Sized), header: &Header, size: u64) -> Result<Since, NotProvable> {
    let grown = view.grown_since(size)?.ok_or(NotProvable::SinceUnknown { since: size, size: header.log_size })?;
    let (root, path) = grown;
    Ok(Since { size, root, path })
}

/// What the hand-overs prove, and who the last validators and the authors of `entries` are.
pub(crate) fn members_of(
    consortium: &Consortium,
    view: &(impl FinalView + ?Sized),
    entries: &[PlacedEntry],
) -> Result<(Epochs, Vec<MemberProof>), Failure> {
    let epochs = view.epochs(consortium).map_err(|invalid| Failure::new(Check::HandOvers, invalid))?;
    let members = members(consortium, view.state(), &epochs, entries);
    Ok((epochs, members))
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

/// `grounds` up to the first anchor of `by` that covers it.
///
/// # Errors
/// [`NotProvable::NotAnchored`] if none does, and if it is no decision of that node's log.
pub fn anchored(view: &(impl FinalView + ?Sized), by: NodeId, grounds: &Grounds) -> Result<Grounds, NotProvable> {
    anchor(view, by, grounds).map(|(_, anchored)| anchored)
}

fn anchor(
    view: &(impl FinalView + ?Sized),
    by: NodeId,
    grounds: &Grounds,
) -> Result<(PlacedEntry, Grounds), NotProvable> {
    let ends = grounds.ends();
    let event = |index: LogIndex| {
        let entry = view.entry(index)?.ok_or(NotProvable::EntryMissing(index))?;
        match &entry.body.event {
            Event::DecisionAnchored(event) => Ok((event.clone(), entry)),
            _ => Err(NotProvable::EntryMissing(index)),
        }
    };
    // Each anchor is of a longer log than the one before: the first that is long enough is found by halves.
    let shortest = ends.first().map_or(0, |end| end.decisions);
    let (mut from, mut to) = (0, view.tip().map_or(0, |(header, _)| header.log_size));
    while from < to {
        let middle = from + (to - from) / 2;
        match view.anchor_from(by, LogIndex::new(middle))?.filter(|found| found.get() < to) {
            Some(found) if event(found)?.0.decisions < shortest => from = found.get() + 1,
            _ => to = middle,
        }
    }
    let longest = ends.last().map_or(0, |end| end.decisions);
    let mut next = Some(LogIndex::new(from));
    while let Some(from) = next
        && let Some(index) = view.anchor_from(by, from)?
    {
        let (event, entry) = event(index)?;
        if event.decisions > longest {
            break;
        }
        let named = LogEnd { decisions: event.decisions, hash: event.log_head };
        if let Some(count) = ends.iter().position(|end| *end == named) {
            let grounds = Grounds { decision: grounds.decision.clone(), later: grounds.later[..count].to_vec() };
            return Ok((PlacedEntry { index, entry }, grounds));
        }
        next = index.next();
    }
    Err(NotProvable::NotAnchored(by))
}
