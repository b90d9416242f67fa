//! Evidence on the disk: one file for each culprit and kind, in the form that `batchmind audit blame` reads.

use wallet::codec;

use super::{fault::Fault, raft::block_of, shared::Shared};
use crate::{
    block::Block,
    certificate::Certificate,
    evidence::{Evidence, EvidenceFile, Fork},
    finality::Conflict,
    hand_over::ValidatorSets,
    vote::VoteKind,
};

/// The end of an evidence file's name.
const SUFFIX: &str = ".evidence";

impl Shared {
    /// Keeps evidence that verifies, unless there is such a file already: the first of a kind and culprit is proof
    /// enough.
    pub(crate) fn keep_proof(&self, evidence: &Evidence) -> Result<(), Fault> {
        let state = self.tip.borrow().state.clone();
        let sets = ValidatorSets::of_state(&self.consortium, &state);
        let culprits = match evidence.verify_in(&self.consortium, &sets) {
            Ok(culprits) => culprits,
            Err(invalid) => {
                tracing::error!(code = invalid.code(), %invalid, kind = evidence.kind(), "evidence that proves nothing was not kept");
                return Ok(());
            }
        };
        let nodes: Vec<String> = culprits.iter().map(|culprit| culprit.node.to_string()).collect();
        let name = format!("{}-{}{SUFFIX}", evidence.kind(), nodes.join("-"));
        let hand_overs = self.store.hand_overs(state.epoch())?;
        let bytes = EvidenceFile::new(&self.consortium, hand_overs, evidence.clone()).to_bytes();
        if self.keep_evidence(&name, &bytes)? {
            for culprit in culprits {
                tracing::error!(node = %culprit.node, rule = %culprit.rule, term = culprit.term, file = name, "a key broke a rule: the evidence is kept");
            }
        }
        Ok(())
    }

    /// Keeps what stopped the node, and says which fault that is.
    pub(crate) fn keep_conflict(&self, conflict: &Conflict) -> Result<Fault, Fault> {
        match conflict {
            Conflict::TwoCertificates { ours, theirs } => {
                match self.fork(ours, theirs) {
                    Some(fork) => self.keep_proof(&Evidence::Fork(Box::new(fork)))?,
                    // Some block between is not here. Whoever has it can make evidence of both certificates.
                    None => {
                        self.keep_evidence(&format!("fork-{}", ours.height), &codec::encode(&(ours, theirs)))?;
                    }
                }
                Ok(Fault::Fork { height: ours.height, ours: ours.block, theirs: theirs.block })
            }
            Conflict::CertifiedInvalid { certificate, reason } => {
                self.keep_evidence(&format!("invalid-{}", certificate.height), &codec::encode(certificate))?;
                Ok(Fault::CertifiedInvalid { height: certificate.height, reason: reason.to_string() })
            }
        }
    }

    fn fork(&self, ours: &Certificate, theirs: &Certificate) -> Option<Fork> {
        let in_log = self.blocks_of_log();
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

    /// The blocks of the raft log that are not final.
    fn blocks_of_log(&self) -> Vec<Block> {
        let (mut blocks, mut next) = (Vec::new(), self.final_at.borrow().map_or(0, |at| at.index + 1));
        while let Ok(entries) = self.log.entries_from(next)
            && !entries.is_empty()
        {
            next += entries.len() as u64;
            blocks.extend(entries.into_iter().filter_map(|stored| block_of(stored.entry)));
        }
        blocks
    }
}
