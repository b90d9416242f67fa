//! What is sent again, what is missing, and how finality stands.

use wallet::units::NodeId;

use super::{
    Voter,
    port::{Effect, OpenBlock, Status},
    stages::Staged,
    terms::LATE_TICKS,
};
use crate::{
    block::View,
    certificate::{Certificate, Nullification},
    vote::{Grant, Signed, SignedGrant, SignedNullify, Vote, VoteKind},
};

impl Voter {
    /// Sends own statements again, so that a lost one heals, and asks for what is missing.
    pub(super) fn tick(&mut self) {
        self.stages.iter_mut().for_each(|staged| staged.ticks = LATE_TICKS.min(staged.ticks + 1));
        if let Some(me) = self.signer.as_ref().map(|signer| signer.node) {
            let votes: Vec<Effect> = self.tally.of_node(me).map(|vote| Effect::Broadcast(*vote)).collect();
            let best = self.best().1.cloned();
            // Until a block of a later term is final here: then everybody can see from it that the term is over.
            let unanswered = self.nullifies.of_node(me).filter(|vote| vote.statement.through >= self.tip.view.term);
            let again = |vote: &SignedNullify| Effect::BroadcastNullify { vote: *vote, best: best.clone() };
            let nullifies: Vec<Effect> = unanswered.map(again).collect();
            self.effects.extend(votes.into_iter().chain(nullifies));
        }
        let highest = self.certified.values().map(|certificate| certificate.height).max();
        let waits = |staged: &Staged| staged.refused().is_none();
        let behind = self.stages.iter().any(|(_, staged)| waits(staged))
            || self.tally.highest().max(highest) > Some(self.tip.height);
        // Whoever is in a later epoch knows how this one ended.
        let is_left_behind = std::mem::take(&mut self.later_epoch);
        if (behind && self.behind_at_last_tick) || is_left_behind {
            self.effects.extend(self.tip.height.next().map(|height| Effect::AskFor { height }));
        }
        self.behind_at_last_tick = behind;
    }

    /// The certificate of the highest certified block that the own log holds; none at genesis.
    pub fn best_certificate(&self) -> Option<&Certificate> {
        self.best().1
    }

    /// Why this node is in its term, for a peer that is not: none in the first term of an epoch, and none after a start
    /// before it was shown again.
    pub fn permit(&self) -> Option<Nullification> {
        self.nullifies
            .permit(self.terms.term(), self.quorum())
            .filter(|_| self.terms.term() > View::first_term(self.epoch()))
    }

    /// The term that this node is in.
    pub fn term(&self) -> u64 {
        self.terms.term()
    }

    /// What this node holds that `node` signed, for a node that may have lost its record. Of its own it knows its last
    /// grant as well.
    pub fn statements_of(&self, node: NodeId) -> (Vec<Vote>, Vec<SignedNullify>, Option<SignedGrant>) {
        let own = self.signer.as_ref().filter(|signer| signer.node == node);
        let consortium = self.tip.name;
        let grant = own.and_then(|signer| {
            let grant: Grant = self.record.last_grant(consortium).filter(|grant| grant.epoch == self.epoch())?;
            Some(Signed::sign(grant, signer))
        });
        let (last_vote, last_nullify) = self.heard.of(node);
        let votes = self.tally.of_node(node).copied().chain(last_vote);
        let nullifies = self.nullifies.of_node(node).copied().chain(last_nullify);
        (votes.collect(), nullifies.collect(), grant)
    }

    /// How finality stands.
    pub fn status(&self) -> Status {
        let open =
            self.stages.executed().max_by_key(|(_, _, executed)| executed.view).map(|(log_index, _, executed)| {
                OpenBlock {
                    block: executed.digest,
                    view: executed.view,
                    log_index,
                    is_closing: executed.is_closing(),
                    notarized: self.tally.voters(&self.ballot(VoteKind::Notarize, executed)),
                    finalized: self.tally.voters(&self.ballot(VoteKind::Finalize, executed)),
                }
            });
        // Carriers, which say nothing any more once what they carry is final.
        let is_over = |staged: &Staged| staged.header.view.epoch() < self.epoch();
        let refused = self.stages.iter().filter(|(_, staged)| !is_over(staged));
        Status {
            height: self.tip.height,
            since: self.since,
            open,
            epoch: self.epoch(),
            term: self.terms.term(),
            leader: self.terms.leader(),
            gave_up: self.nullifies.who_ended(self.terms.term()),
            barred: self.barred(),
            complaint: self.terms.complaint(),
            patience_ms: self.timer.left_ms(&self.parameters, self.now.steady),
            failed_terms: self.timer.failed_terms(),
            invalid: refused.filter_map(|(index, staged)| Some((index, staged.reason()?.clone()))).collect(),
            halted: self.halted,
        }
    }

    /// Who may not lead this term.
    fn barred(&self) -> Vec<NodeId> {
        let validators = self.validators();
        let members = validators.members.iter().map(|(node, _)| *node);
        members.filter(|node| self.terms.is_barred(*node, validators)).collect()
    }

    /// Two voters with the same fingerprint go on alike, but for what they would report as evidence. For a search through
    /// all states; the time of day must be the same in all of them.
    #[cfg(any(test, feature = "testing"))]
    pub fn fingerprint(&self) -> wallet::digest::Digest {
        let staged: Vec<(u64, wallet::digest::Digest, bool, bool, u32)> = self
            .stages
            .iter()
            .map(|(index, staged)| {
                (index, staged.digest, staged.executed().is_some(), staged.refused().is_some(), staged.ticks)
            })
            .collect();
        let proposed: Vec<_> = self.stages.outline().collect();
        let certified: Vec<_> = self.certified.values().map(|held| (held.view, held.kind, held.block)).collect();
        let tally: Vec<_> = self.tally.outline().collect();
        let nullifies: Vec<_> = self.nullifies.outline().collect();
        let flags = (self.demand, self.cutting, self.rereading, self.behind_at_last_tick, self.halted);
        let times = format!("{:?} {:?} {:?}", self.terms, self.timer, flags);
        let parts =
            wallet::codec::encode(&(&self.record, self.tip.digest, staged, proposed, certified, tally, nullifies));
        wallet::digest::sha256("batchmind/v1/ledger/voter-fingerprint", &[&parts, times.as_bytes()])
    }
}
