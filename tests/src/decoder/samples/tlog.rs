//! The log of the sample ledger in C2SP's forms.

use ledger::{
    testing,
    tlog::{Checkpoint, ConsistencyProof, Cosignature, CosignedCheckpoint, LogProof, Note},
    tree::{
        log::LogTree,
        tiles::{consistency_proof, inclusion_proof},
    },
};
use wallet::{codec::encode, digest::Digest, units::LogIndex};

use super::ledger::{KEPT_AT, chain, hand_overs};

/// Its head with the cosignatures of three of four validators.
pub(crate) fn cosigned() -> CosignedCheckpoint {
    cosigned_at(leaves().len())
}

/// That of its first entries, as an auditor kept it.
pub(crate) fn earlier() -> CosignedCheckpoint {
    cosigned_at(KEPT_AT as usize)
}

/// The same as a file.
pub(crate) fn kept_checkpoints() -> Vec<Vec<u8>> {
    let consortium = &chain().consortium;
    vec![earlier().to_note(consortium.validators(), &consortium.id()).to_string().into_bytes()]
}

fn leaves() -> Vec<Digest> {
    chain().entries().map(|(_, entry)| entry.leaf_hash()).collect()
}

fn cosigned_at(size: usize) -> CosignedCheckpoint {
    let root = LogTree::from_leaf_hashes(&leaves()[..size]).root();
    let checkpoint = Checkpoint::new(&chain().consortium.id(), size as u64, root);
    let cosignatures = [0, 2, 3].map(|node| Cosignature::sign(&checkpoint, &testing::signer(node), 1_800_000_000));
    CosignedCheckpoint { checkpoint, cosignatures: cosignatures.to_vec() }
}

fn note() -> Note {
    let consortium = &chain().consortium;
    cosigned().to_note(consortium.validators(), &consortium.id())
}

pub(crate) fn checkpoints() -> Vec<Vec<u8>> {
    let example = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\nan extension\n\n\
                   \u{2014} example.com/foo Uw2QOgE=\n";
    vec![note().to_string().into_bytes(), example.into()]
}

pub(crate) fn log_proofs() -> Vec<Vec<u8>> {
    let proof = |index: u64, extra: Option<Vec<u8>>| {
        let index = LogIndex::new(index);
        let leaves = leaves();
        let path = inclusion_proof(&leaves[..], index, leaves.len() as u64).expect("infallible").expect("within");
        LogProof { extra, index, path, checkpoint: note() }.to_string().into_bytes()
    };
    vec![proof(0, None), proof(3, Some(vec![1, 2, 3])), proof(1, Some(encode(&hand_overs().to_vec())))]
}

pub(crate) fn consistency_proofs() -> Vec<Vec<u8>> {
    let proof = |old: u64, extra: Option<Vec<u8>>| {
        let leaves = leaves();
        let path = consistency_proof(&leaves[..], old, leaves.len() as u64).expect("infallible").expect("within");
        ConsistencyProof { extra, old, path, checkpoint: note() }.to_string().into_bytes()
    };
    vec![proof(3, None), proof(2, Some(vec![1, 2, 3])), proof(1, Some(encode(&hand_overs().to_vec())))]
}

pub(crate) fn tile_paths() -> Vec<Vec<u8>> {
    ["0/000", "1/x001/000.p/1", "entries/x001/x234/067.p/255", "63/x018/x446/x744/x073/x709/x551/615"]
        .map(|path| path.as_bytes().to_vec())
        .to_vec()
}
