//! `batchmind audit entry` and `audit log-keys`: the log in C2SP's forms, checked offline.

use std::{fmt, path::Path};

use ::genesis::{Consortium, ValidatorSet};
use ledger::{
    event::Entry,
    tlog::{
        LogProof,
        checkpoint::origin,
        cosignature::{cosigner_name, verifier_key},
        proof::LOG_PROOF_BYTES_MAX,
    },
};
use serde::Serialize;
use wallet::{
    codec,
    digest::Digest,
    units::{LogIndex, NodeId},
};

use super::read;
use crate::cli::{Failure, Output, genesis};

/// An entry has fewer bytes: its length stands in two bytes of a tile.
pub(super) const ENTRY_BYTES_MAX: usize = 1 << 16;

/// Checks that an entry is in the log of the consortium of `document`.
pub(super) fn entry(proof: &Path, entry: &Path, document: &Path, named: &[Digest]) -> Result<Output, Failure> {
    let consortium = trusted(document)?;
    let not_proven = |reason: &dyn fmt::Display| {
        Failure::new("N-155", format!("the entry is not proven: {reason}"), proof.display())
    };
    let file = read(proof, LOG_PROOF_BYTES_MAX)?;
    let proven = LogProof::parse(&file).map_err(|malformed| not_proven(&malformed))?;
    let bytes = read(entry, ENTRY_BYTES_MAX)?;
    let entry: Entry = codec::decode(&bytes).map_err(|error| not_proven(&format!("it is no entry: {error}")))?;
    let cosigned = proven.verify(&entry.leaf_hash(), &consortium, named);
    let cosigned = cosigned.map_err(|invalid| not_proven(&invalid))?;
    Ok(Output::new(&Proven {
        verified: true,
        origin: cosigned.checkpoint.origin,
        entry: entry.id(),
        kind: entry.body.event.name(),
        author: entry.body.author,
        index: proven.index,
        size: cosigned.checkpoint.size,
        root: cosigned.checkpoint.root,
        cosigned: cosigned.cosignatures.iter().map(|cosignature| (cosignature.cosigner, cosignature.time)).collect(),
    }))
}

/// What other tools need to check the log: its origin, and the validators' keys in C2SP's form.
pub(super) fn keys(document: &Path, proof: Option<&Path>, named: &[Digest]) -> Result<Output, Failure> {
    if proof.is_none() && !named.is_empty() {
        let title = "the validators after a re-genesis are in a proof: give one with --proof";
        return Err(Failure::new("N-566", title, document.display()));
    }
    let consortium = trusted(document)?;
    let (validators, id) = cosigners(&consortium, proof, named)?;
    let keys = validators.members.iter();
    Ok(Output::new(&Keys {
        origin: origin(&id),
        epoch: validators.epoch,
        quorum: validators.quorum(),
        cosigners: keys.clone().map(|(node, _)| cosigner_name(&id, *node)).collect(),
        verifier_keys: keys.map(|(node, key)| verifier_key(&id, *node, key)).collect(),
    }))
}

/// Of whom a quorum cosigned the checkpoint of a proof, and in which name; without one the validators of genesis.
fn cosigners(
    consortium: &Consortium,
    proof: Option<&Path>,
    named: &[Digest],
) -> Result<(ValidatorSet, Digest), Failure> {
    let Some(file) = proof else { return Ok((consortium.validators().clone(), consortium.id())) };
    let invalid = |reason: &dyn fmt::Display| {
        Failure::new("N-155", format!("the proof does not say who cosigns: {reason}"), file.display())
    };
    let proof = LogProof::parse(&read(file, LOG_PROOF_BYTES_MAX)?).map_err(|malformed| invalid(&malformed))?;
    let (_, validators, name) = proof.cosigned(consortium, named).map_err(|reason| invalid(&reason))?;
    Ok((validators, name))
}

/// The consortium of a document that all its operators signed.
pub(super) fn trusted(document: &Path) -> Result<Consortium, Failure> {
    let read = genesis::read(document)?;
    read.verify().map_err(|error| Failure::new(error.code(), &error, document.display()))
}

#[derive(Serialize)]
struct Proven {
    verified: bool,
    origin: String,
    entry: Digest,
    kind: &'static str,
    author: NodeId,
    index: LogIndex,
    size: u64,
    root: Digest,
    /// Who cosigned the checkpoint, and when, in seconds since 1970.
    cosigned: Vec<(NodeId, u64)>,
}

impl fmt::Display for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, entry, kind, author, index, size, root, cosigned, .. } = self;
        writeln!(f, "verified: the entry is in the log")?;
        writeln!(f, "log          {origin}")?;
        writeln!(f, "entry        {entry}, {kind} by node {author}")?;
        writeln!(f, "place        {index} of {size}")?;
        write!(f, "root         {root}")?;
        cosigned.iter().try_for_each(|(node, time)| write!(f, "\ncosigned by  node {node} at {time}"))
    }
}

#[derive(Serialize)]
struct Keys {
    origin: String,
    /// Which validator set it is: 0 is that of genesis.
    epoch: u64,
    quorum: usize,
    cosigners: Vec<String>,
    verifier_keys: Vec<String>,
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "origin       {}", self.origin)?;
        write!(f, "quorum       {} of {}", self.quorum, self.verifier_keys.len())?;
        self.verifier_keys.iter().try_for_each(|key| write!(f, "\n{key}"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use ledger::{
        governance::{Action, Member},
        testing::{self, Chain, Session, next_node_key, node_key},
        tlog::{Checkpoint, Cosignature, CosignedCheckpoint},
        tree::tiles::inclusion_proof,
    };

    use super::*;

    struct Case {
        folder: tempfile::TempDir,
        chain: Chain,
    }

    impl Case {
        fn new() -> Self {
            let consortium = testing::consortium(4);
            let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
            chain.push(session.created()).expect("valid");
            chain.push(session.anchored(2, 1, Digest([7; 32]))).expect("valid");
            let case = Self { folder: tempfile::tempdir().expect("a temporary folder"), chain };
            case.write("genesis.toml", consortium.document().to_toml().as_bytes());
            for (index, (_, entry)) in case.chain.entries().enumerate() {
                case.write(&format!("{index}.entry"), &codec::encode(entry));
                case.write(&format!("{index}.tlog-proof"), case.proof(index as u64, 0..3).as_bytes());
            }
            case
        }

        fn proof(&self, index: u64, nodes: std::ops::Range<u32>) -> String {
            let (consortium, log, index) = (&self.chain.consortium, &self.chain.tip.log, LogIndex::new(index));
            let checkpoint = Checkpoint::new(&consortium.id(), log.size(), log.root());
            let cosignatures = nodes.map(|node| Cosignature::sign(&checkpoint, &testing::signer(node), 1_800_000_000));
            let cosigned = CosignedCheckpoint { cosignatures: cosignatures.collect(), checkpoint };
            let checkpoint = cosigned.to_note(consortium.validators(), &consortium.id());
            let leaves: Vec<Digest> = self.chain.entries().map(|(_, entry)| entry.leaf_hash()).collect();
            let path = inclusion_proof(&leaves[..], index, leaves.len() as u64).expect("infallible").expect("within");
            LogProof { extra: None, index, path, checkpoint }.to_string()
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            std::fs::write(self.file(name), bytes).expect("our own folder");
        }

        fn file(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn check(&self, proof: &str, of: &str) -> Result<Output, Failure> {
            entry(&self.file(proof), &self.file(of), &self.file("genesis.toml"), &[])
        }
    }

    #[test]
    fn an_entry_is_proven_by_its_own_proof_alone() {
        let case = Case::new();
        let proven = case.check("1.tlog-proof", "1.entry").expect("proven");
        assert_eq!((&proven.json()["kind"], &proven.json()["index"]), (&"DecisionAnchored".into(), &1.into()));
        assert!(proven.text().starts_with("verified") && proven.text().contains("node 2 at 1800000000"));
        for (proof, of) in [("0.tlog-proof", "1.entry"), ("1.entry", "1.entry"), ("1.tlog-proof", "1.tlog-proof")] {
            assert_eq!(case.check(proof, of).expect_err("not proven").code, "N-155", "{proof} {of}");
        }
        case.write("few.tlog-proof", case.proof(1, 0..2).as_bytes());
        let few = case.check("few.tlog-proof", "1.entry").expect_err("two are no quorum of four");
        assert!(few.code == "N-155" && few.title.contains("quorum"), "{few}");
        assert_eq!(case.check("none.tlog-proof", "1.entry").expect_err("no such file").code, "N-150");
    }

    #[test]
    fn after_hand_overs_the_proof_shows_whose_word_counts() {
        let mut case = Case::new();
        let chain = &mut case.chain;
        chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(3)))]).expect("valid");
        let rotation = chain.rotating(Member::Node(NodeId::new(1)), &node_key(1), &next_node_key(1));
        chain.enact(vec![rotation]).expect("valid");
        let session = Session::in_eu(&chain.consortium, 0);
        chain.push(session.anchored(0, 1, Digest([7; 32]))).expect("valid");
        let (index, set) = (chain.tip.log.size() - 1, chain.tip.validators());
        let last = chain.entries().last().expect("entries").1.clone();
        case.write("last.entry", &codec::encode(&last));
        let checkpoint = Checkpoint::new(&case.chain.consortium.id(), index + 1, case.chain.tip.log.root());
        let signers = set.members.iter().map(|(node, _)| case.chain.signer(*node).expect("its key"));
        let cosignatures = signers.map(|signer| Cosignature::sign(&checkpoint, &signer, 1_800_000_000)).collect();
        let cosigned = CosignedCheckpoint { checkpoint, cosignatures };
        let note = cosigned.to_note(&set, &case.chain.consortium.id());
        let leaves: Vec<Digest> = case.chain.entries().map(|(_, entry)| entry.leaf_hash()).collect();
        let index = LogIndex::new(index);
        let path = inclusion_proof(&leaves[..], index, leaves.len() as u64).expect("infallible").expect("within");
        let proof = |ended: usize| {
            let hand_overs = &case.chain.hand_overs[..ended];
            LogProof::new(index, path.clone(), note.clone(), hand_overs).expect("small")
        };
        for (ended, holds) in [(2, true), (1, false), (0, false)] {
            case.write("last.tlog-proof", proof(ended).to_string().as_bytes());
            assert_eq!(case.check("last.tlog-proof", "last.entry").is_ok(), holds, "{ended} of two hand-overs");
        }
        let strange = LogProof { extra: Some(vec![1, 2, 3]), ..proof(2) };
        case.write("last.tlog-proof", strange.to_string().as_bytes());
        assert_eq!(case.check("last.tlog-proof", "last.entry").expect_err("no hand-overs").code, "N-155");
        let keys = |case: &Case| keys(&case.file("genesis.toml"), Some(&case.file("last.tlog-proof")), &[]);
        assert_eq!(keys(&case).expect_err("no hand-overs").code, "N-155");
        // With fewer hand-overs it leads to a set that did not cosign.
        for ended in [0, 1] {
            case.write("last.tlog-proof", proof(ended).to_string().as_bytes());
            assert_eq!(keys(&case).expect_err("cosigned by others").code, "N-155", "{ended} of two hand-overs");
        }
        case.write("last.tlog-proof", proof(2).to_string().as_bytes());
        let told = keys(&case).expect("it says who cosigns");
        let expected = verifier_key(&case.chain.consortium.id(), NodeId::new(1), &next_node_key(1).public_key());
        assert_eq!((&told.json()["epoch"], &told.json()["verifier_keys"][1]), (&2.into(), &expected.into()));
        assert_eq!(told.json()["quorum"], 3);
    }

    #[test]
    fn the_keys_are_those_of_genesis_in_the_form_of_other_tools() {
        let case = Case::new();
        let named = keys(&case.file("genesis.toml"), None, &[Digest::ZERO]).expect_err("no proof says who went on");
        assert_eq!(named.code, "N-566");
        let output = keys(&case.file("genesis.toml"), None, &[]).expect("a signed document");
        let json = output.json();
        assert_eq!((&json["quorum"], json["verifier_keys"].as_array().map(Vec::len)), (&3.into(), Some(4)));
        let origin = json["origin"].as_str().expect("a text");
        assert_eq!(origin, format!("batchmind/{}", case.chain.consortium.id()));
        assert!(output.text().contains(&format!("\n{origin}/node-3+")), "{}", output.text());
    }
}
