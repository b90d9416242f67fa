//! `batchmind audit consistency`: that a log only grew between two checkpoints, checked offline.

use std::{fmt, path::Path};

use ledger::tlog::{
    ConsistencyProof, Note,
    consistency::{ConsistencyInvalid, Grown},
    proof::LOG_PROOF_BYTES_MAX,
};
use serde::Serialize;
use wallet::digest::Digest;

use super::{log::trusted, read};
use crate::cli::{Failure, Output};

/// A checkpoint has less: a line for each of its validators.
const CHECKPOINT_BYTES_MAX: usize = 1 << 20;

pub(super) fn run(checkpoint: &Path, proof: &Path, document: &Path, named: &[Digest]) -> Result<Output, Failure> {
    let consortium = trusted(document)?;
    let not_proven = |reason: &dyn fmt::Display, file: &Path| {
        Failure::new("N-191", format!("the log is not shown to have only grown: {reason}"), file.display())
    };
    let earlier = Note::parse(&read(checkpoint, CHECKPOINT_BYTES_MAX)?);
    let earlier = earlier.map_err(|malformed| not_proven(&malformed, checkpoint))?;
    let parsed = ConsistencyProof::parse(&read(proof, LOG_PROOF_BYTES_MAX)?);
    let parsed = parsed.map_err(|malformed| not_proven(&malformed, proof))?;
    let Grown { earlier, later } = parsed.verify(&earlier, &consortium, named).map_err(|invalid| match invalid {
        ConsistencyInvalid::Fork { .. } => Failure::new("N-192", invalid, checkpoint.display()),
        _ => not_proven(&invalid, proof),
    })?;
    Ok(Output::new(&Consistent {
        verified: true,
        origin: later.checkpoint.origin,
        old_size: earlier.checkpoint.size,
        old_root: earlier.checkpoint.root,
        size: later.checkpoint.size,
        root: later.checkpoint.root,
    }))
}

#[derive(Serialize)]
struct Consistent {
    verified: bool,
    origin: String,
    old_size: u64,
    old_root: Digest,
    size: u64,
    root: Digest,
}

impl fmt::Display for Consistent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, old_size, old_root, size, root, .. } = self;
        writeln!(f, "verified: the log only grew")?;
        writeln!(f, "log          {origin}")?;
        writeln!(f, "from         {old_size} entries, root {old_root}")?;
        write!(f, "to           {size} entries, root {root}")
    }
}

#[cfg(test)]
mod tests {
    use ::genesis::ValidatorSet;
    use ledger::{
        testing::{self, Chain, Session},
        tlog::{Checkpoint, Cosignature, CosignedCheckpoint},
        tree::{log::LogTree, tiles::consistency_proof},
    };

    use super::*;

    /// What the command says of a proof from two entries to four, with this checkpoint in the auditor's hands.
    fn told(old: u64, old_root: Option<Digest>, new: u64) -> Result<Output, Failure> {
        let consortium = testing::consortium(4);
        let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
        for decisions in 1..=4 {
            chain.push(session.anchored(2, decisions, Digest([7; 32]))).expect("valid");
        }
        let leaves: Vec<Digest> = chain.entries().map(|(_, entry)| entry.leaf_hash()).collect();
        let (id, validators): (Digest, &ValidatorSet) = (consortium.id(), consortium.validators());
        let note = |size: u64, root: Option<Digest>| {
            let tree = LogTree::from_leaf_hashes(&leaves[..usize::try_from(size).expect("few")]);
            let checkpoint = Checkpoint::new(&id, size, root.unwrap_or_else(|| tree.root()));
            let sign = |node| Cosignature::sign(&checkpoint, &testing::signer(node), 1_800_000_000);
            let cosignatures = (0..3).map(sign).collect();
            CosignedCheckpoint { checkpoint, cosignatures }.to_note(validators, &id)
        };
        let path = consistency_proof(&leaves[..], 2.min(new), new).expect("infallible").expect("within");
        let proof = ConsistencyProof::new(2.min(new), path, note(new, None), &[]).expect("small");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).expect("our own folder");
            folder.path().join(name)
        };
        let document = file("genesis.toml", consortium.document().to_toml());
        run(&file("old", note(old, old_root).to_string()), &file("proof", proof.to_string()), &document, &[])
    }

    #[test]
    fn a_log_that_only_grew_is_told_with_both_roots() {
        let output = told(2, None, 4).expect("it grew");
        assert_eq!((&output.json()["old_size"], &output.json()["size"]), (&2.into(), &4.into()));
        assert!(output.text().starts_with("verified: the log only grew"), "{}", output.text());
    }

    #[test]
    fn a_rewritten_log_is_refused_and_a_forked_one_has_a_code_of_its_own() {
        for (old, root) in [(1, None), (2, Some(Digest([9; 32])))] {
            assert_eq!(told(old, root, 4).expect_err("it does not follow").code, "N-191", "{old}");
        }
        assert_eq!(told(2, Some(Digest([9; 32])), 2).expect_err("two logs of one size").code, "N-192");
    }
}
