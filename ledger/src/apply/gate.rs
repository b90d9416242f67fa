//! How a gate's key is made: the rules of a member's word. What follows from it is in `state::gate`.

use wallet::refusal::Refusal as WalletRefusal;

use super::Step;
use crate::{
    event::{GateNotice, GateWord},
    refusal::Refusal,
    state::{GatePlace, Record, StateKey},
};

impl Step<'_> {
    pub(super) fn gate_notice(&mut self, event: &GateNotice) -> Result<(), Refusal> {
        self.not_signed_by_holder()?;
        let GateNotice { scope, word } = event;
        let (time, author) = (self.at.time, self.author());
        let phase_ms = self.state.parameters().gate_phase_ms;
        let place = GatePlace { time, phase_ms };
        let unknown = || Refusal::GateUnknown { gate: scope.to_string() };
        let mut record = self.state.gate(scope).ok_or_else(unknown)?.at(time, phase_ms);
        match word {
            GateWord::Plain { lineage, gate } => {
                let id = record.id(scope, self.consortium.id());
                if *lineage != self.state.lineage_entry() || !record.take_plain(&id, author, gate, place) {
                    return Err(Refusal::GatePlainUnfit { gate: scope.to_string() });
                }
            }
            GateWord::Run { run, notice } => {
                let current = record.run.as_ref().map(|run| *run.transcript.ceremony_hash());
                if current != Some(*run) {
                    return Err(Refusal::GateRunOver { current, named: *run });
                }
                record.take_notice(author, notice, place).map_err(|reason| match reason {
                    WalletRefusal::NoticeRefused { .. } => Refusal::GateNoticeUntimely { reason: Box::new(reason) },
                    _ => Refusal::GateNoticeRefused { reason: Box::new(reason) },
                })?;
            }
        }
        self.put(StateKey::Gate(scope.clone()), Record::Gate(Box::new(record)));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
