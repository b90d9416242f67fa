//! Evidence on the disk: one file for each culprit and kind, in the form that `batchmind audit blame` reads.

use wallet::{codec, units::BlockHeight};

use super::{fault::Fault, raft::block_of, shared::Shared};
use crate::{
    block::{Block, epoch_of},
    certificate::Certificate,
    evidence::{Culprit, EVIDENCE_BYTES_MAX, Evidence, EvidenceFile, Fork},
    finality::Conflict,
    hand_over::{CARRIERS_MAX, ValidatorSets},
    vote::VoteKind,
};

/// The end of an evidence file's name.
const SUFFIX: &str = ".evidence";

impl Shared {
    /// Keeps evidence that verifies, unless there is such a file already: the first of a kind and culprit is proof
    /// enough.
    pub(crate) fn keep_proof(&self, evidence: &Evidence) -> Result<(), Fault> {
        let epoch = self.tip.borrow().state.epoch();
        let hand_overs = self.store.hand_overs(epoch)?;
        let sets = match ValidatorSets::verified_before(&self.consortium, &hand_overs) {
            Ok(sets) => sets,
            Err(invalid) => {
                tracing::error!(%invalid, "the own hand-overs do not hold: no evidence is kept");
                return Ok(());
            }
        };
        let culprits = match evidence.verify_in(&self.consortium, &sets) {
            Ok(culprits) => culprits,
            Err(invalid) => {
                let (code, kind) = (invalid.code(), evidence.kind());
                tracing::error!(code, %invalid, kind, "evidence that proves nothing was not kept");
                return Ok(());
            }
        };
        let nodes: Vec<String> = culprits.iter().map(|culprit| culprit.node.to_string()).collect();
        let name = format!("{}-{}{SUFFIX}", evidence.kind(), nodes.join("-"));
        // All culprits are of one epoch, and what is said of it stands on no later set.
        let epoch = culprits.first().map_or(0, |culprit| epoch_of(culprit.term));
        let hand_overs = self.store.hand_overs(epoch)?;
        let file = EvidenceFile::new(&self.consortium, hand_overs, evidence.clone());
        if file.size() > EVIDENCE_BYTES_MAX {
            tracing::error!(file = name, bytes = file.size(), "evidence that no reader would take was not kept");
            return Ok(());
        }
        if self.keep_evidence(&name, &file.to_bytes())? {
            for Culprit { node, rule, term, .. } in culprits {
                tracing::error!(%node, %rule, term, file = name, "a key broke a rule: the evidence is kept");
            }
        }
        Ok(())
    }

    /// Keeps two certificates that contradict each other: as evidence if what lies between is here.
    pub(crate) fn keep_fork(&self, ours: &Certificate, theirs: &Certificate) -> Result<(), Fault> {
        match self.fork(ours, theirs) {
            Some(fork) => self.keep_proof(&Evidence::Fork(Box::new(fork))),
            // Some block between is not here. Whoever has it can make evidence of both certificates.
            None => {
                tracing::error!(height = %ours.height, "two certificates contradict each other: they are kept");
                self.keep_evidence(&format!("fork-{}", ours.height), &codec::encode(&(ours, theirs))).map(drop)
            }
        }
    }

    /// Keeps what stopped the node, and says which fault that is.
    pub(crate) fn keep_conflict(&self, conflict: &Conflict) -> Result<Fault, Fault> {
        match conflict {
            Conflict::TwoCertificates { ours, theirs } => {
                self.keep_fork(ours, theirs)?;
                Ok(Fault::Fork { height: ours.height, ours: ours.block, theirs: theirs.block })
            }
            Conflict::CertifiedInvalid { certificate, reason } => {
                self.keep_evidence(&format!("invalid-{}", certificate.height), &codec::encode(certificate))?;
                Ok(Fault::CertifiedInvalid { height: certificate.height, reason: reason.to_string() })
            }
        }
    }

    fn fork(&self, ours: &Certificate, theirs: &Certificate) -> Option<Fork> {
        let in_log = self.blocks_of_log(ours.height.min(theirs.height));
        Fork::between(&self.final_certificate(ours)?, &self.final_certificate(theirs)?, |height, digest| {
            let is_it = |block: &Block| block.header.digest() == *digest;
            let stored = self.store.block(height).ok().flatten().map(|stored| stored.block).filter(is_it);
            stored.or_else(|| in_log.iter().find(|block| is_it(block)).cloned())
        })
    }

    /// The certificate, or where it only notarizes a block that is final here, that of the descendant by which it is.
    fn final_certificate(&self, certificate: &Certificate) -> Option<Certificate> {
        let (mut height, mut found) = (certificate.height, certificate.clone());
        while found.kind != VoteKind::Finalize {
            height = height.next()?;
            found = self.store.certificate(height).ok().flatten()?;
        }
        Some(found)
    }

    /// The blocks of the raft log from where the lowest stands on which a block of this height may stand: carriers are
    /// in it below the final block, and in no other place.
    fn blocks_of_log(&self, height: BlockHeight) -> Vec<Block> {
        let lowest = height.get().saturating_sub(CARRIERS_MAX as u64 + 1);
        let is_below = |index: u64| {
            let block = self.log.entry(index).ok().flatten().and_then(|stored| block_of(stored.entry));
            block.is_some_and(|block| {
                let header = self.store.header(block.header.height).ok().flatten();
                block.header.height.get() <= lowest && header.as_ref() == Some(&block.header)
            })
        };
        let mut next = self.final_at.borrow().map_or(0, |at| at.index + 1);
        let first = self.log.purged().map_or(0, |purged| purged.log_id.index + 1);
        while next > first && !is_below(next - 1) {
            next -= 1;
        }
        let mut blocks = Vec::new();
        while let Ok(entries) = self.log.entries_from(next)
            && !entries.is_empty()
        {
            next += entries.len() as u64;
            blocks.extend(entries.into_iter().filter_map(|stored| block_of(stored.entry)));
        }
        blocks
    }
}
