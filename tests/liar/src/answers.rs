//! Lies to who asks for what it misses: entries of the log, and what its own key signed.

use ledger::{
    block::{Block, Header, View, epoch_of},
    certificate::Certificate,
    finality::{STATEMENTS_MAX, Statements},
    shell::{
        log_store::Link,
        raft::{RaftEntry, RaftLogId},
        transport::{PeerReply, PeerRequest},
    },
    vote::{Ballot, Grant, Nullify, Signed, SignedGrant, SignedNullify, Vote, VoteKind},
};
use openraft::EntryPayload;
use wallet::{
    digest::sha256,
    units::{BlockHeight, NodeId},
};

use crate::{Liar, lie::Lie};

impl Liar {
    /// Entries that it makes up, for a node whose place in the log it may not even know.
    pub(super) fn made_up_entries(&mut self, after: Link) -> Option<PeerReply> {
        if !self.has(Lie::LogEntriesForged) || self.rng.percent(50) {
            return None;
        }
        let certificate = self.candidacies.iter().rev().find_map(|candidacy| candidacy.parent.clone())?;
        let payload = self.remembered.iter().rev().find_map(|request| {
            let PeerRequest::Append { rpc, .. } = request else { return None };
            let mut entries = rpc.entries.iter();
            entries.find(|entry| matches!(entry.payload, EntryPayload::Normal(_))).map(|entry| entry.payload.clone())
        })?;
        let log_id = RaftLogId::new(after.log_id.leader_id, after.log_id.index + 1);
        Some(PeerReply::LogEntries { entries: vec![RaftEntry { log_id, payload }], certificate, carriers: Vec::new() })
    }

    /// In place of true entries up to a final block.
    pub(super) fn false_entries(
        &mut self,
        to: NodeId,
        mut entries: Vec<RaftEntry>,
        mut certificate: Certificate,
        carriers: Vec<Header>,
    ) -> PeerReply {
        self.tell(Lie::LogEntriesForged, to);
        let Some(last) = entries.last_mut() else { return PeerReply::LogEntries { entries, certificate, carriers } };
        match self.rng.range(0..6) {
            0 => entries.clear(),
            1 => drop(entries.remove(0)),
            2 => {
                if let EntryPayload::Normal(packed) = &mut last.payload {
                    let mut block = packed.block().clone();
                    self.change_body(&mut block);
                    *packed = block.into();
                }
            }
            3 => {
                let log_id = RaftLogId::new(last.log_id.leader_id, last.log_id.index + 1);
                entries.push(RaftEntry { log_id, payload: EntryPayload::Blank });
            }
            4 => certificate.kind = VoteKind::Notarize,
            _ => entries[0].payload = EntryPayload::Blank,
        }
        PeerReply::LogEntries { entries, certificate, carriers }
    }

    /// Another body, or another signature of the leader, under the same header.
    pub(super) fn change_body(&mut self, block: &mut Block) {
        match self.rng.range(0..4) {
            0 if !block.entries.is_empty() => drop(block.entries.pop()),
            1 if block.skipped.is_some() => block.skipped = None,
            2 if block.parent_certificate.is_some() => {
                let certificates = block.parent_certificate.iter_mut();
                certificates.for_each(|certificate| certificate.signatures.truncate(1));
            }
            _ => block.proposal.0[0] ^= 1,
        }
    }

    /// In place of what it holds signed by the key of `to`.
    pub(super) fn false_statements(&mut self, to: NodeId, held: Statements) -> Statements {
        self.tell(Lie::StatementsForged, to);
        let Some((vote, nullify, grant)) = self.never_said() else { return Statements::default() };
        match self.rng.range(0..5) {
            0 => Statements::default(),
            // True signatures, under what they are not for.
            1 => Statements {
                votes: held.votes.into_iter().map(|held| Vote { statement: vote.statement, ..held }).collect(),
                nullifies: held
                    .nullifies
                    .into_iter()
                    .map(|held| SignedNullify { statement: nullify.statement, ..held })
                    .collect(),
                grants: held
                    .grants
                    .into_iter()
                    .map(|held| SignedGrant { statement: grant.statement, ..held })
                    .collect(),
            },
            // The liar's own signature, under the name of `to`.
            2 => Statements {
                votes: vec![Vote { validator: to, ..vote }],
                nullifies: vec![SignedNullify { validator: to, ..nullify }],
                grants: vec![SignedGrant { validator: to, ..grant }],
            },
            // What the liar says in its own name.
            3 => Statements { votes: vec![vote], nullifies: vec![nullify], grants: vec![grant] },
            _ => Statements { votes: vec![vote; STATEMENTS_MAX + 1], ..held },
        }
    }

    /// Statements of the term after the next, signed by the liar.
    fn never_said(&self) -> Option<(Vote, SignedNullify, SignedGrant)> {
        let (consortium, epoch) = (self.consortium.id(), epoch_of(self.term));
        let tip = self.tip.as_ref()?;
        let (term, height) = (self.term.saturating_add(2), BlockHeight::new(tip.height.get() + 1));
        let view = View { term, number: 1 };
        let block = sha256("liar", &[tip.digest.as_bytes()]);
        let ballot = Ballot { consortium, epoch, kind: VoteKind::Finalize, view, height, block };
        let nullify = Nullify { consortium, epoch, from: view, through: term };
        let grant = Grant { consortium, epoch, term, candidate: self.me };
        let signer = &self.signer;
        Some((Vote::sign(ballot, signer), Signed::sign(nullify, signer), Signed::sign(grant, signer)))
    }
}
