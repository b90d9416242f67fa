//! Lies in elections and answers.

use ledger::{
    block::epoch_of,
    certificate::Nullification,
    shell::{
        raft::TypeConfig,
        terms::Candidacy,
        transport::{PeerReply, PeerRequest},
    },
    vote::{Grant, Signed},
};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use wallet::{digest::sha256, units::NodeId};

use crate::{Liar, lie::Lie};

impl Liar {
    /// What it shows as a candidate, in place of what an honest node shows.
    pub(super) fn candidate(&mut self, mut candidacy: Box<Candidacy>) -> PeerRequest {
        if self.has(Lie::OldParent)
            && let Some(old) = self.candidacies.first()
        {
            candidacy.parent = old.parent.clone();
        }
        if self.has(Lie::ForgedPermit)
            && let Some(permit) = &mut candidacy.permit
        {
            permit.votes.pop();
            if self.rng.percent(50)
                && let Some(last) = permit.votes.last().copied()
            {
                permit.votes.push(last);
            }
        }
        if self.has(Lie::EmptyPermit)
            && let Some(permit) = &mut candidacy.permit
        {
            permit.votes.clear();
        }
        PeerRequest::Candidate(candidacy)
    }

    /// Stands for leader without being asked to.
    pub(super) fn spontaneous_candidacy(&mut self) {
        if self.has(Lie::EmptyPermit) && self.rng.percent(40) {
            let term = self.term.saturating_add(self.rng.range(0..2));
            let permit = Some(Nullification { votes: Vec::new() });
            let parent = self.candidacies.iter().rev().find_map(|candidacy| candidacy.parent.clone());
            let candidacy = Candidacy { term, permit, parent };
            for to in self.others() {
                self.tell(Lie::EmptyPermit, to);
                self.extra.push((to, PeerRequest::Candidate(Box::new(candidacy.clone()))));
            }
        }
        if !self.has(Lie::CampaignAlways) || !self.rng.percent(40) {
            return;
        }
        let Some(last) = self.candidacies.last().cloned() else { return };
        let term = last.term + self.rng.range(0..3);
        for to in self.others() {
            self.extra.push((to, PeerRequest::Candidate(Box::new(Candidacy { term, ..last.clone() }))));
        }
    }

    /// An answer to a candidate that the honest software never sees.
    pub(super) fn false_grant(&mut self, candidate: NodeId, candidacy: &Candidacy) -> Option<PeerReply> {
        if self.has(Lie::GrantAll) {
            let (consortium, epoch) = (self.consortium.id(), epoch_of(candidacy.term));
            let grant = Grant { consortium, epoch, term: candidacy.term, candidate };
            return Some(PeerReply::Granted(Signed::sign(grant, &self.signer)));
        }
        if self.has(Lie::FalseTermOver)
            && let Some(permit) = &candidacy.permit
        {
            return Some(PeerReply::TermOver(Box::new(permit.clone())));
        }
        self.has(Lie::GrantNobody).then_some(PeerReply::Refused(ledger::shell::transport::PeerRefusal::NotGranted))
    }

    /// An answer to an append that the honest software never sees.
    pub(super) fn false_answer(&mut self, rpc: &AppendEntriesRequest<TypeConfig>) -> Option<PeerReply> {
        if self.has(Lie::FalseAck) && !rpc.entries.is_empty() {
            return Some(PeerReply::Append(AppendEntriesResponse::Success));
        }
        if self.has(Lie::FalseConflict) && rpc.prev_log_id.is_some() {
            return Some(PeerReply::Append(AppendEntriesResponse::Conflict));
        }
        if self.has(Lie::FalseTermOver)
            && self.rng.percent(30)
            && let Some(permit) = self.candidacies.last().and_then(|candidacy| candidacy.permit.clone())
        {
            return Some(PeerReply::TermOver(Box::new(permit)));
        }
        None
    }

    /// What is answered in place of `reply`.
    pub(super) fn false_reply(&mut self, to: NodeId, reply: PeerReply) -> PeerReply {
        let (me, them) = (u64::from(self.me.get()), u64::from(to.get()));
        match reply {
            PeerReply::Append(_) if self.has(Lie::ForgedHigherVote) && self.rng.percent(50) => {
                let name = *self.rng.pick(&[me, them, 1_000]);
                let vote = openraft::Vote::new_committed(self.term + self.rng.range(1..5), name);
                PeerReply::Append(AppendEntriesResponse::HigherVote(vote))
            }
            PeerReply::Append(_) if self.has(Lie::WildTerms) && self.rng.percent(20) => {
                PeerReply::Append(AppendEntriesResponse::HigherVote(openraft::Vote::new(u64::MAX, me)))
            }
            PeerReply::Certificates(mut certificates) if self.has(Lie::WrongCertificates) => {
                for certificate in &mut certificates {
                    certificate.block = sha256("liar", &[certificate.block.as_bytes()]);
                }
                PeerReply::Certificates(certificates)
            }
            PeerReply::LogEntries { entries, certificate, carriers } if self.has(Lie::LogEntriesForged) => {
                self.false_entries(to, entries, certificate, carriers)
            }
            PeerReply::Statements { held, lineage } if self.has(Lie::StatementsForged) => {
                PeerReply::Statements { held: self.false_statements(to, held), lineage }
            }
            PeerReply::Votes { final_height, permit } if self.has(Lie::ClosingForged) => {
                self.false_closing(to).unwrap_or(PeerReply::Votes { final_height, permit })
            }
            reply => reply,
        }
    }
}
