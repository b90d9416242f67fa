//! The rules of the entry with which the ledger begins anew: see [`crate::re_genesis`].

use super::{
    Step,
    enactment::{self, Site},
};
use crate::{
    re_genesis::{LOST_MAX, REASON_BYTES_MAX, ReGenesis},
    refusal::Refusal,
    state::{LineageRecord, Record, StateKey},
};

impl Step<'_> {
    /// Who signed is no matter of the entry: the operators sign the block that it is in.
    pub(super) fn re_genesis(&mut self, event: &ReGenesis) -> Result<(), Refusal> {
        self.not_signed_by_holder()?;
        if !self.at.is_re_genesis {
            return Err(Refusal::ReGenesisOutOfPlace);
        }
        let (height, named, bytes) = (self.at.height, event.lineage, event.reason.len());
        let expected = self.state.lineage().saturating_add(1);
        if named != expected {
            return Err(Refusal::WrongLineage { expected, named });
        }
        if !(1..=REASON_BYTES_MAX).contains(&bytes) || event.reason.chars().any(char::is_control) {
            return Err(Refusal::ReGenesisReason { bytes, max: REASON_BYTES_MAX });
        }
        if event.lost.len() > LOST_MAX || !event.lost.is_sorted_by(|one, next| one < next) {
            return Err(Refusal::LostOutOfOrder { max: LOST_MAX });
        }
        let highest = event.dropped.highest;
        if highest.next().is_some_and(|next| next < height) {
            return Err(Refusal::DroppedBelow { highest, height });
        }
        let Self { consortium, checks, .. } = *self;
        let site = Site { consortium, checks, proposal: self.id, made_at: self.at.time, height };
        let changes = enactment::begin_anew(self.state, &event.lost, &site)?;
        self.changes.extend(changes);
        let record = LineageRecord { lineage: named, since: height, entry: self.id };
        self.put(StateKey::Lineage, Record::Lineage(record));
        Ok(())
    }
}
