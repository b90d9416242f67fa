//! A file that proves that a log only grew from one checkpoint to a later one: what C2SP's tlog-witness has a log send to
//! a witness, which is the old size, the proof and the later checkpoint.
//!
//! After a change of the validator set a line before that holds the hand-overs, as in a tlog-proof.

use std::fmt;

use genesis::Consortium;
use wallet::digest::Digest;

use super::{
    CheckpointInvalid, CosignedCheckpoint, Malformed, Note,
    proof::{Lines, LogProofInvalid, LogProofTooLarge, bounded, cosigned_in, epochs, extra_of, write_lines},
};
use crate::{
    hand_over::HandOver,
    tree::log::{PROOF_HASHES_MAX, verify_consistency},
};

/// That a log of `old` entries is the beginning of that of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// The hand-overs from genesis to those who cosigned the checkpoint, canonically encoded; none in the first epoch.
    pub extra: Option<Vec<u8>>,
    /// How many entries the log had.
    pub old: u64,
    /// The proof (RFC 9162 2.1.4).
    pub path: Vec<Digest>,
    /// The later checkpoint, as it was signed.
    pub checkpoint: Note,
}

/// Two checkpoints of one log, the first of which is the beginning of the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grown {
    /// The one that the auditor had.
    pub earlier: CosignedCheckpoint,
    /// The one in the file.
    pub later: CosignedCheckpoint,
}

/// Why a file does not show that a log only grew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsistencyInvalid {
    /// Of the checkpoint in the file, or of the hand-overs.
    #[error("the later checkpoint: {0}")]
    Later(#[from] LogProofInvalid),
    /// Of the checkpoint that the auditor has.
    #[error("the earlier checkpoint: {0}")]
    Earlier(#[from] CheckpointInvalid),
    /// The proof begins elsewhere.
    #[error("it begins with {found} entries, and the earlier checkpoint has {size}")]
    OtherSize {
        /// Where it begins.
        found: u64,
        /// Where it should.
        size: u64,
    },
    /// A quorum of one set cosigned two trees of one size: more validators lied than may.
    #[error("both are cosigned, and they are two different logs of {size} entries: keep both, they prove a fork")]
    Fork {
        /// Of both trees.
        size: u64,
    },
    /// The path leads elsewhere.
    #[error("the path does not lead from the earlier root to the later one")]
    NotConsistent,
}

impl ConsistencyProof {
    /// From the tree of `old` entries to a checkpoint, with the hand-overs from genesis to those who cosigned that.
    ///
    /// # Errors
    /// [`LogProofTooLarge`] where [`Self::parse`] would refuse the file.
    pub fn new(
        old: u64,
        path: Vec<Digest>,
        checkpoint: Note,
        hand_overs: &[HandOver],
    ) -> Result<Self, LogProofTooLarge> {
        bounded(Self { extra: extra_of(hand_overs)?, old, path, checkpoint }, hand_overs)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`Malformed`] if it is none, or has more than [`super::proof::LOG_PROOF_BYTES_MAX`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let malformed = |reason| Malformed { what: "consistency proof", reason };
        // The path of a tree that is no node of the later one begins with a node that both have.
        let lines = Lines::parse(bytes, "old ", PROOF_HASHES_MAX + 1).map_err(malformed)?;
        let Lines { heading: None, extra, number: old, path, checkpoint } = lines else {
            return Err(malformed("it does not begin with the old size"));
        };
        Ok(Self { extra, old, path, checkpoint })
    }

    /// Checks that the log of `earlier` is the beginning of the one in the file, each under a checkpoint that a quorum of
    /// the validators of its time cosigned, from those of genesis on, by the re-geneses that are `named`.
    ///
    /// # Errors
    /// [`ConsistencyInvalid`] says what is wrong.
    pub fn verify(
        &self,
        earlier: &Note,
        consortium: &Consortium,
        named: &[Digest],
    ) -> Result<Grown, ConsistencyInvalid> {
        let epochs = epochs(self.extra.as_deref(), consortium, named)?;
        let later = cosigned_in(&epochs, &self.checkpoint).map_err(LogProofInvalid::from)?;
        let earlier = cosigned_in(&epochs, earlier)?;
        let (old, new) = (&earlier.checkpoint, &later.checkpoint);
        if self.old != old.size {
            return Err(ConsistencyInvalid::OtherSize { found: self.old, size: old.size });
        }
        if old.size == new.size && old.root != new.root {
            return Err(ConsistencyInvalid::Fork { size: old.size });
        }
        verify_consistency(&old.root, old.size, &new.root, new.size, &self.path)
            .map_err(|_| ConsistencyInvalid::NotConsistent)?;
        Ok(Grown { earlier, later })
    }
}

impl fmt::Display for ConsistencyProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_lines(f, self.extra.as_deref(), ("old", self.old), &self.path, &self.checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use wallet::units::NodeId;

    use super::*;
    use crate::{
        governance::{Action, Member},
        testing::{Chain, Session, consortium, next_node_key, node_key, signer},
        tlog::{Checkpoint, Cosignature},
        tree::{log::LogTree, tiles::consistency_proof},
    };

    /// A chain over three epochs.
    fn chain() -> Chain {
        let consortium = consortium(5);
        let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
        chain.push(session.created()).expect("valid");
        chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(4)))]).expect("valid");
        let rotation = chain.rotating(Member::Node(NodeId::new(1)), &node_key(1), &next_node_key(1));
        chain.enact(vec![rotation]).expect("valid");
        chain.push(session.anchored(0, 1, Digest([7; 32]))).expect("valid");
        chain
    }

    fn leaves(chain: &Chain) -> Vec<Digest> {
        chain.entries().map(|(_, entry)| entry.leaf_hash()).collect()
    }

    /// The checkpoint of so many entries, cosigned by the set of that time.
    fn note(chain: &Chain, size: u64) -> Note {
        let root = LogTree::from_leaf_hashes(&leaves(chain)[..usize::try_from(size).expect("few")]).root();
        cosigned(chain, Checkpoint::new(&chain.consortium.id(), size, root))
    }

    fn cosigned(chain: &Chain, checkpoint: Checkpoint) -> Note {
        let epochs = crate::epochs::Epochs::proven(&chain.consortium, &chain.hand_overs, &[]).expect("proven");
        let set = epochs.of_size(checkpoint.size);
        let signers = set.members.iter().map(|(node, key)| {
            let rotated = next_node_key(node.get());
            let old = signer(node.get());
            if rotated.public_key() == *key { crate::vote::Signer { key: rotated, ..old } } else { old }
        });
        let cosignatures = signers.map(|signer| Cosignature::sign(&checkpoint, &signer, 1_800_000_000)).collect();
        CosignedCheckpoint { checkpoint, cosignatures }.to_note(set, &chain.consortium.id())
    }

    fn proof(chain: &Chain, old: u64, size: u64) -> ConsistencyProof {
        let path = consistency_proof(&leaves(chain)[..], old, size).expect("infallible").expect("within");
        ConsistencyProof::new(old, path, note(chain, size), &chain.hand_overs).expect("small")
    }

    #[test]
    fn every_log_is_the_beginning_of_every_later_one_over_all_hand_overs() {
        let chain = chain();
        let size = chain.tip.log.size();
        for old in 1..=size {
            for new in old..=size {
                let proof = proof(&chain, old, new);
                assert_eq!(ConsistencyProof::parse(proof.to_string().as_bytes()), Ok(proof.clone()));
                let grown = proof.verify(&note(&chain, old), &chain.consortium, &[]).expect("it only grew");
                assert_eq!((grown.earlier.checkpoint.size, grown.later.checkpoint.size), (old, new));
            }
        }
    }

    #[test]
    fn who_rewrote_or_hides_the_past_is_refused() {
        let chain = chain();
        let size = chain.tip.log.size();
        let (old, good) = (note(&chain, 3), proof(&chain, 3, size));
        let refused = |proof: &ConsistencyProof, old: &Note| {
            proof.verify(old, &chain.consortium, &[]).expect_err("it does not follow")
        };
        for (path, what) in [
            (Vec::new(), "no path"),
            (good.path[1..].to_vec(), "without its first hash"),
            (good.path[..good.path.len() - 1].to_vec(), "without its last hash"),
            (good.path.iter().rev().copied().collect(), "in disorder"),
            ([&good.path[..], &[Digest::ZERO]].concat(), "a hash too many"),
        ] {
            let proof = ConsistencyProof { path, ..good.clone() };
            assert_eq!(refused(&proof, &old), ConsistencyInvalid::NotConsistent, "{what}");
        }
        let other = ConsistencyProof { old: 4, ..good.clone() };
        assert_eq!(refused(&other, &old), ConsistencyInvalid::OtherSize { found: 4, size: 3 });
        let rewritten = cosigned(&chain, Checkpoint::new(&chain.consortium.id(), 3, Digest([9; 32])));
        assert_eq!(refused(&good, &rewritten), ConsistencyInvalid::NotConsistent, "a quorum cosigned another past");
        let fork = cosigned(&chain, Checkpoint::new(&chain.consortium.id(), size, Digest([9; 32])));
        let same = proof(&chain, size, size);
        assert_eq!(refused(&same, &fork), ConsistencyInvalid::Fork { size });
        let shorter = ConsistencyProof { checkpoint: note(&chain, 2), ..good.clone() };
        assert_eq!(refused(&shorter, &old), ConsistencyInvalid::NotConsistent, "a log does not shrink");
        let mut few = note(&chain, 3);
        few.signatures.truncate(2);
        assert!(matches!(refused(&good, &few), ConsistencyInvalid::Earlier(CheckpointInvalid::BelowQuorum { .. })));
        few = good.checkpoint.clone();
        few.signatures.truncate(2);
        let unsigned = ConsistencyProof { checkpoint: few, ..good.clone() };
        assert!(matches!(refused(&unsigned, &old), ConsistencyInvalid::Later(LogProofInvalid::Checkpoint(_))));
        let skipped = ConsistencyProof { extra: None, ..good.clone() };
        assert!(matches!(refused(&skipped, &old), ConsistencyInvalid::Later(_)));
        let unled = ConsistencyProof { extra: extra_of(&chain.hand_overs[1..]).expect("small"), ..good.clone() };
        assert!(matches!(refused(&unled, &old), ConsistencyInvalid::Later(LogProofInvalid::HandOvers(_))));
        let strange = ConsistencyProof { extra: Some(vec![1, 2, 3]), ..good };
        assert!(matches!(refused(&strange, &old), ConsistencyInvalid::Later(LogProofInvalid::Extra(_))));
    }

    #[test]
    fn another_spelling_is_no_proof() {
        let chain = chain();
        let text = proof(&chain, 3, chain.tip.log.size()).to_string();
        for (from, to) in [
            ("old 3\n", "old 03\n"),
            ("old 3\n", "old -3\n"),
            ("old 3\n", "Old 3\n"),
            ("old 3\n", "size 3\n"),
            ("old 3\n", "old 3\n\n"),
            ("extra ", "extra  "),
            ("extra ", "extra \nextra "),
            ("\n\n", "\n"),
            ("extra ", "c2sp.org/tlog-proof@v1\nextra "),
        ] {
            let hostile = text.replacen(from, to, 1);
            assert_ne!(hostile, text);
            assert!(ConsistencyProof::parse(hostile.as_bytes()).is_err(), "{to:?}");
        }
        let long = text.replacen("\n\n", &format!("\n{}\n", "A".repeat(43) + "=\n").repeat(66), 1);
        assert!(ConsistencyProof::parse(long.as_bytes()).is_err());
    }
}
