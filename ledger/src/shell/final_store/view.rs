//! The final chain up to one height, for building proof bundles, and the hand-overs that all of them begin with.

use std::sync::{Arc, MutexGuard, PoisonError};

use genesis::Consortium;
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    units::{LogIndex, NodeId},
};

use super::{FinalStore, missing};
use crate::{
    block::Header,
    bundle::{FinalView, Unreadable},
    certificate::Certificate,
    epochs::Epochs,
    event::Entry,
    execute::Executed,
    hand_over::{ClosingProof, HandOver, HandOverInvalid, re_geneses},
    shell::fault::Fault,
    state::State,
    tree::{several, tiles::grown_since},
};

/// How epochs ended, from genesis on, as far as somebody asked. It only grows: a hand-over is read and verified once.
#[derive(Default)]
pub(super) struct PastEpochs {
    hand_overs: Arc<Vec<HandOver>>,
    /// What the first of them prove.
    proven: Option<Epochs>,
}

impl PastEpochs {
    /// What `hand_overs` prove, which are the first of this store's.
    fn epochs(&mut self, consortium: &Consortium, hand_overs: &[HandOver]) -> Result<Epochs, HandOverInvalid> {
        let proven = self.proven.get_or_insert_with(|| Epochs::genesis(consortium));
        let Some(new) = hand_overs.get(proven.ended()..) else {
            // Of a view from before the last hand-over: there are few, and not for long.
            return Epochs::proven(consortium, hand_overs, &re_geneses(hand_overs));
        };
        proven.extend(new, &re_geneses(new))?;
        Ok(proven.clone())
    }
}

/// The final chain up to one height.
pub struct StoredView {
    store: FinalStore,
    executed: Arc<Executed>,
    tip: Option<(Header, ClosingProof)>,
    /// As many as there are, or more.
    hand_overs: Arc<Vec<HandOver>>,
    ended: usize,
}

impl FinalStore {
    /// What proof bundles are built from: the final chain up to `executed`, a final state of this store.
    ///
    /// # Errors
    /// [`Fault`] if something up to there is missing or damaged.
    pub fn view(&self, executed: Arc<Executed>) -> Result<StoredView, Fault> {
        let header = self.header(executed.height)?;
        let ended = header.as_ref().map_or(0, Header::epochs_ended);
        let hand_overs = self.hand_overs_kept(ended)?;
        let ended = usize::try_from(ended).unwrap_or(usize::MAX).min(hand_overs.len());
        let proof = header.as_ref().map_or(Ok(None), |header| self.proof(header))?;
        Ok(StoredView { store: self.clone(), executed, tip: header.zip(proof), hand_overs, ended })
    }

    /// How the epochs before `epoch` ended, from genesis on.
    ///
    /// # Errors
    /// [`Fault`] if one is missing or damaged.
    pub fn hand_overs(&self, epoch: u64) -> Result<Vec<HandOver>, Fault> {
        let all = self.hand_overs_kept(epoch)?;
        Ok(all.iter().take(usize::try_from(epoch).unwrap_or(usize::MAX)).cloned().collect())
    }

    /// The first `count` of them, and perhaps more.
    fn hand_overs_kept(&self, count: u64) -> Result<Arc<Vec<HandOver>>, Fault> {
        let mut past = self.past();
        let new = (past.hand_overs.len() as u64..count)
            .map(|epoch| self.hand_over(epoch)?.ok_or_else(|| missing(format!("the end of epoch {epoch}"))));
        let new: Vec<HandOver> = new.collect::<Result<_, _>>()?;
        if !new.is_empty() {
            Arc::make_mut(&mut past.hand_overs).extend(new);
        }
        Ok(past.hand_overs.clone())
    }

    /// Puts other hand-overs in the place of what was read.
    #[cfg(test)]
    pub(super) fn set_past(&self, hand_overs: Vec<HandOver>) {
        self.past().hand_overs = Arc::new(hand_overs);
    }

    fn past(&self) -> MutexGuard<'_, PastEpochs> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FinalView for StoredView {
    fn tip(&self) -> Option<(&Header, &Certificate)> {
        self.tip.as_ref().map(|(header, proof)| (header, &proof.certificate))
    }

    fn carriers(&self) -> &[Header] {
        self.tip.as_ref().map_or(&[], |(_, proof)| &proof.carriers)
    }

    fn hand_overs(&self) -> &[HandOver] {
        &self.hand_overs[..self.ended]
    }

    fn state(&self) -> &State {
        &self.executed.state
    }

    fn inclusion(&self, places: &[LogIndex]) -> Result<Option<Vec<Digest>>, Unreadable> {
        Ok(several::prove(&self.store, self.executed.log.size(), places)?)
    }

    fn grown_since(&self, size: u64) -> Result<Option<(Digest, Vec<Digest>)>, Unreadable> {
        Ok(grown_since(&self.store, size, self.executed.log.size())?)
    }

    fn entry(&self, index: LogIndex) -> Result<Option<Entry>, Unreadable> {
        Ok(self.store.entry(index)?)
    }

    fn head_swaps(&self, wallet: WalletAddress, last: LogIndex) -> Result<Vec<LogIndex>, Unreadable> {
        Ok(self.store.head_swaps(wallet, 0..last.get().saturating_add(1), &self.executed)?)
    }

    fn anchor_from(&self, node: NodeId, from: LogIndex) -> Result<Option<LogIndex>, Unreadable> {
        Ok(self.store.anchor_from(node, from, &self.executed)?)
    }

    fn epochs(&self, consortium: &Consortium) -> Result<Epochs, HandOverInvalid> {
        self.store.past().epochs(consortium, self.hand_overs())
    }
}

impl From<Fault> for Unreadable {
    fn from(fault: Fault) -> Self {
        Self(fault.to_string())
    }
}
